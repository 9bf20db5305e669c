import httpx
import pytest
import stripe

from tests.billing.simulator.conftest import Shop
from tests.billing.simulator_process import (
    CONFIRMED_ONCE,
    DECLINED,
    FAILS_LATER,
    GOOD,
    SimulatorProcess,
    session_id,
)

SUCCESS = "http://127.0.0.1:9/done?session_id={CHECKOUT_SESSION_ID}"


def offer(client: stripe.StripeClient, shop: Shop, **more: object) -> stripe.checkout.Session:
    params: dict[str, object] = {
        "mode": "subscription",
        "line_items": [{"price": shop.pro, "quantity": 1}, {"price": shop.credit}],
        "success_url": SUCCESS,
        "cancel_url": "http://127.0.0.1:9/back",
        "client_reference_id": "org_1",
        "subscription_data": {"metadata": {"organization": "org_1"}},
    }
    return client.v1.checkout.sessions.create(params | more)  # type: ignore[arg-type]


def test_paying_begins_the_subscription_and_leads_to_the_success_url(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop
) -> None:
    session = offer(client, shop)

    to = simulator.complete_checkout(session.url or "", email="mia@example.com")

    assert session_id(to) == session.id
    paid = client.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["subscription", "customer", "invoice"]}
    )
    assert (paid.status, paid.payment_status, paid.client_reference_id) == ("complete", "paid", "org_1")
    assert isinstance(paid.subscription, stripe.Subscription)
    assert isinstance(paid.customer, stripe.Customer)
    assert isinstance(paid.invoice, stripe.Invoice)
    assert (paid.subscription.status, paid.subscription.metadata["organization"]) == ("active", "org_1")
    assert paid.customer.email == "mia@example.com"
    assert (paid.invoice.status, paid.invoice.total) == ("paid", 79_900)
    assert paid.invoice.billing_reason == "subscription_create"


