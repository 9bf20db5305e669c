"""The ledger in the back office: grants, entries, and packs that were bought by themselves. Nothing is changed here."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from accounts.admin_base import FoundById, plain_number
from accounts.admin_lists import since
from billing.models import CreditEntry, CreditGrant, TopUp


@admin.register(CreditGrant)
class CreditGrantAdmin(FoundById[CreditGrant]):
    list_display = ("created_at", "organization", "kind", "granted", "left", "expires_at", "reason")
    list_filter = ("kind", since("created_at"))
    order_of_organization = ("-created_at", "-pk")
    search_help_text = "An organization's id (org_…) or a grant's (grt_…)"
    fields = (
        "organization",
        "kind",
        "granted",
        "left",
        "expires_at",
        "reason",
        "granted_for",
        "stripe_object",
        "entries_of_it",
        "uid",
        "created_at",
    )

    @admin.display
    def granted(self, grant: CreditGrant) -> str:
        return plain_number(grant.amount)

    @admin.display
    def left(self, grant: CreditGrant) -> str:
        return plain_number(grant.remaining)

    @admin.display
    def granted_for(self, grant: CreditGrant) -> str:
        """What gives its credits once only."""
        return grant.key

    @admin.display(description="entries")
    def entries_of_it(self, grant: CreditGrant) -> str:
        url = reverse("admin:billing_creditentry_changelist")
        return format_html('<a class="text-link" href="{}?q={}">What became of it</a>', url, grant.uid)


@admin.register(CreditEntry)
class CreditEntryAdmin(FoundById[CreditEntry]):
    list_display = (
        "created_at",
        "organization",
        "kind",
        "change",
        "billed",
        "balance_after",
        "day",
        "job_id",
        "reason",
    )
    list_filter = ("kind", since("created_at"))
    search_help_text = "An organization's id (org_…), an entry's (cre_…), or a grant's (grt_…)"
    fields = (
        "organization",
        "kind",
        "change",
        "billed",
        "balance_after",
        "grant",
        "day",
        "job",
        "meter_report",
        "reason",
        "created_by",
        "uid",
        "created_at",
    )

    @admin.display(description="credits")
    def change(self, entry: CreditEntry) -> str:
        return plain_number(entry.amount).replace("-", "−")

    @admin.display(description="billed as overage")
    def billed(self, entry: CreditEntry) -> str:
        return plain_number(entry.overage).replace("-", "−") if entry.overage else "–"

    @admin.display(description="balance")
    def balance_after(self, entry: CreditEntry) -> str:
        return plain_number(entry.balance)

    @admin.display
    def job(self, entry: CreditEntry) -> str:
        if not entry.job_id:
            return "–"
        url = reverse("admin:usage_job_changelist")
        return format_html('<a class="text-link" href="{}?q={}">{}</a>', url, entry.job_id, entry.job_id)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CreditEntry], search_term: str
    ) -> tuple[QuerySet[CreditEntry], bool]:
        if search_term.startswith("grt_"):
            grant = CreditGrant.objects.filter(uid=search_term.strip()).first()
            return queryset.filter(grant=grant) if grant else queryset.none(), False
        return super().get_search_results(request, queryset, search_term)


@admin.register(TopUp)
class TopUpAdmin(FoundById[TopUp]):
    list_display = ("created_at", "organization", "bought", "dollars", "colored_state", "problem")
    list_filter = ("state", since("created_at"))
    order_of_organization = ("-created_at", "-pk")
    search_help_text = "An organization's id (org_…) or a top-up's (top_…)"
    fields = (
        "organization",
        "bought",
        "dollars",
        "colored_state",
        "problem",
        "stripe_invoice",
        "uid",
        "created_at",
        "finished_at",
    )

    @admin.display(description="credits")
    def bought(self, top_up: TopUp) -> str:
        return plain_number(top_up.credits)

    @admin.display(description="price")
    def dollars(self, top_up: TopUp) -> str:
        return f"${top_up.price:,.2f}"

    @display(description="state", label={"Paid": "success", "Failed": "danger", "Waiting": "info"})  # type: ignore[untyped-decorator]
    def colored_state(self, top_up: TopUp) -> str:
        return top_up.get_state_display()
