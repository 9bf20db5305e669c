"""Collecting what is due on an invoice: attempts, retries, and what they do to the subscription."""

from typing import Any

from billing.simulator import lists, payments
from billing.simulator.errors import StripeError
from billing.simulator.periods import DAY
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object

RETRY_AFTER = (3 * DAY, 5 * DAY, 7 * DAY)  # after the first failure, after the first retry, …
OF_SUBSCRIPTION = "parent.subscription_details.subscription"
AFTER_LAST_RETRY = (
    "cancel",
    "unpaid",
    "past_due",
)  # choices of the setting `after_last_retry`; the first is the default


def open_payment(sim: Simulator, invoice: Object, intent: Object | None = None) -> None:
    """Let a finalized invoice be paid by an intent: a new one, if none is given."""
    intent = intent or payments.new_intent(
        sim,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=_description(invoice),
        setup_future_usage="off_session" if invoice["parent"] else None,
        invoice=invoice["id"],
    )
    sim.add(
        sim.blank(
            "invoice_payment",
            amount_requested=invoice["amount_due"],
            currency=invoice["currency"],
            invoice=invoice["id"],
            is_default=True,
            payment={"type": "payment_intent", "payment_intent": intent["id"]},
            status="open",
            status_transitions={"canceled_at": None, "paid_at": None},
        )
    )


def _description(invoice: Object) -> str:
    match invoice["billing_reason"]:
        case "subscription_create":
            return "Subscription creation"
        case "subscription_cycle" | "subscription_update":
            return "Subscription update"
    return f"Payment for Invoice {invoice['number']}"


def intent_of(sim: Simulator, invoice: Object) -> tuple[Object, Object]:
    """Return the payment of an open invoice, and its intent."""
    payment = sim.store.select("invoice_payment", invoice=invoice["id"], status="open")[0]
    return payment, sim.get("payment_intent", payment["payment"]["payment_intent"])


def method_for(sim: Simulator, invoice: Object) -> Object | None:
    """Return the card to charge: the invoice's own, the subscription's, or the customer's default."""
    subscription = _subscription(sim, invoice) or {}
    customer = sim.get("customer", invoice["customer"])
    for id in (
        invoice["default_payment_method"],
        subscription.get("default_payment_method"),
        customer["invoice_settings"]["default_payment_method"],
    ):
        if id:
            return sim.store.find(id)
    return None


def collect(
    sim: Simulator,
    invoice: Object,
    method: Object | None = None,
    *,
    off_session: bool = True,
    confirmed: bool = False,
    retry: bool = True,
) -> Object | None:
    """Try once to charge what is due; return the intent if it was not paid. `retry` plans the next try."""
    _, intent = intent_of(sim, invoice)
    method = method or method_for(sim, invoice)
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    if method is not None:
        status = payments.attempt(sim, intent, method, off_session=off_session, confirmed=confirmed)
        if status == "succeeded":
            mark_paid(sim, invoice)
            return None
    _failed(sim, invoice, intent, retry=retry)
    return intent


def mark_paid(sim: Simulator, invoice: Object, *, out_of_band: bool = False) -> None:
    """Close an invoice as paid, and let the subscription follow."""
    for payment in sim.store.select("invoice_payment", invoice=invoice["id"], status="open"):
        if out_of_band:
            continue
        payment |= {"status": "paid", "amount_paid": payment["amount_requested"]}
        payment["status_transitions"]["paid_at"] = sim.now
        sim.save(payment)
        sim.record("invoice_payment.paid", payment)
    if out_of_band:
        cancel_payments(sim, invoice, "abandoned")
    invoice |= {
        "amount_paid": invoice["amount_due"],
        "amount_remaining": 0,
        "attempted": True,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
    }
    invoice["status_transitions"]["paid_at"] = sim.now
    invoice["_sim"]["due"] = None
    sim.save(invoice)
    sim.record("invoice.paid", invoice)
    sim.record("invoice.payment_succeeded", invoice)
    after_closing(sim, invoice)


def after_closing(sim: Simulator, invoice: Object) -> None:
    """Let the subscription and the customer follow an invoice that is paid, voided or given up."""
    subscription = _subscription(sim, invoice)
    status = subscription["status"] if subscription else None
    if subscription and (
        (status == "incomplete" and invoice["status"] == "paid")
        or (status in {"past_due", "unpaid"} and not _owing(sim, **{OF_SUBSCRIPTION: subscription["id"]}))
    ):
        subscription["status"] = "active"
        sim.save(subscription, "customer.subscription.updated")
    customer = sim.store.find(invoice["customer"])
    if customer and customer.get("delinquent") and not _owing(sim, customer=customer["id"]):
        customer["delinquent"] = False
        sim.save(customer, "customer.updated")


