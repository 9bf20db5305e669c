"""What is between us and Stripe, in the back office: reports to its meter, where the two differ, and its invoices."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import action, display

from accounts import audit
from accounts.access import actor_of
from accounts.admin_base import (
    FoundById,
    ReadOnlyAdmin,
    asked_once,
    back_to,
    colleague,
    is_there,
    plain_number,
    row_or_404,
)
from accounts.admin_forms import ToldReasonDialog
from accounts.admin_lists import OF_ORGANIZATION, since
from billing import hosted, invoices, metering
from billing.hosted import at_stripe
from billing.models import Invoice, MeterDrift, MeterReport
from webhooks.admin_base import once

STATE_COLORS = {"Waiting": "info", "Sent": "success", "Refused": "danger"}
INVOICE_COLORS = {"paid": "success", "open": "warning", "uncollectible": "danger"}


@admin.register(MeterReport)
class MeterReportAdmin(FoundById[MeterReport]):
    list_display = (
        "created_at",
        "organization",
        "quantity",
        "colored_state",
        "period_start",
        "attempts",
        "identifier",
    )
    list_filter = ("state", since("created_at"))
    list_select_related = ("organization",)
    search_fields = ("=identifier",)
    search_help_text = "An organization's id (org_…) or a report's identifier (cr:…)"
    id_field = "identifier"
    order_of_organization = ("-hour", "-sequence", "-pk")
    fields = (
        "organization",
        "identifier",
        "quantity",
        "colored_state",
        "last_error",
        "attempts",
        "next_attempt_at",
        "sent_at",
        "period_start",
        "timestamp",
        "customer",
        "subscription",
        "billed_by",
        "repairs",
        "created_at",
    )
    actions_detail = ("send_again",)

    @display(description="state", label=STATE_COLORS)  # type: ignore[untyped-decorator]
    def colored_state(self, report: MeterReport) -> str:
        return report.get_state_display()

    @admin.display(description="customer")
    def customer(self, report: MeterReport) -> str:
        return at_stripe("customers", report.stripe_customer)

    @admin.display(description="subscription")
    def subscription(self, report: MeterReport) -> str:
        return at_stripe("subscriptions", report.stripe_subscription)

    def has_retry_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        refused = MeterReport.objects.filter(state=MeterReport.State.REFUSED)
        return colleague(request).has_perm("billing.change_meterreport") and is_there(refused, object_id)

    @asked_once(
        "Send again",
        permission="retry",
        question="Send this report again?",
        follows="Put right what Stripe refused it for first. It is sent within a minute, under the same identifier, "
        "so that it never counts twice.",
        form_class=ToldReasonDialog,
    )
    def send_again(self, request: HttpRequest, form: ToldReasonDialog, object_id: str) -> HttpResponse:
        report = get_object_or_404(MeterReport, pk=object_id)
        if metering.send_again(report):
            audit.record(
                audit.Action.METER_REPORT_RETRIED,
                actor=actor_of(request),
                organization=report.organization,
                target=report,
                before={"error": report.last_error},
                after=audit.with_reason(form.cleaned_data["reason"]),
            )
            messages.success(request, "It is on its way.")
        else:
            messages.warning(request, "It is not refused any more.")
        return back_to(report)


@admin.register(MeterDrift)
class MeterDriftAdmin(ReadOnlyAdmin[MeterDrift]):
    list_display = (
        "found_at",
        "organization",
        "period_start",
        "period_end",
        "reported",
        "counted_credits",
        "repair",
        "settled_at",
    )
    list_filter = (("settled_at", admin.EmptyFieldListFilter),)
    list_select_related = ("organization",)
    search_fields = OF_ORGANIZATION
    search_help_text = "An organization's name or id (org_…)"
    fields = (
        "organization",
        "period_start",
        "period_end",
        "reported",
        "counted_credits",
        "found_at",
        "repair",
        "settled_at",
    )

    @admin.display(description="counted")
    def counted_credits(self, drift: MeterDrift) -> str:
        return f"{drift.counted.normalize():f}"


class InvoiceStatus(admin.SimpleListFilter):
    """Stripe's own words, without reading the table for those there are."""

    title = parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (status, status.capitalize()) for status in ("draft", "open", "paid", "uncollectible", "void")
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        return queryset.filter(status=self.value()) if self.value() else queryset


