"""Billing meters: events counted once, and their sums."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.simulator import lists, webhooks_out
from billing.simulator.errors import StripeError, missing
from billing.simulator.periods import DAY, HOUR
from billing.simulator.simulator import Simulator, new_id
from billing.simulator.store import Object

OLDEST = 35 * DAY
FARTHEST_AHEAD = 300
WINDOWS = {"hour": HOUR, "day": DAY}


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    name = params["event_name"]
    if sim.store.select("billing.meter", event_name=name, status="active"):
        raise StripeError(
            f"An active meter already exists for the event name {name}.",
            code="resource_already_exists",
            param="event_name",
        )
    mapping = params.get("customer_mapping", {"event_payload_key": "stripe_customer_id", "type": "by_id"})
    meter = sim.blank(
        "billing.meter",
        customer_mapping=mapping,
        default_aggregation={"formula": params["default_aggregation"]["formula"]},
        display_name=params["display_name"],
        event_name=name,
        event_time_window=params.get("event_time_window"),
        status="active",
        status_transitions={"deactivated_at": None},
        updated=sim.now,
        value_settings=params.get("value_settings", {"event_payload_key": "value"}),
    )
    return sim.add(meter, "billing.meter.created")


def update(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    meter = sim.get("billing.meter", id)
    meter |= {name: params[name] for name in ("display_name",) if name in params}
    meter["updated"] = sim.now
    sim.save(meter, "billing.meter.updated")
    return meter


def deactivate(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    return _switch(sim, id, "inactive", sim.now, "billing.meter.deactivated")


def reactivate(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    return _switch(sim, id, "active", None, "billing.meter.reactivated")


def _switch(sim: Simulator, id: str, status: str, at: int | None, event: str) -> Object:
    meter = sim.get("billing.meter", id)
    if meter["status"] == status:
        raise StripeError(f"This meter is already {status}.")
    meter |= {"status": status, "status_transitions": {"deactivated_at": at}, "updated": sim.now}
    sim.save(meter)
    sim.record(event, meter)
    return meter


def list_all(sim: Simulator, params: dict[str, Any]) -> Object:
    where = {"status": params["status"]} if "status" in params else {}
    return lists.page(sim, "billing.meter", "/v1/billing/meters", params, **where)


# Events


def record_event(sim: Simulator, params: dict[str, Any]) -> Object:
    """Take an event. An identifier counts once; an unknown customer is told later, by a thin event."""
    meters = sim.store.select("billing.meter", event_name=params["event_name"], status="active")
    if not meters:
        raise StripeError(f"No active meter found for event name {params['event_name']}.", param="event_name")
    meter = meters[0]
    timestamp = params.get("timestamp", sim.now)
    if timestamp < sim.now - OLDEST:
        raise StripeError("The timestamp must be within the past 35 calendar days.", param="timestamp")
    if timestamp > sim.now + FARTHEST_AHEAD:
        raise StripeError("The timestamp must not be more than 5 minutes in the future.", param="timestamp")
    identifier = params.get("identifier") or new_id("event")
    if len(identifier) > 100:
        raise StripeError("Invalid string: must be at most 100 characters", param="identifier")
    if sim.store.rows("SELECT 1 FROM meter_events WHERE identifier = ?", identifier):
        raise StripeError(
            f"An event already exists with identifier {identifier}.", code="duplicate_meter_event"
        )
    customer, value = _customer_and_value(meter, params["payload"])
    found = sim.store.find(customer)
    if found is None or found["object"] != "customer":
        _report_unknown_customer(sim, meter, customer, identifier)
    else:
        sim.store.execute(
            "INSERT INTO meter_events (meter, identifier, customer, timestamp, value, created)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *(meter["id"], identifier, customer, timestamp, value, sim.now),
        )
    return {
        "object": "billing.meter_event",
        "created": sim.now,
        "event_name": params["event_name"],
        "identifier": identifier,
        "livemode": False,
        "payload": params["payload"],
        "timestamp": timestamp,
    }


def _customer_and_value(meter: Object, payload: dict[str, str]) -> tuple[str, int]:
    customer_key = meter["customer_mapping"]["event_payload_key"]
    value_key = meter["value_settings"]["event_payload_key"]
    if not payload.get(customer_key):
        raise missing(f"payload[{customer_key}]")
    if meter["default_aggregation"]["formula"] == "count":
        return payload[customer_key], 1
    if value_key not in payload:
        raise missing(f"payload[{value_key}]")
    if not re.fullmatch(r"-?\d{1,15}", payload[value_key]):
        raise StripeError(
            f"Invalid value {payload[value_key]!r}: must be a whole number of at most 15 digits.",
            param=f"payload[{value_key}]",
        )
    return payload[customer_key], int(payload[value_key])


def usage(
    sim: Simulator, meter: str, customer: str, start: int, end: int, *, until: int | None = None
) -> int:
    """Return what was used from `start` until before `end`, of what had arrived by `until`."""
    formula = sim.get("billing.meter", meter)["default_aggregation"]["formula"]
    rows = sim.store.rows(
        "SELECT value FROM meter_events WHERE meter = ? AND customer = ? AND timestamp >= ? AND timestamp < ?"
        " AND created <= ? ORDER BY timestamp, seq",
        *(meter, customer, start, end, sim.now if until is None else until),
    )
    values: list[int] = [value for (value,) in rows]
    match formula:
        case "count":
            return len(values)
        case "last":
            return values[-1] if values else 0
    return sum(values)


def billable(sim: Simulator, meter: str, customer: str, start: int, end: int) -> int:
    """Return what of it is billed: nothing where more was taken back than used."""
    return max(usage(sim, meter, customer, start, end), 0)


def list_summaries(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    """Sum events by hour, by day or over all, newest first; `meter_lag` seconds behind what has arrived."""
    sim.get("billing.meter", id)
    sim.get("customer", params["customer"], "customer")
    start, end = params["start_time"], params["end_time"]
    window = WINDOWS.get(params.get("value_grouping_window", ""))
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment % (window or 60):
            unit = params.get("value_grouping_window", "minute")
            raise StripeError(f"{name} must be aligned with {unit} boundaries.", param=name)
    if end <= start:
        raise StripeError("end_time must be after start_time.", param="end_time")
    until = sim.now - int(sim.store.setting("meter_lag", 0))
    found = []
    for first in range(start, end, window) if window else [start]:
        last = first + window if window else end
        value = usage(sim, id, params["customer"], first, last, until=until)
        if value or not window:
            found.append(
                {
                    "id": f"mtrusg_test_{id[-8:]}{first}{last}",
                    "object": "billing.meter_event_summary",
                    "aggregated_value": float(value),
                    "end_time": last,
                    "livemode": False,
                    "meter": id,
                    "start_time": first,
                }
            )
    return lists.page_within(f"/v1/billing/meters/{id}/event_summaries", found[::-1], params)


# Errors, which Stripe tells by thin events


def _report_unknown_customer(sim: Simulator, meter: Object, customer: str, identifier: str) -> None:
    message = f"Customer with id {customer} not found."
    error = {
        "code": "meter_event_customer_not_found",
        "error_count": 1,
        "sample_errors": [{"error_message": message, "request": {"identifier": identifier}}],
    }
    event = {
        "id": new_id("v2.core.event"),
        "object": "v2.core.event",
        "context": None,
        "created": iso(sim.now),
        "data": {
            "developer_message_summary": "There is 1 invalid event",
            "reason": {"error_count": 1, "error_types": [error]},
            "validation_start": iso(sim.now - 10),
            "validation_end": iso(sim.now),
        },
        "livemode": False,
        "reason": None,
        "related_object": {
            "id": meter["id"],
            "type": "billing.meter",
            "url": f"/v1/billing/meters/{meter['id']}",
        },
        "type": "v1.billing.meter.error_report_triggered",
    }
    webhooks_out.enqueue(sim.store, event)
    sim.store.insert(event)
    sim.on_event()


def iso(moment: int) -> str:
    """Return a moment as the v2 API writes it."""
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=moment):%Y-%m-%dT%H:%M:%S.000Z}"
