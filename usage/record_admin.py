"""Usage records in the back office: found, explained, and corrected. They themselves never change."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import BooleanField, F, Func, OuterRef, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts import notes
from accounts.access import actor_of
from accounts.admin_base import BigTableAdmin, colleague, json_block, plain_number
from accounts.admin_lists import since
from accounts.models import Organization
from usage import charges, corrections
from usage.corrections import LONGEST_REASON, AlreadyCorrected, Amendment
from usage.models import Feature, IdempotencyKey, Product, UsageRecord
from usage.price_list import dollars
from usage.records import RecordRow
from usage.reports_in import MAX_AHEAD, MOST_PAGES, MOST_QUANTITY

# A record has no index by its key. When the key was claimed is known, and most usage is reported soon.
_REPORTED_WITHIN = timedelta(days=2)
_CHARGED_AGAIN = "There is another charge like this one on the job. "


def of_each_organization() -> Func:
    """True of every row, said so that PostgreSQL probes an index once for each organization.

    All indexes of usage start with the organization, and before PostgreSQL 18 none would serve a job id alone.
    """
    ids = ArraySubquery(Organization.objects.values("pk"))
    return Func(
        F("organization_id"),
        ids,
        template="%(expressions)s)",
        arg_joiner=" = ANY(",
        output_field=BooleanField(),
    )


def organization_id(uid: str) -> int:
    """Looked up first: only of an organization it knows does PostgreSQL know that its log has an index."""
    return Organization.objects.filter(uid=uid).values_list("pk", flat=True).first() or -1


class VoidForm(forms.Form):
    reason = forms.CharField(
        max_length=LONGEST_REASON,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="The customer reads it: on the job's page, in the audit trail, in exports and in a notice.",
    )

    def amendment(self) -> Amendment | None:
        return None


class AmendForm(VoidForm):
    """What should have been metered. Credits follow from it: who is to get some for other reasons gets a grant."""

    product = forms.ChoiceField(choices=Product.choices, widget=UnfoldAdminSelectWidget)
    feature = forms.ChoiceField(choices=Feature.choices, widget=UnfoldAdminSelectWidget)
    pages = forms.IntegerField(
        min_value=0, max_value=MOST_PAGES, widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"})
    )
    quantity = forms.DecimalField(
        min_value=0,
        max_value=MOST_QUANTITY,
        decimal_places=6,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text="Cells or charts, where these are what is charged.",
    )
    field_order = ("product", "feature", "pages", "quantity", "reason")

    def amendment(self) -> Amendment | None:
        return Amendment(**{name: self.cleaned_data[name] for name in self.field_order if name != "reason"})


@admin.register(UsageRecord)
class UsageRecordAdmin(BigTableAdmin[UsageRecord]):
    list_display = (
        "timestamp",
        "organization",
        "job_id",
        "product",
        "feature",
        "pages",
        "charged",
        "list_cost",
        "flagged",
    )
    list_filter = ("unrated", since("timestamp"))
    # Not the key: a record whose key is gone would not be listed.
    list_select_related = ("organization",)
    search_fields = ("=job_id",)
    search_help_text = "A job's id, all records of an organization (org_…), or an idempotency key"
    fieldsets = (
        (None, {"fields": ("idempotency_key", "job", "organization", "api_key", "timestamp", "day")}),
        ("Used", {"fields": ("product", "feature", "file_type", "pages", "quantity", "requests")}),
        (
            "Charged",
            {
                "fields": (
                    "charged",
                    "list_cost",
                    "explanation",
                    "rate_id",
                    "without_rate",
                    "priority",
                    "region",
                )
            },
        ),
        ("Correction", {"fields": ("corrected_by", "corrects", "reason")}),
        ("Sent with it", {"fields": ("attributes_sent",)}),
    )
    actions_detail = ("void", "amend")

    @admin.display(description="job")
    def job(self, record: UsageRecord) -> str:
        found = corrections.job_of(record)
        if found is None:
            return record.job_id
        return format_html(
            '<a class="text-link" href="{}">{}</a>',
            reverse("admin:usage_job_change", args=[found.pk]),
            record.job_id,
        )

    @admin.display(description="credits")
    def charged(self, record: UsageRecord) -> str:
        return plain_number(record.credits)

    @admin.display(description="list cost")
    def list_cost(self, record: UsageRecord) -> str:
        return dollars(record.cost)

    @admin.display
    def explanation(self, record: UsageRecord) -> str:
        job = corrections.job_of(record)
        if job is None:
            return "–"
        charge = charges.explained(job, [record])[0]
        return f"{charge.credits} {charge.cost}"

    @admin.display(description="corrected by")
    def corrected_by(self, record: UsageRecord) -> str:
        return links_to(corrections.of(record)) or "–"

    @admin.display(description="unrated")
    def without_rate(self, record: UsageRecord) -> str:
        return "Yes: no rate was in force, recorded at 0 credits" if record.unrated else "No"

    @display(  # type: ignore[untyped-decorator]
        description="flag",
        label={"Unrated": "warning", "Corrected": "info", "Void": "info", "Amended": "info"},
    )
    def flagged(self, record: UsageRecord) -> str:
        if corrections.is_void(record):
            return "Void"
        if record.correction:  # type: ignore[attr-defined]
            return "Corrected"
        if record.corrects:
            return "Amended"
        return "Unrated" if record.unrated else ""

    @admin.display(description="attributes")
    def attributes_sent(self, record: UsageRecord) -> str:
        return json_block(record.attributes)

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        same_job = UsageRecord.objects.filter(
            organization_id=OuterRef("organization_id"), job_id=OuterRef("job_id")
        )
        correction = same_job.filter(corrects=OuterRef("idempotency_key")).values("pk")[:1]
        # Not EXISTS: of a list without end PostgreSQL might read all records at once, rather than probe for each shown.
        return super().get_queryset(request).annotate(correction=Subquery(correction))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UsageRecord], search_term: str
    ) -> tuple[QuerySet[UsageRecord], bool]:
        """One kind of term a search, so that each has its index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith("org_"):
            queryset = queryset.filter(organization_id=organization_id(term))
        else:
            of_job = queryset.filter(of_each_organization(), job_id=term)
            if of_job.order_by().exists():
                return of_job, False
            queryset = queryset.filter(_claimed(term))
        return queryset.order_by("-timestamp", "-id"), False

    # ── Corrections ──────────────────────────────────────────────────────────────────────────────────────────

    def has_correct_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("usage.change_usagerecord")

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """No buttons where there is nothing left to correct."""
        record = self.get_object(request, str(object_id))
        if record is None or corrections.is_void(record) or corrections.of(record):
            return []
        offered: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        return offered

    @action(description="Amend…", permissions=["correct"])  # type: ignore[untyped-decorator]
    @method_decorator(require_http_methods(["GET", "POST"]))
    def amend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the right numbers, show what would follow, and do it by a second click."""
        return self._correct(request, object_id, AmendForm)

    @action(description="Void…", permissions=["correct"], variant=ActionVariant.DANGER)  # type: ignore[untyped-decorator]
    @method_decorator(require_http_methods(["GET", "POST"]))
    def void(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what would follow, ask for a reason, and do it."""
        return self._correct(request, object_id, VoidForm)

    def _correct(self, request: HttpRequest, object_id: str, form_class: type[VoidForm]) -> HttpResponse:
        record = self.get_object(request, object_id)
        if record is None:
            raise Http404
        if corrections.is_void(record):
            raise PermissionDenied
        here = redirect("admin:usage_usagerecord_change", record.pk)
        if corrections.of(record):
            messages.warning(request, "This record has been corrected before. Nothing was changed.")
            return here
        told = request.POST if request.method == "POST" else request.GET
        form = form_class(
            told if "reason" in told else None,
            initial={
                "product": record.product,
                "feature": record.feature,
                "pages": record.pages,
                "quantity": None
                if record.quantity is None
                else plain_number(record.quantity).replace(",", ""),
            },
        )
        rows: list[RecordRow] = []
        if form.is_valid():
            try:
                amendment, reason = form.amendment(), form.cleaned_data["reason"]
                if request.method == "POST":
                    corrections.correct(
                        record=record, reason=reason, amendment=amendment, actor=actor_of(request)
                    )
                    messages.success(request, f"Done. {_told(record)}")
                    return here
                rows = corrections.follows(record=record, reason=reason, amendment=amendment)
            except AlreadyCorrected:
                messages.warning(request, "Somebody has just corrected this record. Nothing was changed.")
                return here
            except ValidationError as error:
                form = _with_errors(form, error)
        if form_class is VoidForm:
            rows = corrections.follows(record=record, amendment=None)
        return render(
            request,
            "admin/usage/usagerecord/correct.html",
            self.admin_site.each_context(request)
            | {
                "opts": self.opts,
                "title": "Amend a usage record" if form_class is AmendForm else "Void a usage record",
                "record": record,
                "warnings": notes.warnings_of(record),
                "form": form,
                "is_amendment": form_class is AmendForm,
                "asks_for_numbers": form_class is AmendForm and not rows,
                "changes": _changes(record, rows),
                "balance": _balance(rows),
                "told": _told(record),
            },
            status=400 if form.errors else 200,
        )


