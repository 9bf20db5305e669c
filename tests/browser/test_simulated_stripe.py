"""The simulator's pages in a real browser, which says by itself where a form comes from."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.billing.simulator_process import CONFIRMED_ONCE, SimulatorProcess, simulator

__all__ = ["simulator"]


@pytest.fixture
def page(browser: Browser, simulator: SimulatorProcess) -> Iterator[Page]:
    context = browser.new_context(base_url=simulator.url)
    yield context.new_page()
    context.close()


@pytest.fixture
def customer(simulator: SimulatorProcess) -> str:
    made = simulator.client.v1.customers.create({"email": "olivia@example.com"})
    simulator.set_card(made.id)
    return made.id


@pytest.fixture
def price(simulator: SimulatorProcess) -> str:
    return simulator.client.v1.prices.create(
        {
            "product_data": {"name": "Pro"},
            "currency": "usd",
            "unit_amount": 79_900,
            "recurring": {"interval": "month"},
        }
    ).id


def test_a_card_is_confirmed_and_the_checkout_leads_back(
    page: Page, simulator: SimulatorProcess, price: str
) -> None:
    session = simulator.client.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": price, "quantity": 1}],
            "success_url": f"{simulator.url}/?paid={{CHECKOUT_SESSION_ID}}",
        }
    )
    page.goto(session.url or "")
    page.get_by_label("E-mail").fill("mia@example.com")
    page.get_by_label("Test card number").fill(CONFIRMED_ONCE)

    page.get_by_role("button", name="Subscribe").click()
    page.get_by_role("button", name="Confirm").click()

    expect(page).to_have_url(f"{simulator.url}/?paid={session.id}")
    assert simulator.client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_a_subscription_is_canceled_in_the_portal(
    page: Page, simulator: SimulatorProcess, customer: str, price: str
) -> None:
    client = simulator.client
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": price}]})
    configuration = client.v1.billing_portal.configurations.create(
        {"features": {"subscription_cancel": {"enabled": True, "mode": "immediately"}}}
    )
    portal = client.v1.billing_portal.sessions.create(
        {"customer": customer, "configuration": configuration.id}
    )
    page.goto(portal.url)

    page.get_by_text("Cancel subscription").first.click()
    page.get_by_role("button", name="Cancel subscription").click()

    expect(page.get_by_text("You have no subscription.")).to_be_visible()
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"


def test_the_clock_is_advanced_on_the_home_page(page: Page, simulator: SimulatorProcess) -> None:
    before = simulator.now
    page.goto("/")

    page.get_by_role("button", name="Advance 1 day").click()

    expect(page.get_by_text("ahead of real time")).to_be_visible()
    assert simulator.now - before >= 86_400
