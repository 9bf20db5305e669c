"""Payment intents, charges and refunds. A test card decides how a payment ends."""

from typing import Any

from billing.simulator import lists
from billing.simulator.errors import StripeError, missing, unsupported
from billing.simulator.payment_methods import card_error, card_of, decline_message, declined
from billing.simulator.simulator import Simulator, merge_metadata
from billing.simulator.store import Object

NEEDS_CONFIRMATION = "Your card was declined. This transaction requires authentication."


def new_intent(
    sim: Simulator,
    *,
    amount: int,
    currency: str,
    customer: str | None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
    setup_future_usage: str | None = None,
    invoice: str | None = None,
) -> Object:
    intent = sim.blank(
        "payment_intent",
        amount=amount,
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        capture_method="automatic_async",
        confirmation_method="automatic",
        currency=currency,
        customer=customer,
        description=description,
        metadata=metadata or {},
        payment_method_types=["card"],
        setup_future_usage=setup_future_usage,
        status="requires_payment_method",
        _sim={"invoice": invoice},
    )
    intent["client_secret"] = f"{intent['id']}_secret_simulated"
    return sim.add(intent, "payment_intent.created")


def attempt(
    sim: Simulator, intent: Object, method: Object, *, off_session: bool, confirmed: bool = False
) -> str:
    """Try to charge a card, and return how the intent stands: succeeded, requires_action, requires_payment_method.

    `confirmed` says that the card's owner has just confirmed this payment.
    """
    card = card_of(method)
    intent["payment_method"] = method["id"]
    intent["next_action"] = None
    asks = card.charging == "authenticate" or (
        card.saving == "authenticate" and not method["_sim"]["authenticated"]
    )
    if asks and not confirmed:
        _ask(sim, intent, method, off_session=off_session)
    elif card.charging == "declined":
        charge = _charge(
            sim, intent, method, failure=("card_declined", decline_message(card), card.decline_code)
        )
        intent |= {
            "status": "requires_payment_method",
            "latest_charge": charge["id"],
            "payment_method": None,
            "last_payment_error": _payment_error(
                "card_declined", decline_message(card), card.decline_code, method, charge["id"]
            ),
        }
        sim.save(intent)
        sim.record("charge.failed", charge)
        sim.record("payment_intent.payment_failed", intent)
    else:
        charge = _charge(sim, intent, method)
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": charge["id"],
            "last_payment_error": None,
        }
        if confirmed and card.saving == "authenticate":
            method["_sim"]["authenticated"] = True
            sim.save(method)
        sim.save(intent)
        sim.record("charge.succeeded", charge)
        sim.record("payment_intent.succeeded", intent)
    return str(intent["status"])


def _ask(sim: Simulator, intent: Object, method: Object, *, off_session: bool) -> None:
    """Ask the card's owner to confirm: at once where they are there, by a failed payment where they are not."""
    intent["status"] = "requires_payment_method" if off_session else "requires_action"
    if off_session:
        intent["last_payment_error"] = _payment_error(
            "authentication_required", NEEDS_CONFIRMATION, "authentication_required", method, None
        )
    else:
        intent["next_action"] = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": None, "url": f"{sim.base_url}/confirm/{intent['id']}"},
        }
    sim.save(intent)
    sim.record("payment_intent.payment_failed" if off_session else "payment_intent.requires_action", intent)


def _payment_error(code: str, message: str, decline_code: str, method: Object, charge: str | None) -> Object:
    error = {
        "code": code,
        "decline_code": decline_code,
        "message": message,
        "type": "card_error",
        "payment_method": method,
    }
    return error | ({"charge": charge} if charge else {})


def _method_details(method: Object, amount: int | None) -> Object:
    """Return what a charge keeps of the card or account that it was made with."""
    if method["type"] != "card":
        account = method[method["type"]]
        named = ("account_holder_type", "account_type", "bank_name", "fingerprint", "last4", "routing_number")
        kept = {name: account[name] for name in named} | {"mandate": None, "payment_reference": None}
        return {"type": method["type"], method["type"]: kept}
    card = method["card"]
    names = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    return {
        "type": "card",
        "card": {
            **{name: card[name] for name in (*names, "regulated_status")},
            "amount_authorized": amount,
            "authorization_code": None,
            "installments": None,
            "mandate": None,
            "network": card["brand"],
            "three_d_secure": None,
            "wallet": None,
        },
    }


def _charge(
    sim: Simulator, intent: Object, method: Object, failure: tuple[str, str, str] | None = None
) -> Object:
    code, message, decline_code = failure or (None, None, None)
    charge = sim.blank(
        "charge",
        amount=intent["amount"],
        amount_captured=0 if failure else intent["amount"],
        amount_refunded=0,
        billing_details=method["billing_details"],
        calculated_statement_descriptor="SIMULATED",
        captured=not failure,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        failure_code=code,
        failure_message=message,
        fraud_details={},
        metadata=intent["metadata"],
        outcome={
            "advice_code": "try_again_later" if failure else None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "declined_by_network" if failure else "approved_by_network",
            "reason": decline_code,
            "risk_level": "normal",
            "seller_message": "The bank declined this payment." if failure else "Payment complete.",
            "type": "issuer_declined" if failure else "authorized",
        },
        paid=not failure,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details=_method_details(method, None if failure else intent["amount"]),
        radar_options={},
        receipt_email=intent["receipt_email"],
        refunded=False,
        status="failed" if failure else "succeeded",
    )
    if not failure:
        charge["receipt_url"] = f"{sim.base_url}/receipts/{charge['id']}.pdf"
    return sim.add(charge)


