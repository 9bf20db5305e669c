"""The addresses of the pages that people see."""

import re
from collections.abc import Callable

from billing.simulator import checkout_page, home_page, invoice_page, portal_page
from billing.simulator.errors import StripeError
from billing.simulator.markup import Page, html, page
from billing.simulator.simulator import Simulator

Form = dict[str, str]


def answer(sim: Simulator, method: str, path: str, form: Form) -> Page:
    """Answer a request for a page."""
    for wanted, pattern, view in ROUTES:
        match = re.fullmatch(pattern, path)
        if match and wanted == ("GET" if method == "HEAD" else method):
            try:
                return view(sim, form, *match.groups())
            except StripeError as error:
                return _told(str(error), error.status)
    return _told("There is no such page.", 404)


def broken() -> Page:
    return _told("The simulator failed; its log says why.", 500)


def _told(text: str, status: int) -> Page:
    return page(
        "That did not work" if status != 404 else "Not found",
        html("<section><p>{}</p></section>", text),
        status=status,
    )


def _checkout(sim: Simulator, form: Form, id: str) -> Page:
    return checkout_page.show(sim, sim.get("checkout.session", id), {})


def _submit_checkout(sim: Simulator, form: Form, id: str) -> Page:
    with sim.store.lock:
        return checkout_page.submit(sim, sim.get("checkout.session", id), form)


def _invoice(sim: Simulator, form: Form, id: str) -> Page:
    return invoice_page.show(sim, sim.get("invoice", id))


def _pay_invoice(sim: Simulator, form: Form, id: str) -> Page:
    with sim.store.lock:
        return invoice_page.pay(sim, sim.get("invoice", id), form)


def _invoice_pdf(sim: Simulator, form: Form, id: str) -> Page:
    return invoice_page.invoice_pdf(sim.get("invoice", id))


def _receipt_pdf(sim: Simulator, form: Form, id: str) -> Page:
    return invoice_page.receipt_pdf(sim.get("charge", id))


def _ask(sim: Simulator, form: Form, id: str) -> Page:
    return invoice_page.confirm_intent(sim, sim.get("payment_intent", id), {})


def _confirm(sim: Simulator, form: Form, id: str) -> Page:
    with sim.store.lock:
        return invoice_page.confirm_intent(sim, sim.get("payment_intent", id), form)


ROUTES: list[tuple[str, str, Callable[..., Page]]] = [
    ("GET", r"/", home_page.show),
    ("POST", r"/advance", home_page.advance),
    ("POST", r"/settings", home_page.change_settings),
    ("POST", r"/deliveries/(\d+)/resend", home_page.resend),
    ("GET", r"/checkout/(cs_\w+)", _checkout),
    ("POST", r"/checkout/(cs_\w+)", _submit_checkout),
    ("GET", r"/invoices/(in_\w+)", _invoice),
    ("GET", r"/invoices/(in_\w+)\.pdf", _invoice_pdf),
    ("POST", r"/invoices/(in_\w+)/pay", _pay_invoice),
    ("GET", r"/receipts/(ch_\w+)\.pdf", _receipt_pdf),
    ("GET", r"/confirm/(pi_\w+)", _ask),
    ("POST", r"/confirm/(pi_\w+)", _confirm),
    ("GET", r"/portal/(bps_\w+)", portal_page.show),
    ("POST", r"/portal/(bps_\w+)/([a-z_]+)", portal_page.act),
]
