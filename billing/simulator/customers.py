"""Customers and their tax ids."""

from typing import Any

from billing.simulator import collection, lists, payment_methods, subscriptions
from billing.simulator.errors import StripeError
from billing.simulator.payment_methods import ADDRESS
from billing.simulator.simulator import Simulator, merge_metadata
from billing.simulator.store import Object

PLAIN = ("description", "email", "name", "phone", "tax_exempt", "balance", "business_name", "individual_name")


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    customer = sim.blank(
        "customer",
        balance=0,
        delinquent=False,
        invoice_prefix="SIM",
        invoice_settings={
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        next_invoice_sequence=1,
        preferred_locales=[],
        tax_exempt="none",
    )
    for includable in (
        "business_name",
        "individual_name",
        "cash_balance",
        "customer_account",
        "invoice_credit_balance",
        "tax",
    ):
        customer.pop(includable, None)
    _apply(sim, customer, params)
    sim.add(customer, "customer.created")
    if "payment_method" in params:
        payment_methods.attach_to(sim, params["payment_method"], customer["id"])
    if default := params.get("invoice_settings", {}).get("default_payment_method"):
        _make_default(sim, customer, default)
        sim.save(customer, "customer.updated")
    for given in params.get("tax_id_data", []):
        create_tax_id(sim, given, customer["id"])
    return customer


def update(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    customer = sim.get("customer", id)
    _apply(sim, customer, params)
    settings = params.get("invoice_settings", {})
    if "default_payment_method" in settings:
        _make_default(sim, customer, settings["default_payment_method"])
    sim.save(customer, "customer.updated")
    return customer


def delete(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    """Delete a customer for good: live subscriptions end, and nothing more is collected."""
    customer = sim.get("customer", id)
    for subscription in sim.store.select("subscription", customer=id, status=list(subscriptions.LIVE)):
        subscriptions.cancel(sim, {}, subscription["id"])
    for invoice in sim.store.select("invoice", customer=id, status=["draft", "open"]):
        collection.stop_collecting(sim, invoice)
    sim.store.delete(id)
    sim.record("customer.deleted", customer)
    deleted = {"id": id, "object": "customer", "deleted": True}
    sim.store.insert(
        deleted | {"object": "deleted_customer"}
    )  # the id still answers, but is no customer any more
    return deleted


def retrieve(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    found = sim.store.find(id)
    if found and found["object"] == "deleted_customer":
        return found | {"object": "customer"}
    return sim.get("customer", id)


def list_all(sim: Simulator, params: dict[str, Any]) -> Object:
    where = {"email": params["email"]} if "email" in params else {}
    return lists.page(sim, "customer", "/v1/customers", params, **where)


# Tax ids


def create_tax_id(sim: Simulator, params: dict[str, Any], customer: str) -> Object:
    sim.get("customer", customer)
    tax_id = sim.blank(
        "tax_id",
        country=params["type"][:2].upper(),
        customer=customer,
        owner={
            "account": None,
            "application": None,
            "customer": customer,
            "customer_account": None,
            "type": "customer",
        },
        type=params["type"],
        value=params["value"],
        verification={"status": "unavailable", "verified_address": None, "verified_name": None},
    )
    return sim.add(tax_id, "customer.tax_id.created")


def delete_tax_id(sim: Simulator, params: dict[str, Any], customer: str, id: str) -> Object:
    tax_id = sim.get("tax_id", id)
    sim.store.delete(id)
    sim.record("customer.tax_id.deleted", tax_id)
    return {"id": id, "object": "tax_id", "deleted": True}


def list_tax_ids(sim: Simulator, params: dict[str, Any], customer: str) -> Object:
    sim.get("customer", customer)
    return lists.page(sim, "tax_id", f"/v1/customers/{customer}/tax_ids", params, customer=customer)


# What both create and update take


def _apply(sim: Simulator, customer: Object, params: dict[str, Any]) -> None:
    merge_metadata(customer, params.get("metadata"))
    for name in PLAIN:
        if name in params:
            customer[name] = params[name] if params[name] != "" else None
    if "email" in params and params["email"] and "@" not in params["email"]:
        raise StripeError(f"Invalid email address: {params['email']}", code="email_invalid", param="email")
    if "preferred_locales" in params:
        customer["preferred_locales"] = params["preferred_locales"]
    if "address" in params:
        customer["address"] = address(params["address"])
    if "shipping" in params:
        given = params["shipping"]
        customer["shipping"] = (
            {"name": given["name"], "phone": given.get("phone"), "address": address(given["address"])}
            if given
            else None
        )
    for name in ("footer", "custom_fields"):
        if name in params.get("invoice_settings", {}):
            customer["invoice_settings"][name] = params["invoice_settings"][name] or None


def address(given: dict[str, Any] | str) -> Object | None:
    """Return a whole address, with null for what is not given."""
    if not isinstance(given, dict):
        return None
    return {name: given.get(name) or None for name in ADDRESS}


def _make_default(sim: Simulator, customer: Object, method: str) -> None:
    if method:
        found = sim.get("payment_method", method, "invoice_settings[default_payment_method]")
        if found["customer"] != customer["id"]:
            raise StripeError(
                f"The customer does not have a payment method with the ID {method}. The payment method must be"
                " attached to the customer.",
                code="resource_missing",
                param="invoice_settings[default_payment_method]",
            )
    customer["invoice_settings"]["default_payment_method"] = method or None
