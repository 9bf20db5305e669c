"""The main story against Stripe itself, in test mode and with a test clock: STRIPE_TEST_SECRET_KEY=sk_test_… runs it.

It makes our catalogue in that account if it is not there, and takes its customers away again.
"""

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import stripe
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Organization
from billing import access, catalogue, checkout, gateway, metering, plans, subscriptions
from billing.models import BillingAccount, CreditGrant, CreditPack, MeterReport
from tests.billing.stripe_at_hand import CANCEL, SUCCESS, account_of
from usage.models import Entitlement

KEY = os.environ.get("STRIPE_TEST_SECRET_KEY", "")
PATIENCE = 180  # seconds that Stripe has for what it does later

pytestmark = [
    pytest.mark.skipif(not KEY.startswith(("sk_test_", "rk_test_")), reason="needs STRIPE_TEST_SECRET_KEY"),
    pytest.mark.django_db,
]


@pytest.fixture(autouse=True)
def real(settings: Settings) -> Iterator[stripe.StripeClient]:
    settings.STRIPE_SECRET_KEY = settings.STRIPE_TEST_SECRET_KEY = KEY
    settings.STRIPE_API_BASE = "https://api.stripe.com"
    settings.STRIPE_IS_SIMULATED = False
    settings.BASE_URL = "http://127.0.0.1:9"  # which Stripe does not reach: no address of ours is left there
    gateway.set_up()
    catalogue.sync()
    yield gateway.get_stripe()


@pytest.fixture
def clock(real: stripe.StripeClient) -> Iterator[stripe.test_helpers.TestClock]:
    made = real.v1.test_helpers.test_clocks.create({"frozen_time": int(time.time())})
    yield made
    real.v1.test_helpers.test_clocks.delete(made.id)  # and its customers


@pytest.fixture
def customer(
    real: stripe.StripeClient, clock: stripe.test_helpers.TestClock, organization: Organization
) -> str:
    """The organization's customer, who lives by the clock and has a good card."""
    made = real.v1.customers.create(
        {
            "test_clock": clock.id,
            "name": organization.name,
        }
    )
    pays_with(real, made.id, "pm_card_visa")
    BillingAccount.objects.filter(pk=organization.pk).update(stripe_customer=made.id)
    return made.id


def pays_with(real: stripe.StripeClient, customer: str, card: str) -> None:
    """Give a customer a card of Stripe's for tests, to be charged from now on."""
    method = real.v1.payment_methods.attach(card, {"customer": customer})
    real.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method.id}})


def eventually(asked: Callable[[], Any]) -> Any:
    """What is at last answered otherwise than with nothing."""
    give_up = time.monotonic() + PATIENCE
    while not (answer := asked()):
        assert time.monotonic() < give_up, "Stripe took too long"
        time.sleep(3)
    return answer


def start(
    real: stripe.StripeClient, organization: Organization, customer: str, plan: str, interval: str
) -> None:
    """Start what Checkout would: its page is nothing for a program."""
    params: Any = {
        "customer": customer,
        "items": subscriptions.line_items(plans.named(plan), interval),
        "billing_mode": {"type": "flexible"},
        "metadata": {"organization": organization.uid},
    }
    real.v1.subscriptions.create(params)
    subscriptions.sync(organization)


def advance(real: stripe.StripeClient, clock: stripe.test_helpers.TestClock, to: int) -> None:
    real.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": to})
    eventually(lambda: real.v1.test_helpers.test_clocks.retrieve(clock.id).status == "ready")


def test_a_second_sync_changes_nothing() -> None:
    said: list[str] = []

    catalogue.sync(say=said.append)

    assert [line for line in said if "cannot reach" not in line] == []


def test_checkout_offers_plans_and_packs(organization: Organization) -> None:
    for interval in ("month", "year"):
        url = checkout.subscribe(
            organization=organization,
            plan=plans.named(plans.PRO),
            interval=interval,
            actor=None,
            success_url=SUCCESS,
            cancel_url=CANCEL,
        )
        assert url.startswith("https://checkout.stripe.com/")
    url = checkout.buy(
        organization=organization,
        pack=CreditPack.objects.get(slug="1000"),
        actor=None,
        success_url=SUCCESS,
        cancel_url=CANCEL,
    )

    assert url.startswith("https://checkout.stripe.com/")
    assert checkout.portal(organization=organization, actor=None, return_url=CANCEL).startswith("https://")


