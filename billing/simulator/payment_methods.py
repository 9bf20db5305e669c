"""Cards, real only in their test numbers, and the intents to set them up."""

from dataclasses import dataclass
from typing import Any

from billing.simulator import lists
from billing.simulator.errors import StripeError, missing, no_such, unsupported
from billing.simulator.simulator import Simulator, merge_metadata
from billing.simulator.store import Object

ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")


@dataclass(frozen=True)
class TestCard:
    """How a test number behaves when it is saved, and when it is charged."""

    number: str
    brand: str
    what: str  # shown on the pages
    token: str  # of the ready-made payment method, as in `pm_card_visa`
    saving: str = "ok"  # ok, declined, authenticate
    charging: str = "ok"
    decline_code: str = "generic_decline"


CARDS = {
    card.number: card
    for card in (
        TestCard("4242424242424242", "visa", "Succeeds", "visa"),
        TestCard("5555555555554444", "mastercard", "Succeeds (Mastercard)", "mastercard"),
        TestCard(
            "4000002500003155",
            "visa",
            "Asks to be confirmed once, then succeeds",
            "authenticationRequiredOnSetup",
            saving="authenticate",
        ),
        TestCard(
            "4000002760003184",
            "visa",
            "Asks to be confirmed at every payment",
            "authenticationRequired",
            saving="authenticate",
            charging="authenticate",
        ),
        TestCard(
            "4000000000000341",
            "visa",
            "Can be saved, but fails when it is charged",
            "chargeCustomerFail",
            charging="declined",
        ),
        TestCard(
            "4000000000009995",
            "visa",
            "Is declined: insufficient funds",
            "chargeDeclinedInsufficientFunds",
            saving="declined",
            charging="declined",
            decline_code="insufficient_funds",
        ),
        TestCard(
            "4000000000000002",
            "visa",
            "Is declined",
            "chargeDeclined",
            saving="declined",
            charging="declined",
        ),
    )
}
# Accounts that are debited days later; they are offered by Checkout where it asks for them.
BANK_ACCOUNTS = {
    account.number: account
    for account in (
        TestCard("000123456789", "bank", "Bank account: the debit succeeds four days later", ""),
        TestCard(
            "000111111116", "bank", "Bank account: the debit fails four days later", "", charging="declined"
        ),
    )
}
TOKENS = {f"{prefix}{card.token}": card for card in CARDS.values() for prefix in ("pm_card_", "tok_")}


def card_error(message: str, code: str, *, decline_code: str | None = None, **more: Any) -> StripeError:
    return StripeError(
        message, status=402, kind="card_error", code=code, decline_code=decline_code, kept=True, **more
    )


def declined(card: TestCard, **more: Any) -> StripeError:
    """Return the error of a declined card."""
    return card_error(decline_message(card), "card_declined", decline_code=card.decline_code, **more)


def decline_message(card: TestCard) -> str:
    return (
        "Your card has insufficient funds."
        if card.decline_code == "insufficient_funds"
        else "Your card was declined."
    )


def card_of(method: Object) -> TestCard:
    number: str = method["_sim"]["number"]
    return CARDS.get(number) or BANK_ACCOUNTS[number]


def new_card(sim: Simulator, card: TestCard, details: dict[str, Any] | None = None) -> Object:
    """Make a payment method of a test card; nobody's yet."""
    return _new(sim, card, "card", _card_details(card, sim.now), details or {})


def new_method(sim: Simulator, card: TestCard, details: dict[str, Any]) -> Object:
    """Make a payment method of a test card or a test bank account."""
    if card.number in CARDS:
        return new_card(sim, card, details)
    account = {
        "account_holder_type": "company",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": f"simulated{card.number[-7:]}",
        "last4": card.number[-4:],
        "networks": None,
        "routing_number": "110000000",
        "status_details": None,
    }
    return _new(sim, card, "us_bank_account", account, details)


def _new(sim: Simulator, card: TestCard, kind: str, account: Object, details: dict[str, Any]) -> Object:
    named = {name: details.get(name) for name in ("email", "name", "phone")}
    method = sim.blank(
        "payment_method",
        allow_redisplay="unspecified",
        billing_details={
            "address": details.get("address") or dict.fromkeys(ADDRESS),
            **named,
            "tax_id": None,
        },
        customer=None,
        customer_account=None,
        type=kind,
        _sim={"number": card.number, "authenticated": False},
    )
    method[kind] = account
    return sim.add(method)


