"""Checkout sessions: what is offered, and what follows when it is paid, set up or left."""

from typing import Any
from urllib.parse import urlsplit

from billing.simulator import (
    catalog,
    collection,
    customers,
    invoice_items,
    invoice_lines,
    invoices,
    lists,
    payment_methods,
    payments,
    subscriptions,
)
from billing.simulator.errors import StripeError, missing, only, unsupported
from billing.simulator.payment_methods import TestCard
from billing.simulator.periods import DAY
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object

OPEN_FOR = DAY
# What is kept for the moment of payment, and what is honoured of it.
LATER = {
    "customer_update": "address name",
    "invoice_creation": "enabled invoice_data",
    "payment_intent_data": "description metadata receipt_email setup_future_usage",
    "setup_intent_data": "metadata",
    "subscription_data": "billing_cycle_anchor billing_mode description metadata proration_behavior trial_end"
    " trial_period_days trial_settings",
}


class ConfirmationNeeded(Exception):
    """The card's owner has to confirm before anything is done."""


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    mode = params.get("mode")
    if mode is None:
        raise missing("mode")
    if "success_url" not in params:
        raise missing("success_url")
    _check_supported(params)
    if {"customer", "customer_email"} <= set(params):
        raise StripeError("You may only specify one of these parameters: customer, customer_email.")
    if "customer" in params:
        sim.get("customer", params["customer"], "customer")
    expires_at = params.get("expires_at", sim.now + OPEN_FOR)
    if not sim.now + 30 * 60 <= expires_at <= sim.now + OPEN_FOR:
        raise StripeError(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    items = _line_items(sim, mode, params.get("line_items", []))
    total = sum(item["amount_total"] for item in items) if mode != "setup" else None
    creation = params.get("invoice_creation", {"enabled": False})
    session = sim.blank(
        "checkout.session",
        amount_subtotal=total,
        amount_total=total,
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        billing_address_collection=params.get("billing_address_collection"),
        cancel_url=params.get("cancel_url"),
        client_reference_id=params.get("client_reference_id"),
        currency=items[0]["currency"] if items else params.get("currency"),
        custom_fields=[],
        custom_text=dict.fromkeys(
            ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
        ),
        customer=params.get("customer"),
        customer_creation=params.get(
            "customer_creation", "always" if mode == "subscription" else "if_required"
        ),
        customer_email=params.get("customer_email"),
        expires_at=expires_at,
        invoice_creation=_invoice_creation(creation) if mode == "payment" else None,
        locale=params.get("locale"),
        metadata=params.get("metadata", {}),
        mode=mode,
        payment_method_collection=params.get("payment_method_collection", "always"),
        payment_method_types=["card"],
        payment_status="no_payment_required" if mode == "setup" else "unpaid",
        shipping_options=[],
        status="open",
        submit_type=params.get("submit_type"),
        success_url=params["success_url"],
        ui_mode="hosted_page",
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0} if items else None,
        _sim={
            "due": expires_at,
            "items": items,
            "later": {name: params[name] for name in LATER if name in params},
            "asks_tax_id": params.get("tax_id_collection", {}).get("enabled", False),
        },
    )
    session["url"] = f"{sim.base_url}/checkout/{session['id']}"
    return sim.add(session)


def _check_supported(params: dict[str, Any]) -> None:
    for name in ("success_url", "cancel_url"):
        if urlsplit(params.get(name, "http://")).scheme not in {"http", "https"}:
            raise StripeError(f"Not a valid URL: {params[name]}", code="url_invalid", param=name)
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise unsupported("a ui_mode other than hosted_page")
    if params.get("automatic_tax", {}).get("enabled"):
        raise unsupported("automatic tax")
    if set(params.get("payment_method_types", ["card"])) - {"card"}:
        raise unsupported("payment_method_types other than card")
    for name, known in LATER.items():
        only(params.get(name, {}), known, name)


