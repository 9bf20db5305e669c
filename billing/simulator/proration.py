"""What is given back for unused time, and billed for what was used: at changes and at the end of a subscription."""

from typing import Any

from billing.simulator import catalog, invoice_items, invoice_lines, invoices, meters
from billing.simulator.periods import day_name, share
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object


def draft_final(sim: Simulator, subscription: Object, params: dict[str, Any]) -> Object | None:
    """Draw up the last invoice: with `invoice_now` what was used and not yet billed, with `prorate` the credits."""
    now, prorate = params.get("invoice_now", False), params.get("prorate", False)
    if prorate:
        for item in subscription["items"]["data"]:
            credit_unused(sim, subscription, item, sim.now)
    pending = invoices.pending_items(sim, subscription["customer"], subscription["id"])
    if not now:
        for item in pending if not prorate else []:
            if item["proration"]:
                sim.store.delete(item["id"])
        return None
    lines = []
    if subscription["status"] not in {"trialing", "incomplete"}:
        lines = [
            line
            for item in subscription["items"]["data"]
            if (line := used_line(sim, subscription, item, sim.now))
        ]
    if not lines and not pending:
        return None
    customer = sim.get("customer", subscription["customer"])
    return invoices.draft(
        sim, customer, "subscription_update", lines, subscription=subscription, pending=pending
    )


def used_line(sim: Simulator, subscription: Object, item: Object, until: int) -> Object | None:
    """Return the line for what was used of a metered item and not yet billed; None if that is nothing."""
    recurring = item["price"]["recurring"]
    if recurring["usage_type"] != "metered":
        return None
    start = item["_sim"]["counted_from"] or item["current_period_start"]
    quantity = meters.billable(sim, recurring["meter"], subscription["customer"], start, until)
    return invoice_lines.metered(sim, subscription, item, start, until, quantity) if quantity else None


def credit_unused(sim: Simulator, subscription: Object, item: Object, at: int) -> None:
    """Make the invoice items that give back what was charged for time after a moment."""
    price = item["price"]
    for debit in item["_sim"]["debits"]:
        start, end = max(at, debit["start"]), debit["end"]
        amount = share(-debit["amount"], end - start, debit["end"] - debit["start"])
        if start < end and amount:
            invoice_items.new(
                sim,
                customer=subscription["customer"],
                amount=amount,
                currency=price["currency"],
                description=f"Unused time on {described(sim, item)} after {day_name(at)}",
                start=at,
                end=end,
                price=price,
                quantity=item["quantity"] or 1,
                proration=True,
                subscription=subscription["id"],
                subscription_item=item["id"],
            )
    item["_sim"]["debits"] = []


def described(sim: Simulator, item: Object) -> str:
    name = catalog.product_name(sim, item["price"])
    return name if item["quantity"] in {None, 1} else f"{item['quantity']} × {name}"
