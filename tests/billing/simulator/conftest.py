"""A shop in the simulator, and customers of it. Everything goes through the real SDK, over HTTP."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe

from tests.billing.simulator_process import SimulatorProcess, own_simulator, simulator

__all__ = ["own_simulator", "simulator"]

DAY = 86_400


@dataclass(frozen=True)
class Shop:
    """Prices: a small plan at $19, Pro at $799 a month and $7,990 a year, a cent for each credit, a pack at $50."""

    product: str
    small: str
    pro: str
    pro_yearly: str
    meter: str
    credit: str
    pack: str


def open_shop(client: stripe.StripeClient) -> Shop:
    product = client.v1.products.create({"name": "Pro"})

    def monthly(amount: int) -> str:
        return client.v1.prices.create(
            {
                "product": product.id,
                "currency": "usd",
                "unit_amount": amount,
                "recurring": {"interval": "month"},
            }
        ).id

    meter = client.v1.billing.meters.create(
        {
            "display_name": "Credits",
            "event_name": f"credits_{product.id}",
            "default_aggregation": {"formula": "sum"},
        }
    )
    return Shop(
        product=product.id,
        small=monthly(1_900),
        pro=monthly(79_900),
        pro_yearly=client.v1.prices.create(
            {
                "product": product.id,
                "currency": "usd",
                "unit_amount": 799_000,
                "recurring": {"interval": "year"},
            }
        ).id,
        meter=meter.id,
        credit=client.v1.prices.create(
            {
                "product_data": {"name": "Credits"},
                "currency": "usd",
                "unit_amount": 1,
                "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
            }
        ).id,
        pack=client.v1.prices.create(
            {"product_data": {"name": "5,000 credits"}, "currency": "usd", "unit_amount": 5_000}
        ).id,
    )


@pytest.fixture(scope="session")
def shop(simulator: SimulatorProcess) -> Shop:
    return open_shop(simulator.client)


@pytest.fixture
def client(simulator: SimulatorProcess) -> stripe.StripeClient:
    return simulator.client


@pytest.fixture
def customer(simulator: SimulatorProcess) -> Iterator[str]:
    """A customer with a good card, gone after the test: no later one waits for renewals of theirs."""
    made = simulator.client.v1.customers.create({"email": "olivia@example.com", "name": "Northwind"})
    simulator.set_card(made.id)
    yield made.id
    if not getattr(simulator.client.v1.customers.retrieve(made.id), "deleted", False):
        simulator.client.v1.customers.delete(made.id)


@pytest.fixture
def use(client: stripe.StripeClient, shop: Shop) -> Callable[..., None]:
    """Report credits used by a customer: `use(customer, 5)`."""
    event_name = client.v1.billing.meters.retrieve(shop.meter).event_name

    def report(customer: str, value: int, *, at: int | None = None, identifier: str | None = None) -> None:
        event: Any = {
            "event_name": event_name,
            "payload": {"stripe_customer_id": customer, "value": str(value)},
        }
        event |= {"timestamp": at} if at is not None else {}
        event |= {"identifier": identifier} if identifier is not None else {}
        client.v1.billing.meter_events.create(event)

    return report


def invoices(client: stripe.StripeClient, customer: str) -> list[stripe.Invoice]:
    """Return a customer's invoices, oldest first."""
    return client.v1.invoices.list({"customer": customer, "limit": 100}).data[::-1]


def amounts(invoice: stripe.Invoice) -> list[int]:
    return [line.amount for line in invoice.lines.data]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


@dataclass
class Receiver:
    """An endpoint on loopback. `answers` are given in turn, then 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    arrivals: list[tuple[dict[str, str], str]] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.arrivals]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            receiver.arrivals.append((dict(self.headers), body))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        receiver.url = f"http://127.0.0.1:{server.server_port}/stripe"
        yield receiver
        server.shutdown()