def test_a_declined_card_changes_nothing_and_another_can_be_tried(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    session = offer(client, shop, customer=customer)

    page = simulator.post(session.url or "", card=DECLINED, email="mia@example.com")

    assert page.status_code == 402
    assert "Your card was declined." in page.text
    assert client.v1.subscriptions.list({"customer": customer}).data == []
    simulator.complete_checkout(session.url or "", GOOD)
    assert len(client.v1.subscriptions.list({"customer": customer}).data) == 1


def test_a_card_that_fails_when_charged_is_told_on_the_page(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    session = offer(client, shop, customer=customer)

    page = simulator.post(session.url or "", card=FAILS_LATER, email="mia@example.com")

    assert page.status_code == 402
    assert client.v1.subscriptions.list({"customer": customer, "status": "all"}).data == []
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"


def test_a_card_that_asks_is_confirmed_on_a_page_of_its_own(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    session = offer(client, shop, customer=customer)

    asked = simulator.post(session.url or "", card=CONFIRMED_ONCE, email="mia@example.com")
    refused = simulator.post(
        session.url or "", card=CONFIRMED_ONCE, email="mia@example.com", confirmation="refused"
    )

    assert "Confirm with your bank" in asked.text
    assert refused.status_code == 402
    simulator.complete_checkout(session.url or "", CONFIRMED_ONCE)
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_a_session_is_paid_once(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    session = offer(client, shop, customer=customer)
    simulator.complete_checkout(session.url or "")

    again = simulator.post(session.url or "", card=GOOD, email="mia@example.com")

    assert "This checkout is complete" in again.text
    assert len(client.v1.subscriptions.list({"customer": customer}).data) == 1


def test_a_session_expires_after_a_day(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop
) -> None:
    session = offer(client, shop)

    simulator.advance(86_400)

    assert client.v1.checkout.sessions.retrieve(session.id).status == "expired"
    assert httpx.get(session.url or "", trust_env=False).status_code == 410


def test_a_session_is_expired_on_demand_but_only_once(client: stripe.StripeClient, shop: Shop) -> None:
    session = offer(client, shop)

    assert client.v1.checkout.sessions.expire(session.id).status == "expired"

    with pytest.raises(stripe.InvalidRequestError, match="status of expired"):
        client.v1.checkout.sessions.expire(session.id)


def test_a_trial_is_not_charged(simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop) -> None:
    session = offer(client, shop, subscription_data={"trial_period_days": 14})

    simulator.complete_checkout(session.url or "")

    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    assert isinstance(done.subscription, stripe.Subscription)
    assert (done.payment_status, done.subscription.status) == ("no_payment_required", "trialing")


def test_metered_prices_only_are_billed_later(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    session = offer(client, shop, customer=customer, line_items=[{"price": shop.credit}])

    simulator.complete_checkout(session.url or "")

    (subscription,) = client.v1.subscriptions.list({"customer": customer}).data
    assert (subscription.status, subscription.latest_invoice) == ("active", None)


def test_setup_saves_a_card(simulator: SimulatorProcess, client: stripe.StripeClient, customer: str) -> None:
    session = client.v1.checkout.sessions.create(
        {"mode": "setup", "currency": "usd", "customer": customer, "success_url": SUCCESS}
    )

    simulator.complete_checkout(session.url or "", FAILS_LATER)

    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent.payment_method"]})
    assert isinstance(done.setup_intent, stripe.SetupIntent)
    assert isinstance(done.setup_intent.payment_method, stripe.PaymentMethod)
    assert (done.setup_intent.status, done.setup_intent.payment_method.customer) == ("succeeded", customer)


def test_a_pack_is_paid_with_an_invoice_and_the_card_kept(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop
) -> None:
    buyer = client.v1.customers.create({"email": "mia@example.com"})
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": buyer.id,
            "line_items": [{"price": shop.pack, "quantity": 3}],
            "success_url": SUCCESS,
            "invoice_creation": {"enabled": True},
            "payment_intent_data": {"setup_future_usage": "off_session", "metadata": {"pack": "5000"}},
            "metadata": {"kind": "pack"},
        }
    )

    simulator.complete_checkout(session.url or "")

    expanded = ["payment_intent", "invoice", "line_items"]
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": expanded})
    assert isinstance(done.payment_intent, stripe.PaymentIntent)
    assert isinstance(done.invoice, stripe.Invoice)
    assert done.metadata is not None
    assert (done.payment_status, done.amount_total, done.metadata["kind"]) == ("paid", 15_000, "pack")
    assert (done.payment_intent.status, done.payment_intent.metadata["pack"]) == ("succeeded", "5000")
    assert (done.invoice.status, done.invoice.total) == ("paid", 15_000)
    assert done.line_items is not None
    assert [item.quantity for item in done.line_items.data] == [3]
    assert len(client.v1.customers.payment_methods.list(buyer.id).data) == 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"line_items": [{"price": "price_unknown", "quantity": 1}]}, "line_items[0][price]"),
        ({"mode": "buy"}, "mode"),
        ({"colour": "red"}, "colour"),
        ({"customer": "cus_unknown"}, "customer"),
    ],
)
def test_a_wrong_session_is_refused(
    client: stripe.StripeClient, shop: Shop, change: dict[str, object], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        offer(client, shop, **change)

    assert (refused.value.http_status, refused.value.param) == (400, param)


@pytest.mark.parametrize(
    ("account", "outcome", "payment_status"),
    [("000123456789", "succeeded", "paid"), ("000111111116", "failed", "unpaid")],
)
def test_a_bank_debit_ends_days_after_the_session_is_complete(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    account: str,
    outcome: str,
    payment_status: str,
) -> None:
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer,
            "line_items": [{"price": shop.pack, "quantity": 1}],
            "payment_method_types": ["card", "us_bank_account"],
            "invoice_creation": {"enabled": True},
            "success_url": SUCCESS,
        }
    )
    simulator.complete_checkout(session.url or "", account)
    at_once = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})

    simulator.advance(4 * 86_400)

    later = client.v1.checkout.sessions.retrieve(session.id)
    assert isinstance(at_once.payment_intent, stripe.PaymentIntent)
    assert (at_once.status, at_once.payment_status) == ("complete", "unpaid")
    assert at_once.payment_intent.status == "processing"
    assert later.payment_status == payment_status
    assert (later.invoice is not None) == (payment_status == "paid")
    told = client.v1.events.list({"type": f"checkout.session.async_payment_{outcome}", "limit": 1}).data[0]
    assert told.data.object["id"] == session.id


def test_a_pack_does_not_touch_the_customers_balance(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    client.v1.customers.update(customer, {"balance": -10_000})
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer,
            "line_items": [{"price": shop.pack, "quantity": 1}],
            "invoice_creation": {"enabled": True},
            "success_url": SUCCESS,
        }
    )

    simulator.complete_checkout(session.url or "")

    paid = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["invoice"]})
    assert isinstance(paid.invoice, stripe.Invoice)
    assert (paid.invoice.amount_paid, paid.invoice.status) == (5_000, "paid")
    assert client.v1.customers.retrieve(customer).balance == -10_000