def links_to(records: list[UsageRecord]) -> str:
    """A line for each record, which leads to its page."""
    return format_html_join(
        "",
        '<a class="text-link block" href="{}">{}, {}: {} pages, {} credits{}</a>',
        (
            (
                reverse("admin:usage_usagerecord_change", args=[record.pk]),
                record.get_product_display(),
                record.get_feature_display(),
                _number(record.pages),
                _number(record.credits),
                f" ({record.reason})" if record.reason else "",
            )
            for record in records
        ),
    )


def lines_of(records: list[UsageRecord], *, may_correct: bool) -> str:
    """The records of a job: which charge stands although there is another like it, and the way to take it back."""
    corrected = {record.corrects for record in records}
    standing = [
        record
        for record in records
        if record.idempotency_key not in corrected and not corrections.is_void(record)
    ]
    likenesses = Counter(_likeness(record) for record in standing if record.credits > 0)
    return format_html_join(
        "",
        '<div class="mb-1">{}{}{}</div>',
        (
            (
                links_to([record]),
                _CHARGED_AGAIN if record in standing and likenesses[_likeness(record)] > 1 else "",
                _void_link(record) if may_correct and record in standing else "",
            )
            for record in records
        ),
    )


def _likeness(record: UsageRecord) -> tuple[Any, ...]:
    return record.product, record.feature, record.file_type, record.pages, record.quantity


