"""Events on their way to the webhook endpoints: signed as Stripe signs, at least once, again until answered 2xx."""

import contextlib
import hashlib
import hmac
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from billing.simulator.errors import StripeError
from billing.simulator.store import Object, Store

if TYPE_CHECKING:
    from billing.simulator.simulator import Simulator

logger = logging.getLogger(__name__)

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
AT_ONCE = 4
TIMEOUT = 15.0  # seconds
LONGEST_WAIT = 3600.0  # seconds between attempts
GIVE_UP_AFTER = 80  # attempts, which take about three days


class Delivery(NamedTuple):
    id: int
    event: str
    endpoint: str
    attempts: int


def check_url(url: str) -> None:
    """Raise StripeError for an address that is not on this machine: nothing leaves it."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise StripeError(f"Invalid URL: {url}", code="url_invalid", param="url")
    if parts.hostname not in LOOPBACK:
        raise StripeError(
            f"Invalid URL: the simulator delivers to this machine only, not to {parts.hostname}.",
            code="url_invalid",
            param="url",
        )


def enqueue(store: Store, event: Object) -> int:
    """Note the deliveries of a new event, and return their number."""
    kind = "v2.core.event_destination" if event["object"] == "v2.core.event" else "webhook_endpoint"
    endpoints = [
        endpoint
        for endpoint in store.select(kind, status="enabled")
        if not {"*", event["type"]}.isdisjoint(endpoint["enabled_events"])
    ]
    for endpoint in reversed(endpoints):
        store.execute("INSERT INTO deliveries (event, endpoint) VALUES (?, ?)", event["id"], endpoint["id"])
    return len(endpoints)


def resend(store: Store, delivery: int) -> None:
    """Send a delivery again now, whatever became of it before."""
    store.execute("UPDATE deliveries SET state = 'pending', next_at = 0 WHERE id = ?", delivery)


def signature(secret: str, payload: str, timestamp: int) -> str:
    """Return the Stripe-Signature header for a payload sent at a real time."""
    digest = hmac.new(secret.encode(), f"{timestamp}.{payload}".encode(), hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class Sender(threading.Thread):
    """Sends what is due. Deliveries run in real time, whatever the simulated clock says."""

    def __init__(self, simulator: "Simulator") -> None:
        super().__init__(name="webhooks", daemon=True)
        self._simulator = simulator
        self._store = simulator.store
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._under_way: set[int] = set()
        # No proxy stands between this machine and itself, and a webhook follows no redirect.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)

    def wake(self) -> None:
        self._wake.set()

    def end(self) -> None:
        self._ended.set()
        self._wake.set()
        self.join()

    def run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE, "webhook") as pool:
            while not self._ended.is_set():
                self._wake.wait(0.5)
                self._wake.clear()
                for delivery in self._claim():
                    pool.submit(self._send, delivery)

    def _claim(self) -> list[Delivery]:
        if self._ended.is_set():
            return []
        # Seen first: one that ends while the rows are read counts as under way, so it is not sent a second time.
        busy = set(self._under_way)
        rows = self._store.rows(
            "SELECT id, event, endpoint, attempts FROM deliveries WHERE state = 'pending' AND next_at <= ?"
            " ORDER BY id LIMIT 100",
            time.time(),
        )
        due = [Delivery(*row) for row in rows if row[0] not in busy][: AT_ONCE - len(busy)]
        self._under_way |= {delivery.id for delivery in due}
        return due

    def _send(self, delivery: Delivery) -> None:
        try:
            event, endpoint = self._store.find(delivery.event), self._store.find(delivery.endpoint)
            if event is None or endpoint is None or endpoint["status"] != "enabled":
                self._note(delivery, "canceled", "the endpoint is gone or disabled")
                return
            status, text = self._post(event, endpoint)
            self._note(
                delivery, "delivered" if 200 <= status < 300 else "pending", f"{status} {text}".strip()
            )
        except Exception:  # whatever happens to one must not end the others
            logger.exception("Delivery %d failed", delivery.id)
        finally:
            self._under_way.discard(delivery.id)
            self.wake()

    def _post(self, event: Object, endpoint: Object) -> tuple[int, str]:
        payload = json.dumps(thin(event) if event["object"] == "v2.core.event" else event, indent=2)
        request = urllib.request.Request(
            endpoint["url"] if "url" in endpoint else endpoint["webhook_endpoint"]["url"],
            payload.encode(),
            {
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": "Stripe/1.0 (simulated)",
                # A receiver checks how old a signature is, by real time.
                "Stripe-Signature": signature(endpoint["_sim"]["secret"], payload, int(time.time())),
            },
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return answer.status, ""
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):
                return error.code, error.read(300).decode(errors="replace")
        except OSError as error:
            return 0, str(getattr(error, "reason", error))

    def _note(self, delivery: Delivery, state: str, answer: str) -> None:
        attempts = delivery.attempts + 1
        if state == "pending" and attempts >= GIVE_UP_AFTER:
            state = "failed"
        wait = min(2.0 ** (attempts - 1), LONGEST_WAIT)
        with self._store.transaction():
            self._store.execute(
                "UPDATE deliveries SET state = ?, attempts = ?, next_at = ?, answer = ? WHERE id = ?",
                state,
                attempts,
                time.time() + wait,
                answer[:300],
                delivery.id,
            )
            event = self._store.find(delivery.event)
            if event and "pending_webhooks" in event:
                ((event["pending_webhooks"],),) = self._store.rows(
                    "SELECT count(*) FROM deliveries WHERE event = ? AND state = 'pending'", event["id"]
                )
                self._store.replace(event)


def thin(event: Object) -> dict[str, Any]:
    """Return what is sent of a v2 event: who it is about, and none of its data."""
    return {name: value for name, value in event.items() if name not in {"data", "_sim"}}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None
