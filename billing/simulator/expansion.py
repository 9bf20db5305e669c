"""`expand[]`: ids in an answer become the objects they name; what is left out unless asked for is put in."""

from collections.abc import Callable
from typing import Any

from billing.simulator.errors import StripeError
from billing.simulator.simulator import Simulator, page_of
from billing.simulator.store import Object

DEEPEST = 4


def expand(sim: Simulator, answer: Object, paths: list[str]) -> None:
    """Expand each path in an answer, in place."""
    for path in paths:
        keys = path.split(".")
        if len([key for key in keys if key != "data"]) > DEEPEST:
            raise StripeError("You cannot expand more than 4 levels of a property.", param="expand")
        _expand(sim, answer, keys, path)


def _expand(sim: Simulator, place: Any, keys: list[str], path: str) -> None:
    key, *rest = keys
    if isinstance(place, list):
        for item in place:
            _expand(sim, item, keys, path)
        return
    include = INCLUDED.get((place.get("object", ""), key))
    if key not in place and include:
        place[key] = include(sim, place)
    if key not in place:
        raise _not_expandable(path)
    value = place[key]
    if isinstance(value, str):
        found = sim.store.find(value)
        if found is None:
            raise _not_expandable(path)
        place[key] = found | {"object": "customer"} if found.get("deleted") else found
    elif isinstance(value, list):
        place[key] = [sim.store.find(item) or item if isinstance(item, str) else item for item in value]
    elif value is not None and not isinstance(value, dict):
        raise _not_expandable(path)
    if rest and place[key] is not None:
        _expand(sim, place[key], rest, path)


def _not_expandable(path: str) -> StripeError:
    return StripeError(f"This property cannot be expanded ({path}).", param="expand")


def _invoice_payments(sim: Simulator, invoice: Object) -> Object:
    return page_of("/v1/invoice_payments", sim.store.select("invoice_payment", invoice=invoice["id"]))


def _confirmation_secret(sim: Simulator, invoice: Object) -> Object | None:
    for payment in sim.store.select("invoice_payment", invoice=invoice["id"]):
        intent = sim.store.find(payment["payment"]["payment_intent"])
        if intent:
            return {"client_secret": intent["client_secret"], "type": "payment_intent"}
    return None


def _line_items(sim: Simulator, session: Object) -> Object:
    stored = sim.store.find(session["id"]) or session
    return page_of(f"/v1/checkout/sessions/{session['id']}/line_items", stored["_sim"]["items"])


def _subscriptions(sim: Simulator, customer: Object) -> Object:
    live = [
        subscription
        for subscription in sim.store.select("subscription", customer=customer["id"])
        if subscription["status"] not in {"canceled", "incomplete_expired"}
    ]
    return page_of(f"/v1/customers/{customer['id']}/subscriptions", live)


def _tax_ids(sim: Simulator, customer: Object) -> Object:
    return page_of(
        f"/v1/customers/{customer['id']}/tax_ids", sim.store.select("tax_id", customer=customer["id"])
    )


def _refunds(sim: Simulator, charge: Object) -> Object:
    return page_of(f"/v1/charges/{charge['id']}/refunds", sim.store.select("refund", charge=charge["id"]))


def _currency_options(sim: Simulator, price: Object) -> Object:
    names = ("custom_unit_amount", "tax_behavior", "unit_amount", "unit_amount_decimal")
    return {price["currency"]: {name: price[name] for name in names}}


def _no_tiers(sim: Simulator, price: Object) -> None:
    return None


def _breakdown(sim: Simulator, total_details: Object) -> Object:
    return {"discounts": [], "taxes": []}


def _nothing(sim: Simulator, object: Object) -> Object:
    return page_of(f"/v1/customers/{object['id']}/sources", [])


INCLUDED: dict[tuple[str, str], Callable[[Simulator, Object], Object | None]] = {
    ("", "breakdown"): _breakdown,  # of a session's total_details
    ("charge", "refunds"): _refunds,
    ("checkout.session", "line_items"): _line_items,
    ("customer", "sources"): _nothing,
    ("customer", "subscriptions"): _subscriptions,
    ("customer", "tax_ids"): _tax_ids,
    ("invoice", "confirmation_secret"): _confirmation_secret,
    ("invoice", "payments"): _invoice_payments,
    ("price", "currency_options"): _currency_options,
    ("price", "tiers"): _no_tiers,
}