def _owing(sim: Simulator, **where: str) -> bool:
    """Say whether an invoice is open that could not be collected."""
    now = sim.now
    return any(
        invoice["attempted"] or (invoice["due_date"] or now) < now
        for invoice in sim.store.select("invoice", status="open", **where)
    )


def _failed(sim: Simulator, invoice: Object, intent: Object, *, retry: bool) -> None:
    subscription = _subscription(sim, invoice)
    first = subscription is not None and subscription["status"] in {"incomplete", "incomplete_expired"}
    tries = invoice["_sim"].get("tries", 0)
    over = False
    if retry and not first and invoice["auto_advance"]:
        invoice["_sim"]["tries"] = tries + 1
        over = tries >= len(RETRY_AFTER)
        invoice["next_payment_attempt"] = None if over else sim.now + RETRY_AFTER[tries]
        invoice["_sim"]["due"] = invoice["next_payment_attempt"]
    sim.save(invoice)
    error = intent["last_payment_error"] or {}
    if intent["status"] == "requires_action" or error.get("code") == "authentication_required":
        sim.record("invoice.payment_action_required", invoice)
    sim.record("invoice.payment_failed", invoice)
    _now_delinquent(sim, invoice)
    if subscription is None or first or subscription["status"] in {"canceled", "unpaid"}:
        return
    if over:
        _give_up(sim, invoice, subscription)
    elif subscription["status"] in {"active", "trialing"}:
        subscription["status"] = "past_due"
        sim.save(subscription, "customer.subscription.updated")


def _now_delinquent(sim: Simulator, invoice: Object) -> None:
    customer = sim.get("customer", invoice["customer"])
    if not customer["delinquent"]:
        customer["delinquent"] = True
        sim.save(customer, "customer.updated")


def _give_up(sim: Simulator, invoice: Object, subscription: Object) -> None:
    """Do what is set for a payment whose last retry has failed."""
    choice = sim.store.setting("after_last_retry", AFTER_LAST_RETRY[0])
    if choice == "cancel":
        end_subscription(sim, subscription, reason="payment_failed")
    elif choice == "unpaid":
        subscription["status"] = "unpaid"
        sim.save(subscription, "customer.subscription.updated")


def overdue(sim: Simulator, invoice: Object) -> None:
    """Note that the due date of a sent invoice has passed."""
    sim.record("invoice.overdue", invoice)
    subscription = _subscription(sim, invoice)
    if subscription and subscription["status"] == "active":
        subscription["status"] = "past_due"
        sim.save(subscription, "customer.subscription.updated")


def end_subscription(sim: Simulator, subscription: Object, *, reason: str, **details: Any) -> None:
    """End a subscription at once; its open invoices are no longer collected by themselves."""
    subscription |= {
        "status": "canceled",
        "ended_at": sim.now,
        "canceled_at": subscription["canceled_at"] or sim.now,
        "cancellation_details": {"comment": None, "feedback": None, "feedback_option": None, "reason": reason}
        | details,
    }
    subscription["_sim"]["due"] = None
    sim.save(subscription)
    sim.record("customer.subscription.deleted", subscription)
    for invoice in sim.store.select("invoice", status="open", **{OF_SUBSCRIPTION: subscription["id"]}):
        stop_collecting(sim, invoice)


def stop_collecting(sim: Simulator, invoice: Object) -> None:
    """Leave an invoice as it is: nothing is done about it by itself any more."""
    invoice |= {"auto_advance": False, "automatically_finalizes_at": None, "next_payment_attempt": None}
    invoice["_sim"]["due"] = None
    sim.save(invoice, "invoice.updated")


def cancel_payments(sim: Simulator, invoice: Object, reason: str) -> None:
    for payment in sim.store.select("invoice_payment", invoice=invoice["id"], status="open"):
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = sim.now
        sim.save(payment)
        intent = sim.get("payment_intent", payment["payment"]["payment_intent"])
        if intent["status"] not in {"succeeded", "canceled"}:
            payments.cancel_intent(sim, intent, reason)


def _subscription(sim: Simulator, invoice: Object) -> Object | None:
    if not invoice["parent"]:
        return None
    return sim.store.find(invoice["parent"]["subscription_details"]["subscription"])


# Operations


def no_method(customer: str) -> StripeError:
    return StripeError(
        "This customer has no attached payment source or default payment method. Please consider adding a default"
        f" payment method to {customer}.",
        code="resource_missing",
    )


def list_payments(sim: Simulator, params: dict[str, Any]) -> Object:
    where: dict[str, Any] = {name: params[name] for name in ("invoice", "status") if name in params}
    if intent := params.get("payment", {}).get("payment_intent"):
        where["payment.payment_intent"] = intent
    return lists.page(sim, "invoice_payment", "/v1/invoice_payments", params, **where)
