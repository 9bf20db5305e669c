"""The hosted page of an invoice, its PDF, and the receipt of a charge."""

from billing.simulator import collection, payment_methods, payments
from billing.simulator.card_form import card_fields, card_given, confirm_page
from billing.simulator.errors import StripeError
from billing.simulator.invoice_lines import money
from billing.simulator.invoices import BRAND
from billing.simulator.markup import Html, Page, button, html, moment, page, problem, redirect, section, table
from billing.simulator.pdf import LEFT, Document
from billing.simulator.periods import day_name
from billing.simulator.simulator import Simulator
from billing.simulator.store import Object

ASKS = "Your bank asks you to confirm this payment."


def show(sim: Simulator, invoice: Object, error: str | None = None) -> Page:
    return page(
        f"Invoice {invoice['number'] or 'draft'} – {BRAND}",
        problem(error),
        section(
            "Summary",
            table(
                ("", ""),
                [
                    ["Status", invoice["status"]],
                    [
                        "Billed to",
                        invoice["customer_name"] or invoice["customer_email"] or invoice["customer"],
                    ],
                    ["Date", moment(invoice["effective_at"] or invoice["created"])],
                    *([["Due", moment(invoice["due_date"])]] if invoice["due_date"] else []),
                ],
            ),
        ),
        section("Lines", _lines(invoice)),
        _payment(sim, invoice),
        html('<p><a href="/invoices/{}.pdf">Download as PDF</a></p>', invoice["id"]),
        status=402 if error else 200,
    )


def _lines(invoice: Object) -> Html:
    currency = invoice["currency"]
    rows = [
        [
            html("{}<br><span class='quiet'>{}</span>", line["description"], _period(line)),
            line["quantity"],
            money(line["amount"], currency),
        ]
        for line in invoice["lines"]["data"]
    ]
    sums = [[label, "", amount] for label, amount in totals(invoice)]
    return table(("", "Quantity", "Amount"), rows + sums, amounts=(1, 2))


def _period(line: Object) -> str:
    start, end = day_name(line["period"]["start"]), day_name(line["period"]["end"])
    return start if start == end else f"{start} – {end}"


def totals(invoice: Object) -> list[tuple[str, str]]:
    """Return the sums below the lines."""
    currency = invoice["currency"]
    rows = [("Total", money(invoice["total"], currency))]
    ending = invoice["ending_balance"] if invoice["ending_balance"] is not None else 0
    if applied := ending - invoice["starting_balance"]:
        # What the balance takes up is paid later, or was credited before.
        if invoice["total"] + invoice["starting_balance"] != ending or invoice["starting_balance"]:
            rows.append(("Applied balance", money(-applied, currency)))
        else:
            rows.append(("Carried to the customer's balance", money(-applied, currency)))
    rows.append(("Amount due", money(invoice["amount_due"], currency)))
    if invoice["status"] == "paid":
        rows.append(("Paid", money(invoice["amount_paid"], currency)))
    return rows


def _payment(sim: Simulator, invoice: Object) -> Html:
    if invoice["status"] == "paid":
        return html('<p class="good">Paid on {}.</p>', moment(invoice["status_transitions"]["paid_at"]))
    if invoice["status"] != "open":
        return html('<p class="quiet">This invoice is {}; there is nothing to pay.</p>', invoice["status"])
    action = f"/invoices/{invoice['id']}/pay"
    on_file = collection.method_for(sim, invoice)
    due = money(invoice["amount_due"], invoice["currency"])
    return section(
        f"Pay {due}",
        button(action, f"Pay with the card ending in {on_file['card']['last4']}", kind="main")
        if on_file
        else Html(""),
        html(
            '<form class="block" method="post" action="{}">{}<p><button{}>Pay with this card</button></p></form>',
            action,
            card_fields(),
            None if on_file else Html(' class="main"'),
        ),
    )


def pay(sim: Simulator, invoice: Object, form: dict[str, str]) -> Page:
    """Pay with the card on file, or with another, which is kept."""
    if invoice["status"] != "open":
        return show(sim, invoice)
    confirmation = form.get("confirmation")
    if confirmation == "refused":
        return show(sim, invoice, "The payment was not confirmed.")
    confirmed = confirmation == "confirmed"
    try:
        with sim.store.transaction():
            if "card" in form:
                card = card_given(form)
                if "authenticate" in {card.saving, card.charging} and not confirmed:
                    return confirm_page(f"/invoices/{invoice['id']}/pay", ASKS, form)
                made = payment_methods.new_card(sim, card, {"email": invoice["customer_email"]})
                method = payment_methods.attach_to(
                    sim, made["id"], invoice["customer"], authenticated=confirmed
                )
            else:
                found = collection.method_for(sim, invoice)
                if found is None:
                    raise collection.no_method(invoice["customer"])
                method = found
            intent = collection.collect(
                sim, invoice, method, off_session=False, confirmed=confirmed, retry=False
            )
    except StripeError as error:
        return show(sim, sim.get("invoice", invoice["id"]), str(error))
    if intent is None:
        return redirect(f"/invoices/{invoice['id']}")
    if intent["status"] == "requires_action":
        return confirm_page(f"/invoices/{invoice['id']}/pay", ASKS, form)
    return show(sim, sim.get("invoice", invoice["id"]), intent["last_payment_error"]["message"])