# Operations on intents


def create(sim: Simulator, params: dict[str, Any]) -> Object:
    if params.get("capture_method", "automatic_async") == "manual":
        raise unsupported("manual capture")
    if params["amount"] < 50:
        raise StripeError("Amount must be at least $0.50 usd", code="amount_too_small", param="amount")
    if "customer" in params:
        sim.get("customer", params["customer"], "customer")
    intent = new_intent(
        sim,
        amount=params["amount"],
        currency=params["currency"].lower(),
        customer=params.get("customer"),
        description=params.get("description"),
        metadata=params.get("metadata"),
        setup_future_usage=params.get("setup_future_usage"),
    )
    intent["receipt_email"] = params.get("receipt_email")
    if "payment_method" in params:
        method = sim.get("payment_method", params["payment_method"], "payment_method")
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    sim.save(intent)
    if params.get("confirm"):
        return confirm(sim, {name: params[name] for name in ("off_session",) if name in params}, intent["id"])
    return intent


def confirm(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    intent = sim.get("payment_intent", id)
    if intent["status"] not in {"requires_payment_method", "requires_confirmation", "requires_action"}:
        raise _unexpected_state(intent, "confirm")
    named = params.get("payment_method", intent["payment_method"])
    if not named:
        raise missing("payment_method")
    method = sim.get("payment_method", named, "payment_method")
    if intent["customer"] and method["customer"] != intent["customer"]:
        raise StripeError("The provided PaymentMethod cannot be attached: it belongs to another customer.")
    status = attempt(sim, intent, method, off_session=bool(params.get("off_session")))
    if status == "requires_payment_method":
        raise failure_of(intent, method)
    return intent


def failure_of(intent: Object, method: Object) -> StripeError:
    """Return the card error of an intent whose payment has just failed."""
    shown = {name: value for name, value in intent.items() if name != "_sim"}
    if intent["last_payment_error"]["code"] == "authentication_required":
        return card_error(
            NEEDS_CONFIRMATION,
            "authentication_required",
            decline_code="authentication_required",
            payment_intent=shown,
        )
    return declined(card_of(method), payment_intent=shown, charge=intent["latest_charge"])


def cancel(sim: Simulator, params: dict[str, Any], id: str) -> Object:
    intent = sim.get("payment_intent", id)
    if intent["status"] in {"succeeded", "canceled"}:
        raise _unexpected_state(intent, "cancel")
    cancel_intent(sim, intent, params.get("cancellation_reason"))
    return intent


def cancel_intent(sim: Simulator, intent: Object, reason: str | None) -> None:
    intent |= {"status": "canceled", "canceled_at": sim.now, "cancellation_reason": reason}
    sim.save(intent)
    sim.record("payment_intent.canceled", intent)


def list_intents(sim: Simulator, params: dict[str, Any]) -> Object:
    where = {"customer": params["customer"]} if "customer" in params else {}
    return lists.page(sim, "payment_intent", "/v1/payment_intents", params, **where)


def _unexpected_state(intent: Object, what: str) -> StripeError:
    return StripeError(
        f"You cannot {what} this PaymentIntent because it has a status of {intent['status']}.",
        code="payment_intent_unexpected_state",
    )


# Charges and refunds


def list_charges(sim: Simulator, params: dict[str, Any]) -> Object:
    where = {name: params[name] for name in ("customer", "payment_intent") if name in params}
    return lists.page(sim, "charge", "/v1/charges", params, **where)


def refund(sim: Simulator, params: dict[str, Any]) -> Object:
    charge = _charge_to_refund(sim, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if charge["refunded"]:
        raise StripeError(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if not 0 < amount <= left:
        raise StripeError(
            f"Refund amount (${amount / 100:.2f}) is greater than unrefunded amount on charge (${left / 100:.2f})",
            param="amount",
        )
    made = sim.blank(
        "refund",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        customer=charge["customer"],
        destination_details={
            "type": "card",
            "card": {
                "type": "refund",
                "reference": None,
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
            },
        },
        payment_intent=charge["payment_intent"],
        reason=params.get("reason"),
        status="succeeded",
    )
    merge_metadata(made, params.get("metadata"))
    sim.add(made)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    sim.save(charge)
    sim.record("refund.created", made)
    sim.record("charge.refunded", charge, {"amount_refunded": charge["amount_refunded"] - amount})
    return made


def _charge_to_refund(sim: Simulator, params: dict[str, Any]) -> Object:
    if "charge" in params:
        charge = sim.get("charge", params["charge"], "charge")
    elif "payment_intent" in params:
        intent = sim.get("payment_intent", params["payment_intent"], "payment_intent")
        if not intent["latest_charge"]:
            raise StripeError("This PaymentIntent does not have a successful charge to refund.")
        charge = sim.get("charge", intent["latest_charge"])
    else:
        raise StripeError(
            "One of the following params should be provided for this request: payment_intent or charge."
        )
    if charge["status"] != "succeeded":
        raise StripeError("This charge has not succeeded, so it cannot be refunded.")
    return charge


def list_refunds(sim: Simulator, params: dict[str, Any]) -> Object:
    where = {name: params[name] for name in ("charge", "payment_intent") if name in params}
    return lists.page(sim, "refund", "/v1/refunds", params, **where)
