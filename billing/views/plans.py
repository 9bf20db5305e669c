"""The plans beside each other, and changing from one to another: by Checkout the first time, here after that."""

import logging
import re
from typing import Any

import stripe
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import MemberRequest, actor_of, member_page
from accounts.permissions import Permission
from billing import balance, calls, checkout, offers, subscriptions
from billing.models import BillingAccount, Interval, Plan
from billing.offers import Action
from billing.views.pages import UNREACHABLE, account_of, address, lead_to_stripe, not_set_up, shared

logger = logging.getLogger(__name__)

NOTHING = "As things are now, there is nothing to change to that plan."


@member_page(Permission.BILLING_VIEW, for_support=True)
@require_safe
def plans(request: MemberRequest) -> HttpResponse:
    """What each plan offers, by month or by year, and what can be done about it."""
    account = account_of(request)
    asked = request.GET.get("interval", "")
    interval = asked if asked in Interval.values else account.interval or Interval.MONTH
    found = offers.comparison(account, interval)
    credits = balance.of(account)
    context = {
        **shared(request, account),
        "balance": credits,
        "beyond_cost": credits.beyond * account.plan.credit_price,
        "offers": found,
        "has_ended": calls.has_ended(account),
        "rows": list(zip(offers.ROWS, zip(*(offer.cells for offer in found), strict=True), strict=True)),
        "interval": interval,
        "intervals": Interval.choices if any(offer.plan.yearly_price for offer in found) else [],
        "next": offers.following(account),
    }
    return render(request, "billing/plans.html", context)


@member_page(Permission.BILLING_MANAGE)
@require_http_methods(["GET", "POST"])
def subscribe(request: MemberRequest, plan_slug: str, interval: str) -> HttpResponse:
    """Say what a first subscription costs and changes, and on POST lead to Checkout for it.

    On a plan that is metered only, that is to add a card.
    """
    account = account_of(request)
    plan = _plan(account, plan_slug, interval)
    if request.method == "GET":
        return _confirm(request, account, plan, interval)
    return lead_to_stripe(
        request,
        lambda: checkout.subscribe(
            organization=request.organization,
            plan=plan,
            interval=interval,
            actor=actor_of(request),
            success_url=address(request.organization, "card_added" if plan.is_metered else "checkout_done"),
            cancel_url=address(request.organization, "checkout_left"),
        ),
        back="billing:plans",
    )


def _confirm(request: MemberRequest, account: BillingAccount, plan: Plan, interval: str) -> HttpResponse:
    asked = offers.action(account, plan, interval)
    if asked not in {Action.CHOOSE, Action.ADD_CARD} or not plan.is_offered or not calls.can_pay():
        messages.info(request, NOTHING if calls.can_pay() else not_set_up())
        return redirect("billing:plans", request.organization.uid)
    credits = balance.of(account)
    context: dict[str, Any] = {
        **shared(request, account),
        "plan": plan,
        "interval": interval,
        "adds_card": asked == Action.ADD_CARD,
        "price": plan.price(interval),
        "balance": credits,
        "beyond_cost": credits.beyond * account.plan.credit_price,
        "has_ended": calls.has_ended(account),
        "differences": offers.differences(account, plan, interval),
        "kept_for": offers.kept_for(account, plan),
    }
    return render(request, "billing/choose_plan.html", context)


@member_page(Permission.BILLING_MANAGE)
@require_http_methods(["GET", "POST"])
def change(request: MemberRequest, plan_slug: str, interval: str) -> HttpResponse:
    """Say what a change of plan costs and changes, and on POST make it."""
    account = account_of(request)
    plan = _plan(account, plan_slug, interval)
    if offers.action(account, plan, interval) not in {Action.UPGRADE, Action.DOWNGRADE}:
        messages.info(request, NOTHING)
        return redirect("billing:plans", request.organization.uid)
    try:
        if request.method == "POST":
            subscriptions.change(
                organization=request.organization,
                plan=plan,
                interval=interval,
                actor=actor_of(request),
                proration_date=_moment(request.POST.get("proration_date", "")),
            )
            messages.success(request, _changed(account, plan, interval))
            return redirect("billing:overview", request.organization.uid)
        preview = subscriptions.preview(organization=request.organization, plan=plan, interval=interval)
    except (subscriptions.NotSubscribed, subscriptions.NothingToChange, subscriptions.NotOffered):
        messages.info(request, NOTHING)
    except subscriptions.PaymentFailed as error:
        messages.error(request, f"{error} Nothing was changed.")
        return redirect("billing:overview", request.organization.uid)
    except stripe.StripeError:
        logger.warning("the plan of %s could not be changed", request.organization.uid, exc_info=True)
        messages.error(request, UNREACHABLE)
    else:
        context: dict[str, Any] = {
            **shared(request, account),
            "plan": plan,
            "interval": interval,
            "preview": preview,
            "is_downgrade": offers.is_downgrade(account, plan, interval),
            "differences": offers.differences(account, plan, interval),
            "kept_for": offers.kept_for(account, plan),
        }
        return render(request, "billing/change_plan.html", context)
    return redirect("billing:plans", request.organization.uid)


@member_page(Permission.BILLING_MANAGE)
@require_POST
def keep(request: MemberRequest) -> HttpResponse:
    """Stay on the plan after all, before it ends."""
    try:
        subscriptions.keep(organization=request.organization, actor=actor_of(request))
    except (subscriptions.NotSubscribed, subscriptions.NothingToChange):
        messages.info(request, "There was nothing to undo.")
    except stripe.StripeError:
        logger.warning("the plan of %s could not be kept", request.organization.uid, exc_info=True)
        messages.error(request, UNREACHABLE if calls.can_pay() else not_set_up())
    else:
        messages.success(request, "You stay on your plan. It renews as before.")
    return redirect("billing:overview", request.organization.uid)


def _plan(account: BillingAccount, slug: str, interval: str) -> Plan:
    plan = offers.named(slug, interval, offers.plans(account))
    if plan is None:
        raise Http404
    return plan


def _moment(text: str) -> int | None:
    """The moment that the preview was made for, so that what is charged is what was shown."""
    if not re.fullmatch("[0-9]{1,12}", text):
        return None
    age = timezone.now().timestamp() - int(text)
    return int(text) if 0 <= age < 3600 else None


def _changed(account: BillingAccount, plan: Plan, interval: str) -> str:
    name = plan.name if plan.is_metered else f"{plan.name}, paid by {interval}"
    if offers.is_downgrade(account, plan, interval):
        return f"Done: {name}, from the end of what is paid. Until then nothing changes, and you can undo it."
    return f"You are on {name}. It counts at once."
