import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import stripe

from tests.billing.simulator.conftest import DAY, Shop, amounts, invoices
from tests.billing.simulator_process import SimulatorProcess


def cents(amount: Fraction) -> int:
    sign = -1 if amount < 0 else 1
    return sign * int(abs(amount) + Fraction(1, 2))


@pytest.fixture
def small(client: stripe.StripeClient, shop: Shop, customer: str) -> stripe.Subscription:
    return client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})


def item_of(subscription: stripe.Subscription) -> stripe.SubscriptionItem:
    item: stripe.SubscriptionItem = subscription["items"]["data"][0]
    return item


def test_an_upgrade_is_charged_as_it_was_previewed(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    small: stripe.Subscription,
) -> None:
    simulator.advance(11 * DAY + 12_345)
    item, at = item_of(small), simulator.now
    change: Any = {
        "items": [{"id": item.id, "price": shop.pro}],
        "proration_behavior": "always_invoice",
        "proration_date": at,
    }

    preview = client.v1.invoices.create_preview({"subscription": small.id, "subscription_details": change})
    before = invoices(client, customer)
    client.v1.subscriptions.update(small.id, change)

    left = Fraction(item.current_period_end - at, item.current_period_end - item.current_period_start)
    expected = [cents(-1_900 * left), cents(79_900 * left)]
    charged = invoices(client, customer)[-1]
    assert len(before) == 1
    assert amounts(preview) == amounts(charged) == expected
    assert (charged.status, charged.billing_reason) == ("paid", "subscription_update")
    assert preview.amount_due == charged.amount_paid == sum(expected)


def test_prorations_wait_for_the_next_invoice_unless_asked(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    small: stripe.Subscription,
) -> None:
    item = item_of(small)
    simulator.advance(10 * DAY)

    client.v1.subscriptions.update(small.id, {"items": [{"id": item.id, "price": shop.pro}]})

    assert len(invoices(client, customer)) == 1
    pending = client.v1.invoice_items.list({"customer": customer, "pending": True}).data
    assert [one.proration for one in pending] == [True, True]
    simulator.advance(to=item.current_period_end + 7200)
    assert len(invoices(client, customer)[1].lines.data) == 3


def test_without_proration_the_new_price_counts_from_the_next_period(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    small: stripe.Subscription,
) -> None:
    item = item_of(small)
    simulator.advance(10 * DAY)

    changed = client.v1.subscriptions.update(
        small.id, {"items": [{"id": item.id, "price": shop.pro}], "proration_behavior": "none"}
    )

    assert changed["items"]["data"][0]["price"]["id"] == shop.pro
    simulator.advance(to=item.current_period_end + 7200)
    assert [invoice.total for invoice in invoices(client, customer)] == [1_900, 79_900]


def test_a_downgrade_leaves_a_balance_that_later_invoices_use_up(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    pro = client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.pro}]})
    simulator.advance(5 * DAY)

    client.v1.subscriptions.update(
        pro.id,
        {"items": [{"id": item_of(pro).id, "price": shop.small}], "proration_behavior": "always_invoice"},
    )

    credit = invoices(client, customer)[-1]
    assert credit.total < 0
    assert (credit.status, credit.amount_due) == ("paid", 0)
    assert client.v1.customers.retrieve(customer).balance == credit.total
    simulator.advance(to=item_of(pro).current_period_end + 7200)
    renewal = invoices(client, customer)[-1]
    assert (renewal.total, renewal.amount_due) == (1_900, 0)
    assert client.v1.customers.retrieve(customer).balance == credit.total + 1_900


def test_going_from_monthly_to_yearly_begins_a_year_now(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    monthly = client.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": shop.pro}, {"price": shop.credit}]}
    )
    simulator.advance(10 * DAY)
    item, at = item_of(monthly), simulator.now

    changed = client.v1.subscriptions.update(
        monthly.id, {"items": [{"id": item.id, "price": shop.pro_yearly}], "proration_date": at}
    )

    left = Fraction(item.current_period_end - at, item.current_period_end - item.current_period_start)
    assert sorted(amounts(invoices(client, customer)[-1])) == [cents(-79_900 * left), 799_000]
    yearly, metered = changed["items"]["data"]
    assert yearly["current_period_end"] - yearly["current_period_start"] >= 365 * DAY
    assert metered["current_period_end"] == item.current_period_end


def test_a_new_quantity_is_prorated(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    small: stripe.Subscription,
) -> None:
    item = item_of(small)
    simulator.advance(10 * DAY)
    at = simulator.now

    client.v1.subscriptions.update(
        small.id,
        {
            "items": [{"id": item.id, "quantity": 3}],
            "proration_behavior": "always_invoice",
            "proration_date": at,
        },
    )

    left = Fraction(item.current_period_end - at, item.current_period_end - item.current_period_start)
    assert amounts(invoices(client, customer)[-1]) == [cents(-1_900 * left), cents(3 * 1_900 * left)]


