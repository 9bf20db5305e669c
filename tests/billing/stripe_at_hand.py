"""Stripe as tests have it: the simulator over HTTP, with our catalogue in it, and its events brought to a live server.

A folder's conftest makes the fixtures its own.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Organization
from billing import catalogue, checkout, gateway, plans
from billing.models import BillingAccount, CreditPack
from tests.billing.simulator_process import GOOD, SimulatorProcess, session_id

SUCCESS, CANCEL = "https://account.example.com/done", "https://account.example.com/left"


@pytest.fixture
def at_stripe(simulator: SimulatorProcess, settings: Settings) -> Iterator[SimulatorProcess]:
    """Stripe, which knows our catalogue but has no address to send events to."""
    yield from _pointed_at(simulator, settings)


@pytest.fixture
def own_stripe(own_simulator: SimulatorProcess, settings: Settings) -> Iterator[SimulatorProcess]:
    """The same, for one test only, that may stop it."""
    yield from _pointed_at(own_simulator, settings)


def _pointed_at(process: SimulatorProcess, settings: Settings) -> Iterator[SimulatorProcess]:
    settings.STRIPE_API_BASE = process.url
    gateway.set_up()
    yield process
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    gateway.set_up()


@pytest.fixture
def catalogued(at_stripe: SimulatorProcess, db: None, settings: Settings) -> SimulatorProcess:
    settings.BASE_URL = "https://account.example.com"  # which the simulator does not reach
    if catalogue.price_of("pack_1000") is None:
        catalogue.sync()
    return at_stripe


@pytest.fixture
def with_events(
    own_stripe: SimulatorProcess, transactional_db: None, live_server: LiveServer, settings: Settings
) -> SimulatorProcess:
    """Stripe, whose events arrive at a live server."""
    settings.BASE_URL = live_server.url
    catalogue.sync()
    return own_stripe


@pytest.fixture
def client_of(simulator: SimulatorProcess) -> stripe.StripeClient:
    return simulator.client


Subscribe = Callable[..., BillingAccount]


def subscribe(
    process: SimulatorProcess,
    organization: Organization,
    plan: str = plans.PRO,
    interval: str = "month",
    card: str = GOOD,
) -> BillingAccount:
    """Have an organization go through Checkout, and come back."""
    url = checkout.subscribe(
        organization=organization,
        plan=plans.named(plan),
        interval=interval,
        actor=None,
        success_url=SUCCESS,
        cancel_url=CANCEL,
    )
    came_back(process, organization, url, card)
    return account_of(organization)


def buy(process: SimulatorProcess, organization: Organization, pack: str = "1000", card: str = GOOD) -> str:
    """Have an organization buy a pack, and come back. Returns the session's id."""
    url = checkout.buy(
        organization=organization,
        pack=CreditPack.objects.get(slug=pack),
        actor=None,
        success_url=SUCCESS,
        cancel_url=CANCEL,
    )
    return came_back(process, organization, url, card)


def came_back(process: SimulatorProcess, organization: Organization, url: str, card: str = GOOD) -> str:
    session = session_id(process.complete_checkout(url, card))
    assert checkout.returned(organization=organization, session_id=session) == "complete"
    return session


def account_of(organization: Organization) -> BillingAccount:
    return BillingAccount.objects.select_related("plan", "next_plan", "organization").get(pk=organization.pk)


def subscriptions_of(process: SimulatorProcess, organization: Organization) -> list[Any]:
    """All subscriptions of an organization at Stripe, ended ones too, the oldest first."""
    customer = account_of(organization).stripe_customer
    found = process.client.v1.subscriptions.list({"customer": customer, "status": "all", "limit": 100})
    return found.data[::-1]
