"""Organizations that pay by Stripe: by a simulator that keeps real time, over HTTP and the real SDK."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe
from pytest_django import Settings

from accounts.models import Organization
from billing import catalogue, customers, plans, subscriptions
from billing.gateway import get_stripe
from billing.models import BillingAccount, Interval, MeterReport
from tests.billing.simulator_process import SimulatorProcess

# Nowhere, so that no events come: tests say themselves what was heard of.
AWAY = "https://countinghouse.example.com"


@pytest.fixture(scope="session")
def till_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path_factory.mktemp("till") / "data")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def till(till_process: SimulatorProcess, settings: Settings, db: None) -> SimulatorProcess:
    """Stripe, as the application reaches it, with plans and packs on sale. Its clock is never put on."""
    open_till(till_process, settings)
    return till_process


@pytest.fixture
def own_till(own_simulator: SimulatorProcess, settings: Settings, db: None) -> SimulatorProcess:
    """The same of the test's own: it may put the clock on, stop it and kill it."""
    open_till(own_simulator, settings)
    return own_simulator


def open_till(simulator: SimulatorProcess, settings: Settings) -> None:
    settings.STRIPE_API_BASE = simulator.url
    settings.BASE_URL = AWAY
    catalogue.sync()


def subscribe(
    organization: Organization, till: SimulatorProcess, plan: str = plans.PAY_AS_YOU_GO, interval: str = ""
) -> BillingAccount:
    """Put a good card on file and start a subscription, which bills overage."""
    customer = customers.ensure(organization)
    card = till.set_card(customer)
    params: Any = {
        "customer": customer,
        "items": subscriptions.line_items(plans.named(plan), interval or Interval.MONTH),
        "billing_mode": {"type": "flexible"},
        "default_payment_method": card,
    }
    get_stripe().v1.subscriptions.create(params)
    subscriptions.sync(organization)
    # The simulator knows whole seconds only: its "now" may be up to a second ahead.
    return account_of(organization)


def account_of(organization: Organization) -> BillingAccount:
    return BillingAccount.objects.select_related("plan", "organization").get(organization=organization)


def counted(organization: Organization) -> int:
    """What the meter counts of an organization's credits, of all time."""
    account = account_of(organization)
    summaries = get_stripe().v1.billing.meters.event_summaries.list(
        _meter(), {"customer": account.stripe_customer, "start_time": 0, "end_time": 4_000_000_020}
    )
    return int(sum(summary.aggregated_value for summary in summaries.data))


def lose(report: MeterReport) -> None:
    """Have a report look sent that the meter never got."""
    MeterReport.objects.filter(pk=report.pk).update(
        state=MeterReport.State.SENT, sent_at=report.created_at, attempts=1
    )


def invoices_of(organization: Organization) -> list[stripe.Invoice]:
    customer = account_of(organization).stripe_customer
    return get_stripe().v1.invoices.list({"customer": customer, "limit": 100}).data


def _meter() -> str:
    found = catalogue.meter()
    assert found is not None
    return found.id
