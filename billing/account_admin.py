"""Billing accounts in the back office: what an organization is on and owes, and what support may do about it."""

from collections.abc import Callable
from typing import Any

import stripe
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_http_methods
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from accounts import form_once, notes
from accounts.access import actor_of
from accounts.admin_base import ReadOnlyAdmin, colleague, plain_number
from accounts.admin_forms import ToldReasonForm
from accounts.admin_lists import OF_ORGANIZATION
from billing import access, by_hand, credits, plans
from billing.account_forms import DeductCreditsForm, GiveCreditsForm, GraceForm, PlanForm
from billing.hosted import at_stripe
from billing.models import BillingAccount, CreditGrant, Subscription

STATUS_COLORS = {"Active": "success", "Trialing": "success", "Past due": "warning", "Unpaid": "danger"}
# What is to be seen of an account in lists of its own.
LISTS = {
    "creditgrant": "Grants",
    "creditentry": "Ledger",
    "entitlementoverride": "Overrides",
    "invoice": "Invoices",
    "meterreport": "Meter reports",
    "topup": "Top-ups",
}
Work = Callable[[dict[str, Any], str], str]


def asking(label: str, *, is_danger: bool = False) -> Callable[..., Any]:
    """A button on the page of an account, which leads to a page that asks."""

    def decorate(view: Callable[..., HttpResponse]) -> Any:
        return action(
            description=label,
            permissions=["manage"],
            variant=ActionVariant.DANGER if is_danger else ActionVariant.DEFAULT,
        )(method_decorator(require_http_methods(["GET", "POST"]))(view))

    return decorate


