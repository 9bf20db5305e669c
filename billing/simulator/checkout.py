"""Checkout sessions: what is offered, and until when. What follows a payment is in `checkout_payment`."""

from typing import Any

from billing.simulator import catalog, checkout_payment, invoice_lines, lists
from billing.simulator.errors import StripeError, missing, only, unsupported
from billing.simulator.periods import DAY
from billing.simulator.requests_in import check_address
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
        payment_method_types=params.get("payment_method_types", ["card"]),
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
        if name in params:
            check_address(params[name], name)
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise unsupported("a ui_mode other than hosted_page")
    if params.get("automatic_tax", {}).get("enabled"):
        raise unsupported("automatic tax")
    kinds = params.get("payment_method_types", ["card"])
    if set(kinds) - {"card", "us_bank_account"} or (
        "us_bank_account" in kinds and params["mode"] != "payment"
    ):
        raise unsupported("payment_method_types other than card, and us_bank_account in payment mode")
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


# Operations


def when_due(sim: Simulator, session: Object) -> None:
    if session["status"] == "open":
        expire_session(sim, session)
    else:
        checkout_payment.settle_debit(sim, session)


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
