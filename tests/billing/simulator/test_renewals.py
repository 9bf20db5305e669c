from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import stripe

from tests.billing.simulator.conftest import DAY, Shop, amounts, invoices
from tests.billing.simulator_process import SimulatorProcess

Use = Callable[..., None]


def test_a_renewal_bills_the_next_month_and_what_was_used_in_the_last(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    items: Any = [{"price": shop.pro}, {"price": shop.credit}]
    subscription = client.v1.subscriptions.create({"customer": customer, "items": items})
    end = subscription["items"]["data"][0]["current_period_end"]
    use(customer, 250)
    use(customer, 17)

    simulator.advance(to=end + 2 * 3600)

    _, renewal = invoices(client, customer)
    assert (renewal.status, renewal.billing_reason, renewal.total) == (
        "paid",
        "subscription_cycle",
        79_900 + 267,
    )
    assert sorted(amounts(renewal)) == [267, 79_900]
    metered = next(line for line in renewal.lines.data if line.amount == 267)
    assert (metered.quantity, metered.period.end) == (267, end)
    assert metered.pricing is not None
    assert metered.pricing.price_details is not None
    assert metered.pricing.price_details.price == shop.credit
    renewed = client.v1.subscriptions.retrieve(subscription.id)
    assert [item["current_period_start"] for item in renewed["items"]["data"]] == [end, end]
    assert renewed.latest_invoice == renewal.id


def test_a_renewal_is_a_draft_for_an_hour_and_takes_in_what_is_reported_meanwhile(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.credit}]})
    end = subscription["items"]["data"][0]["current_period_end"]
    simulator.advance(to=end + 60)
    (draft,) = invoices(client, customer)
    assert (draft.status, draft.total) == ("draft", 0)

    use(customer, 500, at=end - 1)
    use(customer, 70, at=end)
    simulator.advance(3600)

    final = client.v1.invoices.retrieve(draft.id)
    assert (final.status, final.total, amounts(final)) == ("paid", 500, [500])


def test_usage_belongs_to_the_period_of_its_timestamp(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.credit}]})
    end = subscription["items"]["data"][0]["current_period_end"]
    simulator.advance(to=end + 2 * 3600)
    use(customer, 100, at=end - 10)  # too late: that period is billed
    use(customer, 60, at=end + 10)

    simulator.advance(32 * DAY)

    assert [invoice.total for invoice in invoices(client, customer)][:2] == [0, 60]


def test_a_yearly_item_beside_a_monthly_one_is_billed_at_its_own_end(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    items: Any = [{"price": shop.pro_yearly}, {"price": shop.credit}]
    subscription = client.v1.subscriptions.create({"customer": customer, "items": items})
    yearly, monthly = subscription["items"]["data"]
    assert yearly["current_period_end"] - yearly["current_period_start"] in {365 * DAY, 366 * DAY}
    assert 28 * DAY <= monthly["current_period_end"] - monthly["current_period_start"] <= 31 * DAY
    use(customer, 100)

    simulator.advance(to=monthly["current_period_end"] + 7200)

    first, second = invoices(client, customer)
    assert (first.total, second.total) == (799_000, 100)
    simulator.advance(to=yearly["current_period_end"] + 7200)
    bills = invoices(client, customer)
    assert len(bills) == 13
    assert sorted(amounts(bills[-1])) == [0, 799_000]


def test_a_period_that_begins_on_the_31st_ends_on_the_last_of_a_short_month(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    now = datetime.fromtimestamp(simulator.now, UTC)
    anchor = datetime(now.year + 1, 1, 31, 12, tzinfo=UTC)
    simulator.advance(to=int(anchor.timestamp()))
    subscription = client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})
    ends = []

    for _ in range(3):
        item = client.v1.subscriptions.retrieve(subscription.id)["items"]["data"][0]
        ends.append(datetime.fromtimestamp(item["current_period_end"], UTC))
        simulator.advance(to=item["current_period_end"])

    february = 29 if anchor.year % 4 == 0 else 28
    assert [(end.month, end.day) for end in ends] == [(2, february), (3, 31), (4, 30)]


def test_fractions_of_a_cent_are_rounded_once_a_line(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    price = client.v1.prices.create(
        {
            "product": shop.product,
            "currency": "usd",
            "unit_amount_decimal": "0.35",  # type: ignore[typeddict-item]
            "recurring": {"interval": "month", "usage_type": "metered", "meter": shop.meter},
        }
    )
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": price.id}]})
    use(customer, 1)
    use(customer, 289)  # 290 × 0.35 = 101.5

    simulator.advance(32 * DAY)

    assert invoices(client, customer)[0].total == 102


def test_less_than_50_cents_waits_for_the_next_invoice(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.credit}]})
    use(customer, 30)
    simulator.advance(32 * DAY)
    use(customer, 100)
    simulator.advance(31 * DAY)

    first, second = invoices(client, customer)[:2]

    assert (first.total, first.amount_due, first.status, first.ending_balance) == (30, 0, "paid", 30)
    assert (second.total, second.starting_balance, second.amount_paid) == (100, 30, 130)


def test_the_next_invoice_is_announced_and_can_be_previewed(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    items: Any = [{"price": shop.pro}, {"price": shop.credit}]
    subscription = client.v1.subscriptions.create({"customer": customer, "items": items})
    end = subscription["items"]["data"][0]["current_period_end"]
    use(customer, 40)

    preview = client.v1.invoices.create_preview({"customer": customer, "subscription": subscription.id})
    simulator.advance(to=end - 6 * DAY)

    assert (preview.total, preview.period_end, preview.status) == (79_940, end, "draft")
    announced = client.v1.events.list({"type": "invoice.upcoming", "limit": 100}).data
    assert [
        event.data.object["total"] for event in announced if event.data.object["customer"] == customer
    ] == [79_940]
    assert len(invoices(client, customer)) == 1


def test_invoice_items_wait_for_the_next_invoice(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})
    item = client.v1.invoice_items.create(
        {"customer": customer, "amount": 1_234, "currency": "usd", "description": "Set-up"}
    )

    simulator.advance(32 * DAY)

    renewal = invoices(client, customer)[1]
    assert sorted(amounts(renewal)) == [1_234, 1_900]
    assert client.v1.invoice_items.retrieve(item.id).invoice == renewal.id


def test_a_trial_ends_with_the_first_full_invoice(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    items: Any = [{"price": shop.pro}, {"price": shop.credit}]
    subscription = client.v1.subscriptions.create(
        {"customer": customer, "items": items, "trial_period_days": 10}
    )
    assert subscription.status == "trialing"
    use(customer, 1_000)  # free

    simulator.advance(8 * DAY)
    noted = client.v1.events.list({"type": "customer.subscription.trial_will_end", "limit": 1}).data[0]
    simulator.advance(2 * DAY + 7200)

    assert noted.data.object["id"] == subscription.id
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert [invoice.total for invoice in invoices(client, customer)] == [0, 79_900]


def test_a_sent_invoice_is_due_later_and_then_overdue(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop
) -> None:
    buyer = client.v1.customers.create({"email": "books@example.com"})
    subscription = client.v1.subscriptions.create(
        {
            "customer": buyer.id,
            "items": [{"price": shop.pro}],
            "collection_method": "send_invoice",
            "days_until_due": 14,
        }
    )
    simulator.advance(2 * 3600)
    (invoice,) = invoices(client, buyer.id)
    assert (invoice.status, client.v1.subscriptions.retrieve(subscription.id).status) == ("open", "active")

    simulator.advance(15 * DAY)

    assert client.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    client.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