@admin.register(BillingAccount)
class BillingAccountAdmin(ReadOnlyAdmin[BillingAccount]):
    list_display = ("organization", "plan", "status", "credits_left", "owed", "renews_at", "invoiced_by_hand")
    list_filter = ("plan", "subscription_status", "is_invoiced")
    list_select_related = ("organization", "plan")
    search_fields = (
        *OF_ORGANIZATION,
        "=stripe_customer",
        "=stripe_subscription",
    )
    search_help_text = "An organization's name or id (org_…), or a customer or subscription of Stripe's"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "organization",
                    "plan",
                    "status",
                    "may_call",
                    "invoiced_by_hand",
                    "interval",
                    "more",
                )
            },
        ),
        ("Credits", {"fields": ("credits_left", "settled_usage", "owed", "waiting_overage")}),
        (
            "Times",
            {
                "fields": (
                    "period_start",
                    "period_end",
                    "renews_at",
                    "ends_at",
                    "next_plan",
                    "past_due_since",
                    "grace_ends",
                    "cancelled_at",
                    "created_at",
                )
            },
        ),
        ("Stripe", {"fields": ("customer", "subscription", "card", "card_ends_at")}),
    )
    actions_detail = (
        "give_credits",
        "put_on_plan",
        "agree",
        {"title": "More", "items": ["deduct_credits", "extend_grace", "synchronize", "settle"]},
    )

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """No grace where nothing is due."""
        offered: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        account = self.get_object(request, str(object_id))
        if account is not None and account.subscription_status == Subscription.PAST_DUE:
            return offered
        return [each for each in offered if not each.action_name.endswith("_extend_grace")]

    @display(description="status", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def status(self, account: BillingAccount) -> str:
        if account.cancelled_at:
            return "Cancelled"
        if account.is_invoiced:
            return "Invoiced"
        return (
            account.get_subscription_status_display().replace("_", " ").capitalize()
            if account.subscription_status
            else "Prepaid"
        )

    @admin.display(description="by hand", boolean=True)
    def invoiced_by_hand(self, account: BillingAccount) -> bool:
        return account.is_invoiced

    @admin.display(description="credits")
    def credits_left(self, account: BillingAccount) -> str:
        return plain_number(account.balance)

    @admin.display(description="not covered")
    def owed(self, account: BillingAccount) -> str:
        return plain_number(account.uncovered)

    @admin.display(description="settled")
    def settled_usage(self, account: BillingAccount) -> str:
        return plain_number(account.settled)

    @admin.display(description="overage not yet reported")
    def waiting_overage(self, account: BillingAccount) -> str:
        return plain_number(account.overage_pending)

    @admin.display(description="calls")
    def may_call(self, account: BillingAccount) -> str:
        """Whether it may call now, and why not: what is in force, where it can also be looked up."""
        entitlement = account.organization.entitlement
        url = reverse("admin:usage_entitlement_change", args=[account.pk])
        words = entitlement.standing(timezone.now())
        if not entitlement.may_call:
            words = f"{words}: {entitlement.reason}"
        return format_html('<a class="text-link" href="{}">{}</a>', url, words)

    @admin.display(description="grace ends")
    def grace_ends(self, account: BillingAccount) -> str:
        if account.past_due_since is None:
            return "–"
        return f"{access.grace_ends_at(account, now=timezone.now()):%-d %B %Y, %H:%M} UTC"

    @admin.display(description="more of it")
    def more(self, account: BillingAccount) -> str:
        return format_html_join(
            " · ",
            '<a class="text-link" href="{}?q={}">{}</a>',
            (
                (reverse(f"admin:billing_{model}_changelist"), account.organization.uid, label)
                for model, label in LISTS.items()
            ),
        )

    @admin.display(description="customer")
    def customer(self, account: BillingAccount) -> str:
        return at_stripe("customers", account.stripe_customer)

    @admin.display(description="subscription")
    def subscription(self, account: BillingAccount) -> str:
        return at_stripe("subscriptions", account.stripe_subscription)

    # ── What support may do ──────────────────────────────────────────────────────────────────────────────────
    def has_manage_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("billing.change_billingaccount")

    @asking("Give credits…")
    def give_credits(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = self._account(request, object_id)

        def work(said: dict[str, Any], key: str) -> str:
            kind = CreditGrant.Kind(said.pop("kind"))
            granted = by_hand.give_credits(
                organization=account.organization, kind=kind, key=key, actor=actor_of(request), **said
            )
            return "The credits are there." if granted else "This form has given its credits already."

        lead = "They can be used at once, and pay first for what was used without any."
        return self._ask(request, account, GiveCreditsForm, "Give credits", lead, work)

    @asking("Deduct credits…", is_danger=True)
    def deduct_credits(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = self._account(request, object_id)

        def work(said: dict[str, Any], key: str) -> str:
            try:
                taken = by_hand.deduct_credits(
                    organization=account.organization, key=key, actor=actor_of(request), **said
                )
            except credits.NotEnough as error:
                raise ValidationError({"amount": "There are fewer credits than that."}) from error
            return "The credits are taken." if taken else "This form has taken its credits already."

        lead = "They go from the grants that are used first. The ledger shows a line with your reason."
        return self._ask(request, account, DeductCreditsForm, "Deduct credits", lead, work)

    @asking("Put on a plan…")
    def put_on_plan(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = self._account(request, object_id)

        def work(said: dict[str, Any], key: str) -> str:
            try:
                plans.put_on(
                    account.organization, said["plan"], actor=actor_of(request), reason=said["reason"]
                )
            except plans.StripeBills as error:
                raise ValidationError(
                    "Stripe bills a subscription of it. The owner changes that on the billing page, or cancels it."
                ) from error
            return f"It is on {said['plan']}."

        lead = (
            "A plan that costs something is then invoiced by you, not by Stripe, and its first month's credits are "
            "granted. Pay-as-you-go is prepaid. What it has of credits stays. People who see billing are told."
        )
        return self._ask(request, account, PlanForm, "Put on a plan", lead, work)

    @asking("Extend grace…")
    def extend_grace(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = self._account(request, object_id)

        def work(said: dict[str, Any], key: str) -> str:
            try:
                by_hand.extend_grace(organization=account.organization, actor=actor_of(request), **said)
            except by_hand.NotPastDue as error:
                raise ValidationError("No payment of it is overdue.") from error
            return f"Calls go on until {said['until']:%-d %B %Y}."

        lead = (
            f"Calls go on although a payment is due, beyond the {access.GRACE.days} days that everybody has."
        )
        return self._ask(request, account, GraceForm, "Extend grace", lead, work)

    @action(description="Agree or suspend…", permissions=["agree"])  # type: ignore[untyped-decorator]
    def agree(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = self._account(request, object_id)
        return redirect(f"{reverse('admin:billing_entitlementoverride_add')}?organization={account.pk}")

    def has_agree_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("billing.add_entitlementoverride")

    @asking("Read Stripe again…")
    def synchronize(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = self._account(request, object_id)

        def work(said: dict[str, Any], key: str) -> str:
            try:
                by_hand.synchronize(organization=account.organization, actor=actor_of(request), **said)
            except stripe.StripeError as error:
                raise ValidationError("Stripe cannot be reached. Nothing was changed.") from error
            return "It is as Stripe says."

        lead = "The subscription and the card are read at Stripe, as after an event, and applied."
        return self._ask(request, account, ToldReasonForm, "Read Stripe again", lead, work)

    @asking("Settle now…")
    def settle(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = self._account(request, object_id)

        def work(said: dict[str, Any], key: str) -> str:
            by_hand.settle(organization=account.organization, actor=actor_of(request), **said)
            return "All usage is in the ledger."

        lead = "What was used is taken out of the credits now, which otherwise happens every five minutes."
        return self._ask(request, account, ToldReasonForm, "Settle now", lead, work)

    def _account(self, request: HttpRequest, object_id: str) -> BillingAccount:
        account = self.get_object(request, object_id)
        if account is None:
            raise Http404
        return account

    def _ask(
        self,
        request: HttpRequest,
        account: BillingAccount,
        form_class: type[forms.Form],
        title: str,
        lead: str,
        work: Work,
    ) -> HttpResponse:
        """Show the form; sent and valid, do the work once and go back with what it says.

        That is to the account, or to the organization's page where `?back=organization` says that one came from there.
        """
        from_organization = request.GET.get("back") == "organization"
        page = "accounts_organization" if from_organization else "billing_billingaccount"
        back_url = reverse(f"admin:{page}_change", args=[account.pk])
        uid, signed_uid = form_once.uid_of(request, "frm", place=f"{title} {account.pk}")
        form = form_class(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                messages.success(request, work(dict(form.cleaned_data), uid))
            except ValidationError as error:
                form.add_error(None, error)
            else:
                return redirect(back_url)
        return render(
            request,
            "admin/billing/ask.html",
            self.admin_site.each_context(request)
            | {
                "opts": self.opts,
                "title": title,
                "lead": lead,
                "form": form,
                "organization": account.organization,
                "warnings": notes.warnings_of(account),
                "signed_uid": signed_uid,
                "submit_label": title,
                "back_url": back_url,
            },
            status=400 if form.errors else 200,
        )
