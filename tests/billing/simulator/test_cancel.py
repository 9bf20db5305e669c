from collections.abc import Callable

import pytest
import stripe

from tests.billing.simulator.conftest import DAY, Shop, amounts, invoices
from tests.billing.simulator_process import SimulatorProcess


@pytest.fixture
def subscription(client: stripe.StripeClient, shop: Shop, customer: str) -> stripe.Subscription:
    return client.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": shop.pro}, {"price": shop.credit}]}
    )


def test_canceling_with_invoice_now_bills_what_was_used(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    customer: str,
    subscription: stripe.Subscription,
    use: Callable[..., None],
) -> None:
    use(customer, 420)
    simulator.advance(5)

    ended = client.v1.subscriptions.cancel(subscription.id, {"invoice_now": True, "prorate": False})

    final = invoices(client, customer)[-1]
    assert (ended.status, ended.latest_invoice) == ("canceled", final.id)
    assert (final.status, amounts(final)) == ("paid", [420])
    deleted = client.v1.events.list({"type": "customer.subscription.deleted", "limit": 1}).data[0]
    assert deleted.data.object["id"] == subscription.id


def test_canceling_without_invoice_now_bills_nothing_more(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    customer: str,
    subscription: stripe.Subscription,
    use: Callable[..., None],
) -> None:
    use(customer, 420)

    client.v1.subscriptions.cancel(subscription.id)
    simulator.advance(40 * DAY)

    assert len(invoices(client, customer)) == 1


def test_canceling_with_proration_gives_back_what_is_left(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str, subscription: stripe.Subscription
) -> None:
    simulator.advance(10 * DAY)

    client.v1.subscriptions.cancel(subscription.id, {"invoice_now": True, "prorate": True})

    credit = invoices(client, customer)[-1]
    assert -79_900 < credit.total < 0
    assert client.v1.customers.retrieve(customer).balance == credit.total


def test_a_canceled_subscription_cannot_be_canceled_again(
    client: stripe.StripeClient, subscription: stripe.Subscription
) -> None:
    client.v1.subscriptions.cancel(subscription.id)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.subscriptions.cancel(subscription.id)

    assert refused.value.http_status == 404


def test_a_planned_end_comes_at_the_end_of_the_period_with_the_usage_until_then(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    customer: str,
    subscription: stripe.Subscription,
    use: Callable[..., None],
) -> None:
    planned = client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    use(customer, 77)

    simulator.advance(to=subscription["items"]["data"][0]["current_period_end"] + 7200)

    assert planned.cancel_at == subscription["items"]["data"][0]["current_period_end"]
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert [invoice.total for invoice in invoices(client, customer)] == [79_900, 77]


def test_a_planned_end_can_be_taken_back(
    simulator: SimulatorProcess, client: stripe.StripeClient, subscription: stripe.Subscription
) -> None:
    client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    kept = client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})

    simulator.advance(to=subscription["items"]["data"][0]["current_period_end"] + 7200)

    assert (kept.cancel_at, kept.canceled_at) == (None, None)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_a_deleted_customer_has_no_subscriptions_and_says_that_it_is_gone(
    client: stripe.StripeClient, customer: str, subscription: stripe.Subscription
) -> None:
    client.v1.customers.delete(customer)

    assert client.v1.customers.retrieve(customer).deleted is True
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"


def test_nothing_more_is_collected_from_a_deleted_customer(
    simulator: SimulatorProcess, client: stripe.StripeClient, customer: str, subscription: stripe.Subscription
) -> None:
    simulator.advance(to=subscription["items"]["data"][0]["current_period_end"] + 60)
    (draft,) = client.v1.invoices.list({"customer": customer, "status": "draft"}).data

    client.v1.customers.delete(customer)
    simulator.advance(2 * DAY)

    assert client.v1.invoices.retrieve(draft.id, {"expand": ["customer"]}).status == "draft"


def test_a_charge_is_refunded_in_parts_but_never_beyond_it(
    client: stripe.StripeClient, customer: str, shop: Shop
) -> None:
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})
    charge = client.v1.charges.list({"customer": customer}).data[0]

    client.v1.refunds.create({"charge": charge.id, "amount": 400})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        client.v1.refunds.create({"charge": charge.id, "amount": 1_600})
    client.v1.refunds.create(
        {"payment_intent": str(charge.payment_intent), "reason": "requested_by_customer"}
    )

    refunded = client.v1.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert (refunded.refunded, refunded.amount_refunded) == (True, 1_900)
    assert refunded.refunds is not None
    assert sorted(refund.amount for refund in refunded.refunds.data) == [400, 1_500]
    with pytest.raises(stripe.InvalidRequestError) as again:
        client.v1.refunds.create({"charge": charge.id})
    assert again.value.code == "charge_already_refunded"


def test_an_open_invoice_can_be_voided_or_given_up(client: stripe.StripeClient, customer: str) -> None:
    made = []
    for _ in range(2):
        client.v1.invoice_items.create({"customer": customer, "amount": 900, "currency": "usd"})
        draft = client.v1.invoices.create({"customer": customer, "pending_invoice_items_behavior": "include"})
        made.append(client.v1.invoices.finalize_invoice(draft.id))

    voided = client.v1.invoices.void_invoice(made[0].id)
    given_up = client.v1.invoices.mark_uncollectible(made[1].id)

    assert (voided.status, voided.total) == ("void", 900)
    assert given_up.status == "uncollectible"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.pay(voided.id)


def test_an_invoice_of_its_own_is_made_of_items_and_paid(client: stripe.StripeClient, customer: str) -> None:
    draft = client.v1.invoices.create(
        {"customer": customer, "auto_advance": False, "description": "Late usage"}
    )
    client.v1.invoice_items.create(
        {"customer": customer, "invoice": draft.id, "amount": 2_500, "currency": "usd", "description": "Late"}
    )

    paid = client.v1.invoices.pay(draft.id)

    assert (paid.status, paid.amount_paid, paid.billing_reason) == ("paid", 2_500, "manual")
    assert paid.number is not None
    assert paid.number.startswith("SIM-")
    (payment,) = client.v1.invoice_payments.list({"invoice": paid.id}).data
    assert (payment.status, payment.amount_paid) == ("paid", 2_500)