def _card_details(card: TestCard, now: int) -> Object:
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": card.brand,
        "exp_month": 12,
        "exp_year": 1970 + now // 31_556_952 + 3,
        "fingerprint": f"simulated{card.number[-7:]}",
        "funding": "credit",
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


# Operations


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    if params.get("type") != "card":
        raise unsupported("payment methods other than cards")
    given = params.get("card", {})
    card = TOKENS.get(given["token"]) if "token" in given else CARDS.get(given.get("number", ""))
    if card is None:
        raise StripeError(
            "Your card number is incorrect.",
            status=402,
            kind="card_error",
            code="incorrect_number",
            param="number",
        )
    method = new_card(sim, card, params.get("billing_details"))
    merge_metadata(method, params.get("metadata"))
    sim.save(method)
    return method


def attach(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    if "customer" not in params:
        raise missing("customer")
    return attach_to(sim, id, params["customer"])


def attach_to(sim: Simulator, id: str, customer: str, *, authenticated: bool = False) -> Object:
    """Attach a payment method, or a new one of a ready-made test card such as `pm_card_visa`."""
    sim.get("customer", customer, "customer")
    method = new_card(sim, TOKENS[id]) if id in TOKENS else sim.get("payment_method", id)
    if method["customer"] == customer:
        return method
    if method["customer"] or method["_sim"].get("detached"):
        raise StripeError(
            "The payment method you provided has already been attached to a customer."
            if method["customer"]
            else "This PaymentMethod was previously used without being attached to a Customer or was detached from a"
            " Customer, and may not be used again."
        )
    if card_of(method).saving == "declined":
        raise declined(card_of(method))
    method["customer"] = customer
    method["_sim"]["authenticated"] = authenticated
    sim.save(method, "payment_method.attached")
    return method


def detach(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    method = sim.get("payment_method", id)
    if not method["customer"]:
        raise StripeError(
            "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    customer = sim.store.find(method["customer"])
    if customer and customer["invoice_settings"]["default_payment_method"] == id:
        customer["invoice_settings"]["default_payment_method"] = None
        sim.save(customer, "customer.updated")
    for subscription in sim.store.select("subscription", default_payment_method=id):
        subscription["default_payment_method"] = None
        sim.save(subscription, "customer.subscription.updated")
    method["customer"] = None
    method["_sim"]["detached"] = True
    sim.save(method)
    sim.record("payment_method.detached", method, {"customer": customer["id"] if customer else None})
    return method


def update(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    method = sim.get("payment_method", id)
    merge_metadata(method, params.get("metadata"))
    method["billing_details"] |= params.get("billing_details", {})
    sim.save(method, "payment_method.updated")
    return method


def list_all(sim: Simulator, params: dict[str, Any]) -> Object:
    where = {name: params[name] for name in ("customer", "type") if name in params}
    return lists.page(sim, "payment_method", "/v1/payment_methods", params, **where)


def list_of_customer(sim: Simulator, params: dict[str, Any], customer: str) -> Object:
    sim.get("customer", customer)
    where = {"customer": customer} | ({"type": params["type"]} if "type" in params else {})
    return lists.page(sim, "payment_method", f"/v1/customers/{customer}/payment_methods", params, **where)


def retrieve_of_customer(sim: Simulator, params: dict[str, Any], customer: str, id: str) -> Object:
    method = sim.get("payment_method", id)
    if method["customer"] != customer:
        raise no_such("payment_method", id)
    return method


# Setup intents, which Checkout and the portal make


def new_setup_intent(sim: Simulator, customer: str | None, metadata: dict[str, str] | None = None) -> Object:
    intent = sim.blank(
        "setup_intent",
        customer=customer,
        metadata=metadata or {},
        payment_method_types=["card"],
        status="requires_payment_method",
        usage="off_session",
    )
    intent["client_secret"] = f"{intent['id']}_secret_simulated"
    return sim.add(intent, "setup_intent.created")


def complete_setup(sim: Simulator, intent: Object, method: Object) -> None:
    """Note that a card was set up, after its owner confirmed it where that is asked for."""
    intent |= {"status": "succeeded", "payment_method": method["id"]}
    sim.save(intent)
    sim.record("setup_intent.succeeded", intent)
