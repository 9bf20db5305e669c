"""Stripe's pages: Checkout, for a first subscription and for packs of credits, and the portal. No card comes near us.

What was bought is applied when Stripe says that it is paid for, by an event or when the customer comes back, whichever
is first; each is applied once.
"""

import logging
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import stripe
from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from billing import access, catalogue, credits, customers, refunds, subscriptions
from billing.gateway import get_stripe
from billing.models import BillingAccount, CreditGrant, CreditPack, Plan
from billing.subscriptions import NotOffered

__all__ = ["AlreadySubscribed", "NoCustomer", "NotOffered", "Unknown"]

logger = logging.getLogger(__name__)


class AlreadySubscribed(Exception):
    """There is a subscription: it is changed, never a second one started."""


class NoCustomer(Exception):
    """Nothing was ever bought, so Stripe has no portal for this organization."""


class Unknown(Exception):
    """This organization has no such session."""


def subscribe(
    *,
    organization: Organization,
    plan: Plan,
    interval: str,
    actor: Actor | None,
    success_url: str,
    cancel_url: str,
) -> str:
    """Return the address of a Checkout that starts a subscription; to a metered plan, it adds a card.

    Stripe leads back to `success_url` with the session's id as `session_id`. A Checkout of before is closed. Raises
    AlreadySubscribed, NotOffered, stripe.StripeError.
    """
    account = BillingAccount.objects.get(pk=organization.pk)
    if not plan.is_offered or plan.is_custom or account.is_invoiced:
        raise NotOffered
    if not plan.is_metered and not plan.price(interval):
        raise NotOffered
    items = subscriptions.line_items(plan, interval)
    customer = customers.ensure(organization)
    # What Stripe says counts: perhaps nothing was heard yet of one that has begun, or has ended.
    if subscriptions.sync(organization).is_subscribed:
        raise AlreadySubscribed
    _close_open(customer)
    metadata = {"organization": organization.uid}
    session = _create(
        {
            "mode": "subscription",
            "line_items": items,
            "payment_method_collection": "always",
            "subscription_data": {"metadata": metadata, "billing_mode": {"type": "flexible"}},
        },
        organization=organization,
        customer=customer,
        metadata=metadata,
        success_url=success_url,
        cancel_url=cancel_url,
    )
    return session.url or ""


def buy(
    *,
    organization: Organization,
    pack: CreditPack,
    actor: Actor | None,
    success_url: str,
    cancel_url: str,
) -> str:
    """Return the address of a Checkout for a pack of credits. Raises NotOffered, stripe.StripeError.

    Nothing is sold to who may not call whatever their credits are.
    """
    account = BillingAccount.objects.select_related("plan").get(pk=organization.pk)
    if not pack.is_offered or account.plan.is_unlimited or access.refusal(account, now=timezone.now()):
        raise NotOffered
    price = catalogue.price_of(pack.lookup_key)
    if price is None:
        logger.error("Stripe has no price %s: run sync_stripe", pack.lookup_key)
        raise NotOffered
    # What was sold is granted, whatever becomes of the pack meanwhile.
    metadata = {
        "organization": organization.uid,
        "pack": pack.slug,
        "credits": f"{pack.credits.normalize():f}",
    } | ({"valid_days": str(pack.valid_days)} if pack.valid_days else {})
    session = _create(
        {
            "mode": "payment",
            "line_items": [{"price": price.id, "quantity": 1}],
            "invoice_creation": {"enabled": True},
            "payment_intent_data": {"setup_future_usage": "off_session", "metadata": metadata},
        },
        organization=organization,
        customer=customers.ensure(organization),
        metadata=metadata,
        success_url=success_url,
        cancel_url=cancel_url,
    )
    return session.url or ""


def portal(*, organization: Organization, actor: Actor | None, return_url: str) -> str:
    """Return a link to the organization's portal, good for a while. Raises NoCustomer, stripe.StripeError."""
    account = BillingAccount.objects.get(pk=organization.pk)
    if not account.stripe_customer:
        raise NoCustomer
    params: dict[str, Any] = {"customer": account.stripe_customer, "return_url": return_url}
    if configuration := catalogue.portal_configuration():
        params["configuration"] = configuration.id
    session = get_stripe().v1.billing_portal.sessions.create(params)  # type: ignore[arg-type]
    audit.record(
        audit.Action.BILLING_PORTAL_OPENED, actor=actor, organization=organization, target=organization
    )
    return session.url