def _line_items(sim: Simulator, mode: str, given: list[dict[str, Any]]) -> list[Object]:
    if mode != "setup" and not given:
        raise missing("line_items")
    items = []
    for index, one in enumerate(given):
        param = f"line_items[{index}]"
        price = catalog.price_from(sim, one, param)
        recurring = price["recurring"]
        if recurring and mode == "payment":
            raise StripeError(
                "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use"
                " only one-time prices.",
                param=f"{param}[price]",
            )
        metered = bool(recurring and recurring["usage_type"] == "metered")
        if metered and "quantity" in one:
            raise StripeError(
                "Quantity should not be specified where usage_type is `metered`.", param=f"{param}[quantity]"
            )
        if not metered and "quantity" not in one:
            raise StripeError(
                "Quantity is required. Add `quantity` to the line item.", param=f"{param}[quantity]"
            )
        cost = 0 if metered else invoice_lines.cost(price, one["quantity"])
        items.append(
            sim.blank(
                "item",
                amount_discount=0,
                amount_subtotal=cost,
                amount_tax=0,
                amount_total=cost,
                currency=price["currency"],
                description=catalog.product_name(sim, price),
                price=price,
                quantity=one.get("quantity"),
            )
        )
    if mode == "subscription" and not any(item["price"]["recurring"] for item in items):
        raise StripeError(
            "You must provide at least one recurring price in `subscription` mode when using prices.",
            param="line_items",
        )
    return items


def _invoice_creation(given: dict[str, Any]) -> Object:
    data = given.get("invoice_data", {})
    names = ("account_tax_ids", "custom_fields", "description", "footer", "issuer", "rendering_options")
    return {
        "enabled": given["enabled"],
        "invoice_data": {name: data.get(name) for name in names} | {"metadata": data.get("metadata")},
    }


# What the visitor of the page does


def complete(
    sim: Simulator, session: Object, card: TestCard, details: dict[str, Any], *, confirmed: bool = False
) -> str:
    """Pay or set up with a card, and return where the visitor goes next.

    Raises StripeError, with nothing done, for a card that fails, and ConfirmationNeeded for one that asks first.
    """
    if session["status"] != "open":
        raise StripeError("This Checkout Session is no longer open.")
    if "authenticate" in {card.saving, card.charging} and not confirmed:
        raise ConfirmationNeeded
    if card.saving == "declined":
        raise payment_methods.declined(card)
    customer = _customer(sim, session, details)
    method = payment_methods.new_card(sim, card, details)
    match session["mode"]:
        case "subscription":
            _subscribe(sim, session, customer, method, confirmed=confirmed)
        case "payment":
            _pay(sim, session, customer, method, confirmed=confirmed)
        case "setup":
            _set_up(sim, session, customer, method, confirmed=confirmed)
    session |= {"status": "complete", "customer": customer["id"] if customer else None}
    session["customer_details"] = {
        "address": details.get("address"),
        "business_name": None,
        "email": details.get("email"),
        "individual_name": None,
        "name": details.get("name"),
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [details["tax_id"]] if details.get("tax_id") else [],
    }
    session["_sim"]["due"] = None
    sim.save(session)
    sim.record("checkout.session.completed", session)
    return success_address(session)


def success_address(session: Object) -> str:
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _customer(sim: Simulator, session: Object, details: dict[str, Any]) -> Object | None:
    given = {name: details[name] for name in ("email", "name") if details.get(name)}
    if session["customer"]:
        customer = sim.get("customer", session["customer"])
        wanted = session["_sim"]["later"].get("customer_update", {})
        changed = {
            name: details[name]
            for name in ("name", "address")
            if wanted.get(name) == "auto" and details.get(name)
        }
        if not customer["email"] and "email" in given:
            changed["email"] = given["email"]
        customer |= changed
        sim.save(customer, "customer.updated")
    elif session["customer_creation"] == "always" or session["mode"] != "payment":
        customer = customers.create(
            sim, given | ({"address": details["address"]} if details.get("address") else {})
        )
    else:
        return None
    if details.get("tax_id"):
        customers.create_tax_id(sim, details["tax_id"], customer["id"])
    return customer


def _subscribe(
    sim: Simulator, session: Object, customer: Object | None, method: Object, *, confirmed: bool
) -> None:
    if customer is None:
        raise missing("customer")
    payment_methods.attach_to(sim, method["id"], customer["id"], authenticated=confirmed)
    data = session["_sim"]["later"].get("subscription_data", {})
    items: list[dict[str, Any]] = []
    once: list[dict[str, Any]] = []
    for item in session["_sim"]["items"]:
        one = {"price": item["price"]["id"]} | ({"quantity": item["quantity"]} if item["quantity"] else {})
        (items if item["price"]["recurring"] else once).append(one)
    subscription = subscriptions.begin(
        sim,
        data
        | {
            "customer": customer["id"],
            "items": items,
            "add_invoice_items": once,
            "default_payment_method": method["id"],
        },
    )
    invoice = subscriptions.draft_first(
        sim, subscription, data.get("proration_behavior", "create_prorations")
    )
    subscriptions.pay_first(sim, subscription, invoice, behavior="error_if_incomplete", confirmed=confirmed)
    free = invoice is None or invoice["amount_due"] == 0
    session |= {
        "subscription": subscription["id"],
        "invoice": invoice["id"] if invoice else None,
        "payment_status": "no_payment_required" if free else "paid",
    }


