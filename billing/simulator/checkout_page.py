"""The page of a Checkout session."""

from billing.simulator import checkout_payment
from billing.simulator.card_form import card_fields, card_given, confirm_page
from billing.simulator.checkout_payment import ConfirmationNeeded
from billing.simulator.errors import StripeError
from billing.simulator.invoice_lines import money, rate
from billing.simulator.invoices import BRAND
from billing.simulator.markup import Html, Page, html, page, problem, redirect, section, table, text_field
from billing.simulator.payment_methods import ADDRESS
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object

REFUSED = "We are unable to authenticate your payment method. Please choose a different one and try again."
BUTTONS = {"subscription": "Subscribe", "payment": "Pay", "setup": "Save card"}


def show(sim: Simulator, session: Object, form: dict[str, str], error: str | None = None) -> Page:
    if session["status"] != "open":
        done = session["status"] == "complete"
        to = checkout_payment.success_address(session) if done else session["cancel_url"]
        return page(
            "This checkout is complete" if done else "This checkout has expired",
            html(
                "<section><p>{}</p></section>",
                html('<a href="{}">Continue to the site</a>', to) if to else "Go back and start again.",
            ),
            status=200 if done else 410,
        )
    action = f"/checkout/{session['id']}"
    customer = sim.store.find(session["customer"] or "") or {}
    email = form.get("email", customer.get("email") or session["customer_email"] or "")
    back = (
        html('<a class="button" href="{}">Cancel</a>', session["cancel_url"])
        if session["cancel_url"]
        else None
    )
    return page(
        f"{BUTTONS[session['mode']]} – {BRAND}",
        problem(error),
        _offer(session),
        section(
            "Payment details",
            html(
                '<form class="block" method="post" action="{}">{}{}{}{}{}'
                '<p><button class="main">{}</button> {}</p></form>',
                action,
                text_field("E-mail", "email", email, kind="email", required=True),
                text_field("Name on card", "name", form.get("name", customer.get("name") or "")),
                card_fields(with_bank_accounts=_takes_debits(session)),
                _address(session, form),
                _tax_id(session),
                _pay_text(session),
                back,
            ),
        ),
        status=402 if error else 200,
    )


def _offer(session: Object) -> Html:
    items = session["_sim"]["items"]
    if not items:
        return html('<p class="quiet">The card is saved for later payments; nothing is charged now.</p>')
    rows = [
        [
            item["description"],
            "as used" if item["quantity"] is None else item["quantity"],
            rate(item["price"]),
            money(item["amount_total"], item["currency"]) if item["quantity"] is not None else "–",
        ]
        for item in items
    ]
    trial = session["_sim"]["later"].get("subscription_data", {})
    free = "trial_period_days" in trial or "trial_end" in trial
    total = html(
        '<p class="amount"><strong>Due today: {}</strong></p>',
        money(0 if free else session["amount_total"], session["currency"]),
    )
    return section("Your order", table(("", "Quantity", "Price", "Amount"), rows, amounts=(2, 3)), total)


def _pay_text(session: Object) -> str:
    text = BUTTONS[session["mode"]]
    return (
        f"Pay {money(session['amount_total'], session['currency'])}" if session["mode"] == "payment" else text
    )


def _takes_debits(session: Object) -> bool:
    return "us_bank_account" in session["payment_method_types"]


def _address(session: Object, form: dict[str, str]) -> Html | None:
    if session["billing_address_collection"] != "required":
        return None
    labels = {
        "line1": "Address",
        "postal_code": "Postal code",
        "city": "City",
        "country": "Country (two letters)",
    }
    return html(
        "{}", [text_field(label, name, form.get(name, ""), required=True) for name, label in labels.items()]
    )


def _tax_id(session: Object) -> Html | None:
    if not session["_sim"]["asks_tax_id"]:
        return None
    return html(
        "{}{}",
        text_field("VAT or tax id (optional)", "tax_id"),
        text_field("Its type", "tax_id_type", "eu_vat"),
    )


def submit(sim: Simulator, session: Object, form: dict[str, str]) -> Page:
    """Pay, and lead on to the success page; a card that fails leaves the session open."""
    if session["status"] != "open":
        return show(sim, session, form)
    confirmation = form.get("confirmation")
    if confirmation == "refused":
        return show(sim, session, form, REFUSED)
    try:
        with sim.store.transaction():
            to = checkout_payment.complete(
                sim,
                session,
                card_given(form, with_bank_accounts=_takes_debits(session)),
                _details(form),
                confirmed=confirmation == "confirmed",
            )
    except ConfirmationNeeded:
        what = f"{BRAND} asks you to confirm this card."
        return confirm_page(f"/checkout/{session['id']}", what, form)
    except StripeError as error:
        return show(sim, sim.get("checkout.session", session["id"]), form, str(error))
    return redirect(to)


def _details(form: dict[str, str]) -> dict[str, object]:
    address = {name: form.get(name) or None for name in ADDRESS}
    details: dict[str, object] = {
        "email": form.get("email", "").strip(),
        "name": form.get("name", "").strip() or None,
    }
    if any(address.values()):
        details["address"] = address
    if form.get("tax_id", "").strip():
        details["tax_id"] = {"type": form.get("tax_id_type", "eu_vat"), "value": form["tax_id"].strip()}
    return details
