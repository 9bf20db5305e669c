"""Invoice items: what the next invoice takes along, such as a proration."""

from fractions import Fraction
from typing import Any

from billing.simulator import invoice_lines, invoices, lists
from billing.simulator.errors import StripeError, missing
from billing.simulator.periods import cents
from billing.simulator.simulator import Simulator, merge_metadata
from billing.simulator.store import Object


def new(
    sim: Simulator,
    *,
    customer: str,
    amount: int,
    currency: str,
    description: str | None,
    start: int,
    end: int,
    price: Object | None = None,
    quantity: int = 1,
    proration: bool = False,
    subscription: str | None = None,
    subscription_item: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Object:
    parent = None
    if subscription:
        parent = {
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription, "subscription_item": subscription_item},
        }
    item = sim.blank(
        "invoiceitem",
        amount=amount,
        currency=currency,
        customer=customer,
        date=sim.now,
        description=description,
        discountable=not proration,
        discounts=[],
        metadata=metadata or {},
        net_amount=amount,
        parent=parent,
        period={"start": start, "end": end},
        pricing=invoice_lines.pricing(price),
        proration=proration,
        proration_details={"credited_items": None, "discount_amounts": []} if proration else None,
        quantity=quantity,
        quantity_decimal=str(quantity),
        tax_rates=[],
    )
    return sim.add(item, "invoiceitem.created")


# Operations


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    invoice = None
    if "invoice" in params:
        invoice = sim.get("invoice", params["invoice"], "invoice")
        if invoice["status"] != "draft":
            raise StripeError(
                "The invoice is no longer editable.", code="invoice_not_editable", param="invoice"
            )
    if "customer" not in params:
        raise missing("customer")
    customer = sim.get("customer", params["customer"], "customer")
    subscription = params.get("subscription")
    if subscription:
        sim.get("subscription", subscription, "subscription")
    quantity = params.get("quantity", 1)
    price = None
    if given := params.get("pricing", {}).get("price"):
        price = sim.get("price", given, "pricing[price]")
        amount = invoice_lines.cost(price, quantity)
    elif data := params.get("price_data"):
        amount = cents(Fraction(str(data.get("unit_amount", data.get("unit_amount_decimal", 0)))) * quantity)
    elif "unit_amount_decimal" in params:
        amount = cents(Fraction(params["unit_amount_decimal"]) * quantity)
    elif "amount" in params:
        amount = params["amount"]
    else:
        raise missing("amount")
    period = params.get("period", {"start": sim.now, "end": sim.now})
    currency = params.get("currency") or (price or params.get("price_data") or {}).get("currency")
    if not currency:
        raise missing("currency")
    item = new(
        sim,
        customer=customer["id"],
        amount=amount,
        currency=currency.lower(),
        description=params.get("description"),
        start=period["start"],
        end=period["end"],
        price=price,
        quantity=quantity,
        subscription=subscription,
        metadata=params.get("metadata"),
    )
    if invoice is not None:
        invoices.take_item(sim, invoice, item)
        invoices.total_up(invoice)
        sim.save(invoice, "invoice.updated")
    return item


def update(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    item = _editable(sim, id)
    merge_metadata(item, params.get("metadata"))
    for name in ("amount", "description"):
        if name in params:
            item[name] = params[name]
    item["net_amount"] = item["amount"]
    sim.save(item)
    return item


def delete(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    item = _editable(sim, id)
    sim.store.delete(item["id"])
    sim.record("invoiceitem.deleted", item)
    return {"id": id, "object": "invoiceitem", "deleted": True}


def list_all(sim: Simulator, params: dict[str, Any]) -> Object:
    where = {name: params[name] for name in ("customer", "invoice") if name in params}
    if params.get("pending"):
        where["invoice"] = None
    return lists.page(sim, "invoiceitem", "/v1/invoiceitems", params, **where)


def _editable(sim: Simulator, id: str) -> Object:
    item = sim.get("invoiceitem", id)
    if item["invoice"]:
        raise StripeError(
            "This invoice item is on an invoice and can no longer be changed.", code="invoice_not_editable"
        )
    return item
