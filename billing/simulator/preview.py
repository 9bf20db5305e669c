"""Previews: the very code of the change runs, and what it wrote is taken back. So a preview equals its invoice."""

import copy
from typing import Any

from billing.simulator import changes, invoice_items, invoices, proration, subscriptions
from billing.simulator.errors import StripeError, missing, only, unsupported
from billing.simulator.renewals import undone, upcoming
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object

DETAILS = (
    "billing_cycle_anchor billing_mode cancel_at cancel_at_period_end cancel_now items metadata proration_behavior"
    " proration_date trial_end"
)


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    details = params.get("subscription_details", {})
    only(details, DETAILS, "subscription_details")
    if params.get("preview_mode", "next") != "next":
        raise unsupported("a preview_mode other than next")
    subscription = None
    if "subscription" in params:
        subscription = sim.get("subscription", params["subscription"], "subscription")
    elif "customer" not in params:
        raise missing("customer")
    customer = sim.get(
        "customer", subscription["customer"] if subscription else params["customer"], "customer"
    )

    def draw_up() -> Object | None:
        _add_items(sim, customer, params.get("invoice_items", []))
        if subscription is None:
            return _of_new(sim, customer, details)
        return _of_existing(sim, copy.deepcopy(subscription), details)

    invoice = undone(sim, draw_up)
    if invoice is None:
        raise StripeError(
            f"No upcoming invoices for customer: {customer['id']}", status=404, code="invoice_upcoming_none"
        )
    return invoice


def _add_items(sim: Simulator, customer: Object, given: list[dict[str, Any]]) -> None:
    for item in given:
        invoice_items.create(
            sim,
            {"customer": customer["id"], **{k: v for k, v in item.items() if k != "price"}}
            | ({"pricing": {"price": item["price"]}} if "price" in item else {}),
        )


def _of_new(sim: Simulator, customer: Object, details: dict[str, Any]) -> Object | None:
    if "items" not in details:
        live = sim.store.select("subscription", customer=customer["id"], status=list(subscriptions.LIVE))
        nexts = [invoice for one in live if (invoice := upcoming(sim, one))]
        if nexts:
            return min(nexts, key=lambda invoice: int(invoice["created"]))
        pending = invoices.pending_items(sim, customer["id"], None)
        return invoices.draft(sim, customer, "upcoming", [], pending=pending) if pending else None
    subscription = subscriptions.begin(sim, details | {"customer": customer["id"]})
    return subscriptions.draft_first(
        sim, subscription, details.get("proration_behavior", "create_prorations")
    )


def _of_existing(sim: Simulator, subscription: Object, details: dict[str, Any]) -> Object | None:
    if subscription["status"] in {"canceled", "incomplete_expired"}:
        return None
    if details.get("cancel_now"):
        prorate = details.get("proration_behavior", "create_prorations") != "none"
        return proration.draft_final(sim, subscription, {"invoice_now": True, "prorate": prorate})
    invoice = changes.apply(sim, subscription, details)
    if invoice is not None:
        return invoice
    subscriptions.set_cancellation(sim, subscription, details)
    following = upcoming(sim, subscription)
    if following is not None:
        following["id"] = following["id"].removeprefix("upcoming_")
    return following
