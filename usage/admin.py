import json
from datetime import UTC
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import display

from accounts.admin_base import (
    BigTableAdmin,
    ReadOnlyAdmin,
    colleague,
    dialog_link,
    json_block,
    plain_number,
)
from accounts.admin_lists import OF_ORGANIZATION, since
from accounts.models import ApiKey
from usage import alert_admin as alert_admin  # it registers alerts, firings and caps
from usage import billing_export_admin as billing_export_admin  # it registers the files of the billing export
from usage import entitlements, ingest, reports
from usage import price_admin as price_admin  # it registers the price book
from usage.models import STANDINGS, Entitlement, Job, JobStatus, PipelineConfig
from usage.record_admin import lines_of, of_each_organization, organization_id  # it registers usage records
from webhooks.admin_base import once
from webhooks.message_admin import how_it_went, is_sendable
from webhooks.models import Message, OutboxMessage

_RECORDS_SHOWN = 200
STATUS_COLORS = {
    JobStatus.COMPLETED.label: "success",
    JobStatus.FAILED.label: "danger",
    JobStatus.CANCELLED.label: "warning",
}
CALLS_COLORS = {standing: "danger" if refusal else "success" for refusal, standing in STANDINGS.items()}


class CallsFilter(admin.SimpleListFilter):
    """Who may call now, and who may not, by why: what no column tells alone."""

    title = "calls"
    parameter_name = "calls"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("allowed", "Allowed"),
            ("suspended", "Suspended"),
            ("out_of_credits", "Out of credits"),
            ("capped", "Spend cap reached"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Entitlement]) -> QuerySet[Entitlement]:
        now = timezone.now()
        conditions = {"allowed": entitlements.allowed(now=now)} | entitlements.refused(now=now)
        condition = conditions.get(self.value() or "")
        return queryset.filter(condition, organization__deleted_at=None) if condition else queryset


@admin.register(Entitlement)
class EntitlementAdmin(ReadOnlyAdmin[Entitlement]):
    """What is in force, as verify goes by. It follows from plan, payments and what is agreed beside the plan."""

    list_display = ("organization", "plan", "calls", "requests_per_minute", "remaining", "used")
    list_filter = (CallsFilter, "plan", "overage_allowed")
    list_select_related = ("organization",)
    search_fields = OF_ORGANIZATION
    search_help_text = "An organization's name or id (org_…)"
    fieldsets = (
        (
            None,
            {"fields": ("organization", "plan", "calls", "reason", "requests_per_minute", "follows_from")},
        ),
        (
            "Credits",
            {
                "fields": (
                    "remaining",
                    "used",
                    "credits_ceiling",
                    "overage_allowed",
                    "spend_cap_reached_until",
                    "credit_price",
                )
            },
        ),
        ("Data", {"fields": ("retention_days",)}),
    )

    @display(description="calls", label=CALLS_COLORS)  # type: ignore[untyped-decorator]
    def calls(self, entitlement: Entitlement) -> str:
        return entitlement.standing(timezone.now())

    @admin.display(description="credits remaining")
    def remaining(self, entitlement: Entitlement) -> str:
        credits = entitlement.credits_remaining
        return "unlimited" if credits is None else plain_number(credits)

    @admin.display(description="credits used", ordering="credits_used")
    def used(self, entitlement: Entitlement) -> str:
        return plain_number(entitlement.credits_used)

    @admin.display(description="follows from")
    def follows_from(self, entitlement: Entitlement) -> str:
        """Where each of it is changed, which another app shows."""
        return format_html(
            '<a class="text-link" href="{}">Billing account</a> · <a class="text-link" href="{}?q={}">Overrides</a>',
            reverse("admin:billing_billingaccount_change", args=[entitlement.pk]),
            reverse("admin:billing_entitlementoverride_changelist"),
            entitlement.organization.uid,
        )


