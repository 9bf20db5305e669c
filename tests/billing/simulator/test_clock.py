import time

import pytest
import stripe

from tests.billing.simulator.conftest import DAY, Receiver, Shop, invoices
from tests.billing.simulator_process import SimulatorProcess


def test_time_goes_forward_only(simulator: SimulatorProcess) -> None:
    before = simulator.now

    after = simulator.advance(3600)
    back = simulator.http.post("/simulator/clock/advance", json={"to": before})

    assert 3600 <= after - before <= 3605
    assert back.status_code == 400
    assert simulator.now >= after


@pytest.mark.parametrize(
    "given", [{}, {"seconds": -1}, {"seconds": "10"}, {"to": 1}, {"seconds": 10**10}, []]
)
def test_a_wrong_advance_is_refused(simulator: SimulatorProcess, given: object) -> None:
    assert simulator.http.post("/simulator/clock/advance", json=given).status_code == 400


def test_events_of_what_falls_due_bear_its_own_time(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})
    end = subscription["items"]["data"][0]["current_period_end"]

    simulator.advance(to=end + 10 * DAY)

    renewal = invoices(client, customer)[1]
    assert renewal.created == end
    assert renewal.status_transitions.paid_at == end + 3600
    (paid,) = [
        event
        for event in client.v1.events.list({"type": "invoice.paid", "limit": 100}).data
        if event.data.object["id"] == renewal.id
    ]
    assert paid.created == end + 3600


def test_a_year_passes_in_order(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})

    simulator.advance(to=subscription.created + 370 * DAY)

    made = [invoice.created for invoice in invoices(client, customer)]
    assert len(made) == 13
    assert made == sorted(made)


def test_signatures_are_of_real_time_whatever_the_clock_says(
    simulator: SimulatorProcess, client: stripe.StripeClient, receiver: Receiver
) -> None:
    endpoint = client.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["customer.created"]}
    )
    simulator.advance(100 * DAY)

    client.v1.customers.create({"email": "olivia@example.com"})
    simulator.settle()
    client.v1.webhook_endpoints.delete(endpoint.id)

    headers, body = receiver.arrivals[0]
    stripe.Webhook.construct_event(body, headers["Stripe-Signature"], endpoint.secret or "", 300)
    assert receiver.events[0]["created"] > time.time() + 99 * DAY


def test_a_receiver_hears_of_a_draft_before_it_is_final(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, receiver: Receiver
) -> None:
    """The clock waits for it: usage that is reported on `invoice.created` gets onto the invoice."""
    endpoint = client.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["invoice.created", "invoice.finalized"]}
    )
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.credit}]})

    simulator.advance(32 * DAY)
    client.v1.webhook_endpoints.delete(endpoint.id)

    own = [event["type"] for event in receiver.events if event["data"]["object"]["customer"] == customer]
    assert own == ["invoice.created", "invoice.finalized"]


def test_events_are_kept_for_thirty_days(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str
) -> None:
    event = client.v1.events.list({"type": "payment_method.attached", "limit": 1}).data[0]

    simulator.advance(31 * DAY)

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.events.retrieve(event.id)
