import contextlib
import threading

import httpx
import stripe

from tests.billing.simulator.conftest import DAY, Receiver, open_shop
from tests.billing.simulator_process import SimulatorProcess


def test_everything_is_still_there_after_a_restart(own_simulator: SimulatorProcess) -> None:
    client = own_simulator.client
    shop = open_shop(client)
    buyer = client.v1.customers.create({"email": "olivia@example.com"})
    own_simulator.set_card(buyer.id)
    subscription = client.v1.subscriptions.create({"customer": buyer.id, "items": [{"price": shop.pro}]})
    later = own_simulator.advance(40 * DAY)

    own_simulator.stop()
    own_simulator.start()

    client = own_simulator.client
    assert own_simulator.now >= later
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert len(client.v1.invoices.list({"customer": buyer.id}).data) == 2


def test_what_was_answered_survives_a_kill(own_simulator: SimulatorProcess) -> None:
    """Customers are made from several threads until the process is killed: each that was answered is there."""
    client = own_simulator.client
    answered: list[str] = []

    def make() -> None:
        try:
            while len(answered) < 400:
                answered.append(client.v1.customers.create({"email": "olivia@example.com"}).id)
        except stripe.APIConnectionError:
            pass

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 40:
        threads[0].join(0.01)

    own_simulator.kill()
    for thread in threads:
        thread.join()
    own_simulator.start()

    client = own_simulator.client
    found = {customer.id for customer in client.v1.customers.list({"limit": 100}).auto_paging_iter()}
    told = client.v1.events.list({"type": "customer.created", "limit": 100}).auto_paging_iter()
    assert set(answered) <= found
    assert {event.data.object["id"] for event in told} == found


def test_an_event_that_was_not_delivered_is_delivered_after_a_kill(
    own_simulator: SimulatorProcess, receiver: Receiver
) -> None:
    receiver.answers = [500]
    client = own_simulator.client
    client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created"]})
    client.v1.customers.create({"email": "olivia@example.com"})
    own_simulator.settle()

    own_simulator.kill()
    before = len(receiver.arrivals)
    own_simulator.start()

    own_simulator.advance(1)
    for _ in range(200):
        if own_simulator.deliveries()[0]["state"] == "delivered":
            break
        threading.Event().wait(0.05)
    assert len(receiver.arrivals) == before + 1
    assert len({event["id"] for event in receiver.events}) == 1


def test_an_idempotency_key_is_remembered_over_a_restart(own_simulator: SimulatorProcess) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "order-1"}
    first = own_simulator.client.v1.customers.create({"email": "olivia@example.com"}, options)

    own_simulator.stop()
    own_simulator.start()

    second = own_simulator.client.v1.customers.create({"email": "olivia@example.com"}, options)
    assert first.id == second.id


def test_requests_at_once_do_not_lose_each_other(own_simulator: SimulatorProcess) -> None:
    client = own_simulator.client
    shop = open_shop(client)
    buyer = client.v1.customers.create({"email": "olivia@example.com"})
    event_name = client.v1.billing.meters.retrieve(shop.meter).event_name

    def report(thread: int) -> None:
        for number in range(25):
            client.v1.billing.meter_events.create(
                {
                    "event_name": event_name,
                    "identifier": f"{thread}-{number}",
                    "payload": {"stripe_customer_id": buyer.id, "value": "1"},
                }
            )

    threads = [threading.Thread(target=report, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    now = own_simulator.now
    start, end = now - now % 60 - 3600, now - now % 60 + 3600
    (summary,) = client.v1.billing.meters.event_summaries.list(
        shop.meter, {"customer": buyer.id, "start_time": start, "end_time": end}
    ).data
    assert summary.aggregated_value == 100


def test_a_kill_while_time_passes_bills_nothing_twice_and_forgets_nothing(
    own_simulator: SimulatorProcess,
) -> None:
    client = own_simulator.client
    shop = open_shop(client)
    buyers = [client.v1.customers.create({"email": "olivia@example.com"}).id for _ in range(4)]
    for buyer in buyers:
        own_simulator.set_card(buyer)
        client.v1.subscriptions.create({"customer": buyer, "items": [{"price": shop.small}]})
    end = own_simulator.now + 1_000 * DAY

    def pass_time() -> None:
        with contextlib.suppress(httpx.HTTPError):
            own_simulator.advance(to=end)

    passing = threading.Thread(target=pass_time)
    passing.start()
    passing.join(0.3)
    own_simulator.kill()
    passing.join()
    own_simulator.start()
    assert own_simulator.now < end
    own_simulator.advance(to=end)

    client = own_simulator.client
    numbers = []
    for buyer in buyers:
        made = client.v1.invoices.list({"customer": buyer, "limit": 100}).data
        periods = sorted(
            (line.period.start, line.period.end) for invoice in made for line in invoice.lines.data
        )
        assert [start for start, _ in periods[1:]] == [end for _, end in periods[:-1]]
        assert periods[-1][0] <= end < periods[-1][1]
        assert {invoice.status for invoice in made[1:]} == {"paid"}
        charges = client.v1.charges.list({"customer": buyer, "limit": 100}).data
        assert len(charges) == len([invoice for invoice in made if invoice.status == "paid"])
        numbers += [invoice.number for invoice in made if invoice.number]
    assert len(set(numbers)) == len(numbers)
