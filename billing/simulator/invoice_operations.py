"""What the API offers on invoices."""

from typing import Any

from billing.simulator import collection, invoices, lists, payment_methods, payments
from billing.simulator.errors import StripeError, missing
from billing.simulator.periods import HOUR
from billing.simulator.simulator import Simulator, merge_metadata
from billing.simulator.store import Object


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    if "customer" not in params:
        raise missing("customer")
    customer = sim.get("customer", params["customer"], "customer")
    subscription = None
    if "subscription" in params:
        subscription = sim.get("subscription", params["subscription"], "subscription")
    included = params.get("pending_invoice_items_behavior", "exclude") == "include" or subscription
    pending = invoices.pending_items(sim, customer["id"], (subscription or {}).get("id")) if included else []
    given = {
        name: params[name]
        for name in ("description", "footer", "default_payment_method", "collection_method", "due_date")
        if params.get(name)
    }
    invoice = invoices.draft(
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
    invoices.store(sim, invoice, advance_after=invoices.DRAFT_FOR if params.get("auto_advance") else None)
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
        at = sim.now + invoices.DRAFT_FOR if params["auto_advance"] else None
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
    invoices.finalize(sim, invoice)
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
        invoices.finalize(sim, invoice)
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
        invoices.finalize(sim, invoice)
    sim.record("invoice.sent", invoice)
    return invoice


def void(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    invoice = sim.get("invoice", id)
    _require(invoice, {"open", "uncollectible"}, "void")
    invoices.void_invoice(sim, invoice)
    return invoice


def mark_uncollectible(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    invoice = sim.get("invoice", id)
    _require(invoice, {"open"}, "mark as uncollectible")
    invoices.close(sim, invoice, "uncollectible", "marked_uncollectible_at")
    sim.record("invoice.marked_uncollectible", invoice)
    collection.after_closing(sim, invoice)
    return invoice


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