def _void_link(record: UsageRecord) -> SafeString:
    url = reverse("admin:usage_usagerecord_void", args=[record.pk])
    return format_html('<a class="font-medium text-link" href="{}">Void…</a>', url)


def _claimed(key: str) -> Q:
    """The records with this idempotency key, of whatever organization, if they were reported in time."""
    found = Q(pk=None)
    claims = IdempotencyKey.objects.filter(of_each_organization(), key=key)
    for organization, claimed_at in claims.values_list("organization_id", "created_at")[:20]:
        found |= Q(
            organization_id=organization,
            timestamp__gte=claimed_at - _REPORTED_WITHIN,
            timestamp__lte=claimed_at + MAX_AHEAD,
            idempotency_key=key,
        )
    return found


def _with_errors(form: VoidForm, error: ValidationError) -> VoidForm:
    for name, problems in error.message_dict.items():
        for problem in problems:
            form.add_error(name if name in form.fields else None, problem)
    return form


def _changes(record: UsageRecord, rows: list[RecordRow]) -> list[tuple[str, str, str]]:
    """What the record says, and what counts afterwards."""
    if not rows:
        return []
    after = rows[1] if len(rows) > 1 else None
    lines = [
        ("Product", record.get_product_display(), Product(after.product).label if after else "–"),
        ("Feature", record.get_feature_display(), Feature(after.feature).label if after else "–"),
    ]
    for name in ("requests", "pages", "quantity", "credits"):
        before = getattr(record, name)
        if before is not None or (after and getattr(after, name) is not None):
            lines.append((name.capitalize(), _number(before), _number(getattr(after, name) if after else 0)))
    return [*lines, ("List cost", dollars(record.cost), dollars(after.cost if after else Decimal(0)))]


def _balance(rows: list[RecordRow]) -> str:
    change = sum((row.credits for row in rows), Decimal(0))
    return (
        f"{_number(change)} credits are charged"
        if change > 0
        else f"{_number(-change)} credits are given back"
    )


def _number(value: Decimal | int | None) -> str:
    return plain_number(None if value is None else Decimal(value)).replace("-", "−")


def _told(record: UsageRecord) -> str:
    if record.organization.deleted_at:
        return "The organization is deleted: nobody is told."
    return "Owner and admins are told, and the audit trail shows it."