def _create(
    params: dict[str, Any],
    *,
    organization: Organization,
    customer: str,
    metadata: dict[str, str],
    success_url: str,
    cancel_url: str,
) -> stripe.checkout.Session:
    everywhere: Any = {
        "customer": customer,
        "client_reference_id": organization.uid,
        "metadata": metadata,
        "success_url": f"{success_url}?session_id={{CHECKOUT_SESSION_ID}}",
        "cancel_url": cancel_url,
        "billing_address_collection": "auto",
        "tax_id_collection": {"enabled": True},
        "customer_update": {"address": "auto", "name": "auto"},
    }
    return get_stripe().v1.checkout.sessions.create(everywhere | params)


def _close_open(customer: str) -> None:
    """Close the Checkouts of a subscription that were left open, in another tab perhaps: one of them can be paid."""
    sessions = get_stripe().v1.checkout.sessions
    for session in sessions.list({"customer": customer, "status": "open"}).auto_paging_iter():
        if session.mode == "subscription":
            try:
                sessions.expire(session.id)
            except stripe.InvalidRequestError:
                continue  # it was completed just now: whatever is paid second is given back


# ── What was bought ──────────────────────────────────────────────────────────────────────────────────────────
def returned(*, organization: Organization, session_id: str) -> str:
    """Apply what a customer who comes back from Checkout has bought. Raises Unknown, stripe.StripeError.

    Answers "complete"; "unpaid", where the bank takes its time; "open", where nothing was paid; or "expired".
    """
    account = BillingAccount.objects.get(pk=organization.pk)
    if not re.fullmatch(r"cs_\w+", session_id, re.ASCII):
        raise Unknown
    try:
        session = get_stripe().v1.checkout.sessions.retrieve(session_id)
    except stripe.InvalidRequestError as error:
        raise Unknown from error
    if not account.stripe_customer or session.customer != account.stripe_customer:
        raise Unknown
    if session.status != "complete":
        return str(session.status)
    _apply(organization, session)
    return "unpaid" if session.payment_status == "unpaid" else "complete"


def apply(session_id: str) -> None:
    """Apply what was bought in a session, if it is paid for. Raises stripe.StripeError."""
    session = get_stripe().v1.checkout.sessions.retrieve(session_id)
    account = (
        BillingAccount.objects.select_related("organization")
        .filter(stripe_customer=session.customer or "-")
        .first()
    )
    if account is None:
        logger.info("%s is of no customer of ours: ignored", session_id)
        return
    if session.status == "complete":
        _apply(account.organization, session)


def _apply(organization: Organization, session: stripe.checkout.Session) -> None:
    if session.mode == "subscription":
        subscriptions.sync(organization)
    elif session.mode == "payment" and session.payment_status == "paid":
        if _grant(organization, session) and session.payment_intent:
            # Perhaps the money went back before this was heard of.
            refunds.apply_to(session.payment_intent)
        customers.keep_card(organization)
        subscriptions.sync(organization)


def _grant(organization: Organization, session: stripe.checkout.Session) -> bool:
    """Grant what was sold. Says whether it was not granted before."""
    sold = session.metadata.to_dict() if session.metadata else {}
    if not sold.get("credits"):
        logger.warning("%s sold something that is not ours: ignored", session.id)
        return False
    amount, now = Decimal(sold["credits"]), timezone.now()
    days = sold.get("valid_days")
    paid_by = session.invoice or session.payment_intent
    with transaction.atomic():
        granted = credits.grant(
            organization,
            kind=CreditGrant.Kind.PURCHASED,
            amount=amount,
            key=f"pack:{session.id}",
            reason=f"{amount.normalize():,f} credits bought",
            expires_at=now + timedelta(days=int(days)) if days else None,
            stripe_object=paid_by if isinstance(paid_by, str) else (paid_by.id or "") if paid_by else "",
            now=now,
        )
        if granted is not None:
            audit.record(
                audit.Action.CREDITS_PURCHASED,
                actor=None,
                organization=organization,
                target=organization,
                after={"credits": amount, "expires_at": granted.expires_at},
            )
    return granted is not None
