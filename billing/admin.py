"""Billing in the back office: what is on offer, and what is agreed beside it. Accounts and the ledger are beside it."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from unfold.decorators import display

from accounts import audit
from accounts.access import actor_of
from accounts.admin_base import (
    ReadOnlyAdmin,
    RecordedAdmin,
    asked_once,
    back_to,
    colleague,
    is_there,
    plain_number,
)
from accounts.admin_forms import ToldReasonDialog
from accounts.admin_lists import OF_ORGANIZATION
from accounts.models import Organization
from billing import access, tasks
from billing import account_admin as account_admin  # it registers accounts
from billing import ledger_admin as ledger_admin  # it registers grants, entries and top-ups
from billing import stripe_admin as stripe_admin  # it registers meter reports, drifts and invoices
from billing.models import BillingAccount, CreditPack, EntitlementOverride, Plan

AGREED = ("requests_per_minute", "retention_days", "credit_price", "included_credits")


@admin.register(Plan)
class PlanAdmin(RecordedAdmin[Plan]):
    """A plan counts at once, for everybody who is on it; Stripe is sent its prices by a task."""

    changed = audit.Action.OFFER_CHANGED
    list_display = (
        "name",
        "monthly",
        "yearly",
        "included",
        "requests_per_minute",
        "retention_days",
        "is_offered",
    )
    ordering = ("position", "id")
    fieldsets = (
        (
            None,
            {
                "fields": ("slug", "name", "summary", "is_offered", "is_custom", "position"),
                "description": "What is saved is sent to Stripe within a minute, as <code>sync_stripe</code> does: "
                "prices that changed count from the next subscription on, and the limits at once for all who are on "
                "the plan.",
            },
        ),
        ("Price", {"fields": ("monthly_price", "yearly_price", "credit_price")}),
        ("Credits", {"fields": ("included_credits", "sign_up_credits", "rolls_over", "is_unlimited")}),
        ("Limits", {"fields": ("requests_per_minute", "retention_days")}),
        (
            "In the comparison",
            {
                "fields": (
                    "price_text",
                    "billing_text",
                    "credits_text",
                    "rate_limit_text",
                    "support_text",
                    "retention_text",
                    "compliance_text",
                )
            },
        ),
        ("Stripe", {"fields": ("stripe_product",)}),
    )
    readonly_fields = ("slug", "is_custom", "stripe_product")  # keys of its prices, and of code

    @admin.display(description="a month")
    def monthly(self, plan: Plan) -> str:
        return "–" if plan.monthly_price is None else f"${plan.monthly_price:,.2f}"

    @admin.display(description="a year")
    def yearly(self, plan: Plan) -> str:
        return "–" if plan.yearly_price is None else f"${plan.yearly_price:,.2f}"

    @admin.display(description="included credits")
    def included(self, plan: Plan) -> str:
        return plain_number(plan.included_credits)

    def save_model(self, request: HttpRequest, obj: Plan, form: ModelForm[Plan], change: bool) -> None:
        super().save_model(request, obj, form, change)
        if form.changed_data:
            tasks.offer_changed(obj)
            messages.info(
                request, "It is being sent to Stripe, and written for everybody who is on the plan."
            )


@admin.register(CreditPack)
class CreditPackAdmin(RecordedAdmin[CreditPack]):
    changed = audit.Action.OFFER_CHANGED
    list_display = ("slug", "pack", "dollars", "valid_days", "is_offered")
    ordering = ("position", "credits")
    fields = ("slug", "credits", "price", "valid_days", "is_offered", "position", "stripe_product")
    readonly_fields = ("slug", "stripe_product")

    @admin.display(description="credits")
    def pack(self, pack: CreditPack) -> str:
        return plain_number(pack.credits)

    @admin.display(description="price")
    def dollars(self, pack: CreditPack) -> str:
        return f"${pack.price:,.2f}"

    def save_model(
        self, request: HttpRequest, obj: CreditPack, form: ModelForm[CreditPack], change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        if form.changed_data:
            tasks.offer_changed()
            messages.info(request, "It is being sent to Stripe.")


class OverrideForm(forms.ModelForm[EntitlementOverride]):
    class Meta:
        model = EntitlementOverride
        fields = ("organization", *AGREED, "is_suspended", "until", "reason")

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if not said.get("is_suspended") and all(said.get(name) is None for name in AGREED):
            raise forms.ValidationError("Agree something, or suspend the organization.")
        organization = said.get("organization")
        if said.get("credit_price") is not None and organization and not _is_invoiced(organization):
            self.add_error(
                "credit_price",
                "Stripe bills its plan's price. A price can be agreed with whom you invoice by hand: put it on such "
                "a plan first.",
            )
        return said


def _is_invoiced(organization: Organization) -> bool:
    return BillingAccount.objects.filter(organization=organization, is_invoiced=True).exists()


@admin.register(EntitlementOverride)
class EntitlementOverrideAdmin(ReadOnlyAdmin[EntitlementOverride]):
    """What is agreed counts at once, until its end. It is not edited: another one counts instead."""

    form = OverrideForm
    list_display = ("organization", "terms", "state", "until", "reason", "created_by", "created_at")
    list_filter = ("is_suspended", ("ended_at", admin.EmptyFieldListFilter))
    list_select_related = ("organization", "created_by")
    search_fields = (*OF_ORGANIZATION, "=uid")
    search_help_text = "An organization's name or id (org_…), or an override's (ovr_…)"
    autocomplete_fields = ("organization",)
    actions_detail = ("end",)

    def get_fields(self, request: HttpRequest, obj: EntitlementOverride | None = None) -> Any:
        told = ("state", "ended_at", "created_by", "uid", "created_at") if obj else ()
        return ("organization", *AGREED, "is_suspended", "until", "reason", *told)

    @admin.display
    def terms(self, override: EntitlementOverride) -> str:
        if override.is_suspended:
            return "suspended"
        agreed = {name: getattr(override, name) for name in AGREED}
        return ", ".join(
            f"{name.replace('_', ' ')} {plain_number(value) if not isinstance(value, int) else value}"
            for name, value in agreed.items()
            if value is not None
        )

    @display(description="state", label={"in force": "success", "ended": "info"})  # type: ignore[untyped-decorator]
    def state(self, override: EntitlementOverride) -> str:
        return "ended" if override.ended_at else "in force"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return colleague(request).has_perm("billing.add_entitlementoverride")

    def save_model(self, request: HttpRequest, obj: EntitlementOverride, form: Any, change: bool) -> None:
        said = dict(form.cleaned_data)
        values = {name: said[name] for name in AGREED if said[name] is not None}
        made = access.agree(
            organization=said["organization"],
            reason=said["reason"],
            until=said["until"],
            actor=actor_of(request),
            **values | ({"is_suspended": True} if said["is_suspended"] else {}),
        )
        obj.pk, obj.uid, obj._state.adding = made.pk, made.uid, False

    def response_post_save_add(self, request: HttpRequest, obj: EntitlementOverride) -> HttpResponseRedirect:
        return redirect("admin:accounts_organization_change", obj.organization_id)

    def has_end_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        in_force = EntitlementOverride.objects.filter(ended_at=None)
        may = colleague(request).has_perm("billing.change_entitlementoverride")
        return may and is_there(in_force, object_id)

    @asked_once(
        "End it",
        permission="end",
        question="End what was agreed?",
        follows="The organization's plan, and what else is agreed with it, count from now on. A suspension ends.",
        form_class=ToldReasonDialog,
    )
    def end(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        override = get_object_or_404(EntitlementOverride.objects.select_related("organization"), pk=object_id)
        if access.end_agreement(override, reason=form.cleaned_data["reason"], actor=actor_of(request)):
            messages.success(request, "It has ended.")
        else:
            messages.warning(request, "It had ended before.")
        return back_to(override)