@admin.register(Job)
class JobAdmin(BigTableAdmin[Job]):
    list_leaves_out = ("source", "webhook", "metadata", "error")
    list_display = (
        "job_id",
        "organization",
        "type",
        "colored_status",
        "num_pages",
        "charged",
        "region",
        "created_at",
    )
    list_filter = ("status", "type", since("created_at"))
    # Not the key: a job whose key is gone would not be listed.
    list_select_related = ("organization",)
    search_fields = ("=job_id",)
    search_help_text = "A job's id, or all jobs of an organization (org_…) or key (key_…)"
    fieldsets = (
        (None, {"fields": ("job_id", "organization", "api_key", "type", "colored_status", "error_sent")}),
        ("Metered", {"fields": ("charged", "records")}),
        ("Told of it", {"fields": ("message",)}),
        ("Work", {"fields": ("num_pages", "total_pages", "duration", "region", "source")}),
        ("Times", {"fields": ("created_at", "updated_at")}),
        ("Sent with it", {"fields": ("configuration", "webhook_settings", "metadata_sent", "erased_since")}),
    )

    @display(description="status", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def colored_status(self, job: Job) -> str:
        return job.get_status_display()

    @admin.display(description="credits")
    def charged(self, job: Job) -> str:
        return plain_number(job.credits)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Job | None:
        """With who looks at it, for not everybody may do what its page leads to."""
        job = super().get_object(request, object_id, from_field)
        if job is not None:
            job.__dict__["seen_by"] = colleague(request)
        return job

    @admin.display(description="usage records")
    @once
    def records(self, job: Job) -> str:
        may_correct = job.__dict__["seen_by"].has_perm("usage.change_usagerecord")
        return lines_of(reports.records(job)[:_RECORDS_SHOWN], may_correct=may_correct) or "–"

    @admin.display(description="error")
    def error_sent(self, job: Job) -> str:
        return json_block(job.error)

    @admin.display
    def configuration(self, job: Job) -> str:
        stored = PipelineConfig.objects.filter(organization_id=job.organization_id, sha256=job.config_sha256)
        return json_block(json.loads(stored.values_list("text", flat=True).first() or "null"))

    @admin.display(description="webhook")
    def webhook_settings(self, job: Job) -> str:
        return json_block(job.webhook)

    @admin.display(description="metadata")
    def metadata_sent(self, job: Job) -> str:
        return json_block(job.metadata)

    @admin.display(description="erased")
    def erased_since(self, job: Job) -> str:
        if not job.erased or not job.erased_at:
            return "–"
        days = f"{job.erased_under} days" if job.erased_under else "zero data retention"
        return (
            f"{', '.join(job.erased)}: on {job.erased_at.astimezone(UTC):%-d %B %Y, %H:%M} UTC, under {days}"
        )

    @admin.display(description="webhook message")
    @once
    def message(self, job: Job) -> str:
        """What was sent of its end, whether it arrived, and the way to send it again."""
        uid = ingest.end_message(job.organization_id, job.job_id)
        of_job = {"organization_id": job.organization_id}
        written = OutboxMessage.objects.filter(**of_job, uid=uid).first()
        found = written or Message.objects.filter(**of_job, event_id=uid).first()  # the outbox soon forgets
        if found is None:
            return "–"
        of_found = f"admin:webhooks_{found._meta.model_name}"
        again = ""
        if job.__dict__["seen_by"].has_perm("webhooks.resend_outboxmessage") and is_sendable(found):
            again = dialog_link(reverse(f"{of_found}_resend", args=[found.pk]), "Send again…")
        return format_html(
            '<a class="text-link" href="{}">{}</a>{}{}{}',
            reverse(f"{of_found}_change", args=[found.pk]),
            found.event_type,
            " · " if again else "",
            again,
            how_it_went(found),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """One kind of term a search, so that each has its index."""
        if search_term.startswith("org_"):
            found = queryset.filter(organization_id=organization_id(search_term))
            return found.newest_first(), False  # type: ignore[attr-defined]
        if search_term.startswith("key_"):
            key = ApiKey.objects.filter(uid=search_term).first()
            if key is None:
                return queryset.none(), False
            found = queryset.filter(organization=key.organization, api_key=key)
            return found.newest_first(), False  # type: ignore[attr-defined]
        if search_term:
            queryset = queryset.filter(of_each_organization(), job_id=search_term.strip())
        return queryset, False
