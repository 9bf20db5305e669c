"""Changes of a subscription, with their prorations: other prices and quantities, items more or less, a new cycle."""

from dataclasses import dataclass, field
from typing import Any

from billing.simulator import catalog, collection, invoice_items, invoice_lines, invoices, payments
from billing.simulator.errors import StripeError, no_such, only, unsupported
from billing.simulator.periods import day_name, next_boundary, previous_boundary, share
from billing.simulator.proration import credit_unused, described, used_line
from billing.simulator.simulator import Simulator, merge_metadata
from billing.simulator.store import Object
from billing.simulator.subscriptions import (
    ITEM,
    check_items,
    check_method,
    new_item,
    schedule,
    set_cancellation,
)


@dataclass
class Change:
    """A change under way: when it counts from, and what of it is charged at once."""

    sim: Simulator
    subscription: Object
    at: int
    behavior: str
    lines: list[Object] = field(default_factory=list)
    restarts: bool = False  # all periods are to begin now, so that nothing is charged for the rest of one
    new_cycle: bool = False  # a period began now, which is invoiced now
    begun: set[str] = field(default_factory=set)  # the items whose period did

    @property
    def prorated(self) -> bool:
        return self.behavior != "none" and self.subscription["status"] != "trialing"

    def credit(self, item: Object) -> None:
        if self.prorated:
            credit_unused(self.sim, self.subscription, item, self.at)
        elif self.behavior != "none":
            item["_sim"]["debits"] = []

    def bill_usage(self, item: Object) -> None:
        """Bill what was used until now at the price of until now."""
        line = used_line(self.sim, self.subscription, item, self.sim.now) if self.prorated else None
        if line:
            self._pending(
                item,
                line["amount"],
                line["description"],
                line["period"]["start"],
                self.sim.now,
                line["quantity"],
                False,
            )
        item["_sim"]["counted_from"] = self.sim.now

    def debit(self, item: Object) -> None:
        """Charge for the rest of an item's period."""
        if not self.prorated or self.restarts:
            return
        end = item["current_period_end"]
        whole = end - previous_boundary(item["_sim"]["anchor"], item["price"]["recurring"], end)
        amount = share(invoice_lines.cost(item["price"], item["quantity"]), end - self.at, whole)
        description = f"Remaining time on {described(self.sim, item)} after {day_name(self.at)}"
        self._pending(item, amount, description, self.at, end, item["quantity"], True)
        item["_sim"]["debits"] = [{"start": self.at, "end": end, "amount": amount}]

    def begin_period(self, item: Object) -> None:
        """Let an item's period begin now, and charge it in advance."""
        start = self.sim.now
        end = next_boundary(start, item["price"]["recurring"], start)
        item["_sim"] |= {"anchor": start, "debits": [], "counted_from": None}
        item |= {"current_period_start": start, "current_period_end": end}
        self.new_cycle = True
        self.begun.add(item["id"])
        if not is_metered(item):
            line = invoice_lines.licensed(self.sim, self.subscription, item, start, end)
            item["_sim"]["debits"] = [{"start": start, "end": end, "amount": line["amount"]}]
            self.lines.append(line)

    def _pending(
        self,
        item: Object,
        amount: int,
        description: str,
        start: int,
        end: int,
        quantity: int,
        proration: bool,
    ) -> None:
        invoice_items.new(
            self.sim,
            customer=self.subscription["customer"],
            amount=amount,
            currency=item["price"]["currency"],
            description=description,
            start=start,
            end=end,
            price=item["price"],
            quantity=quantity,
            proration=proration,
            subscription=self.subscription["id"],
            subscription_item=item["id"],
        )


def is_metered(item: Object) -> bool:
    return bool(item["price"]["recurring"]["usage_type"] == "metered")


