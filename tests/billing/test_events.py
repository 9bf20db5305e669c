"""Stripe's events on their way in: signed by the simulator, taken in by dj-stripe, applied by us."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest
import stripe
from django.db import connection, transaction
from django.utils import timezone
from djstripe.models import Event, WebhookEndpoint
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Organization
from billing import catalogue, checkout, inbox, plans, subscriptions
from billing.models import BillingAccount, CreditGrant, CreditPack, StripeChange
from tests.billing.conftest import agrees
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import CANCEL, SUCCESS, account_of, subscribe
from usage.models import Entitlement


def checked_out(process: SimulatorProcess, organization: Organization, plan: str = plans.PRO) -> None:
    """Have an organization pay in Checkout, and never come back: only events tell of it."""
    url = checkout.subscribe(
        organization=organization,
        plan=plans.named(plan),
        interval="month",
        actor=None,
        success_url=SUCCESS,
        cancel_url=CANCEL,
    )
    process.complete_checkout(url)
    process.settle()


def test_a_subscription_is_heard_of(with_events: SimulatorProcess, organization: Organization) -> None:
    checked_out(with_events, organization)

    account = account_of(organization)
    assert (account.plan.slug, account.subscription_status) == ("pro", "active")
    assert CreditGrant.objects.get(organization=organization, kind="included").amount == 100_000
    assert not StripeChange.objects.exists()
    assert {delivery["state"] for delivery in with_events.deliveries()} == {"delivered"}
    agrees(organization)


def test_a_pack_is_heard_of(with_events: SimulatorProcess, organization: Organization) -> None:
    url = checkout.buy(
        organization=organization,
        pack=CreditPack.objects.get(slug="1000"),
        actor=None,
        success_url=SUCCESS,
        cancel_url=CANCEL,
    )
    with_events.complete_checkout(url)
    with_events.settle()

    assert account_of(organization).balance == Decimal(1_100)


def test_an_event_that_comes_again_changes_nothing(
    with_events: SimulatorProcess, organization: Organization
) -> None:
    checked_out(with_events, organization)
    before = BillingAccount.objects.values().get(pk=organization.pk)

    for delivery in with_events.deliveries():
        with_events.resend(delivery["event"])
    with_events.settle()

    assert BillingAccount.objects.values().get(pk=organization.pk) == before
    agrees(organization)


# ── Posted by hand ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def endpoint(live_server: LiveServer, with_events: SimulatorProcess) -> WebhookEndpoint:
    """The endpoint that Stripe knows, which it does not send to in this test."""
    found = WebhookEndpoint.objects.exclude(id__startswith="ed_").get()
    with_events.client.v1.webhook_endpoints.update(found.id, {"disabled": True})
    return found


def events_of(process: SimulatorProcess) -> list[dict[str, Any]]:
    """Everything that Stripe would have told, the oldest first."""
    found = process.client.v1.events.list({"limit": 100}).auto_paging_iter()
    return [json.loads(str(event)) for event in found if event.type in catalogue.EVENTS][::-1]


def post(endpoint: WebhookEndpoint, event: dict[str, Any], *, age: int = 0, **headers: str) -> int:
    payload = json.dumps(event)
    signature = stripe.WebhookSignature.generate_signature_header(
        payload, endpoint.secret, timestamp=int(time.time()) - age
    )
    headers = {"Stripe-Signature": signature, "Content-Type": "application/json"} | headers
    return httpx.post(endpoint.url, content=payload, headers=headers, timeout=60, trust_env=False).status_code


def test_events_in_the_wrong_order_lead_to_the_same(
    with_events: SimulatorProcess, endpoint: WebhookEndpoint, organization: Organization
) -> None:
    checked_out(with_events, organization)

    statuses = {post(endpoint, event) for event in reversed(events_of(with_events))}

    assert statuses == {200}
    assert account_of(organization).subscription_status == "active"
    assert CreditGrant.objects.filter(organization=organization, kind="included").count() == 1
    agrees(organization)


def test_eight_events_at_once_lead_to_the_same(
    with_events: SimulatorProcess, endpoint: WebhookEndpoint, organization: Organization
) -> None:
    checked_out(with_events, organization)
    customer = account_of(organization).stripe_customer
    about = [event for event in events_of(with_events) if customer in json.dumps(event)][-8:]

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda event: post(endpoint, event), about))
    retried = [post(endpoint, event) for event, status in zip(about, statuses, strict=True) if status != 200]

    assert len(about) == 8
    assert set(retried) <= {200}
    assert account_of(organization).subscription_status == "active"
    assert CreditGrant.objects.filter(organization=organization, kind="included").count() == 1
    assert not StripeChange.objects.exists()
    agrees(organization)


@pytest.mark.parametrize("age", [400, 90_000])
def test_an_old_signature_is_refused(
    age: int, with_events: SimulatorProcess, endpoint: WebhookEndpoint, organization: Organization
) -> None:
    checked_out(with_events, organization)

    statuses = {post(endpoint, event, age=age) for event in events_of(with_events)}

    assert statuses == {400}
    assert not Event.objects.exists()
    assert account_of(organization).subscription_status == ""


def test_a_request_cannot_bring_its_own_secret(
    with_events: SimulatorProcess,
    endpoint: WebhookEndpoint,
    organization: Organization,
    settings: Settings,
) -> None:
    settings.DEBUG = True
    checked_out(with_events, organization)
    [*_, event] = events_of(with_events)
    endpoint.secret = "whsec_of_somebody_else"

    status = post(endpoint, event, **{"X-DjStripe-Webhook-Secret": endpoint.secret})

    assert status == 400
    assert not Event.objects.exists()


def test_a_handler_that_fails_is_run_again_by_the_next_try(
    with_events: SimulatorProcess,
    endpoint: WebhookEndpoint,
    organization: Organization,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked_out(with_events, organization)
    [event] = [each for each in events_of(with_events) if each["type"] == "customer.subscription.created"]
    with monkeypatch.context() as patched:
        patched.setattr(inbox, "concerned", lambda data: 1 / 0)
        assert post(endpoint, event) == 500
    assert account_of(organization).subscription_status == ""

    assert post(endpoint, event) == 200

    assert account_of(organization).subscription_status == "active"


def test_what_stripe_did_not_answer_is_read_by_the_sweep(
    with_events: SimulatorProcess,
    endpoint: WebhookEndpoint,
    organization: Organization,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked_out(with_events, organization)
    [event] = [each for each in events_of(with_events) if each["type"] == "customer.subscription.created"]

    def time_out(*_: Any, **__: Any) -> None:
        raise stripe.APIConnectionError("Read timed out.")

    with monkeypatch.context() as patched:
        patched.setattr(subscriptions, "_read", time_out)
        assert post(endpoint, event) == 200
    change = StripeChange.objects.get()
    assert (change.attempts, change.leased_until) == (1, None)
    assert account_of(organization).subscription_status == ""

    inbox.apply_due(now=change.next_attempt_at)

    assert account_of(organization).subscription_status == "active"
    assert not StripeChange.objects.exists()


def test_an_unknown_customer_is_ignored(with_events: SimulatorProcess, organization: Organization) -> None:
    with_events.client.v1.customers.create({"email": "somebody@example.com"})

    with_events.settle()

    assert {delivery["state"] for delivery in with_events.deliveries()} == {"delivered"}
    assert not StripeChange.objects.exists()


def test_a_card_that_is_detached_is_no_longer_shown(
    with_events: SimulatorProcess, organization: Organization
) -> None:
    checked_out(with_events, organization)
    account = account_of(organization)
    assert account.card == "Visa •••• 4242"
    [method] = with_events.client.v1.payment_methods.list(
        {"customer": account.stripe_customer, "type": "card"}
    ).data

    with_events.client.v1.payment_methods.detach(method.id)
    with_events.settle()

    assert account_of(organization).card == ""


# ── Readings ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_reading_that_began_earlier_is_thrown_away(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization)
    early = subscriptions._read(account)
    catalogued.client.v1.subscriptions.cancel(account.stripe_subscription)
    subscriptions.sync(organization)

    with transaction.atomic():
        subscriptions._apply(organization, early, now=timezone.now())

    assert account_of(organization).subscription_status == "canceled"
    assert not Entitlement.objects.get(organization=organization).may_call


def test_many_readings_at_once_end_with_the_newest(
    with_events: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(with_events, organization)

    def read(number: int) -> None:
        try:
            if number == 4:
                with_events.client.v1.subscriptions.cancel(account.stripe_subscription)
            subscriptions.sync(organization)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))

    assert account_of(organization).subscription_status == "canceled"
    assert not Entitlement.objects.get(organization=organization).may_call
    agrees(organization)
