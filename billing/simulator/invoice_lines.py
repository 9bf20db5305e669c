"""Lines of invoices, and what they cost."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.simulator import catalog
from billing.simulator.periods import cents
from billing.simulator.simulator import Simulator, new_id
from billing.simulator.store import Object


def cost(price: Object, quantity: int) -> int:
    """Return what a quantity costs, in cents."""
    return cents(Fraction(price["unit_amount_decimal"]) * quantity)


def pricing(price: Object | None) -> Object | None:
    if price is None:
        return None
    return {
        "type": "price_details",
        "price_details": {"price": price["id"], "product": price["product"]},
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def line(
    sim: Simulator,
    *,
    amount: int,
    currency: str,
    description: str | None,
    start: int,
    end: int,
    parent: Object,
    price: Object | None = None,
    quantity: int | None = 1,
    metadata: dict[str, str] | None = None,
) -> Object:
    details = parent[parent["type"]]
    return {
        "id": new_id("line_item"),
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "description": description,
        "discount_amounts": [],
        "discountable": not details["proration"],
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": metadata or {},
        "parent": parent,
        "period": {"start": start, "end": end},
        "pretax_credit_amounts": [],
        "pricing": pricing(price),
        "quantity": quantity,
        "quantity_decimal": None if quantity is None else str(quantity),
        "subscription": details.get("subscription"),
        "subtotal": amount,
        "taxes": [],
    }


def of_subscription_item(
    subscription: str, item: str, *, invoice_item: str | None = None, proration: bool = False
) -> Object:
    """Return the `parent` of a line that a subscription's item caused."""
    return {
        "type": "subscription_item_details",
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": invoice_item,
            "proration": proration,
            "proration_details": {"credited_items": None} if proration else None,
            "subscription": subscription,
            "subscription_item": item,
        },
    }


def of_invoice_item(item: Object) -> Object:
    """Return the `parent` of a line that an invoice item caused."""
    details = (item["parent"] or {}).get("subscription_details") or {}
    if details.get("subscription_item"):
        return of_subscription_item(
            details["subscription"],
            details["subscription_item"],
            invoice_item=item["id"],
            proration=item["proration"],
        )
    return {
        "type": "invoice_item_details",
        "subscription_item_details": None,
        "invoice_item_details": {
            "invoice_item": item["id"],
            "proration": item["proration"],
            "proration_details": {"credited_items": None} if item["proration"] else None,
            "subscription": details.get("subscription"),
        },
    }


def from_invoice_item(sim: Simulator, item: Object) -> Object:
    """Return the line of a pending invoice item."""
    details = (item["pricing"] or {}).get("price_details")
    return line(
        sim,
        amount=item["amount"],
        currency=item["currency"],
        description=item["description"],
        start=item["period"]["start"],
        end=item["period"]["end"],
        parent=of_invoice_item(item),
        price=sim.store.find(details["price"]) if details else None,
        quantity=item["quantity"],
        metadata=item["metadata"],
    )


def licensed(sim: Simulator, subscription: Object, item: Object, start: int, end: int) -> Object:
    """Return the line of an item paid in advance for a period."""
    price = item["price"]
    return line(
        sim,
        amount=cost(price, item["quantity"]),
        currency=price["currency"],
        description=f"{item['quantity']} × {catalog.product_name(sim, price)} (at {rate(price)})",
        start=start,
        end=end,
        parent=of_subscription_item(subscription["id"], item["id"]),
        price=price,
        quantity=item["quantity"],
    )


def metered(
    sim: Simulator, subscription: Object, item: Object, start: int, end: int, quantity: int
) -> Object:
    """Return the line of what was used in a period that has ended."""
    price = item["price"]
    return line(
        sim,
        amount=cost(price, quantity),
        currency=price["currency"],
        description=metered_description(sim, price, quantity),
        start=start,
        end=end,
        parent=of_subscription_item(subscription["id"], item["id"]),
        price=price,
        quantity=quantity,
    )


def metered_description(sim: Simulator, price: Object, quantity: int) -> str:
    return f"{quantity:,} × {catalog.product_name(sim, price)} (at {rate(price)})"


def trial(sim: Simulator, subscription: Object, item: Object, start: int, end: int) -> Object:
    price = item["price"]
    return line(
        sim,
        amount=0,
        currency=price["currency"],
        description=f"Trial period for {catalog.product_name(sim, price)}",
        start=start,
        end=end,
        parent=of_subscription_item(subscription["id"], item["id"]),
        price=price,
        quantity=item["quantity"],
    )


def rate(price: Object) -> str:
    """Return a price in words: `$799.00 / month`."""
    amount = money(Decimal(price["unit_amount_decimal"]), price["currency"])
    recurring = price["recurring"]
    if not recurring:
        return amount
    count = recurring["interval_count"]
    return (
        f"{amount} / {recurring['interval']}"
        if count == 1
        else f"{amount} / {count} {recurring['interval']}s"
    )


def money(amount: int | Decimal, currency: str) -> str:
    """Return an amount in cents in words, with as many decimals as it has."""
    value = Decimal(amount) / 100
    text = f"{abs(value):,.2f}" if value == round(value, 2) else f"{abs(value).normalize():,f}"
    sign = "-" if value < 0 else ""
    return f"{sign}${text}" if currency == "usd" else f"{sign}{text} {currency.upper()}"


def total(lines: list[Object]) -> int:
    return sum(int(line["amount"]) for line in lines)


def subscription_parent(subscription: Object) -> dict[str, Any]:
    """Return the `parent` of an invoice of a subscription."""
    return {
        "type": "subscription_details",
        "quote_details": None,
        "subscription_details": {
            "metadata": subscription["metadata"],
            "subscription": subscription["id"],
            "subscription_proration_date": None,
        },
    }
