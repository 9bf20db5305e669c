"""What only a simulator has: its clock and its settings, as JSON."""

import time
from typing import Any

from billing.simulator import clock, webhooks_out
from billing.simulator.collection import AFTER_LAST_RETRY
from billing.simulator.errors import StripeError
from billing.simulator.renewals import next_end
from billing.simulator.requests_in import parse_json
from billing.simulator.simulator import Simulator

SETTINGS: dict[str, Any] = {"after_last_retry": AFTER_LAST_RETRY[0], "meter_lag": 0}


def answer(sim: Simulator, method: str, path: str, body: str) -> dict[str, Any]:
    """Answer a request below /simulator/."""
    match method, path:
        case "GET", "/simulator/clock":
            return reading(sim)
        case "POST", "/simulator/clock/advance":
            given = parse_json(body)
            to = given.get(
                "to", sim.now + given["seconds"] if isinstance(given.get("seconds"), int) else None
            )
            if not isinstance(to, int) or to < sim.now:
                raise StripeError(
                    "Give `to`, a moment to come in unix seconds, or `seconds`, not below 0.", param="to"
                )
            done = clock.advance(sim, to, wait_for_webhooks=given.get("wait_for_webhooks", True))
            return reading(sim) | {"done": done}
        case "GET", "/simulator/settings":
            return settings(sim)
        case "POST", "/simulator/settings":
            change_settings(sim, parse_json(body))
            return settings(sim)
        case "POST", "/simulator/deliveries/settle":
            clock.settle(sim)
            return {}
        case "POST", "/simulator/deliveries/resend":
            event = parse_json(body).get("event")
            for (id,) in sim.store.rows("SELECT id FROM deliveries WHERE event = ?", event):
                webhooks_out.resend(sim.store, id)
            sim.on_event()
            return {}
        case "GET", "/simulator/deliveries":
            names = ("id", "event", "endpoint", "state", "attempts", "answer")
            rows = sim.store.rows(f"SELECT {', '.join(names)} FROM deliveries ORDER BY id DESC LIMIT 1000")
            return {"data": [dict(zip(names, row, strict=True)) for row in rows]}
    raise StripeError(f"There is no {method} {path}.", status=404)


def reading(sim: Simulator) -> dict[str, Any]:
    """Return the simulated time, how far it is ahead of real time, and the next renewal."""
    ends = [
        next_end(subscription)
        for subscription in sim.store.select(
            "subscription", status=["active", "trialing", "past_due", "unpaid"]
        )
    ]
    return {"now": sim.now, "ahead": sim.now - int(time.time()), "next_renewal": min(ends, default=None)}


def settings(sim: Simulator) -> dict[str, Any]:
    return {name: sim.store.setting(name, default) for name, default in SETTINGS.items()}


def change_settings(sim: Simulator, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if name not in SETTINGS:
            raise StripeError(f"There is no setting {name}.", param=name)
        if name == "after_last_retry" and value not in AFTER_LAST_RETRY:
            raise StripeError(f"Must be one of {', '.join(AFTER_LAST_RETRY)}.", param=name)
        if name == "meter_lag" and (not isinstance(value, int) or value < 0):
            raise StripeError("Must be seconds, not below 0.", param=name)
    with sim.store.transaction():
        for name, value in given.items():
            sim.store.set(name, value)
