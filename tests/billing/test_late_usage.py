"""What a subscription's last invoice left out is billed by one more, once."""

from decimal import Decimal
from typing import Any

import pytest
import stripe

from accounts.models import Organization
from billing import credits, invoices, late_usage, metering, plans, subscriptions
from billing.gateway import get_stripe
from billing.models import BillingAccount, Invoice, MeterReport
from tests.billing import stripe_at_hand
from tests.billing.conftest import Use, settle
from tests.billing.simulator_process import SimulatorProcess, own_simulator
from tests.billing.subscribed import account_of, invoices_of, own_till, subscribe

__all__ = ["own_simulator", "own_till"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def subscribed(organization: Organization, own_till: SimulatorProcess) -> BillingAccount:
    account = subscribe(organization, own_till)
    credits.deduct(organization, amount=account.balance, key="used", reason="Used up")
    return account


def cancel_at_stripe(account: BillingAccount, **params: Any) -> None:
    """As on Stripe's own pages, which know nothing of what we have not reported."""
    get_stripe().v1.subscriptions.cancel(account.stripe_subscription, params)  # type: ignore[arg-type]
    subscriptions.sync(account.organization)


def totals(organization: Organization) -> list[int]:
    return sorted(invoice.total for invoice in invoices_of(organization) if invoice.total)


def test_usage_that_a_cancel_at_stripe_left_out_is_invoiced_and_paid(
    subscribed: BillingAccount, organization: Organization, use: Use
) -> None:
    use(130)
    cancel_at_stripe(subscribed)

    assert late_usage.bill_due() == 1

    invoice = Invoice.objects.get(total__gt=0)
    assert (invoice.status, invoice.total) == ("paid", Decimal("1.30"))
    [line] = invoices.lines(invoice)
    assert (line.kind, line.quantity, line.subscription) == ("overage", 130, subscribed.stripe_subscription)
    assert MeterReport.objects.get().billed_by == invoice.stripe_id


def test_it_is_paid_with_the_card_that_checkout_left_with_the_subscription(
    organization: Organization, own_till: SimulatorProcess, use: Use
) -> None:
    account = stripe_at_hand.subscribe(own_till, organization, plans.PAY_AS_YOU_GO, "")
    credits.deduct(organization, amount=account.balance, key="used", reason="Used up")
    use(130)
    cancel_at_stripe(account)

    late_usage.bill_due()

    assert Invoice.objects.get(total__gt=0).status == "paid"


def test_it_is_billed_once(subscribed: BillingAccount, organization: Organization, use: Use) -> None:
    use(130)
    cancel_at_stripe(subscribed)
    late_usage.bill_due()
    MeterReport.objects.update(billed_by="")

    late_usage.bill_due()

    assert totals(organization) == [130]


def test_what_the_last_invoice_bills_is_not_billed_again(
    subscribed: BillingAccount, organization: Organization, use: Use, own_till: SimulatorProcess
) -> None:
    use(130)
    metering.flush(organization)
    own_till.advance(60)
    cancel_at_stripe(subscribed, invoice_now=True, prorate=False)

    late_usage.bill_due()

    assert totals(organization) == [130]
    last = Invoice.objects.get(total__gt=0)
    assert MeterReport.objects.get().billed_by == last.stripe_id


def test_only_what_the_last_invoice_left_out_is_billed(
    subscribed: BillingAccount, organization: Organization, use: Use, own_till: SimulatorProcess
) -> None:
    use(130)
    metering.flush(organization)
    own_till.advance(60)
    use(20)
    settle(organization)
    get_stripe().v1.subscriptions.cancel(
        subscribed.stripe_subscription, {"invoice_now": True, "prorate": False}
    )
    subscriptions.sync(organization)

    late_usage.bill_due()

    assert totals(organization) == [20, 130]
    late = Invoice.objects.get(total="0.20")
    assert [report.quantity for report in MeterReport.objects.filter(billed_by=late.stripe_id)] == [20]


def test_cancelling_on_our_page_leaves_nothing_to_bill(
    subscribed: BillingAccount, organization: Organization, use: Use
) -> None:
    use(130)
    subscriptions.cancel(organization=organization, actor=None)

    late_usage.bill_due()

    assert totals(organization) == [130]


@pytest.mark.parametrize("step", ["_draw_up", "_collect", "_mark"])
def test_a_worker_that_died_on_the_way_bills_nothing_twice(
    subscribed: BillingAccount,
    organization: Organization,
    use: Use,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    use(130)
    cancel_at_stripe(subscribed)
    with monkeypatch.context() as patch:
        patch.setattr(late_usage, step, killed)
        with pytest.raises(Killed):
            late_usage.bill(organization, subscribed.stripe_subscription)

    late_usage.bill_due()

    assert totals(organization) == [130]
    assert MeterReport.objects.exclude(billed_by="").count() == 1


def test_a_card_that_fails_leaves_the_invoice_open(
    subscribed: BillingAccount, organization: Organization, use: Use, own_till: SimulatorProcess
) -> None:
    use(130)
    own_till.fail_payments(subscribed.stripe_customer)
    cancel_at_stripe(subscribed)

    late_usage.bill_due()
    late_usage.bill_due()

    invoice = Invoice.objects.get(total__gt=0)
    assert (invoice.status, invoice.amount_due) == ("open", invoice.total)
    assert totals(organization) == [130]


def test_a_running_subscription_is_left_alone(
    subscribed: BillingAccount, organization: Organization, use: Use
) -> None:
    use(130)
    metering.flush(organization)

    assert late_usage.bill_due() == 0

    assert account_of(organization).is_subscribed
    assert totals(organization) == []


def test_the_usage_behind_it_is_told(
    subscribed: BillingAccount, organization: Organization, use: Use
) -> None:
    use(100)
    settle(organization)
    use(30)
    cancel_at_stripe(subscribed)
    late_usage.bill_due()
    [line] = invoices.lines(Invoice.objects.get(total__gt=0))

    behind = invoices.usage_behind(line)

    assert sorted(report.quantity for report in behind.reports) == [30, 100]
    assert sum(entry.overage for entry in behind.entries) == line.quantity == 130


def test_a_subscription_that_was_replaced_is_billed_as_well(
    subscribed: BillingAccount, organization: Organization, use: Use, own_till: SimulatorProcess
) -> None:
    use(130)
    cancel_at_stripe(subscribed)
    subscribe(organization, own_till)

    late_usage.bill_due()

    assert totals(organization) == [130]
    assert account_of(organization).stripe_subscription != subscribed.stripe_subscription


class Killed(Exception):
    """The worker was killed here."""


def killed(*_: object, **__: object) -> stripe.Invoice:
    raise Killed
