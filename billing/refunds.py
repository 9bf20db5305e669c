"""Taking credits back whose payment was given back."""

from decimal import ROUND_CEILING, Decimal

from billing import credits
from billing.gateway import get_stripe
from billing.models import CreditGrant


def apply(charge_id: str) -> None:
    """Take back what is left of the credits that a charge paid for, as far as it was refunded."""
    client = get_stripe()
    charge = client.v1.charges.retrieve(charge_id)
    if not charge.amount_refunded or not charge.payment_intent:
        return
    intent = charge.payment_intent if isinstance(charge.payment_intent, str) else charge.payment_intent.id
    payments = client.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": intent}}
    )
    paid = [intent, *(str(payment.invoice) for payment in payments.data)]
    for granted in CreditGrant.objects.filter(stripe_object__in=paid):
        share = Decimal(charge.amount_refunded) / charge.amount
        credits.take_back(
            granted,
            amount=(granted.amount * share).to_integral_value(ROUND_CEILING),
            key=f"refund:{charge.id}:{charge.amount_refunded}",
            reason="The payment was refunded",
        )
