"""The simulator itself: its objects, its clock's reading, and the events that every change leaves."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from billing.simulator import contract, webhooks_out
from billing.simulator.errors import no_such
from billing.simulator.store import Object, Store

API_VERSION = "2026-08-26.dahlia"
ACCOUNT = "acct_simulated0000001"

PREFIXES = {
    "billing.meter": "mtr_test",
    "billing.meter_event_summary": "mtrusg_test",
    "billing_portal.configuration": "bpc",
    "billing_portal.session": "bps",
    "charge": "ch",
    "checkout.session": "cs_test",
    "customer": "cus",
    "event": "evt",
    "invoice": "in",
    "invoice_payment": "inpay",
    "invoiceitem": "ii",
    "item": "li",
    "line_item": "il",
    "payment_intent": "pi",
    "payment_method": "pm",
    "price": "price",
    "product": "prod",
    "refund": "re",
    "setup_intent": "seti",
    "subscription": "sub",
    "subscription_item": "si",
    "tax_id": "txi",
    "v2.core.event": "evt_test",
    "v2.core.event_destination": "ed_test",
    "webhook_endpoint": "we",
}


@dataclass(frozen=True)
class Request:
    """The API request under way; events name it."""

    id: str
    idempotency_key: str | None = None


class Simulator:
    def __init__(self, data: Path, base_url: str, *, strict: bool = False, ago: int = 0) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.store = Store(data / "stripe.sqlite3")
        if ago and self.store.setting("clock_offset", None) is None:
            with self.store.transaction():
                self.store.set("clock_offset", -ago)
        self.base_url = base_url
        self.strict = strict
        self.request: Request | None = None
        self.moment: int | None = None  # set while something that was due is done at its own time
        self.on_event: Callable[[], None] = lambda: None

    @property
    def now(self) -> int:
        """The simulated time: real time, and what the clock was advanced by."""
        if self.moment is not None:
            return self.moment
        return int(time.time()) + int(self.store.setting("clock_offset", 0))

    # Objects

    def blank(self, kind: str, **fields: Any) -> Object:
        """Return a new object of a kind, not stored, with null for each field of its kind that is not given."""
        known = contract.fields(contract.resource(kind))
        empty = (
            () if kind == "payment_method" else contract.nullable(kind)
        )  # it shows only its own type's field
        defaults = {"created": self.now, "livemode": False, "metadata": {}}
        return {
            "id": new_id(kind),
            "object": kind,
            **dict.fromkeys(empty),
            **{name: value for name, value in defaults.items() if name in known},
            **fields,
        }

    def add(self, object: Object, event: str | None = None) -> Object:
        """Store a new object."""
        self.store.insert(object)
        if event:
            self.record(event, object)
        return object

    def save(self, object: Object, event: str | None = None) -> None:
        """Store a changed object. An event ending in `updated` is recorded only if something changed."""
        before = self.store.find(object["id"])
        self.store.replace(object)
        if event:
            previous = changes(public(before or {}), public(object))
            if event.endswith(".updated") and not previous:
                return
            self.record(event, object, previous if event.endswith(".updated") else None)

    def get(self, kind: str, id: str, param: str | None = None) -> Object:
        """Return an object, or raise the error for an unknown id (named by `param`, or by the path)."""
        found = self.store.find(id)
        if found is None or found["object"] != kind:
            raise no_such(kind, id, param=param)
        return found

    # Events

    def record(self, kind: str, object: Object, previous: dict[str, Any] | None = None) -> None:
        """Write an event and what has to be delivered of it."""
        data: dict[str, Any] = {"object": public(object)}
        if previous is not None:
            data["previous_attributes"] = previous
        request = self.request
        event = self.blank(
            "event",
            type=kind,
            api_version=API_VERSION,
            data=data,
            request={
                "id": request.id if request else None,
                "idempotency_key": request.idempotency_key if request else None,
            },
        )
        for name in ("account", "context"):
            del event[name]
        event["pending_webhooks"] = webhooks_out.enqueue(self.store, event)
        self.store.insert(event)
        self.on_event()


def new_id(kind: str) -> str:
    return f"{PREFIXES[kind]}_{secrets.token_hex(12)}"


def page_of(url: str, data: list[Any], *, has_more: bool = False) -> dict[str, Any]:
    """Return a list object."""
    return {"object": "list", "url": url, "has_more": has_more, "data": data}


def public(value: Any) -> Any:
    """Return a copy without what only the simulator may see; of an invoice's lines the first ten, as Stripe does."""
    if isinstance(value, dict):
        shown = {name: public(item) for name, item in value.items() if name != "_sim"}
        if shown.get("object") == "invoice" and len(shown.get("lines", {}).get("data", ())) > 10:
            shown["lines"] |= {"data": shown["lines"]["data"][:10], "has_more": True}
        return shown
    if isinstance(value, list):
        return [public(item) for item in value]
    return value


def changes(before: Any, after: Any) -> dict[str, Any]:
    """Return the former values of what differs; within a nested object only what differs there."""
    former: dict[str, Any] = {}
    for name, value in after.items():
        old = before.get(name)
        if old == value and name in before:
            continue
        nested = isinstance(old, dict) and isinstance(value, dict) and old.get("object") != "list"
        former[name] = changes(old, value) if nested else old
    former.update({name: value for name, value in before.items() if name not in after})
    return former


def merge_metadata(object: Object, given: Any) -> None:
    """Apply metadata as Stripe does: an empty value removes a key, an empty whole removes all."""
    if given is None:
        return
    if given == "":
        object["metadata"] = {}
        return
    kept = {**(object.get("metadata") or {}), **given}
    object["metadata"] = {key: value for key, value in kept.items() if value != ""}
