import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from tests.billing.simulator.conftest import Receiver, Shop, types
from tests.billing.simulator_process import SimulatorProcess

Listen = Callable[..., stripe.WebhookEndpoint]


@pytest.fixture
def listen(client: stripe.StripeClient, receiver: Receiver) -> Iterator[Listen]:
    """Make an endpoint for event types, gone after the test."""
    made: list[str] = []

    def make(*enabled: str) -> stripe.WebhookEndpoint:
        params: Any = {"url": receiver.url, "enabled_events": list(enabled)}
        endpoint = client.v1.webhook_endpoints.create(params)
        made.append(endpoint.id)
        return endpoint

    yield make
    for id in made:
        client.v1.webhook_endpoints.delete(id)


def until(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        time.sleep(0.02)
    raise AssertionError("It did not happen within ten seconds")


def test_events_arrive_signed(client: stripe.StripeClient, receiver: Receiver, listen: Listen) -> None:
    endpoint = listen("customer.created")

    made = client.v1.customers.create({"email": "olivia@example.com"})
    until(lambda: bool(receiver.arrivals))

    headers, body = receiver.arrivals[0]
    event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], endpoint.secret or "")
    assert (event.type, event.data.object["id"]) == ("customer.created", made.id)
    assert event.api_version == "2026-08-26.dahlia"
    assert event["request"]["id"].startswith("req_")


def test_the_secret_is_told_once(client: stripe.StripeClient, listen: Listen) -> None:
    endpoint = listen("*")

    assert (endpoint.secret or "").startswith("whsec_")
    assert "secret" not in client.v1.webhook_endpoints.retrieve(endpoint.id)


def test_an_endpoint_hears_only_what_it_asked_for(
    client: stripe.StripeClient, simulator: SimulatorProcess, receiver: Receiver, listen: Listen
) -> None:
    listen("product.updated")

    product = client.v1.products.create({"name": "One"})
    client.v1.products.update(product.id, {"name": "Two"})
    simulator.settle()

    assert types(receiver.events) == ["product.updated"]
    assert receiver.events[0]["data"]["previous_attributes"]["name"] == "One"


def test_a_first_subscription_tells_its_story(
    client: stripe.StripeClient,
    simulator: SimulatorProcess,
    receiver: Receiver,
    listen: Listen,
    shop: Shop,
    customer: str,
) -> None:
    listen("*")

    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.pro}]})
    simulator.settle()

    told = types(receiver.events)
    assert {
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
    } <= set(told)
    updated = [event for event in receiver.events if event["type"] == "customer.subscription.updated"][-1]
    assert updated["data"]["previous_attributes"]["status"] == "incomplete"
    assert updated["data"]["object"]["status"] == "active"


def test_what_is_not_answered_with_2xx_is_sent_again(
    client: stripe.StripeClient, simulator: SimulatorProcess, receiver: Receiver, listen: Listen
) -> None:
    listen("customer.created")
    receiver.answers = [500, 404]

    client.v1.customers.create({"email": "olivia@example.com"})
    until(lambda: len(receiver.arrivals) == 3)

    assert len({event["id"] for event in receiver.events}) == 1
    until(lambda: client.v1.events.retrieve(receiver.events[0]["id"]).pending_webhooks == 0)


def test_an_event_can_be_sent_again(
    client: stripe.StripeClient, simulator: SimulatorProcess, receiver: Receiver, listen: Listen
) -> None:
    listen("customer.created")
    client.v1.customers.create({"email": "olivia@example.com"})
    until(lambda: len(receiver.arrivals) == 1)
    simulator.settle()

    simulator.resend(receiver.events[0]["id"])

    until(lambda: len(receiver.arrivals) == 2)
    assert receiver.events[0]["id"] == receiver.events[1]["id"]


def test_a_disabled_endpoint_hears_nothing(
    client: stripe.StripeClient, simulator: SimulatorProcess, receiver: Receiver, listen: Listen
) -> None:
    endpoint = listen("*")
    client.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})

    client.v1.customers.create({"email": "olivia@example.com"})
    simulator.settle()

    assert receiver.arrivals == []


@pytest.mark.parametrize(
    "url", ["https://example.com/stripe", "http://10.0.0.1/", "ftp://127.0.0.1/", "nonsense"]
)
def test_nothing_leaves_this_machine(client: stripe.StripeClient, url: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})

    assert refused.value.param == "url"


def test_usage_of_an_unknown_customer_is_told_by_a_thin_event(
    client: stripe.StripeClient, receiver: Receiver, shop: Shop
) -> None:
    kind = "v1.billing.meter.error_report_triggered"
    destination = client.v2.core.event_destinations.create(
        {
            "name": "Meter errors",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": [kind],
            "webhook_endpoint": {"url": receiver.url},
            "include": ["webhook_endpoint.signing_secret"],
        }
    )
    event_name = client.v1.billing.meters.retrieve(shop.meter).event_name

    client.v1.billing.meter_events.create(
        {"event_name": event_name, "payload": {"stripe_customer_id": "cus_unknown", "value": "1"}}
    )
    until(lambda: bool(receiver.arrivals))
    client.v2.core.event_destinations.delete(destination.id)

    assert destination.webhook_endpoint is not None
    headers, body = receiver.arrivals[0]
    secret = destination.webhook_endpoint.signing_secret or ""
    notice = client.parse_event_notification(body, headers["Stripe-Signature"], secret)
    assert notice.type == kind
    whole = client.v2.core.events.retrieve(notice.id)
    assert whole.data.reason.error_types[0].code == "meter_event_customer_not_found"  # type: ignore[attr-defined]
