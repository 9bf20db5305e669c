"""What follows when money for a pack goes back: its credits go as well, as far as they are not used.

A refund takes as large a part of the pack as of its price. A dispute takes the money at once, and so the credits; if it
is won they come again.
"""

import logging
from decimal import ROUND_DOWN, Decimal
from typing import Any

import stripe
from django.db import transaction

from accounts.models import Organization
from billing import credits
from billing.gateway import get_stripe
from billing.models import BillingAccount, CreditEntry, CreditGrant

logger = logging.getLogger(__name__)

MILLIONTH = Decimal("0.000001")
# A dispute in these states has cost nothing, or costs nothing any more.
_HARMLESS = {"won", "prevented", "warning_needs_response", "warning_under_review", "warning_closed"}


def apply(charge_id: str) -> Decimal:
    """Take back what was refunded or disputed of a charge's pack, once for each refund. Returns how many credits.

    Raises StripeError.
    """
    client = get_stripe().v1
    charge = client.charges.retrieve(charge_id)
    disputes = _disputes(charge)
    if not charge.amount_refunded and not disputes:
        return Decimal(0)
    granted = _granted(charge)
    if granted is None:
        return Decimal(0)
    taken = Decimal(0)
    for refund in client.refunds.list({"charge": charge_id, "limit": 100}).auto_paging_iter():
        if refund.status in {"succeeded", "pending"}:
            taken += _take_back(granted, refund.amount, charge.amount, f"refund:{refund.id}", "Refunded")
    for dispute in disputes:
        taken += _dispute(granted, dispute, charge.amount)
    return taken


def _disputes(charge: stripe.Charge) -> list[stripe.Dispute]:
    if not charge.disputed:
        return []
    return list(get_stripe().v1.disputes.list({"charge": str(charge.id)}).auto_paging_iter())


def apply_to(intent: str | stripe.PaymentIntent) -> Decimal:
    """Do so for the charge that a payment was made by. Raises StripeError."""
    payment = get_stripe().v1.payment_intents.retrieve(str(getattr(intent, "id", intent)))
    charge = payment.latest_charge
    return apply(str(getattr(charge, "id", charge))) if charge else Decimal(0)


def _granted(charge: stripe.Charge) -> CreditGrant | None:
    """The pack that a charge paid for: bought at Checkout, or by an invoice."""
    intent = charge.payment_intent
    if not intent:
        return None
    intent_id = str(getattr(intent, "id", intent))
    paid_for = [intent_id, charge.id]
    payments = get_stripe().v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": intent_id}}
    )
    paid_for += [str(getattr(payment.invoice, "id", payment.invoice)) for payment in payments.data]
    customer = str(getattr(charge.customer, "id", charge.customer) or "-")
    account = BillingAccount.objects.filter(stripe_customer=customer).first()
    if account is None:
        return None
    found = CreditGrant.objects.filter(
        organization=account.organization_id, kind=CreditGrant.Kind.PURCHASED, stripe_object__in=paid_for
    )
    return found.select_related("organization").order_by("id").first()


def _take_back(granted: CreditGrant, amount: int, of: int, key: str, reason: str) -> Decimal:
    part = (granted.amount * min(amount, of) / of).quantize(MILLIONTH, ROUND_DOWN)
    return credits.take_back(granted, amount=part, key=key, reason=reason) if part else Decimal(0)


def _dispute(granted: CreditGrant, dispute: Any, of: int) -> Decimal:
    key = f"dispute:{dispute.id}"
    if dispute.status not in _HARMLESS:
        taken = _take_back(granted, dispute.amount, of, key, "The payment is disputed")
        if taken:
            logger.error("the payment for %s was disputed: %s credits taken back", granted.uid, taken)
        return taken
    if dispute.status == "won":
        _give_again(granted.organization, granted, key)
    return Decimal(0)


@transaction.atomic
def _give_again(organization: Organization, granted: CreditGrant, key: str) -> None:
    credits.lock(organization)
    entry = CreditEntry.objects.filter(organization=organization, key=key).first()
    if entry is not None:
        credits.grant(
            organization,
            kind=CreditGrant.Kind.PURCHASED,
            amount=-entry.amount,
            key=f"{key}:won",
            reason="The dispute was settled",
            expires_at=granted.expires_at,
            stripe_object=granted.stripe_object,
        )
