import httpx
import pytest
import stripe

from tests.billing.simulator.conftest import Shop, invoices
from tests.billing.simulator_process import CONFIRMED_ONCE, DECLINED, FAILS_LATER, GOOD, SimulatorProcess


@pytest.fixture
def configuration(client: stripe.StripeClient, shop: Shop) -> str:
    return client.v1.billing_portal.configurations.create(
        {
            "features": {
                "payment_method_update": {"enabled": True},
                "invoice_history": {"enabled": True},
                "subscription_cancel": {"enabled": True, "mode": "immediately"},
                "customer_update": {
                    "enabled": True,
                    "allowed_updates": ["name", "email", "address", "tax_id"],
                },
                "subscription_update": {
                    "enabled": True,
                    "default_allowed_updates": ["price"],
                    "proration_behavior": "always_invoice",
                    "products": [{"product": shop.product, "prices": [shop.small, shop.pro]}],
                },
            },
            "default_return_url": "http://127.0.0.1:9/billing",
        }
    ).id


@pytest.fixture
def subscription(client: stripe.StripeClient, shop: Shop, customer: str) -> stripe.Subscription:
    return client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})


@pytest.fixture
def portal(client: stripe.StripeClient, customer: str, configuration: str) -> str:
    return client.v1.billing_portal.sessions.create(
        {"customer": customer, "configuration": configuration}
    ).url


def show(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


def test_a_price_is_called_as_its_product(
    client: stripe.StripeClient, customer: str, configuration: str, shop: Shop
) -> None:
    client.v1.prices.update(shop.small, {"nickname": "small_monthly"})
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})
    name = client.v1.products.retrieve(shop.product).name
    opened = client.v1.billing_portal.sessions.create({"customer": customer, "configuration": configuration})

    page = show(opened.url).text

    assert f"<td>{name}</td>" in page
    assert "small_monthly" not in page


def test_the_portal_shows_plan_cards_and_invoices(
    client: stripe.StripeClient, customer: str, subscription: stripe.Subscription, portal: str
) -> None:
    page = show(portal).text

    number = invoices(client, customer)[0].number
    for text in (
        "$19.00 / month",
        "Visa ending in 4242",
        str(number),
        "http://127.0.0.1:9/billing",
        "no money moves",
    ):
        assert text in page


def test_canceling_ends_the_subscription_at_once(
    simulator: SimulatorProcess, client: stripe.StripeClient, subscription: stripe.Subscription, portal: str
) -> None:
    simulator.post(f"{portal}/cancel", subscription=subscription.id)

    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"


def test_switching_the_plan_charges_the_difference(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    subscription: stripe.Subscription,
    portal: str,
) -> None:
    assert "$780.00 now" in show(portal).text

    simulator.post(f"{portal}/update", subscription=subscription.id, price=shop.pro)

    changed = client.v1.subscriptions.retrieve(subscription.id)
    assert changed["items"]["data"][0]["price"]["id"] == shop.pro
    assert abs(invoices(client, customer)[-1].amount_paid - 78_000) <= 5


def test_a_plan_that_is_not_offered_is_refused(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    subscription: stripe.Subscription,
    portal: str,
) -> None:
    page = simulator.post(f"{portal}/update", subscription=subscription.id, price=shop.pro_yearly)

    assert "That plan is not offered here." in page.text


def test_cards_are_added_made_default_and_removed(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    customer: str,
    subscription: stripe.Subscription,
    portal: str,
) -> None:
    (old,) = client.v1.customers.payment_methods.list(customer).data
    simulator.post(f"{portal}/add_card", card=FAILS_LATER)
    new = client.v1.customers.payment_methods.list(customer).data[0]

    simulator.post(f"{portal}/make_default", method=new.id)
    simulator.post(f"{portal}/remove_card", method=old.id)

    holder = client.v1.customers.retrieve(customer)
    assert holder.invoice_settings is not None
    assert holder.invoice_settings.default_payment_method == new.id
    assert client.v1.subscriptions.retrieve(subscription.id).default_payment_method == new.id
    assert [method.id for method in client.v1.customers.payment_methods.list(customer).data] == [new.id]


def test_a_declined_card_is_not_added(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str, portal: str
) -> None:
    page = simulator.post(f"{portal}/add_card", card=DECLINED)

    assert page.status_code == 402
    assert len(client.v1.customers.payment_methods.list(customer).data) == 1


def test_a_card_that_asks_is_confirmed_first(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str, portal: str
) -> None:
    asked = simulator.post(f"{portal}/add_card", card=CONFIRMED_ONCE)
    simulator.post(f"{portal}/add_card", card=CONFIRMED_ONCE, confirmation="confirmed")

    assert "Confirm with your bank" in asked.text
    assert len(client.v1.customers.payment_methods.list(customer).data) == 2


def test_billing_information_is_changed_and_tells_its_event(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str, portal: str
) -> None:
    simulator.post(f"{portal}/billing", name="Northwind GmbH", city="Berlin", country="DE")
    simulator.post(f"{portal}/add_tax_id", type="eu_vat", value="DE123456789")

    changed = client.v1.customers.retrieve(customer)
    assert changed.address is not None
    assert (changed.name, changed.address.city) == ("Northwind GmbH", "Berlin")
    assert [tax_id.value for tax_id in client.v1.customers.tax_ids.list(customer).data] == ["DE123456789"]


def test_what_the_configuration_does_not_allow_is_refused(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str, subscription: stripe.Subscription
) -> None:
    bare = client.v1.billing_portal.configurations.create(
        {"features": {"invoice_history": {"enabled": True}}}
    )
    url = client.v1.billing_portal.sessions.create({"customer": customer, "configuration": bare.id}).url

    refused = simulator.post(f"{url}/cancel", subscription=subscription.id)

    assert refused.status_code == 403
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_a_session_reaches_its_own_customer_only(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, portal: str
) -> None:
    other = client.v1.customers.create({"email": "otto@example.com"})
    method = simulator.set_card(other.id, GOOD)
    theirs = client.v1.subscriptions.create({"customer": other.id, "items": [{"price": shop.small}]})

    canceled = simulator.post(f"{portal}/cancel", subscription=theirs.id)
    removed = simulator.post(f"{portal}/remove_card", method=method)

    assert "another customer" in canceled.text
    assert "another customer" in removed.text
    assert client.v1.subscriptions.retrieve(theirs.id).status == "active"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "nonsense"])
def test_a_link_back_is_the_address_of_a_page(
    client: stripe.StripeClient, customer: str, configuration: str, url: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.billing_portal.sessions.create(
            {"customer": customer, "configuration": configuration, "return_url": url}
        )

    assert refused.value.param == "return_url"


def test_the_session_of_a_deleted_customer_has_ended(
    client: stripe.StripeClient, customer: str, portal: str
) -> None:
    client.v1.customers.delete(customer)

    assert show(portal).status_code == 410
