"""Cancelling the subscription: what follows is said first, and the organization's name is asked for."""

import logging

import stripe
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.access import MemberRequest, actor_of, member_page
from accounts.permissions import Permission
from billing import calls, subscriptions, summary
from billing.forms import CancelForm
from billing.models import CreditGrant
from billing.views.pages import UNREACHABLE, account_of, shared
from usage import retention

logger = logging.getLogger(__name__)


@member_page(Permission.BILLING_MANAGE)
@require_http_methods(["GET", "POST"])
def cancel(request: MemberRequest) -> HttpResponse:
    """Say what follows, and on POST cancel once the name is typed."""
    organization = request.organization
    account = account_of(request)
    if not account.is_subscribed or not calls.can_pay():
        messages.info(request, "There is no subscription to cancel.")
        return redirect("billing:overview", organization.uid)
    form = CancelForm(request.POST if request.method == "POST" else None, organization=organization)
    if request.method == "POST" and form.is_valid():
        try:
            subscriptions.cancel(organization=organization, actor=actor_of(request))
        except subscriptions.NotSubscribed:
            messages.info(request, "There is no subscription to cancel.")
        except stripe.StripeError:
            logger.warning("the subscription of %s could not be cancelled", organization.uid, exc_info=True)
            messages.error(request, UNREACHABLE)
        else:
            messages.success(request, "The subscription is cancelled, and API keys are refused from now on.")
        return redirect("billing:overview", organization.uid)
    found = summary.of(request.calls)  # type: ignore[attr-defined]
    context = {
        **shared(request, account),
        "found": found,
        "purchased": sum(each.left for each in found.grants if each.grant.kind == CreditGrant.Kind.PURCHASED),
        "form": form,
        "retention_days": retention.retention_days(organization),
        "key_count": organization.api_keys.organization_keys().live().count(),
    }
    return render(request, "billing/cancel.html", context, status=400 if form.errors else 200)
