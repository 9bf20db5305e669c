from collections.abc import Iterator

import pytest
import stripe

from tests.billing.simulator.conftest import DAY, Shop, invoices
from tests.billing.simulator_process import CONFIRMED_ALWAYS, CONFIRMED_ONCE, FAILS_LATER, SimulatorProcess


@pytest.fixture
def failing(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> stripe.Subscription:
    """A subscription whose renewal has just failed."""
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.pro}]})
    simulator.fail_payments(customer)
    simulator.advance(to=subscription["items"]["data"][0]["current_period_end"] + 3700)
    return client.v1.subscriptions.retrieve(subscription.id)


@pytest.fixture
def settings(simulator: SimulatorProcess) -> Iterator[SimulatorProcess]:
    yield simulator
    simulator.set(after_last_retry="cancel")


def test_a_failed_renewal_is_past_due_and_tried_again_in_three_days(
    client: stripe.StripeClient, customer: str, failing: stripe.Subscription
) -> None:
    invoice = invoices(client, customer)[-1]

    assert failing.status == "past_due"
    assert (invoice.status, invoice.attempt_count) == ("open", 1)
    assert invoice.next_payment_attempt is not None
    assert invoice.status_transitions.finalized_at is not None
    assert invoice.next_payment_attempt - invoice.status_transitions.finalized_at == 3 * DAY
    assert client.v1.customers.retrieve(customer).delinquent is True
    (charge,) = [
        charge for charge in client.v1.charges.list({"customer": customer}).data if charge.status == "failed"
    ]
    assert charge.failure_code == "card_declined"


def test_a_retry_with_a_good_card_recovers(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str, failing: stripe.Subscription
) -> None:
    simulator.set_card(customer)

    simulator.advance(3 * DAY)

    assert client.v1.subscriptions.retrieve(failing.id).status == "active"
    assert invoices(client, customer)[-1].status == "paid"
    assert client.v1.customers.retrieve(customer).delinquent is False


def test_paying_the_hosted_invoice_recovers(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str, failing: stripe.Subscription
) -> None:
    invoice = invoices(client, customer)[-1]

    page = simulator.http.get(invoice.hosted_invoice_url or "")
    paid = simulator.post(f"{invoice.hosted_invoice_url}/pay", card="4242424242424242")

    assert "Pay $799.00" in page.text
    assert paid.status_code == 303
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"
    assert client.v1.subscriptions.retrieve(failing.id).status == "active"


def test_after_the_last_retry_the_subscription_is_canceled(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str, failing: stripe.Subscription
) -> None:
    simulator.advance(3 * DAY + 5 * DAY)
    before = client.v1.subscriptions.retrieve(failing.id).status

    simulator.advance(7 * DAY)

    ended = client.v1.subscriptions.retrieve(failing.id)
    invoice = invoices(client, customer)[-1]
    assert (before, ended.status) == ("past_due", "canceled")
    assert ended.cancellation_details is not None
    assert ended.cancellation_details.reason == "payment_failed"
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("open", 4, None)


def test_after_the_last_retry_it_may_be_unpaid_and_recover(
    settings: SimulatorProcess, client: stripe.StripeClient, customer: str, failing: stripe.Subscription
) -> None:
    settings.set(after_last_retry="unpaid")
    settings.advance(15 * DAY + 60)
    unpaid = client.v1.subscriptions.retrieve(failing.id).status

    settings.set_card(customer)
    client.v1.invoices.pay(invoices(client, customer)[-1].id)

    assert unpaid == "unpaid"
    assert client.v1.subscriptions.retrieve(failing.id).status == "active"


def test_renewals_of_an_unpaid_subscription_stay_drafts(
    settings: SimulatorProcess, client: stripe.StripeClient, customer: str, failing: stripe.Subscription
) -> None:
    settings.set(after_last_retry="unpaid")

    settings.advance(33 * DAY)

    assert [invoice.status for invoice in invoices(client, customer)] == ["paid", "open", "draft"]


def test_paying_with_a_card_that_fails_is_a_card_error_and_leaves_its_trace(
    client: stripe.StripeClient, customer: str, failing: stripe.Subscription
) -> None:
    invoice = invoices(client, customer)[-1]

    with pytest.raises(stripe.CardError) as declined:
        client.v1.invoices.pay(invoice.id)

    assert (declined.value.http_status, declined.value.code) == (402, "card_declined")
    assert client.v1.invoices.retrieve(invoice.id).attempt_count == 2


