"""What follows when a Checkout page is submitted: a subscription, a payment, or a card that is saved."""

from typing import Any

from billing.simulator import customers, invoice_items, invoices, payment_methods, payments, subscriptions
from billing.simulator.errors import StripeError, missing
from billing.simulator.payment_methods import TestCard
from billing.simulator.periods import DAY
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object

DEBIT_TAKES = 4 * DAY


class ConfirmationNeeded(Exception):
    """The card's owner has to confirm before anything is done."""


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
    method = payment_methods.new_method(sim, card, details)
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
    session["_sim"]["due"] = sim.now + DEBIT_TAKES if session["payment_status"] == "unpaid" else None
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
    elif (
        session["customer_creation"] == "always"
        or session["mode"] != "payment"
        or session["invoice_creation"]["enabled"]
    ):
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
    if session["amount_total"] == 0:
        session["payment_status"] = "no_payment_required"
        return
    data = session["_sim"]["later"].get("payment_intent_data", {})
    if data.get("setup_future_usage") and customer and method["type"] == "card":
        payment_methods.attach_to(sim, method["id"], customer["id"], authenticated=confirmed)
    intent = payments.new_intent(
        sim,
        amount=session["amount_total"],
        currency=session["currency"],
        customer=customer["id"] if customer else None,
        description=data.get("description"),
        metadata=data.get("metadata"),
        setup_future_usage=data.get("setup_future_usage"),
    )
    intent |= {
        "payment_method_types": session["payment_method_types"],
        "receipt_email": data.get("receipt_email"),
    }
    session["payment_intent"] = intent["id"]
    if method["type"] == "card":
        if payments.attempt(sim, intent, method, off_session=False, confirmed=confirmed) != "succeeded":
            raise payments.failure_of(intent, method)
        _paid(sim, session, customer, intent)
    else:
        intent |= {"status": "processing", "payment_method": method["id"]}
        sim.save(intent)
        sim.record("payment_intent.processing", intent)


def _paid(sim: Simulator, session: Object, customer: Object | None, intent: Object) -> None:
    """Note that a session is paid, and make the invoice that it asks for."""
    session["payment_status"] = "paid"
    if customer is None or not session["invoice_creation"]["enabled"]:
        return
    wanted = session["invoice_creation"]["invoice_data"]
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
    invoices.finalize(sim, invoice, paid_by=intent)
    session["invoice"] = invoice["id"]


def settle_debit(sim: Simulator, session: Object) -> None:
    """End a bank debit that was under way since the session was completed."""
    session["_sim"]["due"] = None
    intent = sim.get("payment_intent", session["payment_intent"])
    method = sim.get("payment_method", intent["payment_method"])
    paid = payments.attempt(sim, intent, method, off_session=False) == "succeeded"
    if paid:
        _paid(sim, session, sim.store.find(session["customer"] or ""), intent)
    sim.save(session)
    sim.record(f"checkout.session.async_payment_{'succeeded' if paid else 'failed'}", session)


def _set_up(
    sim: Simulator, session: Object, customer: Object | None, method: Object, *, confirmed: bool
) -> None:
    data = session["_sim"]["later"].get("setup_intent_data", {})
    intent = payment_methods.new_setup_intent(sim, customer["id"] if customer else None, data.get("metadata"))
    if customer:
        payment_methods.attach_to(sim, method["id"], customer["id"], authenticated=confirmed)
    payment_methods.complete_setup(sim, intent, method)
    session["setup_intent"] = intent["id"]
