"""Usage that no invoice of a subscription billed before it ended: one more invoice bills it, after the last one.

That is so when it was cancelled on Stripe's own pages, at once, or when its last reports came too late. What is still
to be billed is what was reported less what all its invoices say, so that doing it again bills nothing twice.
"""

import logging
from decimal import Decimal
from typing import Any

import stripe
from django.db.models import Exists, OuterRef, Q, Sum

from accounts.models import Organization
from billing import customers, invoices, metering
from billing.gateway import get_stripe
from billing.models import BillingAccount, Invoice, MeterReport, Subscription

logger = logging.getLogger(__name__)

LIVE = (
    Subscription.TRIALING,
    Subscription.ACTIVE,
    Subscription.PAST_DUE,
    Subscription.UNPAID,
    Subscription.PAUSED,
)
# On the invoice: the subscription whose usage it bills.
LATE_USAGE = "late_usage"


def bill_due() -> int:
    """Bill what is left of subscriptions that have ended. Returns how many are settled now."""
    settled = 0
    for organization, subscription in _ended():
        try:
            settled += bill(organization, subscription)
        except stripe.StripeError:  # one customer must not keep the others
            logger.exception("late usage of %s could not be billed", subscription)
    return settled


def _ended() -> list[tuple[Organization, str]]:
    """Subscriptions that are not, or no longer, an account's live one, and have reports that are not looked through."""
    unbilled = MeterReport.objects.filter(billed_by="")
    of_account = unbilled.filter(organization=OuterRef("pk"))
    accounts = BillingAccount.objects.exclude(stripe_customer="").filter(
        # Both sides of the live one, so that an index tells at once.
        Exists(of_account.filter(stripe_subscription__lt=OuterRef("stripe_subscription")))
        | Exists(of_account.filter(stripe_subscription__gt=OuterRef("stripe_subscription")))
        | ~Q(subscription_status__in=LIVE)
        & Exists(of_account.filter(stripe_subscription=OuterRef("stripe_subscription")))
    )
    found = []
    for account in accounts.select_related("organization").order_by("pk"):
        ended = unbilled.filter(organization=account.pk)
        if account.subscription_status in LIVE:
            ended = ended.exclude(stripe_subscription=account.stripe_subscription)
        names = ended.values_list("stripe_subscription", flat=True).order_by("stripe_subscription").distinct()
        found += [(account.organization, name) for name in names]
    return found


def bill(organization: Organization, subscription: str) -> bool:
    """Bill what is left of a subscription that has ended; False where its last invoice is not final yet.

    Raises StripeError.
    """
    if not metering.flush(organization):
        return False
    account = BillingAccount.objects.get(organization=organization)
    reports = MeterReport.objects.filter(organization=organization, stripe_subscription=subscription)
    reports = reports.exclude(state=MeterReport.State.REFUSED)
    first = reports.order_by("id").first()
    if first is None:
        return True
    found = invoices.record_all(first.stripe_customer)
    mine = [invoice for invoice in found if _subscription_of(invoice) == subscription]
    late = next((invoice for invoice in found if _late(invoice) == subscription), None)
    if any(invoice.status == "draft" for invoice in mine):
        return False
    if late is None or late.status == "draft":
        left = _reported(reports) - _billed(organization, subscription)
        if late is None and left <= 0:
            last = mine[0].id if mine else ""
            reports.filter(billed_by="").update(billed_by=last or subscription)
            return True
        late = _draw_up(account, first.stripe_customer, subscription, left, late)
    late = _collect(account, late)
    invoices.record(late)
    _mark(reports, late, mine[0].id if mine else None)
    return True


def _subscription_of(invoice: stripe.Invoice) -> str:
    details = invoice.parent.subscription_details if invoice.parent else None
    return str(getattr(details.subscription, "id", details.subscription)) if details else ""


def _late(invoice: stripe.Invoice) -> str:
    return str(invoice.metadata.to_dict().get(LATE_USAGE, "")) if invoice.metadata else ""


def _reported(reports: Any) -> int:
    return int(reports.aggregate(sum=Sum("quantity"))["sum"] or 0)


def _billed(organization: Organization, subscription: str) -> int:
    """What the subscription's invoices bill of credits, also those that were voided since: staff forgave them."""
    found = Invoice.objects.filter(
        organization=organization, lines__contains=[{"subscription": subscription}]
    ).exclude(status="draft")
    return sum(
        line.quantity or 0
        for invoice in found
        for line in invoices.lines(invoice)
        if line.kind == invoices.OVERAGE and line.subscription == subscription
    )


def _draw_up(
    account: BillingAccount, customer: str, subscription: str, quantity: int, late: stripe.Invoice | None
) -> stripe.Invoice:
    """Draw up the invoice, or go on with the one that was begun."""
    client = get_stripe().v1
    key = f"late:{subscription}"
    if late is None:
        late = client.invoices.create(
            {
                "customer": customer,
                "auto_advance": False,
                "currency": "usd",
                "pending_invoice_items_behavior": "exclude",
                "description": "Usage that was not yet invoiced when the subscription ended.",
                "metadata": {LATE_USAGE: subscription},
            },
            {"idempotency_key": f"{key}:invoice"},
        )
    if not late.lines.data:
        item: Any = {
            "customer": customer,
            "invoice": late.id,
            "currency": "usd",
            "quantity": quantity,
            "unit_amount_decimal": _cents(account, subscription),
            "description": f"{quantity:,} credits used and not yet invoiced",
            "metadata": {invoices.KIND: invoices.OVERAGE, invoices.SUBSCRIPTION: subscription},
        }
        client.invoice_items.create(item, {"idempotency_key": f"{key}:item"})
    return client.invoices.finalize_invoice(
        str(late.id), {"auto_advance": True}, {"idempotency_key": f"{key}:finalize"}
    )


def _cents(account: BillingAccount, subscription: str) -> str:
    """What a credit cost in the subscription."""
    for item in get_stripe().v1.subscriptions.retrieve(subscription)["items"].data:
        recurring = item.price.recurring
        if recurring and recurring.usage_type == "metered" and item.price.unit_amount_decimal is not None:
            return str(item.price.unit_amount_decimal)
    return str((account.plan.credit_price * Decimal(100)).normalize())


def _collect(account: BillingAccount, late: stripe.Invoice) -> stripe.Invoice:
    """Have it paid with the card on file. Where that fails, Stripe tries again, and the customer can pay by hand."""
    if late.status == "open" and not late.attempted:
        params: Any = {"off_session": True}
        # Checkout leaves the card with the subscription that is over, and not with the customer.
        if card := customers.card_to_charge(account):
            params["payment_method"] = card
        try:
            return get_stripe().v1.invoices.pay(
                str(late.id), params, {"idempotency_key": f"late:{late.id}:pay:{card}"}
            )
        except (stripe.CardError, stripe.InvalidRequestError):
            logger.warning("invoice %s could not be paid at once", late.id, exc_info=True)
    return get_stripe().v1.invoices.retrieve(str(late.id))


def _mark(reports: Any, late: stripe.Invoice, last: str | None) -> None:
    """Note which reports it bills: the newest, up to its quantity; the others were billed before."""
    billed = sum(line.quantity or 0 for line in late.lines.data)
    for report in reports.filter(Q(billed_by="") | Q(billed_by=late.id)).order_by("-id"):
        if billed <= 0:
            break
        MeterReport.objects.filter(pk=report.pk).update(billed_by=late.id)
        billed -= report.quantity
    reports.filter(billed_by="").update(billed_by=last or late.id)
