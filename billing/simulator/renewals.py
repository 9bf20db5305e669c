"""What time does to subscriptions: renewals, ends of trials, planned ends, first payments that never came."""

import copy
from collections.abc import Callable

from billing.simulator import collection, invoice_lines, invoices, meters
from billing.simulator.periods import next_boundary
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object
from billing.simulator.subscriptions import EXPIRES_AFTER, NOTICE, TRIAL_NOTICE, schedule


def when_due(sim: Simulator, subscription: Object) -> None:
    """Do what is due about a subscription, and set when the next is."""
    if subscription["status"] == "incomplete":
        if sim.now >= subscription["created"] + EXPIRES_AFTER:
            _expire(sim, subscription)
    elif subscription["cancel_at"] and subscription["cancel_at"] <= sim.now:
        _end(sim, subscription)
        return
    elif due_items(subscription, sim.now):
        _renew(sim, subscription)
    else:
        _give_notice(sim, subscription)
    schedule(subscription)
    sim.save(subscription, "customer.subscription.updated")


def due_items(subscription: Object, at: int) -> list[Object]:
    return [item for item in subscription["items"]["data"] if item["current_period_end"] <= at]


def next_end(subscription: Object) -> int:
    """Return when the next of its items renews."""
    return min(int(item["current_period_end"]) for item in subscription["items"]["data"])


def draft_cycle(sim: Simulator, subscription: Object, *, ending: bool = False) -> Object | None:
    """Draw up the invoice for the items whose period has ended: usage of that period, and the price of the next.

    The items' periods move on. `ending` leaves out the next period, and takes in the usage of all items.
    """
    at, free = sim.now, subscription["status"] == "trialing"
    items = subscription["items"]["data"] if ending else due_items(subscription, at)
    start = min(int(item["current_period_start"]) for item in items)
    lines, counted = [], []
    for item in items:
        recurring = item["price"]["recurring"]
        if free:
            item["_sim"]["anchor"] = subscription["trial_end"]
        end = min(item["current_period_end"], at)
        following = next_boundary(item["_sim"]["anchor"], recurring, end)
        if recurring["usage_type"] == "metered":
            if not free:
                line, since = _used(sim, subscription, item, end)
                if not ending or line["quantity"]:
                    lines.append(line)
                    counted.append({"line": line["id"], "start": since, "end": end})
        elif not ending:
            line = invoice_lines.licensed(sim, subscription, item, end, following)
            item["_sim"]["debits"] = [{"start": end, "end": following, "amount": line["amount"]}]
            lines.append(line)
        if not ending:
            item |= {"current_period_start": end, "current_period_end": following}
            item["_sim"]["counted_from"] = None
    pending = invoices.pending_items(sim, subscription["customer"], subscription["id"])
    if not lines and not pending:
        return None
    invoice = invoices.draft(
        sim,
        sim.get("customer", subscription["customer"]),
        "subscription_cycle",
        lines,
        subscription=subscription,
        period=(start, at),
        pending=pending,
    )
    invoice["_sim"]["metered"] = counted
    return invoice


class _Undone(Exception):
    """Takes back what a preview wrote."""


def undone(sim: Simulator, draw_up: Callable[[], Object | None]) -> Object | None:
    """Return an invoice as it would be, and leave everything as it was."""
    invoice = None
    with sim.store.lock:
        moment = sim.moment
        try:
            with sim.store.transaction():
                invoice = draw_up()
                raise _Undone
        except _Undone:
            pass
        finally:
            sim.moment = moment
    if invoice is not None:
        invoice["id"] = f"upcoming_{invoice['id']}"
        for line in invoice["lines"]["data"]:
            line["invoice"] = invoice["id"]
    return invoice


def upcoming(sim: Simulator, subscription: Object) -> Object | None:
    """Return the next invoice of a subscription as it would be if nothing more happened."""
    subscription = copy.deepcopy(subscription)

    def draw_up() -> Object | None:
        end = next_end(subscription)
        ending = bool(subscription["cancel_at"]) and subscription["cancel_at"] <= end
        sim.moment = min(end, subscription["cancel_at"]) if ending else end
        return draft_cycle(sim, subscription, ending=ending)

    return undone(sim, draw_up)


def _used(sim: Simulator, subscription: Object, item: Object, end: int) -> tuple[Object, int]:
    since = item["_sim"]["counted_from"] or item["current_period_start"]
    quantity = meters.billable(sim, item["price"]["recurring"]["meter"], subscription["customer"], since, end)
    return invoice_lines.metered(sim, subscription, item, since, end, quantity), since


def _renew(sim: Simulator, subscription: Object) -> None:
    if subscription["status"] == "trialing" and _trial_without_method(sim, subscription):
        return
    invoice = draft_cycle(sim, subscription)
    if subscription["status"] == "trialing":
        subscription["status"] = "active"
    if invoice is not None:
        collected = subscription["status"] != "unpaid"
        invoices.store(sim, invoice, advance_after=invoices.DRAFT_FOR if collected else None)


def _trial_without_method(sim: Simulator, subscription: Object) -> bool:
    """Do what is set for a trial that ends with no card; say whether that settles it."""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    customer = sim.get("customer", subscription["customer"])
    if subscription["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]:
        return False
    if behavior == "cancel":
        collection.end_subscription(sim, subscription, reason="cancellation_requested")
    elif behavior == "pause":
        subscription["status"] = "paused"
        sim.save(subscription)
        sim.record("customer.subscription.paused", subscription)
    else:
        return False
    return True


def _end(sim: Simulator, subscription: Object) -> None:
    """End a subscription as planned. What was used until then is billed."""
    invoice = draft_cycle(sim, subscription, ending=True)
    collection.end_subscription(
        sim,
        subscription,
        reason=subscription["cancellation_details"]["reason"] or "cancellation_requested",
        comment=subscription["cancellation_details"]["comment"],
        feedback=subscription["cancellation_details"]["feedback"],
    )
    if invoice is not None:
        invoices.store(sim, invoice, advance_after=invoices.DRAFT_FOR)


def _expire(sim: Simulator, subscription: Object) -> None:
    subscription |= {"status": "incomplete_expired", "ended_at": sim.now}
    sim.save(subscription, "customer.subscription.updated")
    invoice = sim.store.find(subscription["latest_invoice"] or "")
    if invoice and invoice["status"] == "open":
        invoices.void_invoice(sim, invoice)


def _give_notice(sim: Simulator, subscription: Object) -> None:
    """Tell of the end of a trial and of the next invoice, some days before."""
    private = subscription["_sim"]
    if (
        subscription["status"] == "trialing"
        and not private["trial_noted"]
        and sim.now >= subscription["trial_end"] - TRIAL_NOTICE
    ):
        private["trial_noted"] = True
        sim.record("customer.subscription.trial_will_end", subscription)
    end = next_end(subscription)
    if private["noted_until"] < end and sim.now >= end - NOTICE:
        private["noted_until"] = end
        invoice = upcoming(sim, subscription)
        if invoice is not None:
            sim.record("invoice.upcoming", {name: value for name, value in invoice.items() if name != "id"})
