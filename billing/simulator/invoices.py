"""Invoices: drawn up, finalized, numbered, voided. What is paid on them is in `collection`."""

from typing import Any

from billing.simulator import collection, invoice_lines, lists, meters, payment_methods, payments
from billing.simulator.errors import StripeError, missing
from billing.simulator.periods import DAY, HOUR
from billing.simulator.simulator import Simulator, merge_metadata, page_of
from billing.simulator.store import Object

DRAFT_FOR = HOUR
BRAND = "Simulated Inc."


def draft(
    sim: Simulator,
    customer: Object,
    reason: str,
    lines: list[Object],
    *,
    subscription: Object | None = None,
    period: tuple[int, int] | None = None,
    pending: list[Object] | None = None,
    **given: Any,
) -> Object:
    """Draw up an invoice of lines and pending invoice items. It stays a draft until something finalizes it."""
    start, end = period or (sim.now, sim.now)
    method = (subscription or {}).get("collection_method", "charge_automatically")
    invoice = sim.blank(
        "invoice",
        account_country="US",
        account_name=BRAND,
        amount_due=0,
        amount_overpaid=0,
        amount_paid=0,
        amount_remaining=0,
        amount_shipping=0,
        attempt_count=0,
        attempted=False,
        auto_advance=False,
        automatic_tax={
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        billing_reason=reason,
        collection_method=method,
        currency=subscription["currency"] if subscription else given.pop("currency", "usd"),
        customer=customer["id"],
        customer_address=customer["address"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_phone=customer["phone"],
        customer_shipping=customer["shipping"],
        customer_tax_exempt=customer["tax_exempt"],
        customer_tax_ids=[
            {"type": tax_id["type"], "value": tax_id["value"]}
            for tax_id in sim.store.select("tax_id", customer=customer["id"])
        ],
        default_tax_rates=[],
        discounts=[],
        footer=customer["invoice_settings"]["footer"],
        issuer={"type": "self"},
        lines=page_of("", []),
        parent=invoice_lines.subscription_parent(subscription) if subscription else None,
        payment_settings={
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        period_start=start,
        period_end=end,
        post_payment_credit_notes_amount=0,
        pre_payment_credit_notes_amount=0,
        starting_balance=customer["balance"],
        status="draft",
        status_transitions={
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        subtotal=0,
        total=0,
        total_discount_amounts=[],
        total_pretax_credit_amounts=[],
        total_taxes=[],
        _sim={"due": None},
    )
    invoice |= given
    if subscription and method == "send_invoice":
        invoice["_sim"]["days_until_due"] = subscription["days_until_due"]
    invoice["lines"] = page_of(f"/v1/invoices/{invoice['id']}/lines", [])
    add_lines(sim, invoice, lines)
    for item in pending or []:
        take_item(sim, invoice, item)
    total_up(invoice)
    if subscription:
        subscription["latest_invoice"] = invoice["id"]
    return invoice


def add_lines(sim: Simulator, invoice: Object, lines: list[Object]) -> None:
    for line in lines:
        line["invoice"] = invoice["id"]
    invoice["lines"]["data"] += lines


def take_item(sim: Simulator, invoice: Object, item: Object) -> None:
    """Put a pending invoice item onto an invoice."""
    add_lines(sim, invoice, [invoice_lines.from_invoice_item(sim, item)])
    item["invoice"] = invoice["id"]
    sim.save(item)


def total_up(invoice: Object) -> None:
    total = invoice_lines.total(invoice["lines"]["data"])
    invoice |= {
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
    }
    due, _ = _after_balance(invoice)
    invoice |= {"amount_due": due, "amount_remaining": due}


def _after_balance(invoice: Object) -> tuple[int, int]:
    """Return what is due, and the customer's balance after it. Less than 50 cents waits for the next invoice."""
    left = invoice["total"] + invoice["starting_balance"]
    smallest = 50 if invoice["total"] > 0 else 1
    return (left, 0) if left >= smallest else (0, left)


def store(sim: Simulator, invoice: Object, *, advance_after: int | None = None) -> Object:
    """Store a new draft. `advance_after` seconds later it is finalized by itself."""
    if advance_after is not None:
        invoice["auto_advance"] = True
        invoice["automatically_finalizes_at"] = invoice["_sim"]["due"] = sim.now + advance_after
    return sim.add(invoice, "invoice.created")


def finalize(sim: Simulator, invoice: Object) -> None:
    """Make a draft final: number it, settle the customer's balance, and open it for payment."""
    _recount_usage(sim, invoice)
    customer = sim.get("customer", invoice["customer"])
    invoice["starting_balance"] = customer["balance"]
    total_up(invoice)
    due, balance = _after_balance(invoice)
    number = sim.store.setting("last_invoice_number", 0) + 1
    sim.store.set("last_invoice_number", number)
    invoice |= {
        "automatically_finalizes_at": None,
        "effective_at": sim.now,
        "ending_balance": balance,
        "hosted_invoice_url": f"{sim.base_url}/invoices/{invoice['id']}",
        "invoice_pdf": f"{sim.base_url}/invoices/{invoice['id']}.pdf",
        "number": f"SIM-{number:04d}",
        "status": "open",
        "webhooks_delivered_at": sim.now,
    }
    invoice["status_transitions"]["finalized_at"] = sim.now
    invoice["_sim"]["due"] = None
    if invoice["collection_method"] == "send_invoice":
        days = invoice["_sim"].get("days_until_due") or 0
        invoice["due_date"] = invoice["due_date"] or sim.now + days * DAY
        invoice["_sim"]["due"] = invoice["due_date"]
    if customer["balance"] != balance:
        customer["balance"] = balance
        sim.save(customer, "customer.updated")
    sim.save(invoice)
    sim.record("invoice.finalized", invoice)
    if due == 0:
        collection.mark_paid(sim, invoice)
    else:
        collection.open_payment(sim, invoice)


def _recount_usage(sim: Simulator, invoice: Object) -> None:
    """Take in usage of the period that arrived while the invoice was a draft."""
    for counted in invoice["_sim"].get("metered", []):
        for line in invoice["lines"]["data"]:
            if line["id"] != counted["line"]:
                continue
            price = sim.get("price", line["pricing"]["price_details"]["price"])
            quantity = meters.billable(
                sim, price["recurring"]["meter"], invoice["customer"], counted["start"], counted["end"]
            )
            line["quantity"], line["quantity_decimal"] = quantity, str(quantity)
            line["amount"] = line["subtotal"] = invoice_lines.cost(price, quantity)
            line["description"] = invoice_lines.metered_description(sim, price, quantity)


def pending_items(sim: Simulator, customer: str, subscription: str | None) -> list[Object]:
    """Return the invoice items that the next invoice takes, oldest first: those of no or of this subscription."""
    found = sim.store.select("invoiceitem", customer=customer, invoice=None)[::-1]
    return [item for item in found if _subscription_of_item(item) in {None, subscription}]


def _subscription_of_item(item: Object) -> str | None:
    details = (item["parent"] or {}).get("subscription_details") or {}
    found: str | None = details.get("subscription")
    return found


def subscription_of(sim: Simulator, invoice: Object) -> Object | None:
    if not invoice["parent"]:
        return None
    return sim.store.find(invoice["parent"]["subscription_details"]["subscription"])


def when_due(sim: Simulator, invoice: Object) -> None:
    """Do what is due: finalize a draft and collect it, try a failed payment again, note that a date has passed."""
    invoice["_sim"]["due"] = None
    if invoice["status"] == "draft":
        finalize(sim, invoice)
        if invoice["status"] != "open":
            return
        if invoice["collection_method"] == "send_invoice":
            sim.record("invoice.sent", invoice)
        else:
            collection.collect(sim, invoice)
    elif invoice["status"] == "open" and invoice["collection_method"] == "send_invoice":
        sim.save(invoice)
        collection.overdue(sim, invoice)
    elif invoice["status"] == "open":
        collection.collect(sim, invoice)
    else:
        sim.save(invoice)


# Operations


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    if "customer" not in params:
        raise missing("customer")
    customer = sim.get("customer", params["customer"], "customer")
    subscription = None
    if "subscription" in params:
        subscription = sim.get("subscription", params["subscription"], "subscription")
    included = params.get("pending_invoice_items_behavior", "exclude") == "include" or subscription
    pending = pending_items(sim, customer["id"], (subscription or {}).get("id")) if included else []
    given = {
        name: params[name]
        for name in ("description", "footer", "default_payment_method", "collection_method", "due_date")
        if params.get(name)
    }
    invoice = draft(
        sim,
        customer,
        "subscription_update" if subscription else "manual",
        [],
        subscription=subscription,
        pending=pending,
        currency=params.get("currency", pending[0]["currency"] if pending else "usd"),
        **given,
    )
    invoice["_sim"]["days_until_due"] = params.get("days_until_due")
    merge_metadata(invoice, params.get("metadata"))
    store(sim, invoice, advance_after=DRAFT_FOR if params.get("auto_advance") else None)
    if subscription:
        sim.save(subscription, "customer.subscription.updated")
    return invoice


def update(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    invoice = sim.get("invoice", id)
    merge_metadata(invoice, params.pop("metadata", None))
    if set(params) - {"auto_advance", "default_payment_method"}:
        _require(invoice, {"draft"}, "update")
    for name, value in params.items():
        invoice[name] = value if value != "" else None
    if "auto_advance" in params and invoice["status"] == "draft":
        at = sim.now + DRAFT_FOR if params["auto_advance"] else None
        invoice["automatically_finalizes_at"] = invoice["_sim"]["due"] = at
    elif params.get("auto_advance") is False:
        invoice["next_payment_attempt"] = invoice["_sim"]["due"] = None
    sim.save(invoice, "invoice.updated")
    return invoice


def delete(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    invoice = sim.get("invoice", id)
    if invoice["status"] != "draft" or invoice["parent"]:
        raise StripeError("You can only delete draft invoices that are not of a subscription.")
    for item in sim.store.select("invoiceitem", invoice=id):
        sim.store.delete(item["id"])
    sim.store.delete(id)
    sim.record("invoice.deleted", invoice)
    return {"id": id, "object": "invoice", "deleted": True}


def finalize_now(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    invoice = sim.get("invoice", id)
    if invoice["status"] != "draft":
        raise StripeError(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
            code="invoice_not_editable",
        )
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
    finalize(sim, invoice)
    if (
        invoice["status"] == "open"
        and invoice["auto_advance"]
        and invoice["collection_method"] == "charge_automatically"
    ):
        invoice["_sim"]["due"] = invoice["next_payment_attempt"] = sim.now + HOUR
        sim.save(invoice)
    return invoice


def pay(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    """Pay an open invoice, or a draft, which is finalized first; a card that fails is a 402."""
    invoice = sim.get("invoice", id)
    if invoice["status"] == "paid":
        raise StripeError("Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] == "draft":
        finalize(sim, invoice)
        if invoice["status"] == "paid":
            return invoice
    if invoice["status"] not in {"open", "uncollectible"}:
        raise StripeError(f"You can't pay an invoice whose status is {invoice['status']}.")
    if params.get("paid_out_of_band"):
        collection.mark_paid(sim, invoice, out_of_band=True)
        return invoice
    method = None
    if "payment_method" in params:
        method = sim.get("payment_method", params["payment_method"], "payment_method")
        if method["customer"] != invoice["customer"]:
            raise StripeError(
                "The payment method is not attached to the invoice's customer.", param="payment_method"
            )
    method = method or collection.method_for(sim, invoice)
    if method is None:
        raise collection.no_method(invoice["customer"])
    intent = collection.collect(
        sim, invoice, method, off_session=bool(params.get("off_session", True)), retry=False
    )
    if intent is not None:
        if intent["status"] == "requires_action":
            raise payment_methods.card_error(
                payments.NEEDS_CONFIRMATION, "invoice_payment_intent_requires_action"
            )
        raise payments.failure_of(intent, method)
    return invoice


def send(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    invoice = sim.get("invoice", id)
    if invoice["status"] == "draft":
        finalize(sim, invoice)
    sim.record("invoice.sent", invoice)
    return invoice


def void(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    invoice = sim.get("invoice", id)
    _require(invoice, {"open", "uncollectible"}, "void")
    void_invoice(sim, invoice)
    return invoice


def void_invoice(sim: Simulator, invoice: Object) -> None:
    _close(sim, invoice, "void", "voided_at")
    collection.cancel_payments(sim, invoice, "void_invoice")
    sim.record("invoice.voided", invoice)
    collection.after_closing(sim, invoice)


def mark_uncollectible(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    invoice = sim.get("invoice", id)
    _require(invoice, {"open"}, "mark as uncollectible")
    _close(sim, invoice, "uncollectible", "marked_uncollectible_at")
    sim.record("invoice.marked_uncollectible", invoice)
    collection.after_closing(sim, invoice)
    return invoice


def _close(sim: Simulator, invoice: Object, status: str, at: str) -> None:
    invoice |= {"status": status, "auto_advance": False, "next_payment_attempt": None}
    invoice["status_transitions"][at] = sim.now
    invoice["_sim"]["due"] = None
    sim.save(invoice)


def list_all(sim: Simulator, params: dict[str, Any]) -> Object:
    where: dict[str, Any] = {
        name: params[name] for name in ("customer", "status", "collection_method") if name in params
    }
    if "subscription" in params:
        where[collection.OF_SUBSCRIPTION] = params["subscription"]
    return lists.page(sim, "invoice", "/v1/invoices", params, **where)


def list_lines(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    invoice = sim.get("invoice", id)
    return lists.page_within(f"/v1/invoices/{id}/lines", invoice["lines"]["data"], params)


def _require(invoice: Object, statuses: set[str], what: str) -> None:
    if invoice["status"] not in statuses:
        raise StripeError(
            f"You can't {what} an invoice whose status is {invoice['status']}.", code="invoice_not_editable"
        )