def confirm_intent(sim: Simulator, intent: Object, form: dict[str, str]) -> Page:
    """Ask for, or take, the confirmation of a payment that the application began."""
    if intent["status"] != "requires_action":
        return page(
            "Confirm with your bank", html("<section><p>There is nothing left to confirm.</p></section>")
        )
    if "confirmation" not in form:
        return confirm_page(f"/confirm/{intent['id']}", ASKS, {})
    method = sim.get("payment_method", intent["payment_method"])
    invoice = sim.store.find(intent["_sim"]["invoice"] or "")
    with sim.store.transaction():
        if form["confirmation"] == "refused":
            intent |= {"status": "requires_payment_method", "next_action": None, "payment_method": None}
            sim.save(intent)
            sim.record("payment_intent.payment_failed", intent)
        elif invoice and invoice["status"] == "open":
            collection.collect(sim, invoice, method, off_session=False, confirmed=True, retry=False)
        else:
            payments.attempt(sim, intent, method, off_session=False, confirmed=True)
    done = "Confirmed. You can close this page." if form["confirmation"] == "confirmed" else "Not confirmed."
    return page("Confirm with your bank", html("<section><p>{}</p></section>", done))


# PDF


def invoice_pdf(invoice: Object) -> Page:
    document = _letter(f"Invoice {invoice['number'] or '(draft)'}")
    document.paragraph(
        [
            f"Date: {day_name(invoice['effective_at'] or invoice['created'])}",
            *([f"Due: {day_name(invoice['due_date'])}"] if invoice["due_date"] else []),
            f"Status: {invoice['status']}",
            "",
            "Billed to:",
            *_recipient(invoice),
        ]
    )
    document.space(10)
    _heading(document)
    currency = invoice["currency"]
    document.rows(
        [
            (
                f"{line['description']} ({_period(line)})",
                f"{line['quantity'] or ''}",
                money(line["amount"], currency),
            )
            for line in invoice["lines"]["data"]
        ]
    )
    document.rule()
    document.space(16)
    document.rows([(label, "", amount) for label, amount in totals(invoice)])
    return _download(document, f"invoice-{invoice['number'] or invoice['id']}.pdf")


def receipt_pdf(charge: Object) -> Page:
    document = _letter("Receipt")
    details = charge["payment_method_details"]
    used = details[details["type"]]
    document.paragraph(
        [
            f"Receipt for charge {charge['id']}",
            f"Date paid: {day_name(charge['created'])}",
            f"Paid with: {used.get('brand', 'bank account').title()} ending in {used['last4']}",
            f"Paid by: {charge['billing_details']['email'] or charge['customer'] or ''}",
        ]
    )
    document.space(10)
    _heading(document)
    currency = charge["currency"]
    document.rows([(charge["description"] or "Payment", "1", money(charge["amount"], currency))])
    document.rule()
    document.space(16)
    rows = [("Amount paid", "", money(charge["amount"], currency))]
    if charge["amount_refunded"]:
        rows.append(("Refunded", "", money(-charge["amount_refunded"], currency)))
    document.rows(rows)
    return _download(document, f"receipt-{charge['id']}.pdf")


def _letter(title: str) -> Document:
    document = Document(title)
    document.text(LEFT, title, size=20, bold=True)
    document.space(22)
    document.text(LEFT, f"{BRAND} – simulated: no money moved, and this is no demand for payment", size=9)
    document.space(26)
    return document


def _recipient(invoice: Object) -> list[str]:
    address = invoice["customer_address"] or {}
    place = f"{address.get('postal_code') or ''} {address.get('city') or ''}".strip()
    lines = [
        invoice["customer_name"],
        invoice["customer_email"],
        address.get("line1"),
        address.get("line2"),
        place,
    ]
    lines += [
        address.get("country"),
        *(f"{tax_id['type']}: {tax_id['value']}" for tax_id in invoice["customer_tax_ids"]),
    ]
    return [line for line in lines if line]


def _heading(document: Document) -> None:
    document.text(LEFT, "Description", bold=True)
    document.text(389, "Quantity", bold=True)  # above the ends of their columns
    document.text(501, "Amount", bold=True)
    document.space(8)
    document.rule()
    document.space(16)


def _download(document: Document, name: str) -> Page:
    headers = {"Content-Disposition": f'inline; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return Page(document.render(), kind="application/pdf", headers=headers)