def update(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    subscription = sim.get("subscription", id)
    if subscription["status"] in {"canceled", "incomplete_expired"}:
        raise StripeError(
            "A canceled subscription can only update its cancellation_details and metadata."
            if set(params) - {"metadata", "cancellation_details"}
            else f"No such subscription: '{id}'",
            status=400 if set(params) - {"metadata", "cancellation_details"} else 404,
            code="resource_missing",
            param="id",
        )
    _apply_plain(sim, subscription, params)
    invoice = apply(sim, subscription, params)
    set_cancellation(sim, subscription, params)
    schedule(subscription)
    sim.save(subscription, "customer.subscription.updated")
    if invoice is not None:
        _collect_now(sim, invoice, params.get("payment_behavior", "allow_incomplete"))
    return sim.get("subscription", id)


def _apply_plain(sim: Simulator, subscription: Object, params: dict[str, Any]) -> None:
    merge_metadata(subscription, params.get("metadata"))
    if "default_payment_method" in params:
        method = params["default_payment_method"]
        subscription["default_payment_method"] = method and check_method(
            sim, method, subscription["customer"]
        )
    for name in ("description", "collection_method", "days_until_due"):
        if name in params:
            subscription[name] = params[name] if params[name] != "" else None
    for name in ("trial_settings", "payment_settings"):
        if name in params:
            subscription[name] |= params[name]
    if subscription["collection_method"] == "send_invoice" and subscription["days_until_due"] is None:
        raise StripeError(
            "Missing required param: days_until_due.", code="parameter_missing", param="days_until_due"
        )


def apply(sim: Simulator, subscription: Object, params: dict[str, Any]) -> Object | None:
    """Apply what changes the amounts, and draw up the invoice that has to be made at once, if any."""
    at = params.get("proration_date", sim.now)
    change = Change(sim, subscription, at, params.get("proration_behavior", "create_prorations"))
    if "proration_date" in params:
        _check_proration_date(subscription, at, sim.now)
    before = len(_own_pending(sim, subscription))
    ends_trial = params.get("trial_end") == "now" and subscription["status"] == "trialing"
    if isinstance(params.get("trial_end"), int):
        _move_trial(sim, subscription, params["trial_end"])
    if ends_trial:
        subscription |= {"status": "active", "trial_end": sim.now}
    change.restarts = ends_trial or params.get("billing_cycle_anchor") == "now"
    for index, given in enumerate(params.get("items") or []):
        _change_item(change, given, f"items[{index}]")
    check_items(subscription)
    if change.restarts:
        _restart(change)
    changed = len(_own_pending(sim, subscription)) > before
    if not change.lines and not (changed and (change.behavior == "always_invoice" or change.new_cycle)):
        return None
    pending = invoices.pending_items(sim, subscription["customer"], subscription["id"])
    return invoices.draft(
        sim,
        sim.get("customer", subscription["customer"]),
        "subscription_update",
        change.lines,
        subscription=subscription,
        pending=pending,
    )


def _own_pending(sim: Simulator, subscription: Object) -> list[Object]:
    key = "parent.subscription_details.subscription"
    return sim.store.select("invoiceitem", invoice=None, **{key: subscription["id"]})


def _check_proration_date(subscription: Object, at: int, now: int) -> None:
    starts = [item["current_period_start"] for item in subscription["items"]["data"]]
    ends = [item["current_period_end"] for item in subscription["items"]["data"]]
    if not min(starts) <= at <= max(ends):
        raise StripeError(
            f"Invalid proration_date: it must be within the current period, from {min(starts)} to {max(ends)}.",
            param="proration_date",
        )


def _change_item(change: Change, given: dict[str, Any], param: str) -> None:
    items = change.subscription["items"]["data"]
    if "id" not in given:
        item = new_item(change.sim, change.subscription, given, param)
        items.append(item)
        if not is_metered(item):
            change.debit(item)
        return
    known = {item["id"]: item for item in items}
    if given["id"] not in known:
        raise no_such("subscription_item", given["id"], param=f"{param}[id]")
    item = known[given["id"]]
    only(given, ITEM, param)
    merge_metadata(item, given.get("metadata"))
    if given.get("deleted"):
        if is_metered(item):
            if not given.get("clear_usage"):
                change.bill_usage(item)
        else:
            change.credit(item)
        items.remove(item)
        return
    price = (
        catalog.price_from(change.sim, given, param)
        if {"price", "price_data"} & set(given)
        else item["price"]
    )
    if price["recurring"] is None:
        raise StripeError("This field only accepts prices with `type=recurring`.", param=f"{param}[price]")
    metered = price["recurring"]["usage_type"] == "metered"
    quantity = None if metered else given.get("quantity", item["quantity"] or 1)
    if metered and "quantity" in given:
        raise StripeError(
            f"You cannot set the quantity for metered plans: {price['id']}", param=f"{param}[quantity]"
        )
    if price["id"] != item["price"]["id"] or quantity != item["quantity"]:
        _switch(change, item, price, quantity)


def _switch(change: Change, item: Object, price: Object, quantity: int | None) -> None:
    """Let an item have another price or quantity from now on."""
    if is_metered(item):
        change.bill_usage(item)
    else:
        change.credit(item)
    former = item["price"]["recurring"]
    item |= {"price": price, "plan": catalog.plan_of(price), "quantity": quantity}
    same = all(former[name] == price["recurring"][name] for name in ("interval", "interval_count"))
    if change.subscription["status"] == "trialing":
        return
    if not same:
        change.begin_period(item)
        if len(change.subscription["items"]["data"]) == 1:
            change.subscription["billing_cycle_anchor"] = change.sim.now
    elif not is_metered(item):
        change.debit(item)
    elif former["usage_type"] != "metered":
        item["_sim"]["counted_from"] = change.sim.now


def _restart(change: Change) -> None:
    """Let all periods begin now."""
    for item in change.subscription["items"]["data"]:
        if item["id"] in change.begun:
            continue
        if is_metered(item):
            change.bill_usage(item)
        else:
            change.credit(item)
        change.begin_period(item)
    change.subscription["billing_cycle_anchor"] = change.sim.now


def _move_trial(sim: Simulator, subscription: Object, end: int) -> None:
    if subscription["status"] != "trialing":
        raise unsupported("a trial for a subscription that has been paid for")
    if end <= sim.now:
        raise StripeError("Invalid timestamp: must be in the future.", param="trial_end")
    subscription |= {"trial_end": end, "billing_cycle_anchor": end}
    for item in subscription["items"]["data"]:
        item["current_period_end"] = item["_sim"]["anchor"] = end
    subscription["_sim"]["trial_noted"] = False


def _collect_now(sim: Simulator, invoice: Object, behavior: str) -> None:
    if behavior == "pending_if_incomplete":
        raise unsupported("payment_behavior=pending_if_incomplete")
    invoices.store(sim, invoice, advance_after=0)
    invoices.finalize(sim, invoice)
    if (
        invoice["status"] != "open"
        or invoice["collection_method"] == "send_invoice"
        or behavior == "default_incomplete"
    ):
        return
    method = collection.method_for(sim, invoice)
    intent = collection.collect(sim, invoice, method)
    if intent is not None and behavior == "error_if_incomplete":
        error = payments.failure_of(intent, method) if method else collection.no_method(invoice["customer"])
        error.kept = False
        raise error
