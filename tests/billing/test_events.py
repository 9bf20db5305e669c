"""Stripe's events on their way in: made and signed as Stripe does, taken in by dj-stripe, applied by us."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import stripe
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from djstripe.models import Dispute, Event, WebhookEndpoint
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts import organizations
from accounts.models import Organization
from billing import catalogue, checkout, inbox, plans, refunds, subscriptions, tasks
from billing.models import BillingAccount, CreditGrant, CreditPack, StripeChange
from tests.billing.conftest import agrees
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import CANCEL, SUCCESS, account_of, buy, subscribe
from usage.models import Entitlement

Post = Callable[..., int]


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


def events_about(process: SimulatorProcess, organization: Organization) -> list[dict[str, Any]]:
    """All that Stripe has to tell of an organization, the oldest first."""
    customer = account_of(organization).stripe_customer
    found = [json.loads(str(event)) for event in process.client.v1.events.list({"limit": 100}).data]
    return [
        event for event in found[::-1] if event["type"] in catalogue.EVENTS and customer in json.dumps(event)
    ]


def first_about(process: SimulatorProcess, organization: Organization, kind: str) -> dict[str, Any]:
    return next(event for event in events_about(process, organization) if event["type"] == kind)


def signed(event: dict[str, Any], secret: str, age: int = 0) -> tuple[str, str]:
    """An event's body, and Stripe's signature of that age in seconds."""
    payload = json.dumps(event)
    moment = int(time.time()) - age
    return payload, stripe.WebhookSignature.generate_signature_header(payload, secret, timestamp=moment)


# ── One by one, posted by hand ───────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def endpoint(db: None) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(
        id="we_1",
        url="",
        secret="whsec_ours",
        enabled_events=catalogue.EVENTS,
        status="enabled",
        livemode=False,
    )


@pytest.fixture
def post(
    endpoint: WebhookEndpoint, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> Post:
    """Deliver an event as Stripe does, and return the status that we answer."""
    url = f"/stripe/webhook/{endpoint.djstripe_uuid}/"
    client = Client(raise_request_exception=False)

    def deliver(event: dict[str, Any], *, secret: str = "whsec_ours", age: int = 0, **headers: str) -> int:
        payload, signature = signed(event, secret, age)
        with django_capture_on_commit_callbacks(execute=True):
            response = client.post(
                url,
                payload,
                content_type="application/json",
                headers={"Stripe-Signature": signature} | headers,
            )
        return response.status_code

    return deliver


def test_an_event_that_comes_again_changes_nothing(
    catalogued: SimulatorProcess, organization: Organization, post: Post
) -> None:
    checked_out(catalogued, organization)
    events = events_about(catalogued, organization)
    first = {post(event) for event in events}
    before = BillingAccount.objects.values().get(pk=organization.pk)

    again = {post(event) for event in events}

    assert first == again == {200}
    assert BillingAccount.objects.values().get(pk=organization.pk) == before
    assert before["subscription_status"] == "active"
    agrees(organization)


def test_events_in_the_wrong_order_lead_to_the_same(
    catalogued: SimulatorProcess, organization: Organization, post: Post
) -> None:
    checked_out(catalogued, organization)
    events = events_about(catalogued, organization)

    statuses = {post(event) for event in reversed(events)}

    assert statuses == {200}
    assert account_of(organization).subscription_status == "active"
    assert CreditGrant.objects.filter(organization=organization, kind="included").count() == 1
    assert not StripeChange.objects.exists()
    agrees(organization)


def test_old_news_of_a_subscription_that_has_ended_revive_nothing(
    catalogued: SimulatorProcess, organization: Organization, post: Post
) -> None:
    account = subscribe(catalogued, organization)
    started = first_about(catalogued, organization, "customer.subscription.updated")
    catalogued.client.v1.subscriptions.cancel(account.stripe_subscription)
    post(first_about(catalogued, organization, "customer.subscription.deleted"))

    post(started)

    assert account_of(organization).subscription_status == "canceled"
    assert not Entitlement.objects.get(organization=organization).may_call


def test_a_payment_that_only_its_invoice_tells_of_ends_the_grace(
    catalogued: SimulatorProcess, organization: Organization, post: Post
) -> None:
    account = subscribe(catalogued, organization)
    catalogued.fail_payments(account.stripe_customer)
    catalogued.advance(32 * 86_400)
    subscriptions.sync(organization)
    assert account_of(organization).subscription_status == "past_due"
    catalogued.set_card(account.stripe_customer)
    [owed] = catalogued.client.v1.invoices.list({"customer": account.stripe_customer, "status": "open"}).data
    catalogued.client.v1.invoices.pay(owed.id)
    events = events_about(catalogued, organization)
    paid = next(event for event in events[::-1] if event["type"] == "invoice.paid")

    assert post(paid) == 200

    assert account_of(organization).subscription_status == "active"
    assert Entitlement.objects.get(organization=organization).may_call


def test_a_dispute_takes_the_credits_of_its_pack_and_brings_them_again_if_it_is_won(
    catalogued: SimulatorProcess, organization: Organization, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(catalogued, organization)
    customer = account_of(organization).stripe_customer
    [charge] = catalogued.client.v1.charges.list({"customer": customer}).data
    dispute: dict[str, Any] = {}
    # The simulator has no disputes.
    monkeypatch.setattr(
        Dispute, "api_retrieve", lambda self, **_: stripe.Dispute.construct_from(dispute, None)
    )
    monkeypatch.setattr(refunds, "_disputes", lambda charge: [SimpleNamespace(**dispute)])
    remaining = []

    for number, status in enumerate(("needs_response", "won")):
        dispute |= {
            "id": "du_1",
            "object": "dispute",
            "amount": charge.amount,
            "balance_transactions": [],
            "charge": charge.id,
            "created": charge.created,
            "currency": "usd",
            "livemode": False,
            "metadata": {},
            "payment_intent": charge.payment_intent,
            "reason": "fraudulent",
            "status": status,
        }
        kind = "charge.dispute.created" if status == "needs_response" else "charge.dispute.closed"
        event = first_about(catalogued, organization, "invoice.paid")
        assert post(event | {"id": f"evt_dispute_{number}", "type": kind, "data": {"object": dispute}}) == 200
        remaining.append(Entitlement.objects.get(organization=organization).credits_remaining)

    assert remaining == [100, 1_100]
    agrees(organization)


@pytest.mark.parametrize("age", [400, 90_000])
def test_an_old_signature_is_refused(
    age: int, catalogued: SimulatorProcess, organization: Organization, post: Post
) -> None:
    checked_out(catalogued, organization)

    statuses = {post(event, age=age) for event in events_about(catalogued, organization)}

    assert statuses == {400}
    assert not Event.objects.exists()
    assert account_of(organization).subscription_status == ""


@pytest.mark.parametrize("debug", [False, True])
def test_a_request_cannot_bring_its_own_secret(
    debug: bool, catalogued: SimulatorProcess, organization: Organization, post: Post, settings: Settings
) -> None:
    settings.DEBUG = debug
    checked_out(catalogued, organization)
    event = first_about(catalogued, organization, "customer.subscription.created")
    secret = "whsec_of_somebody_else"

    status = post(event, secret=secret, **{"X-DjStripe-Webhook-Secret": secret})

    assert status == 400
    assert not Event.objects.exists()


def test_a_handler_that_fails_is_run_again_by_the_next_try(
    catalogued: SimulatorProcess, organization: Organization, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked_out(catalogued, organization)
    event = first_about(catalogued, organization, "customer.subscription.created")
    with monkeypatch.context() as patched:
        patched.setattr(inbox, "concerned", lambda data: 1 / 0)
        failed = post(event)
    between = account_of(organization).subscription_status

    done = post(event)

    assert (failed, between) == (500, "")
    assert (done, account_of(organization).subscription_status) == (200, "active")


def test_what_stripe_did_not_answer_is_read_by_the_sweep(
    catalogued: SimulatorProcess, organization: Organization, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked_out(catalogued, organization)
    event = first_about(catalogued, organization, "customer.subscription.created")

    def time_out(*_: Any, **__: Any) -> None:
        raise stripe.APIConnectionError("Read timed out.")  # type: ignore[no-untyped-call]

    with monkeypatch.context() as patched:
        patched.setattr(subscriptions, "_read", time_out)
        status = post(event)
    change = StripeChange.objects.get()
    between = account_of(organization).subscription_status

    inbox.apply_due(now=change.next_attempt_at)

    assert (status, between, change.attempts, change.leased_until) == (200, "", 1, None)
    assert account_of(organization).subscription_status == "active"
    assert not StripeChange.objects.exists()


def test_what_is_being_applied_is_left_to_who_applies_it(
    catalogued: SimulatorProcess, organization: Organization, post: Post
) -> None:
    checked_out(catalogued, organization)
    event = first_about(catalogued, organization, "customer.subscription.created")
    customer = account_of(organization).stripe_customer
    StripeChange.objects.create(stripe_id=customer, leased_until=timezone.now() + inbox.LEASE)

    post(event)

    assert StripeChange.objects.get().version == 2
    assert account_of(organization).subscription_status == ""


def test_what_was_left_half_done_is_taken_up_again(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    checked_out(catalogued, organization)
    customer = account_of(organization).stripe_customer
    StripeChange.objects.create(stripe_id=customer, leased_until=timezone.now())

    inbox.apply_due()

    assert account_of(organization).subscription_status == "active"
    assert not StripeChange.objects.exists()


def test_what_changes_while_it_is_applied_is_read_once_more(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[str] = []

    def apply_slowly(stripe_id: str) -> None:
        applied.append(stripe_id)
        if len(applied) == 1:
            inbox.note(stripe_id)

    monkeypatch.setattr(inbox, "_apply", apply_slowly)
    inbox.note("in_1")

    inbox.apply("in_1")

    assert applied == ["in_1", "in_1"]
    assert not StripeChange.objects.exists()


def test_an_unknown_customer_is_ignored(
    catalogued: SimulatorProcess, organization: Organization, post: Post
) -> None:
    buy(catalogued, organization)
    events = events_about(catalogued, organization)
    before = Entitlement.objects.values().get(organization=organization)
    BillingAccount.objects.filter(pk=organization.pk).update(stripe_customer="")

    statuses = {post(event) for event in events}

    assert statuses == {200}
    assert Entitlement.objects.values().get(organization=organization) == before
    assert not StripeChange.objects.exists()


def test_a_card_that_is_detached_is_no_longer_shown(
    catalogued: SimulatorProcess, organization: Organization, post: Post
) -> None:
    account = subscribe(catalogued, organization)
    cards = catalogued.client.v1.payment_methods.list(
        {"customer": account.stripe_customer, "type": "card"}
    ).data
    before = account.card
    for card in cards:
        catalogued.client.v1.payment_methods.detach(card.id)

    post(first_about(catalogued, organization, "payment_method.detached"))

    assert (before, account_of(organization).card) == ("Visa •••• 4242", "")


def test_a_deleted_organization_has_its_subscription_ended(
    catalogued: SimulatorProcess,
    organization: Organization,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscribe(catalogued, organization)
    monkeypatch.setattr(tasks.end_deleted, "delay", tasks.end_deleted)

    with django_capture_on_commit_callbacks(execute=True):
        organizations.delete(organization=organization, actor=None)

    assert account_of(organization).subscription_status == ""


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


# ── All at once, over HTTP ───────────────────────────────────────────────────────────────────────────────────
def test_stripe_tells_of_what_was_bought(with_events: SimulatorProcess, organization: Organization) -> None:
    url = checkout.buy(
        organization=organization,
        pack=CreditPack.objects.get(slug="1000"),
        actor=None,
        success_url=SUCCESS,
        cancel_url=CANCEL,
    )
    with_events.complete_checkout(url)
    checked_out(with_events, organization)
    with_events.settle()

    account = account_of(organization)
    assert (account.plan.slug, account.subscription_status) == ("pro", "active")
    assert account.balance == Decimal(101_100)
    assert not StripeChange.objects.exists()
    assert {delivery["state"] for delivery in with_events.deliveries()} == {"delivered"}
    agrees(organization)


def test_what_was_used_in_a_month_is_on_the_invoice_that_ends_it(
    with_events: SimulatorProcess, organization: Organization, use: Callable[[int], str]
) -> None:
    checked_out(with_events, organization, plans.PAY_AS_YOU_GO)
    with_events.settle()
    use(350)
    first = account_of(organization)
    assert first.period_end

    with_events.advance(to=int(first.period_end.timestamp()) + 2 * 3_600)
    with_events.settle()

    account = account_of(organization)
    assert account.period_start == first.period_end
    [invoice] = with_events.client.v1.invoices.list({"customer": account.stripe_customer}).data
    assert (invoice.status, invoice.total) == ("paid", 250)  # of 350 credits, 100 were free
    agrees(organization)


def test_eight_events_at_once_lead_to_the_same(
    with_events: SimulatorProcess, organization: Organization
) -> None:
    [endpoint] = WebhookEndpoint.objects.exclude(id__startswith=catalogue.DESTINATION)
    with_events.client.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})  # these are ours to send
    checked_out(with_events, organization)
    eight = events_about(with_events, organization)[-8:]

    def deliver(event: dict[str, Any]) -> int:
        payload, signature = signed(event, endpoint.secret)
        headers = {"Stripe-Signature": signature, "Content-Type": "application/json"}
        answer = httpx.post(endpoint.url, content=payload, headers=headers, timeout=60, trust_env=False)
        return answer.status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(deliver, eight))

    assert statuses == [200] * 8
    assert account_of(organization).subscription_status == "active"
    assert CreditGrant.objects.filter(organization=organization, kind="included").count() == 1
    assert not StripeChange.objects.exists()
    agrees(organization)


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
