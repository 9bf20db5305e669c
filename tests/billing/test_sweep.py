"""Each night, what Stripe's events should have told is found out; doing so again changes nothing."""

from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as project
from django.utils import timezone

from accounts.models import Organization
from billing import customers, plans, subscriptions, sweep, tasks
from billing.gateway import get_stripe
from billing.models import BillingAccount, CreditEntry, CreditGrant, Invoice, MeterReport
from tests.billing.conftest import Use, agrees
from tests.billing.simulator_process import SimulatorProcess, own_simulator
from tests.billing.subscribed import account_of, own_till, subscribe
from usage.models import Entitlement

__all__ = ["own_simulator", "own_till"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_subscription_that_nothing_was_heard_of_is_found(
    organization: Organization, own_till: SimulatorProcess
) -> None:
    customer = customers.ensure(organization)
    own_till.set_card(customer)
    items = subscriptions.line_items(plans.named(plans.PRO), "month")
    params: Any = {"customer": customer, "items": items}
    get_stripe().v1.subscriptions.create(params)

    assert sweep.run() > 0

    assert account_of(organization).plan.slug == plans.PRO
    assert Invoice.objects.get(organization=organization).status == "paid"


def test_a_refund_that_nothing_was_heard_of_takes_its_credits(
    organization: Organization, own_till: SimulatorProcess
) -> None:
    customer = customers.ensure(organization)
    intent = pay(own_till, customer, 1_000)
    granted = CreditGrant.objects.create(
        organization=organization,
        kind="purchased",
        key="pack",
        amount=Decimal(1_000),
        remaining=Decimal(1_000),
        priority=40,
        reason="A pack",
        stripe_object=intent,
    )
    CreditEntry.objects.create(
        organization=organization, kind="grant", amount=Decimal(1_000), balance=Decimal(1_100), grant=granted
    )
    BillingAccount.objects.filter(pk=organization.pk).update(balance=1_100)
    Entitlement.objects.filter(organization=organization).update(credits_ceiling=1_100)
    get_stripe().v1.refunds.create({"payment_intent": intent, "amount": 500})

    sweep.run()

    assert account_of(organization).balance == 600
    agrees(organization)


def pay(till: SimulatorProcess, customer: str, cents: int) -> str:
    card = till.set_card(customer)
    intent = get_stripe().v1.payment_intents.create(
        {"amount": cents, "currency": "usd", "customer": customer, "payment_method": card, "confirm": True}
    )
    return intent.id


def test_an_open_invoice_is_read_again(organization: Organization, own_till: SimulatorProcess) -> None:
    account = subscribe(organization, own_till, plans.PRO)
    invoice = get_stripe().v1.invoices.list({"customer": account.stripe_customer}).data[0]
    known(organization, invoice.id, "open")

    sweep.read_invoices()

    assert Invoice.objects.get().status == "paid"


def known(organization: Organization, stripe_id: str, status: str) -> Invoice:
    """An invoice as it was read some time ago."""
    amount = Decimal(799)
    return Invoice.objects.create(
        organization=organization,
        stripe_id=stripe_id,
        status=status,
        total=amount,
        amount_due=amount,
        amount_paid=Decimal(0),
        created_at=timezone.now(),
    )


def test_a_draft_that_is_gone_is_forgotten(organization: Organization, own_till: SimulatorProcess) -> None:
    known(organization, "in_gone", "draft")

    sweep.read_invoices()

    assert not Invoice.objects.exists()


def test_one_organization_that_cannot_be_read_keeps_no_other(
    organization: Organization, other_organization: Organization, own_till: SimulatorProcess
) -> None:
    subscribe(organization, own_till)
    subscribe(other_organization, own_till)
    BillingAccount.objects.filter(organization=organization).update(stripe_customer="cus_gone")
    BillingAccount.objects.filter(organization=other_organization).update(card="")

    sweep.read_subscriptions()

    assert account_of(other_organization).card


SCHEDULED = [str(entry["task"]) for entry in project.CELERY_BEAT_SCHEDULE.values()]
PERIODIC = sorted(task.rpartition(".")[2] for task in SCHEDULED if task.startswith("billing."))


def test_doing_all_periodic_work_again_doubles_nothing(
    organization: Organization, own_till: SimulatorProcess, use: Use
) -> None:
    subscribe(organization, own_till, plans.PRO)
    use(100_350)
    for name in PERIODIC:
        getattr(tasks, name)()
    before = snapshot(organization)

    for name in PERIODIC * 2:
        getattr(tasks, name)()

    assert snapshot(organization) == before
    assert before["reported"] == [250]
    agrees(organization)


def snapshot(organization: Organization) -> dict[str, object]:
    entries = CreditEntry.objects.filter(organization=organization).order_by("id")
    return {
        "entries": list(entries.values_list("kind", "amount", "overage")),
        "reported": list(MeterReport.objects.values_list("quantity", flat=True)),
        "invoices": list(Invoice.objects.order_by("id").values_list("status", "total")),
        "balance": account_of(organization).balance,
    }
