"""Buying credits: once, or by itself whenever few are left; and what Checkout leads back to."""

import logging

import stripe
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import MemberRequest, actor_of, member_page
from accounts.permissions import Permission
from billing import access, balance, checkout, offers, top_ups
from billing.forms import TopUpForm
from billing.models import CreditPack
from billing.views.pages import account_of, address, lead_to_stripe, shared

logger = logging.getLogger(__name__)

NO_CARD = "There is no card on file to pay with. Buy credits once, or add a card under Plans."


@member_page(Permission.BILLING_VIEW, for_support=True)
@require_safe
def buy_credits(request: MemberRequest) -> HttpResponse:
    """The packs on offer."""
    account = account_of(request)
    credits = balance.of(account)
    context = {
        **shared(request, account),
        "balance": credits,
        "beyond_cost": credits.beyond * account.plan.credit_price,
        "packs": offers.packs(),
        # More credits would not let anybody call who may not for what is due.
        "is_sold": not access.refusal(account, now=timezone.now()),
        "top_up": getattr(account.organization, "auto_top_up", None),
    }
    return render(request, "billing/buy_credits.html", context)


@member_page(Permission.BILLING_MANAGE)
@require_POST
def buy(request: MemberRequest, pack_slug: str) -> HttpResponse:
    """Lead to Checkout for a pack."""
    pack = CreditPack.objects.filter(slug=pack_slug, is_offered=True).first()
    if pack is None:
        raise Http404
    return lead_to_stripe(
        request,
        lambda: checkout.buy(
            organization=request.organization,
            pack=pack,
            actor=actor_of(request),
            success_url=address(request.organization, "checkout_done"),
            cancel_url=address(request.organization, "checkout_left"),
        ),
        back="billing:buy_credits",
    )


@member_page(Permission.BILLING_MANAGE)
@require_safe
def checkout_done(request: MemberRequest, *, adds_card: bool = False) -> HttpResponse:
    """Where Checkout leads to once it was paid, or a card was added for what is used: what came of it."""
    session_id, state = request.GET.get("session_id", ""), "unknown"
    if not session_id:
        return redirect("billing:overview", request.organization.uid)
    try:
        # Applies it now, in case Stripe's own notice is slower than the person who paid.
        state = checkout.returned(organization=request.organization, session_id=session_id)
    except checkout.Unknown:
        raise Http404 from None
    except stripe.StripeError:
        logger.warning("the session %s could not be read", session_id, exc_info=True)
    account = account_of(request)
    context = {
        **shared(request, account),
        "state": state,
        "adds_card": adds_card,
        "balance": balance.of(account),
        "terms": access.terms(account),
    }
    return render(request, "billing/checkout_done.html", context)


@member_page(Permission.BILLING_MANAGE)
@require_safe
def checkout_left(request: MemberRequest) -> HttpResponse:
    """Where Checkout leads to when it was left."""
    return render(request, "billing/checkout_left.html")


@member_page(Permission.BILLING_MANAGE)
@require_http_methods(["GET", "POST"])
def top_up(request: MemberRequest) -> HttpResponse:
    """When credits are bought by themselves; POST sets it, which also lets it go on where it had stopped."""
    account = account_of(request)
    current = getattr(account.organization, "auto_top_up", None)
    form = TopUpForm(request.POST if request.method == "POST" else None, top_up=current)
    if request.method == "POST" and form.is_valid():
        try:
            top_ups.configure(organization=request.organization, actor=actor_of(request), **form.cleaned_data)
        except top_ups.NoCard:
            form.add_error(None, NO_CARD)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, "Saved. It holds from now on.")
            return redirect("billing:top_up", request.organization.uid)
    context = {
        **shared(request, account),
        "balance": balance.of(account),
        "top_up": current,
        "form": form,
    }
    return render(request, "billing/top_up.html", context, status=400 if form.errors else 200)


@member_page(Permission.BILLING_MANAGE)
@require_POST
def remove_top_up(request: MemberRequest) -> HttpResponse:
    """Have no credits bought by themselves any more."""
    top_ups.remove(organization=request.organization, actor=actor_of(request))
    messages.success(request, "No credits are bought by themselves any more.")
    return redirect("billing:top_up", request.organization.uid)
