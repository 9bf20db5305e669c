"""Subscriptions: how they begin, and how they end at once."""

from typing import Any

from billing.simulator import (
    catalog,
    collection,
    invoice_items,
    invoice_lines,
    invoices,
    lists,
    payments,
    proration,
)
from billing.simulator.errors import StripeError, missing, only, unsupported
from billing.simulator.periods import DAY, HOUR, next_boundary, previous_boundary, share
from billing.simulator.simulator import Simulator, merge_metadata, new_id, page_of
from billing.simulator.store import Object

ITEM = "clear_usage deleted id metadata price price_data quantity"
LIVE = ("active", "incomplete", "past_due", "paused", "trialing", "unpaid")
EXPIRES_AFTER = 23 * HOUR  # while its first payment is missing
NOTICE = 7 * DAY  # of an upcoming invoice
TRIAL_NOTICE = 3 * DAY


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    subscription = begin(sim, params)
    behavior = params.get("payment_behavior", "allow_incomplete")
    invoice = draft_first(sim, subscription, params.get("proration_behavior", "create_prorations"))
    pay_first(sim, subscription, invoice, behavior=behavior)
    return sim.get("subscription", subscription["id"])


def begin(sim: Simulator, params: dict[str, Any]) -> Object:
    """Make a subscription with its items and their first periods; its first invoice is yet to come."""
    if "customer" not in params:
        raise missing("customer")
    customer = sim.get("customer", params["customer"], "customer")
    given = params.get("items") or []
    if params.get("automatic_tax", {}).get("enabled"):
        raise unsupported("automatic tax")
    if not given:
        raise missing("items")
    trial_end = _trial_end(sim, params)
    anchor = trial_end or params.get("billing_cycle_anchor", sim.now)
    mode = params.get("billing_mode", {}).get("type", "flexible")
    method = params.get("collection_method", "charge_automatically")
    if method == "send_invoice" and "days_until_due" not in params:
        raise missing("days_until_due")
    subscription = sim.blank(
        "subscription",
        automatic_tax={"disabled_reason": None, "enabled": False, "liability": None},
        billing_cycle_anchor=anchor,
        billing_mode={
            "flexible": {"proration_discounts": "included"} if mode == "flexible" else None,
            "type": mode,
            "updated_at": None,
        },
        billing_schedules=[],
        cancel_at_period_end=False,
        cancellation_details={"comment": None, "feedback": None, "feedback_option": None, "reason": None},
        collection_method=method,
        currency="usd",
        customer=customer["id"],
        days_until_due=params.get("days_until_due"),
        default_tax_rates=[],
        description=params.get("description"),
        discounts=[],
        invoice_settings={
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        payment_settings={
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        start_date=sim.now,
        status="trialing" if trial_end else "active" if method == "send_invoice" else "incomplete",
        trial_end=trial_end,
        trial_settings=params.get(
            "trial_settings", {"end_behavior": {"missing_payment_method": "create_invoice"}}
        ),
        trial_start=sim.now if trial_end else None,
        _sim={"due": None, "trial_noted": False, "noted_until": 0},
    )
    merge_metadata(subscription, params.get("metadata"))
    subscription["items"] = page_of(f"/v1/subscription_items?subscription={subscription['id']}", [])
    subscription["items"]["data"] = [
        new_item(sim, subscription, item, f"items[{index}]") for index, item in enumerate(given)
    ]
    check_items(subscription)
    subscription["currency"] = subscription["items"]["data"][0]["price"]["currency"]
    if method := params.get("default_payment_method"):
        subscription["default_payment_method"] = check_method(sim, method, customer["id"])
    set_cancellation(sim, subscription, params)
    if not customer["currency"]:
        customer["currency"] = subscription["currency"]
        sim.save(customer, "customer.updated")
    schedule(subscription)
    sim.add(subscription, "customer.subscription.created")
    for item in params.get("add_invoice_items", []):
        price = catalog.price_from(sim, item, "add_invoice_items")
        quantity = item.get("quantity", 1)
        invoice_items.new(
            sim,
            customer=customer["id"],
            amount=invoice_lines.cost(price, quantity),
            currency=price["currency"],
            description=catalog.product_name(sim, price),
            start=sim.now,
            end=sim.now,
            price=price,
            quantity=quantity,
            subscription=subscription["id"],
        )
    return subscription


def _trial_end(sim: Simulator, params: dict[str, Any]) -> int | None:
    if params.get("trial_period_days"):
        return sim.now + int(params["trial_period_days"]) * DAY
    end = params.get("trial_end")
    if end is None or end == "now":
        return None
    if end <= sim.now:
        raise StripeError("Invalid timestamp: must be in the future.", param="trial_end")
    return int(end)


def new_item(sim: Simulator, subscription: Object, given: dict[str, Any], param: str) -> Object:
    """Return an item whose period runs from now to the next boundary of the subscription's cycle."""
    only(given, ITEM, param)
    price = catalog.price_from(sim, given, param)
    recurring = price["recurring"]
    if not recurring:
        raise StripeError(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            param=f"{param}[price]",
        )
    if recurring["usage_type"] == "metered" and "quantity" in given:
        raise StripeError(
            f"You cannot set the quantity for metered plans: {price['id']}", param=f"{param}[quantity]"
        )
    anchor = subscription["billing_cycle_anchor"]
    return {
        "id": new_id("subscription_item"),
        "object": "subscription_item",
        "billed_until": None,
        "billing_thresholds": None,
        "created": sim.now,
        "current_period_start": sim.now,
        "current_period_end": subscription["trial_end"]
        if subscription["status"] == "trialing"
        else next_boundary(anchor, recurring, sim.now),
        "discounts": [],
        "metadata": given.get("metadata") or {},
        "plan": catalog.plan_of(price),
        "price": price,
        "quantity": None if recurring["usage_type"] == "metered" else given.get("quantity", 1),
        "subscription": subscription["id"],
        "tax_rates": [],
        # The debits are what was charged for time yet to pass; a credit for unused time is a share of them.
        "_sim": {"anchor": anchor, "debits": [], "counted_from": None},
    }


def check_items(subscription: Object) -> None:
    prices = [item["price"] for item in subscription["items"]["data"]]
    if not prices:
        raise StripeError("A subscription must have at least one active item.", param="items")
    if len({price["id"] for price in prices}) < len(prices):
        raise StripeError("Cannot add multiple subscription items with the same price.", param="items")
    intervals = {(p["recurring"]["interval"], p["recurring"]["interval_count"]) for p in prices}
    if len({price["currency"] for price in prices}) > 1 or (
        len(intervals) > 1 and subscription["billing_mode"]["type"] != "flexible"
    ):
        raise StripeError(
            "Currency and interval fields must match across all prices of a subscription in classic billing mode."
            if len(intervals) > 1
            else "Currency fields must match across all prices of a subscription.",
            param="items",
        )


def check_method(sim: Simulator, id: str, customer: str) -> str:
    method = sim.get("payment_method", id, "default_payment_method")
    if method["customer"] != customer:
        raise StripeError(
            f"The customer does not have a payment method with the ID {id}. The payment method must be attached to"
            " the customer.",
            code="resource_missing",
            param="default_payment_method",
        )
    return id


def set_cancellation(sim: Simulator, subscription: Object, params: dict[str, Any]) -> None:
    """Plan or unplan the end of a subscription. The end of its period is that of its longest item."""
    ends = [item["current_period_end"] for item in subscription["items"]["data"]]
    if "cancel_at_period_end" in params:
        planned = params["cancel_at_period_end"]
        subscription["cancel_at_period_end"] = planned
        subscription["cancel_at"] = max(ends) if planned else None
    elif "cancel_at" in params:
        at = params["cancel_at"]
        subscription["cancel_at_period_end"] = False
        subscription["cancel_at"] = {"min_period_end": min(ends), "max_period_end": max(ends)}.get(
            at, at or None
        )
        if subscription["cancel_at"] and subscription["cancel_at"] <= sim.now:
            raise StripeError("Invalid timestamp: must be in the future.", param="cancel_at")
    else:
        return
    planned = subscription["cancel_at"] is not None
    subscription["canceled_at"] = sim.now if planned else None
    subscription["cancellation_details"]["reason"] = "cancellation_requested" if planned else None
    subscription["cancellation_details"] |= params.get("cancellation_details", {})


def schedule(subscription: Object) -> None:
    """Set when something is next to be done about a subscription."""
    private = subscription["_sim"]
    if subscription["status"] in {"canceled", "incomplete_expired", "paused"}:
        private["due"] = None
        return
    if subscription["status"] == "incomplete":
        private["due"] = subscription["created"] + EXPIRES_AFTER
        return
    end = min(item["current_period_end"] for item in subscription["items"]["data"])
    start = min(item["current_period_start"] for item in subscription["items"]["data"])
    moments = [end]
    if subscription["cancel_at"]:
        moments.append(subscription["cancel_at"])
    if subscription["status"] == "trialing" and not private["trial_noted"]:
        moments.append(max(subscription["trial_end"] - TRIAL_NOTICE, subscription["created"]))
    if private["noted_until"] < end and end - NOTICE > start:
        moments.append(end - NOTICE)
    private["due"] = min(moments)


# The first invoice


def draft_first(sim: Simulator, subscription: Object, proration: str) -> Object | None:
    """Draw up the first invoice: what is paid in advance. None if that is nothing, as with metered prices only."""
    lines = []
    for item in subscription["items"]["data"]:
        if item["price"]["recurring"]["usage_type"] == "metered":
            continue
        start, end = item["current_period_start"], item["current_period_end"]
        if subscription["status"] == "trialing":
            lines.append(invoice_lines.trial(sim, subscription, item, start, end))
            continue
        whole = end - previous_boundary(item["_sim"]["anchor"], item["price"]["recurring"], end)
        if end - start < whole and proration == "none":
            continue
        line = invoice_lines.licensed(sim, subscription, item, start, end)
        line["amount"] = line["subtotal"] = share(line["amount"], end - start, whole)
        item["_sim"]["debits"] = [{"start": start, "end": end, "amount": line["amount"]}]
        lines.append(line)
    pending = invoices.pending_items(sim, subscription["customer"], subscription["id"])
    if not lines and not pending:
        return None
    return invoices.draft(
        sim,
        sim.get("customer", subscription["customer"]),
        "subscription_create",
        lines,
        subscription=subscription,
        pending=pending,
    )


def pay_first(
    sim: Simulator,
    subscription: Object,
    invoice: Object | None,
    *,
    behavior: str,
    confirmed: bool = False,
) -> None:
    """Collect the first invoice. Until it is paid the subscription is incomplete."""
    if invoice is None:
        if subscription["status"] == "incomplete":
            subscription["status"] = "active"
        schedule(subscription)
        sim.save(subscription, "customer.subscription.updated")
        return
    sim.save(subscription)
    if subscription["collection_method"] == "send_invoice":
        invoices.store(sim, invoice, advance_after=invoices.DRAFT_FOR)
        return
    invoices.store(sim, invoice, advance_after=0)
    invoices.finalize(sim, invoice)
    if invoice["status"] == "open" and behavior != "default_incomplete":
        method = collection.method_for(sim, invoice)
        if method is None:
            raise collection.no_method(subscription["customer"])
        intent = collection.collect(sim, invoice, method, off_session=False, confirmed=confirmed)
        if intent is not None and behavior == "error_if_incomplete":
            error = payments.failure_of(intent, method)
            error.kept = False
            raise error
    stored = sim.get("subscription", subscription["id"])
    schedule(stored)
    sim.save(stored)


# Operations


def cancel(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    """End a subscription at once."""
    subscription = sim.get("subscription", id)
    if subscription["status"] in {"canceled", "incomplete_expired"}:
        raise StripeError(f"No such subscription: '{id}'", status=404, code="resource_missing", param="id")
    invoice = proration.draft_final(sim, subscription, params)
    details = {name: value or None for name, value in params.get("cancellation_details", {}).items()}
    collection.end_subscription(sim, subscription, reason="cancellation_requested", **details)
    if invoice is not None:
        invoices.store(sim, invoice, advance_after=0)
        invoices.finalize(sim, invoice)
        if invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
            collection.collect(sim, invoice)
    return sim.get("subscription", id)


def list_all(sim: Simulator, params: dict[str, Any]) -> Object:
    where: dict[str, Any] = {
        name: params[name] for name in ("customer", "collection_method") if name in params
    }
    status = params.get("status")
    if status == "ended":
        where["status"] = ["canceled", "incomplete_expired"]
    elif status is None:
        where["status"] = LIVE
    elif status != "all":
        where["status"] = status
    if "price" in params:
        where["id"] = [
            subscription["id"]
            for subscription in sim.store.select("subscription")
            if any(item["price"]["id"] == params["price"] for item in subscription["items"]["data"])
        ]
    return lists.page(sim, "subscription", "/v1/subscriptions", params, **where)


def list_items(sim: Simulator, params: dict[str, Any]) -> Object:
    subscription = sim.get("subscription", params["subscription"], "subscription")
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    return lists.page_within(url, subscription["items"]["data"], params)


def retrieve_item(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    for subscription in sim.store.select("subscription"):
        for item in subscription["items"]["data"]:
            if item["id"] == id:
                found: Object = item
                return found
    raise StripeError(f"No such subscription_item: '{id}'", status=404, code="resource_missing", param="id")
