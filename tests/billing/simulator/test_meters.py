from collections.abc import Callable

import pytest
import stripe

from tests.billing.simulator.conftest import DAY, Shop
from tests.billing.simulator_process import SimulatorProcess

Use = Callable[..., None]


def summed(
    client: stripe.StripeClient, meter: str, customer: str, start: int, end: int, window: str | None = None
) -> list[tuple[int, float]]:
    params: dict[str, object] = {"customer": customer, "start_time": start, "end_time": end}
    params |= {"value_grouping_window": window} if window else {}
    found = client.v1.billing.meters.event_summaries.list(meter, params)  # type: ignore[arg-type]
    return [(summary.start_time, summary.aggregated_value) for summary in found.data]


def test_an_identifier_counts_once(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    use(customer, 5, identifier=f"{customer}-1")

    with pytest.raises(stripe.InvalidRequestError) as refused:
        use(customer, 5, identifier=f"{customer}-1")

    assert refused.value.http_status == 400
    assert f"An event already exists with identifier {customer}-1" in str(refused.value)
    day = simulator.now - simulator.now % DAY
    assert summed(client, shop.meter, customer, day, day + DAY) == [(day, 5)]


@pytest.mark.parametrize(
    ("offset", "allowed"), [(-36 * DAY, False), (-34 * DAY, True), (240, True), (400, False)]
)
def test_a_timestamp_is_at_most_35_days_old_and_five_minutes_ahead(
    simulator: SimulatorProcess, customer: str, use: Use, offset: int, allowed: bool
) -> None:
    if allowed:
        use(customer, 1, at=simulator.now + offset)
        return

    with pytest.raises(stripe.InvalidRequestError) as refused:
        use(customer, 1, at=simulator.now + offset)

    assert refused.value.param == "timestamp"


@pytest.mark.parametrize("value", ["--1", "1.5", "many", "1" * 16, ""])
def test_a_value_is_a_whole_number(
    client: stripe.StripeClient, shop: Shop, customer: str, value: str
) -> None:
    event_name = client.v1.billing.meters.retrieve(shop.meter).event_name

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.billing.meter_events.create(
            {"event_name": event_name, "payload": {"stripe_customer_id": customer, "value": value}}
        )


def test_a_value_below_0_takes_back(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    day = simulator.now - simulator.now % DAY

    use(customer, 5)
    use(customer, -3)

    assert summed(client, shop.meter, customer, day, day + 2 * DAY) == [(day, 2)]


def test_summaries_are_grouped_by_hour_and_day(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    day = simulator.now - simulator.now % DAY - 3 * DAY
    use(customer, 1, at=day)
    use(customer, 2, at=day + 3600)
    use(customer, 4, at=day + DAY)

    hours = summed(client, shop.meter, customer, day, day + 2 * DAY, "hour")
    days = summed(client, shop.meter, customer, day, day + 2 * DAY, "day")
    whole = summed(client, shop.meter, customer, day, day + 2 * DAY)

    assert hours == [(day + DAY, 4), (day + 3600, 2), (day, 1)]
    assert days == [(day + DAY, 4), (day, 3)]
    assert whole == [(day, 7)]


def test_summaries_may_lag(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str, use: Use
) -> None:
    day = simulator.now - simulator.now % DAY
    simulator.set(meter_lag=600)
    try:
        use(customer, 9)
        at_once = summed(client, shop.meter, customer, day, day + 2 * DAY)
        simulator.advance(601)
        later = summed(client, shop.meter, customer, day, day + 2 * DAY)
    finally:
        simulator.set(meter_lag=0)

    assert (at_once, later) == ([(day, 0)], [(day, 9)])


def test_summaries_begin_and_end_with_their_windows(
    client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        summed(client, shop.meter, customer, 3601, 7200, "hour")

    assert refused.value.param == "start_time"


def test_a_meter_that_is_switched_off_takes_no_events(client: stripe.StripeClient, customer: str) -> None:
    meter = client.v1.billing.meters.create(
        {"display_name": "Old", "event_name": f"old_{customer}", "default_aggregation": {"formula": "count"}}
    )
    event = {"event_name": f"old_{customer}", "payload": {"stripe_customer_id": customer}}
    client.v1.billing.meter_events.create(event)  # type: ignore[arg-type]

    assert client.v1.billing.meters.deactivate(meter.id).status == "inactive"

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.billing.meter_events.create(event)  # type: ignore[arg-type]
