"""Alerts, their firings and spend caps in the back office. Staff set caps; alerts are the customers' own."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from unfold.decorators import display

from accounts.access import actor_of
from accounts.admin_base import (
    BigTableAdmin,
    ModelAdmin,
    ReadOnlyAdmin,
    asked_once,
    back_to,
    colleague,
    json_block,
    plain_number,
)
from accounts.admin_forms import READ, ToldReasonDialog, reason_field
from accounts.admin_lists import OF_ORGANIZATION, since
from accounts.models import Organization
from usage import alert_history, alert_words, spending
from usage.models import SpendCap, TriggeredAlert, UsageAlert

_SEARCH_HELP = "An organization's name or id (org_…), or the id of one of these"


@admin.register(UsageAlert)
class UsageAlertAdmin(ReadOnlyAdmin[UsageAlert]):
    list_display = ("rule", "name", "organization", "state", "created_at")
    list_filter = ("metric", "period", "is_enabled")
    list_select_related = ("organization", "api_key")
    search_fields = (*OF_ORGANIZATION, "=uid")
    search_help_text = _SEARCH_HELP
    fields = (
        "rule",
        "name",
        "organization",
        "state",
        "api_key",
        "product",
        "uid",
        "created_by",
        "created_at",
    )

    @admin.display(description="fires at")
    def rule(self, alert: UsageAlert) -> str:
        return alert_history.rule(alert)

    @display(description="state", label={"on": "success", "off": "warning"})  # type: ignore[untyped-decorator]
    def state(self, alert: UsageAlert) -> str:
        return "on" if alert.is_enabled else "off"


@admin.register(TriggeredAlert)
class TriggeredAlertAdmin(BigTableAdmin[TriggeredAlert]):
    list_display = ("fired_at", "organization", "used", "rule", "told")
    list_filter = ("metric", "period", since("fired_at"))
    list_select_related = ("organization", "alert")
    search_fields = ("=organization__uid", "=uid", "=alert__uid")
    search_help_text = "An organization's id (org_…), an alert's (alr_…) or a firing's (trg_…)"
    fields = (
        "organization",
        "alert",
        "used",
        "rule",
        "period_start",
        "scope",
        "uid",
        "fired_at",
        "told_at",
        "who_was_told",
    )

    @admin.display
    def used(self, firing: TriggeredAlert) -> str:
        when = alert_words.when(firing.period, firing.period_start)
        return f"{alert_words.amount(firing.metric, firing.value)} {when}"

    @admin.display(description="set to")
    def rule(self, firing: TriggeredAlert) -> str:
        return alert_words.rule(firing, firing.scope)

    @admin.display(boolean=True)
    def told(self, firing: TriggeredAlert) -> bool:
        return firing.told_at is not None

    @admin.display(description="who was told, and the webhook message")
    def who_was_told(self, firing: TriggeredAlert) -> str:
        return json_block(firing.notified)


class SpendCapForm(forms.ModelForm[SpendCap]):
    reason = reason_field(READ)

    class Meta:
        model = SpendCap
        fields = ("organization", "amount")

    def clean_amount(self) -> Any:
        return spending.clean_amount(self.cleaned_data["amount"])


@admin.register(SpendCap)
class SpendCapAdmin(ModelAdmin[SpendCap]):
    """A cap counts at once, by whomever it is set, raised or removed; the change is in the audit trail."""

    form = SpendCapForm
    list_display = ("organization", "cap", "reached_for", "updated_at")
    list_filter = (("reached_for", admin.EmptyFieldListFilter),)
    list_select_related = ("organization",)
    search_fields = OF_ORGANIZATION
    search_help_text = "An organization's name or id (org_…)"
    autocomplete_fields = ("organization",)
    fields = ("organization", "amount", "reason", "spent", "reached_for", "updated_at")
    readonly_fields = ("spent", "reached_for", "updated_at")
    actions_detail = ("remove",)

    @admin.display(description="dollars a month", ordering="amount")
    def cap(self, cap: SpendCap) -> str:
        return f"${plain_number(cap.amount)}"

    @admin.display(description="spent this month")
    def spent(self, cap: SpendCap) -> str:
        return f"${spending.cap_of(cap.organization).spent:,.2f}" if cap.pk else "–"

    def get_readonly_fields(self, request: HttpRequest, obj: SpendCap | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "organization") if obj else self.readonly_fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return colleague(request).has_perm("usage.add_spendcap")

    def save_model(self, request: HttpRequest, obj: SpendCap, form: Any, change: bool) -> None:
        saved = spending.set_cap(
            organization=obj.organization,
            amount=form.cleaned_data["amount"],
            reason=form.cleaned_data["reason"],
            actor=actor_of(request),
        )
        obj.reached_for, obj.updated_at = saved.reached_for, saved.updated_at

    def response_post_save_add(self, request: HttpRequest, obj: SpendCap) -> HttpResponseRedirect:
        return redirect("admin:accounts_organization_change", obj.organization_id)

    response_post_save_change = response_post_save_add

    def has_remove_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("usage.delete_spendcap")

    @asked_once(
        "Remove",
        permission="remove",
        question="Remove this cap?",
        follows="The organization spends without a limit of its own again, at once.",
        is_danger=True,
        form_class=ToldReasonDialog,
    )
    def remove(self, request: HttpRequest, form: ToldReasonDialog, object_id: str) -> HttpResponse:
        organization = get_object_or_404(Organization, spend_cap=object_id)
        spending.remove_cap(
            organization=organization, reason=form.cleaned_data["reason"], actor=actor_of(request)
        )
        messages.success(request, f"{organization} has no cap any more.")
        return back_to(organization)
