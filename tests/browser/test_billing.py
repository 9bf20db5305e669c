"""An owner buys credits, subscribes, changes the plan and cancels, with Stripe's pages as the simulator draws them."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Organization, User
from billing import catalogue
from billing.models import BillingAccount
from tests.billing.simulator_process import SimulatorProcess, own_simulator
from tests.billing.stripe_at_hand import own_stripe
from usage.models import Entitlement

__all__ = ["own_simulator", "own_stripe"]


@pytest.fixture
def stripe_pages(
    own_stripe: SimulatorProcess, live_server: LiveServer, settings: Settings, context: BrowserContext
) -> None:
    """Stripe's own pages, which the browser may open as well."""
    settings.BASE_URL = live_server.url
    settings.DEMO = settings.STRIPE_IS_SIMULATED = True
    catalogue.sync()
    context.route(lambda url: url.startswith(own_stripe.url), lambda route: route.continue_())


def pay(page: Page, button: str) -> None:
    page.get_by_label("Card number").fill("4242 4242 4242 4242")
    page.get_by_role("button", name=button).click()


def test_an_owner_pays_and_cancels(
    stripe_pages: None,
    page: Page,
    organization: Organization,
    owner: User,
    sign_in: Callable[[User], None],
) -> None:
    # The other way to write the plans down, for narrow screens, is hidden as soon as the stylesheet is there.
    compared = page.get_by_role("region", name="Plans compared")
    sign_in(owner)
    page.get_by_role("link", name="Billing").click()

    page.get_by_role("link", name="Buy credits").click()
    page.get_by_role("button", name="Buy 1,000 credits").click()
    pay(page, "Pay")
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    expect(page.get_by_text("1,100", exact=True)).to_be_visible()

    page.get_by_role("link", name="To billing").click()
    page.get_by_role("link", name="Upgrade or downgrade").click()
    compared.get_by_role("link", name="Choose Pro…").click()
    page.get_by_role("button", name="Go to payment of $799.00").click()
    pay(page, "Subscribe")
    page.get_by_role("link", name="To billing").click()
    expect(page.get_by_role("heading", name="Pro", exact=True)).to_be_visible()
    expect(page.get_by_text("$799.00").first).to_be_visible()  # the next invoice, which is fetched later

    page.get_by_role("link", name="Upgrade or downgrade").click()
    compared.get_by_role("link", name="Downgrade…").click()
    page.get_by_role("button", name="Downgrade on").click()
    page.get_by_role("button", name="Stay on Pro").click()
    expect(page.get_by_text("You stay on your plan.")).to_be_visible()

    page.get_by_role("link", name="cancel the subscription…").click()
    page.get_by_label("The organization's name").fill("Northwind")
    page.get_by_role("button", name="Cancel the subscription").click()
    expect(page.get_by_text("Northwind may not call the API now.")).to_be_visible()
    assert not Entitlement.objects.get(organization=organization).may_call
    assert BillingAccount.objects.get(organization=organization).cancelled_at


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_of_billing_is_wider_than_the_screen(
    page: Page,
    organization: Organization,
    owner: User,
    sign_in: Callable[[User], None],
    width: int,
    scheme: str,
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    sign_in(owner)  # who finds the menu open on a wide screen
    page.set_viewport_size({"width": width, "height": 800})

    for path in ("", "plans/", "credits/", "top-up/", "ledger/", "invoices/", "checkout/left/"):
        page.goto(f"/o/{organization.uid}/billing/{path}")
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider == 0, path
