"""What the pages of billing share: the account they are about, and the way to Stripe's pages and back."""

import logging
from collections.abc import Callable
from typing import Any

import stripe
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse

from accounts.access import MemberRequest
from accounts.models import Organization
from accounts.permissions import Permission
from billing import calls, checkout
from billing.models import BillingAccount

logger = logging.getLogger(__name__)

UNREACHABLE = "Stripe cannot be reached at the moment, and nothing was changed. Try again in a minute."
ALREADY = "There is a subscription already. Change it here instead of beginning another one."
NOT_OFFERED = "That is not on offer any more. Choose again."
NO_CUSTOMER = "Nothing was paid for with Stripe yet, so there is nothing to manage there."


def not_set_up() -> str:
    return f"Payments are not set up here. Write to {settings.SUPPORT_EMAIL}."


def account_of(request: MemberRequest) -> BillingAccount:
    """The account of the page's organization, with its plan and entitlement; the page's notice reads the same."""
    found = calls.of(request.organization)
    if found is None:
        raise Http404
    request.calls = found  # type: ignore[attr-defined]
    return found.account


def shared(request: MemberRequest, account: BillingAccount) -> dict[str, Any]:
    """What the templates of all these pages go by."""
    return {
        "account": account,
        "may_manage": request.may(Permission.BILLING_MANAGE),
        "can_pay": calls.can_pay(),
        "is_simulated": settings.STRIPE_IS_SIMULATED,
    }


def address(organization: Organization, name: str) -> str:
    """The whole address of a page of billing, for Stripe to lead back to."""
    return f"{settings.BASE_URL}{reverse(f'billing:{name}', args=[organization.uid])}"


def lead_to_stripe(request: MemberRequest, ask: Callable[[], str], *, back: str) -> HttpResponse:
    """Lead to the page of Stripe's that `ask` opens, or back to a page of ours that says why not."""
    problem = not_set_up()
    if calls.can_pay():
        try:
            return HttpResponseRedirect(ask())
        except checkout.AlreadySubscribed:
            problem = ALREADY
        except checkout.NotOffered:
            problem = NOT_OFFERED
        except checkout.NoCustomer:
            problem = NO_CUSTOMER
        except stripe.StripeError:
            logger.warning("Stripe did not open a page for %s", request.organization.uid, exc_info=True)
            problem = UNREACHABLE
    messages.error(request, problem)
    return redirect(back, request.organization.uid)