def test_from_pay_as_you_go_to_pro_to_the_end(
    real: stripe.StripeClient,
    clock: stripe.test_helpers.TestClock,
    customer: str,
    organization: Organization,
) -> None:
    """Overage is metered, an upgrade paid, a month brings credits, a failed payment grace, and the end a bill."""
    start(real, organization, customer, plans.PAY_AS_YOU_GO, "")
    account = account_of(organization)
    assert (account.plan.slug, account.subscription_status) == ("pay_as_you_go", "active")
    assert account.card == "Visa •••• 4242"

    _owe(organization, 250)
    shown = subscriptions.preview(organization=organization, plan=plans.named(plans.PRO), interval="month")
    subscriptions.change(
        organization=organization,
        plan=plans.named(plans.PRO),
        interval="month",
        actor=None,
        proration_date=shown.proration_date,
    )
    account = account_of(organization)
    assert (account.plan.slug, account.interval) == ("pro", "month")
    assert CreditGrant.objects.get(organization=organization, kind="included").amount == 100_000
    latest = real.v1.invoices.list({"customer": customer, "limit": 1}).data[0]
    assert latest.status == "paid"
    assert latest.total in {79_900, 79_900 + 250}  # with the usage, if Stripe had counted it by then

    assert account.renews_at
    advance(real, clock, int(account.renews_at.timestamp()) + 2 * 3_600)
    account = subscriptions.sync(organization)
    assert account.subscription_status == "active"
    assert CreditGrant.objects.filter(organization=organization, kind="included").count() == 2

    pays_with(real, customer, "pm_card_chargeCustomerFail")
    assert account.renews_at
    advance(real, clock, int(account.renews_at.timestamp()) + 2 * 3_600)
    account = subscriptions.sync(organization)
    assert account.subscription_status == "past_due"
    assert not access.refusal(account, now=timezone.now())
    assert access.refusal(account, now=timezone.now() + timedelta(days=8))

    pays_with(real, customer, "pm_card_visa")
    [owed] = real.v1.invoices.list({"customer": customer, "status": "open"}).data
    assert owed.id
    real.v1.invoices.pay(owed.id)
    assert subscriptions.sync(organization).subscription_status == "active"

    subscriptions.cancel(organization=organization, actor=None)
    assert account_of(organization).subscription_status == "canceled"
    assert not Entitlement.objects.get(organization=organization).may_call


def test_a_year_can_become_months_and_be_kept(
    real: stripe.StripeClient,
    clock: stripe.test_helpers.TestClock,
    customer: str,
    organization: Organization,
) -> None:
    start(real, organization, customer, plans.PRO, "year")
    pro = plans.named(plans.PRO)
    account = account_of(organization)
    assert account.period_end and account.renews_at and account.period_end < account.renews_at

    subscriptions.change(organization=organization, plan=pro, interval="month", actor=None)
    account = account_of(organization)
    assert (account.ends_at, account.next_interval) == (account.renews_at, "month")

    subscriptions.keep(organization=organization, actor=None)
    account = account_of(organization)
    assert (account.ends_at, account.next_plan) == (None, None)


def _owe(organization: Organization, quantity: int) -> None:
    """Report overage, and wait until Stripe's meter counts it."""
    account = account_of(organization)
    assert account.period_start
    now = timezone.now()
    MeterReport.objects.create(
        organization=organization,
        hour=now.replace(minute=0, second=0, microsecond=0),
        sequence=0,
        quantity=quantity,
        identifier=f"test:{organization.uid}:{now.timestamp():.0f}",
        stripe_customer=account.stripe_customer,
        stripe_subscription=account.stripe_subscription,
        period_start=account.period_start,
        timestamp=now,
    )
    metering.flush(organization)
    meter = catalogue.meter()
    assert meter
    minute = int(now.timestamp()) // 60 * 60
    counted: Any = {
        "customer": account.stripe_customer,
        "start_time": minute - 600,
        "end_time": minute + 600,
    }
    eventually(lambda: gateway.get_stripe().v1.billing.meters.event_summaries.list(meter.id, counted).data)
