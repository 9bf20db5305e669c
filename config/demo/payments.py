"""What the demo's customers pay: a subscription that began weeks ago at the simulator, whose clock goes through them.

Where there is no simulator, or a key of Stripe's is set, who is on a plan that costs something is invoiced by hand.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
from django.conf import settings

from accounts.models import Organization
from billing import catalogue, credits, customers, invoices, plans, settlement, subscriptions
from billing.gateway import get_stripe
from billing.models import BillingAccount, CreditGrant, CreditPack, Interval

# Bought whenever fewer credits are left than a day may use.
PACK, FEW = "1000", Decimal(250)
TRIAL = Decimal(25_000)


def simulated_now() -> datetime | None:
    """What the simulator's clock shows; None where there is none to ask."""
    if not settings.STRIPE_IS_SIMULATED:
        return None
    try:
        answer = httpx.get(f"{settings.STRIPE_API_BASE}/simulator/clock", trust_env=False)
    except httpx.ConnectError:
        return None
    return datetime.fromtimestamp(answer.json()["now"], UTC)


def pass_time(to: datetime) -> None:
    """Let it be a later moment at the simulator, and here for whatever goes by months."""
    now = simulated_now()
    if now is not None and to > now:
        httpx.post(
            f"{settings.STRIPE_API_BASE}/simulator/clock/advance",
            json={"to": int(to.timestamp()), "wait_for_webhooks": False},
            trust_env=False,
            timeout=60,
        ).raise_for_status()
    for account in BillingAccount.objects.filter(period_end__lte=to).select_related("organization"):
        subscriptions.sync(account.organization, now=to)
    settlement.settle_changed(now=to)
    credits.expire_due(now=to)
    plans.renew_due(now=to)


def try_out(organization: Organization, *, now: datetime) -> None:
    """Let an organization try the product for a while before it subscribes."""
    credits.grant(
        organization,
        kind=CreditGrant.Kind.PROMOTIONAL,
        amount=TRIAL,
        key="demo:trial",
        reason="Credits to try it out with",
        now=now,
    )


def subscribe(organization: Organization, slug: str, *, now: datetime) -> None:
    """Put an organization on a plan, once: by a subscription that a card pays for, or, without Stripe, by hand."""
    account = BillingAccount.objects.get(pk=organization.pk)
    if account.is_subscribed or account.is_invoiced:
        return
    plan = plans.named(slug)
    if plan.is_custom or simulated_now() is None:
        plans.put_on(organization, plan, actor=None, now=now)
        return
    stripe = get_stripe()
    customer = customers.ensure(organization)
    card = stripe.v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    params: Any = {
        "customer": customer,
        "items": subscriptions.line_items(plan, Interval.MONTH),
        "default_payment_method": card.id,
        "billing_mode": {"type": "flexible"},
        "metadata": {"organization": organization.uid},
    }
    stripe.v1.subscriptions.create(params)
    subscriptions.sync(organization, now=now)


def buy_as_needed(organization: Organization, *, now: datetime) -> None:
    """Buy a pack for who pays in advance and has few credits left; with an invoice, where there is a simulator."""
    if BillingAccount.objects.get(pk=organization.pk).balance >= FEW:
        return
    key = f"demo:{now:%Y-%m-%d}"
    if CreditGrant.objects.filter(organization=organization, key=key).exists():
        return
    pack = CreditPack.objects.get(slug=PACK)
    credits.grant(
        organization,
        kind=CreditGrant.Kind.PURCHASED,
        amount=pack.credits,
        key=key,
        reason=f"{pack.credits.normalize():,f} credits bought",
        stripe_object="" if simulated_now() is None else _pay_for(pack, organization),
        now=now,
    )


def _pay_for(pack: CreditPack, organization: Organization) -> str:
    """Pay for a pack by card. Returns the invoice's id."""
    stripe = get_stripe().v1
    customer, price = customers.ensure(organization), catalogue.price_of(pack.lookup_key)
    assert price is not None
    card = stripe.payment_methods.attach("pm_card_visa", {"customer": customer})
    invoice = stripe.invoices.create({"customer": customer, "auto_advance": False})
    assert invoice.id
    stripe.invoice_items.create(
        {"customer": customer, "invoice": invoice.id, "pricing": {"price": price.id}, "quantity": 1}
    )
    stripe.invoices.finalize_invoice(invoice.id)
    stripe.invoices.pay(invoice.id, {"payment_method": card.id})
    return invoice.id


def leave(organization: Organization, left: Decimal, *, now: datetime) -> None:
    """Leave an organization no more credits than these."""
    balance = BillingAccount.objects.get(pk=organization.pk).balance
    if balance > left:
        credits.deduct(
            organization,
            amount=balance - left,
            key="demo:left",
            reason="A pack was granted twice by mistake",
            now=now,
        )


def read_invoices() -> None:
    """Know of the past invoices at once: what tells of them finds nobody before the web server runs."""
    if simulated_now() is None:
        return
    for customer in BillingAccount.objects.exclude(stripe_customer="").values_list(
        "stripe_customer", flat=True
    ):
        for invoice in get_stripe().v1.invoices.list({"customer": customer}).auto_paging_iter():
            invoices.record(invoice)
