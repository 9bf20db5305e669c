"""Invoices: drawn up, finalized, numbered, voided. What is paid on them is in `collection`."""

from typing import Any

from billing.simulator import collection, invoice_lines, meters
from billing.simulator.periods import DAY, HOUR
from billing.simulator.simulator import Simulator, page_of
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


def finalize(sim: Simulator, invoice: Object, *, paid_by: Object | None = None) -> None:
    """Make a draft final: number it, settle the customer's balance, and open it for payment.

    One that was paid by an intent beforehand is paid in full, whatever the balance.
    """
    _recount_usage(sim, invoice)
    customer = sim.get("customer", invoice["customer"])
    invoice["starting_balance"] = 0 if paid_by else customer["balance"]
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
    if not paid_by and customer["balance"] != balance:
        customer["balance"] = balance
        sim.save(customer, "customer.updated")
    sim.save(invoice)
    sim.record("invoice.finalized", invoice)
    if due == 0:
        collection.mark_paid(sim, invoice)
    else:
        collection.open_payment(sim, invoice, paid_by)
        if paid_by:
            collection.mark_paid(sim, invoice)


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


def void_invoice(sim: Simulator, invoice: Object) -> None:
    close(sim, invoice, "void", "voided_at")
    collection.cancel_payments(sim, invoice, "void_invoice")
    sim.record("invoice.voided", invoice)
    collection.after_closing(sim, invoice)


def close(sim: Simulator, invoice: Object, status: str, at: str) -> None:
    invoice |= {"status": status, "auto_advance": False, "next_payment_attempt": None}
    invoice["status_transitions"][at] = sim.now
    invoice["_sim"]["due"] = None
    sim.save(invoice)