def _pay(
    sim: Simulator, session: Object, customer: Object | None, method: Object, *, confirmed: bool
) -> None:
    data = session["_sim"]["later"].get("payment_intent_data", {})
    usage = data.get("setup_future_usage")
    if usage and customer:
        payment_methods.attach_to(sim, method["id"], customer["id"], authenticated=confirmed)
    if session["invoice_creation"]["enabled"]:
        intent = _invoiced(sim, session, customer, method, data, confirmed=confirmed)
    else:
        intent = payments.new_intent(
            sim,
            amount=session["amount_total"],
            currency=session["currency"],
            customer=customer["id"] if customer else None,
            description=data.get("description"),
            metadata=data.get("metadata"),
            setup_future_usage=usage,
        )
        intent["receipt_email"] = data.get("receipt_email")
        payments.attempt(sim, intent, method, off_session=False, confirmed=confirmed)
    if intent["status"] != "succeeded":
        raise payments.failure_of(intent, method)
    session |= {"payment_intent": intent["id"], "payment_status": "paid"}


def _invoiced(
    sim: Simulator,
    session: Object,
    customer: Object | None,
    method: Object,
    data: dict[str, Any],
    *,
    confirmed: bool,
) -> Object:
    """Charge by way of an invoice, and return its intent."""
    if customer is None:
        customer = customers.create(sim, {"email": method["billing_details"]["email"]})
    items = [
        invoice_items.new(
            sim,
            customer=customer["id"],
            amount=item["amount_total"],
            currency=item["currency"],
            description=item["description"],
            start=sim.now,
            end=sim.now,
            price=item["price"],
            quantity=item["quantity"],
        )
        for item in session["_sim"]["items"]
    ]
    wanted = session["invoice_creation"]["invoice_data"]
    invoice = invoices.draft(
        sim,
        customer,
        "manual",
        [],
        pending=items,
        currency=session["currency"],
        description=wanted["description"],
        metadata=wanted["metadata"] or {},
    )
    invoices.store(sim, invoice)
    invoices.finalize(sim, invoice)
    session["invoice"] = invoice["id"]
    _, intent = collection.intent_of(sim, invoice)
    intent["metadata"] = data.get("metadata") or {}
    intent["setup_future_usage"] = data.get("setup_future_usage")
    sim.save(intent)
    collection.collect(sim, invoice, method, off_session=False, confirmed=confirmed, retry=False)
    return sim.get("payment_intent", intent["id"])


def _set_up(
    sim: Simulator, session: Object, customer: Object | None, method: Object, *, confirmed: bool
) -> None:
    data = session["_sim"]["later"].get("setup_intent_data", {})
    intent = payment_methods.new_setup_intent(sim, customer["id"] if customer else None, data.get("metadata"))
    if customer:
        payment_methods.attach_to(sim, method["id"], customer["id"], authenticated=confirmed)
    payment_methods.complete_setup(sim, intent, method)
    session["setup_intent"] = intent["id"]


# Operations


def when_due(sim: Simulator, session: Object) -> None:
    if session["status"] == "open":
        expire_session(sim, session)


def expire(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    session = sim.get("checkout.session", id)
    if session["status"] != "open":
        raise StripeError(
            "Only Checkout Sessions that are open can be expired."
            f" This Checkout Session has a status of {session['status']}."
        )
    expire_session(sim, session)
    return session


def expire_session(sim: Simulator, session: Object) -> None:
    session |= {"status": "expired", "url": None}
    session["_sim"]["due"] = None
    sim.save(session)
    sim.record("checkout.session.expired", session)


def list_all(sim: Simulator, params: dict[str, Any]) -> Object:
    where = {
        name: params[name]
        for name in ("customer", "payment_intent", "status", "subscription")
        if name in params
    }
    return lists.page(sim, "checkout.session", "/v1/checkout/sessions", params, **where)


def list_line_items(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    session = sim.get("checkout.session", id)
    return lists.page_within(f"/v1/checkout/sessions/{id}/line_items", session["_sim"]["items"], params)