@admin.register(Invoice)
class InvoiceAdmin(FoundById[Invoice]):
    list_leaves_out = ("lines",)
    list_display = (
        "created_at",
        "organization",
        "number",
        "colored_status",
        "sum_total",
        "sum_due",
        "attempts",
        "paid_at",
    )
    list_filter = (InvoiceStatus, since("created_at"))
    order_of_organization = ("-created_at", "-pk")
    list_select_related = ("organization",)
    search_fields = ("=uid",)
    search_help_text = "An organization's id (org_…), or an invoice's (ivc_… or Stripe's in_…)"
    fields = (
        "organization",
        "number",
        "colored_status",
        "reason",
        "more",
        "if_wrong",
        "sum_total",
        "sum_paid",
        "sum_due",
        "lines_of_it",
        "period_start",
        "period_end",
        "attempts",
        "next_attempt_at",
        "paid_at",
        "at_stripe",
        "papers",
        "uid",
        "created_at",
        "updated_at",
    )

    actions_detail = ("give_credits",)

    def has_give_credits_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("billing.change_billingaccount")

    @action(description="Give credits…", permissions=["give_credits"])  # type: ignore[untyped-decorator]
    def give_credits(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The way to where credits are given to its organization."""
        invoice = row_or_404(Invoice.objects.all(), object_id)
        return redirect("admin:billing_billingaccount_give_credits", invoice.organization_id)

    @display(description="status", label=INVOICE_COLORS)  # type: ignore[untyped-decorator]
    def colored_status(self, invoice: Invoice) -> str:
        return invoice.status

    @admin.display(description="total")
    def sum_total(self, invoice: Invoice) -> str:
        return f"${invoice.total:,.2f}"

    @admin.display(description="paid")
    def sum_paid(self, invoice: Invoice) -> str:
        return f"${invoice.amount_paid:,.2f}"

    @admin.display(description="due")
    def sum_due(self, invoice: Invoice) -> str:
        return f"${invoice.amount_due:,.2f}"

    @admin.display(description="lines")
    @once
    def lines_of_it(self, invoice: Invoice) -> str:
        """What each bills, and for overage on which days it was used."""
        return (
            format_html_join(
                "",
                "<div>{}: ${}{}</div>",
                ((line.description, f"{line.amount:,.2f}", _used(line)) for line in invoices.lines(invoice)),
            )
            or "–"
        )

    @admin.display(description="more of it")
    def more(self, invoice: Invoice) -> str:
        """Where what it bills stands: the organization, its credits, and what was used in its period."""
        uid = invoice.organization.uid
        links = [
            (reverse("admin:accounts_organization_change", args=[invoice.organization_id]), "Organization"),
            (f"{reverse('admin:billing_creditentry_changelist')}?{urlencode({'q': uid})}", "Ledger"),
        ]
        if invoice.period_start and invoice.period_end and invoice.period_start < invoice.period_end:
            period = {
                "q": uid,
                "timestamp__gte": invoice.period_start.isoformat(),
                "timestamp__lt": invoice.period_end.isoformat(),
            }
            records = f"{reverse('admin:usage_usagerecord_changelist')}?{urlencode(period)}"
            links.append((records, "Usage records of its period"))
        return format_html_join(" · ", '<a class="text-link" href="{}">{}</a>', links)

    @admin.display(description="if it is wrong")
    def if_wrong(self, invoice: Invoice) -> str:
        return format_html(
            "Amend or void the usage records that are wrong: their credits come back, or come off the overage that is "
            'billed next. Or <a class="text-link" href="{}">give goodwill credits</a>. '
            "Refunds, credit notes and voiding it are made at Stripe: {}.",
            reverse("admin:billing_billingaccount_give_credits", args=[invoice.organization_id]),
            at_stripe("invoices", invoice.stripe_id),
        )

    @admin.display(description="at Stripe")
    def at_stripe(self, invoice: Invoice) -> str:
        return at_stripe("invoices", invoice.stripe_id)

    @admin.display(description="for the customer")
    def papers(self, invoice: Invoice) -> str:
        pages = {"Page": invoice.hosted_url, "PDF": invoice.pdf_url, "Receipt": invoice.receipt_url}
        found = [(link, label) for label, url in pages.items() if (link := hosted.link(url))]
        return (
            format_html_join(
                " · ", '<a class="text-link" href="{}" target="_blank" rel="noopener">{}</a>', found
            )
            or "–"
        )

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        if search_term.startswith("in_"):
            return queryset.filter(stripe_id=search_term.strip()), False
        return super().get_search_results(request, queryset, search_term)


def _used(line: invoices.Line) -> str:
    days = invoices.usage_behind(line).days if line.kind == invoices.OVERAGE else []
    words = (f"{plain_number(used)} credits on {day:%-d %B %Y}" for day, used in days if day)
    return format_html_join("", "<div>{}</div>", ((each,) for each in words))