def test_a_first_payment_that_fails_leaves_it_incomplete_and_then_expired(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop
) -> None:
    buyer = client.v1.customers.create({"email": "mia@example.com"})
    simulator.set_card(buyer.id, FAILS_LATER)
    subscription = client.v1.subscriptions.create({"customer": buyer.id, "items": [{"price": shop.pro}]})

    simulator.advance(23 * 3600)

    assert subscription.status == "incomplete"
    assert client.v1.subscriptions.retrieve(subscription.id).status == "incomplete_expired"
    assert invoices(client, buyer.id)[0].status == "void"


def test_an_incomplete_subscription_becomes_active_when_its_invoice_is_paid(
    client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    subscription = client.v1.subscriptions.create(
        {
            "customer": customer,
            "items": [{"price": shop.pro}],
            "payment_behavior": "default_incomplete",
            "expand": ["latest_invoice.confirmation_secret"],
        }
    )
    assert subscription.status == "incomplete"
    assert isinstance(subscription.latest_invoice, stripe.Invoice)

    client.v1.invoices.pay(subscription.latest_invoice.id)

    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_a_subscription_without_a_card_is_refused(client: stripe.StripeClient, shop: Shop) -> None:
    buyer = client.v1.customers.create({"email": "mia@example.com"})

    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        client.v1.subscriptions.create({"customer": buyer.id, "items": [{"price": shop.pro}]})

    assert client.v1.subscriptions.list({"customer": buyer.id, "status": "all"}).data == []


def test_an_upgrade_that_must_be_paid_changes_nothing_if_it_is_not(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})
    simulator.fail_payments(customer)
    item = subscription["items"]["data"][0]

    with pytest.raises(stripe.CardError):
        client.v1.subscriptions.update(
            subscription.id,
            {
                "items": [{"id": item["id"], "price": shop.pro}],
                "proration_behavior": "always_invoice",
                "payment_behavior": "error_if_incomplete",
            },
        )

    kept = client.v1.subscriptions.retrieve(subscription.id)
    assert (kept.status, kept["items"]["data"][0]["price"]["id"]) == ("active", shop.small)
    assert len(invoices(client, customer)) == 1


def test_a_renewal_that_has_to_be_confirmed_waits_for_the_hosted_page(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.pro}]})
    simulator.set_card(customer, CONFIRMED_ALWAYS)
    simulator.advance(to=subscription["items"]["data"][0]["current_period_end"] + 3700)
    invoice = invoices(client, customer)[-1]

    asked = simulator.post(f"{invoice.hosted_invoice_url}/pay")
    simulator.post(f"{invoice.hosted_invoice_url}/pay", confirmation="confirmed")

    assert "Confirm with your bank" in asked.text
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"
    needed = client.v1.events.list({"type": "invoice.payment_action_required", "limit": 1}).data[0]
    assert needed.data.object["id"] == invoice.id


def test_a_payment_off_session_with_a_card_on_file(
    client: stripe.StripeClient, simulator: SimulatorProcess, customer: str
) -> None:
    method = client.v1.customers.payment_methods.list(customer).data[0].id
    charge = {"amount": 5_000, "currency": "usd", "customer": customer, "confirm": True, "off_session": True}

    paid = client.v1.payment_intents.create({**charge, "payment_method": method})  # type: ignore[typeddict-item]
    failing = simulator.fail_payments(customer)
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.create({**charge, "payment_method": failing})  # type: ignore[typeddict-item]

    assert (paid.status, paid.amount_received) == ("succeeded", 5_000)
    assert declined.value.error is not None
    assert declined.value.error.payment_intent is not None
    assert declined.value.error.payment_intent.status == "requires_payment_method"


def test_a_payment_on_session_may_ask_to_be_confirmed(
    client: stripe.StripeClient, simulator: SimulatorProcess, customer: str
) -> None:
    method = simulator.set_card(customer, CONFIRMED_ONCE)
    intent = client.v1.payment_intents.create(
        {"amount": 700, "currency": "usd", "customer": customer, "confirm": True, "payment_method": method}
    )
    assert intent.status == "requires_action"
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None

    simulator.post(intent.next_action.redirect_to_url.url or "", confirmation="confirmed")

    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"


def test_cards_that_are_declined_cannot_be_saved(client: stripe.StripeClient, customer: str) -> None:
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_methods.attach("pm_card_chargeDeclined", {"customer": customer})

    assert declined.value.code == "card_declined"
    assert len(client.v1.customers.payment_methods.list(customer).data) == 1
