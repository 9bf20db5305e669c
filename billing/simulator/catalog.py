"""Products and prices."""

from decimal import Decimal
from typing import Any

from billing.simulator import lists
from billing.simulator.errors import StripeError, missing, unsupported
from billing.simulator.simulator import Simulator, merge_metadata, page_of
from billing.simulator.store import Object


def create_product(sim: Simulator, params: dict[str, Any]) -> Object:
    given = {
        name: params[name]
        for name in ("description", "unit_label", "url", "statement_descriptor")
        if name in params
    }
    product = sim.blank(
        "product",
        name=params["name"],
        active=params.get("active", True),
        images=params.get("images", []),
        marketing_features=params.get("marketing_features", []),
        metadata=params.get("metadata", {}),
        type=params.get("type", "service"),
        updated=sim.now,
        **given,
    )
    if "id" in params:
        if sim.store.find(params["id"]):
            raise StripeError("Product already exists.", code="resource_already_exists", param="id")
        product["id"] = params["id"]
    return sim.add(product, "product.created")


def update_product(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    product = sim.get("product", id)
    merge_metadata(product, params.pop("metadata", None))
    if params.get("default_price"):
        sim.get("price", params["default_price"], "default_price")
    product |= {name: None if value == "" else value for name, value in params.items()}
    product["updated"] = sim.now
    sim.save(product, "product.updated")
    return product


def list_products(sim: Simulator, params: dict[str, Any]) -> Object:
    where: dict[str, Any] = {name: params[name] for name in ("active", "type", "url") if name in params}
    if "ids" in params:
        where["id"] = params["ids"]
    return lists.page(sim, "product", "/v1/products", params, **where)


def list_features(sim: Simulator, params: dict[str, Any], product: str) -> Object:
    """List the entitlement features of a product, which are none here."""
    sim.get("product", product)
    return page_of(f"/v1/products/{product}/features", [])


def create_price(sim: Simulator, params: dict[str, Any]) -> Object:
    if params.get("billing_scheme", "per_unit") != "per_unit":
        raise unsupported("tiered prices")
    if "product_data" in params:
        product = create_product(sim, params["product_data"])
    elif "product" in params:
        product = sim.get("product", params["product"], "product")
    else:
        raise missing("product")
    price = sim.blank(
        "price",
        active=params.get("active", True),
        billing_scheme="per_unit",
        currency=params["currency"].lower(),
        metadata=params.get("metadata", {}),
        nickname=params.get("nickname"),
        product=product["id"],
        recurring=_recurring(sim, params["recurring"]) if "recurring" in params else None,
        tax_behavior=params.get("tax_behavior", "unspecified"),
        type="recurring" if "recurring" in params else "one_time",
        **_unit_amounts(params),
    )
    if "lookup_key" in params:
        _take_lookup_key(sim, price, params["lookup_key"], transfer=params.get("transfer_lookup_key", False))
    return sim.add(price, "price.created")


def update_price(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    price = sim.get("price", id)
    merge_metadata(price, params.get("metadata"))
    if "lookup_key" in params:
        _take_lookup_key(sim, price, params["lookup_key"], transfer=params.get("transfer_lookup_key", False))
    for name in ("active", "nickname", "tax_behavior"):
        if name in params:
            price[name] = params[name] if params[name] != "" else None
    sim.save(price, "price.updated")
    return price


def list_prices(sim: Simulator, params: dict[str, Any]) -> Object:
    where: dict[str, Any] = {
        name: params[name] for name in ("active", "currency", "product", "type") if name in params
    }
    if "lookup_keys" in params:
        where["lookup_key"] = params["lookup_keys"]
    where |= {f"recurring.{name}": value for name, value in params.get("recurring", {}).items()}
    return lists.page(sim, "price", "/v1/prices", params, **where)


def product_name(sim: Simulator, price: Object) -> str:
    product = sim.store.find(price["product"])
    return str(product["name"]) if product else str(price["product"])


def plan_of(price: Object) -> Object:
    """Return the older form of a recurring price, which subscription items still show beside it."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def _recurring(sim: Simulator, given: dict[str, Any]) -> Object:
    usage_type = given.get("usage_type", "licensed")
    meter = given.get("meter")
    if usage_type == "metered" and not meter:
        raise StripeError("A meter is required for metered prices.", param="recurring[meter]")
    if meter:
        if usage_type != "metered":
            raise StripeError("Only metered prices can have a meter.", param="recurring[usage_type]")
        if sim.get("billing.meter", meter, "recurring[meter]")["status"] != "active":
            raise StripeError("The meter is inactive.", param="recurring[meter]")
    return {
        "interval": given["interval"],
        "interval_count": given.get("interval_count", 1),
        "meter": meter,
        "trial_period_days": None,
        "usage_type": usage_type,
    }


def _unit_amounts(params: dict[str, Any]) -> Object:
    if "unit_amount" in params and "unit_amount_decimal" in params:
        raise StripeError("You may only specify one of these parameters: unit_amount, unit_amount_decimal.")
    text = str(params.get("unit_amount", params.get("unit_amount_decimal", "")))
    if not text:
        raise missing("unit_amount")
    amount = Decimal(text)
    if amount < 0:
        raise StripeError(
            "Invalid non-negative integer", code="parameter_invalid_integer", param="unit_amount"
        )
    whole = amount == amount.to_integral_value()
    return {"unit_amount": int(amount) if whole else None, "unit_amount_decimal": f"{amount.normalize():f}"}


def _take_lookup_key(sim: Simulator, price: Object, key: str, *, transfer: bool) -> None:
    """Give a price a lookup key, which only one price may have."""
    for other in sim.store.select("price", lookup_key=key) if key else []:
        if other["id"] == price["id"]:
            continue
        if not transfer:
            raise StripeError(f"A price (`{other['id']}`) already uses that lookup key.", param="lookup_key")
        other["lookup_key"] = None
        sim.save(other, "price.updated")
    price["lookup_key"] = key or None


def price_from(sim: Simulator, given: dict[str, Any], param: str) -> Object:
    """Return the price that an item names, or that it describes by `price_data`."""
    if "price" in given:
        price = sim.get("price", given["price"], f"{param}[price]")
        if not price["active"]:
            raise StripeError(
                f"The price specified is inactive. This field only accepts active prices: {price['id']}",
                param=f"{param}[price]",
            )
        return price
    if "price_data" in given:
        return create_price(sim, given["price_data"] | {"active": False})
    raise missing(f"{param}[price]")
