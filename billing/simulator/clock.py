"""Simulated time: it only goes forward, and what falls due on the way is done in order, each at its own time."""

import logging
import threading
import time
from collections.abc import Callable

from billing.simulator import checkout, invoices, renewals
from billing.simulator.errors import StripeError
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object

logger = logging.getLogger(__name__)

WHEN_DUE: dict[str, Callable[[Simulator, Object], None]] = {
    "subscription": renewals.when_due,
    "invoice": invoices.when_due,
    "checkout.session": checkout.when_due,
}
SETTLE_FOR = 15.0  # real seconds that receivers have for each step
FARTHEST = 10 * 366 * 86_400  # seconds, of one advance


def advance(sim: Simulator, to: int, *, wait_for_webhooks: bool = True) -> int:
    """Move the clock on to a moment, and return the number of things done on the way.

    Between two moments it waits until every event so far has been sent once: a receiver that answers the draft of
    an invoice by reporting usage does so before the invoice is final.
    """
    if to > sim.now + FARTHEST:
        raise StripeError("The clock advances at most ten years at once.", param="to")
    done = 0
    while run_next(sim, to):
        done += 1
        if wait_for_webhooks:
            settle(sim)
    with sim.store.transaction():
        _move(sim, to)
    return done


def run_next(sim: Simulator, until: int) -> bool:
    """Do what is due first, if anything is due by then."""
    with sim.store.transaction():
        object = sim.store.next_due(until)
        if object is None:
            return False
        due = object["_sim"]["due"]
        _move(sim, due)
        sim.moment, sim.request = sim.now, None
        try:
            with sim.store.transaction():
                WHEN_DUE[object["object"]](sim, object)
        except Exception:  # one object that cannot be done must not stop the clock for the others
            logger.exception("What was due about %s could not be done", object["id"])
        finally:
            sim.moment = None
        again = sim.store.find(object["id"])
        if again and again["_sim"]["due"] is not None and again["_sim"]["due"] <= due:
            logger.error("%s stays due at %s: left alone from now on", object["id"], due)
            again["_sim"]["due"] = None
            sim.store.replace(again)
    return True


def _move(sim: Simulator, to: int) -> None:
    """Let the clock show a moment, unless it is past it."""
    if to > sim.now:
        sim.store.set("clock_offset", int(sim.store.setting("clock_offset", 0)) + to - sim.now)


def settle(sim: Simulator) -> None:
    """Wait until each delivery was tried at least once."""
    deadline = time.monotonic() + SETTLE_FOR
    while time.monotonic() < deadline:
        if not sim.store.rows("SELECT 1 FROM deliveries WHERE state = 'pending' AND attempts = 0 LIMIT 1"):
            return
        time.sleep(0.02)


class Ticker(threading.Thread):
    """Does what falls due as real time passes."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(name="clock", daemon=True)
        self._simulator = simulator
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(1.0):
            while run_next(self._simulator, self._simulator.now):
                pass
