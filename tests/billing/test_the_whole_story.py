"""A customer's whole story over HTTP: our API and Stripe's events at a live server, Stripe's pages and its clock."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pytest_django.live_server_helper import LiveServer

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from billing import checkout, invoices, plans, subscriptions, tasks
from billing.models import CreditPack, Invoice
from tests.billing.conftest import agrees
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import account_of, came_back
from tests.usage.conftest import item

pytestmark = pytest.mark.django_db(transaction=True)

Json = dict[str, Any]


@pytest.fixture
def call(live_server: LiveServer, service_key: tuple[ApiKey, str]) -> Callable[[str, Json], Json]:
    """Ask the gateway API, as the data plane does."""

    def post(path: str, body: Json) -> Json:
        response = httpx.post(
            f"{live_server.url}/api/v1/gateway/{path}",
            json=body,
            headers={"Authorization": f"Bearer {service_key[1]}"},
            trust_env=False,
        )
        assert response.status_code == 200, response.text
        answer: Json = response.json()
        return answer

    return post


def test_from_sign_up_to_the_end(
    with_events: SimulatorProcess,
    organization: Organization,
    owner: User,
    rates: None,
    call: Callable[[str, Json], Json],
) -> None:
    stripe = with_events
    key, secret = keys.create_organization_key(
        organization=organization, name="production", actor=Actor(owner)
    )

    def verdict() -> tuple[str, float | None]:
        answer = call("verify", {"key": secret})
        return answer["code"], answer["credits"]["remaining"]

    def use(name: str, credits: int) -> None:
        now = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        report = {"job_id": name, "api_key_id": key.uid, "type": "Parse", "status": "Completed"}
        usage = [item(name, pages=credits, timestamp=now)]
        call("jobs", {"jobs": [report | {"created_at": now, "usage": usage}]})

    def tick() -> None:
        """Do what the worker does every minute."""
        tasks.catch_up_with_stripe()
        tasks.settle_changed()
        tasks.send_meter_reports()
        tasks.expire_and_renew()
        tasks.recompute_access()
        agrees(organization)

    def end_period() -> None:
        """Let the period end and its invoice be made, completed with usage, finished and charged."""
        ends = account_of(organization).period_end
        assert ends
        stripe.advance(to=int(ends.timestamp()) + 1)
        tick()
        stripe.advance(2 * 3_600)
        tick()

    # 100 free credits, and no more.
    assert verdict() == ("VALID", 100)
    use("free", 100)
    assert verdict() == ("OUT_OF_CREDITS", 0)

    # A pack.
    url = checkout.buy(
        organization=organization,
        pack=CreditPack.objects.get(slug="1000"),
        actor=Actor(owner),
        success_url="https://x.example/",
        cancel_url="https://x.example/",
    )
    came_back(stripe, organization, url)
    assert verdict() == ("VALID", 1_000)

    # Pro, with its included credits.
    url = checkout.subscribe(
        organization=organization,
        plan=plans.named(plans.PRO),
        interval="month",
        actor=Actor(owner),
        success_url="https://x.example/",
        cancel_url="https://x.example/",
    )
    came_back(stripe, organization, url)
    tick()
    assert verdict() == ("VALID", 101_000)
    assert call("verify", {"key": secret})["rate_limit"]["limit"] == 100

    # More than that is overage, and on the invoice with the right lines.
    use("much", 101_500)
    assert verdict() == ("VALID", 0)
    tick()
    end_period()
    invoice = Invoice.objects.filter(organization=organization, reason="subscription_cycle").get()
    assert (invoice.status, invoice.total) == ("paid", 804)
    overage = next(line for line in invoices.lines(invoice) if line.kind == "overage")
    assert (overage.quantity, overage.amount) == (500, 5)
    assert verdict() == ("VALID", 100_000)

    # A payment fails: calls go on for a while, and the payment that follows makes all well.
    customer = account_of(organization).stripe_customer
    stripe.fail_payments(customer)
    end_period()
    assert account_of(organization).subscription_status == "past_due"
    assert verdict()[0] == "VALID"
    stripe.set_card(customer)
    unpaid = Invoice.objects.get(organization=organization, status="open")
    stripe.client.v1.invoices.pay(unpaid.stripe_id)
    stripe.settle()
    tick()
    assert account_of(organization).subscription_status == "active"
    assert verdict() == ("VALID", 100_000)

    # It ends at once.
    subscriptions.cancel(organization=organization, actor=Actor(owner))
    assert verdict()[0] == "SUSPENDED"
    stripe.settle()
    tick()
    assert account_of(organization).subscription_status == "canceled"
    assert verdict()[0] == "SUSPENDED"