def test_a_change_back_gives_back_what_the_change_cost(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    small: stripe.Subscription,
) -> None:
    item = item_of(small)
    simulator.advance(10 * DAY)
    at = simulator.now

    for price in (shop.pro, shop.small):
        client.v1.subscriptions.update(
            small.id, {"items": [{"id": item.id, "price": price}], "proration_date": at}
        )

    pending = client.v1.invoice_items.list({"customer": customer, "pending": True}).data
    assert len(pending) == 4
    assert sum(one.amount for one in pending) == 0


def test_an_item_that_is_added_costs_the_rest_of_the_period_and_one_removed_gives_it_back(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    small: stripe.Subscription,
) -> None:
    item = item_of(small)
    simulator.advance(10 * DAY)
    at = simulator.now

    changed = client.v1.subscriptions.update(
        small.id,
        {
            "items": [{"id": item.id, "deleted": True}, {"price": shop.pro}],
            "proration_behavior": "always_invoice",
            "proration_date": at,
        },
    )

    left = Fraction(item.current_period_end - at, item.current_period_end - item.current_period_start)
    assert amounts(invoices(client, customer)[-1]) == [cents(-1_900 * left), cents(79_900 * left)]
    assert [one["price"]["id"] for one in changed["items"]["data"]] == [shop.pro]
    assert changed["items"]["data"][0]["current_period_end"] == item.current_period_end


def test_a_metered_item_that_is_removed_is_billed_for_its_usage(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    use: Callable[..., None],
) -> None:
    subscription = client.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": shop.small}, {"price": shop.credit}]}
    )
    metered = subscription["items"]["data"][1]["id"]
    use(customer, 300)
    simulator.advance(2)

    client.v1.subscriptions.update(subscription.id, {"items": [{"id": metered, "deleted": True}]})

    (pending,) = client.v1.invoice_items.list({"customer": customer, "pending": True}).data
    assert pending.amount == 300


def test_a_new_anchor_begins_all_periods_now(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    small: stripe.Subscription,
) -> None:
    simulator.advance(10 * DAY)

    changed = client.v1.subscriptions.update(
        small.id, {"billing_cycle_anchor": "now", "proration_behavior": "none"}
    )

    assert abs(item_of(changed).current_period_start - simulator.now) <= 2
    assert invoices(client, customer)[-1].total == 1_900


def test_the_preview_of_a_first_subscription_leaves_nothing_behind(
    client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    preview = client.v1.invoices.create_preview(
        {
            "customer": customer,
            "subscription_details": {"items": [{"price": shop.pro}, {"price": shop.credit}]},
        }
    )

    assert (preview.total, preview.billing_reason) == (79_900, "subscription_create")
    assert client.v1.subscriptions.list({"customer": customer, "status": "all"}).data == []
    assert invoices(client, customer) == []


def test_a_proration_date_outside_of_the_period_is_refused(
    client: stripe.StripeClient, shop: Shop, small: stripe.Subscription
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.subscriptions.update(
            small.id,
            {"items": [{"id": item_of(small).id, "price": shop.pro}], "proration_date": 1_000_000_000},
        )

    assert refused.value.param == "proration_date"


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_changed_when_a_period_costs_what_its_time_costs(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, seed: int
) -> None:
    """An independent reckoning: each price for its part of the period, to within the rounding of each proration."""
    chance = random.Random(seed)
    prices = {shop.small: 1_900, shop.pro: 79_900}
    price = shop.small
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": price}]})
    item = item_of(subscription)
    start, end = item.current_period_start, item.current_period_end
    moments = sorted(chance.sample(range(start + 60, end - 7 * DAY, 3_607), 6))
    cost, since = Fraction(0), start

    for moment in moments:
        simulator.advance(to=max(moment, simulator.now))
        cost += Fraction(prices[price] * (moment - since), end - start)
        price, since = chance.choice([one for one in prices if one != price]), moment
        behavior = chance.choice(["always_invoice", "create_prorations"])
        change: Any = {"items": [{"id": item.id, "price": price}], "proration_behavior": behavior}
        client.v1.subscriptions.update(subscription.id, change | {"proration_date": moment})
    cost += Fraction(prices[price] * (end - since), end - start)
    simulator.advance(to=end + 7_200)

    *_, renewal = bills = invoices(client, customer)
    next_period = prices[price]
    assert renewal.billing_reason == "subscription_cycle"
    assert abs(sum(invoice.total for invoice in bills) - next_period - cost) <= 2 * len(moments)
    paid = sum(invoice.amount_paid for invoice in bills)
    balance = client.v1.customers.retrieve(customer).balance or 0
    assert paid + balance == sum(invoice.total for invoice in bills)
