import re
import zlib

import pytest
import stripe

from tests.billing.simulator.conftest import Shop, invoices
from tests.billing.simulator_process import KEY, SimulatorProcess

NASTY = "<script>alert('x')</script> & {0} \"q\""


@pytest.mark.parametrize(
    "host", ["example.com", "simulator.internal:80", "127.0.0.1.example.com", "127.0.0.1:1"]
)
def test_another_host_is_refused(simulator: SimulatorProcess, host: str) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {KEY}"}

    for path in ("/", "/v1/customers", "/simulator/clock"):
        assert simulator.http.get(path, headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/advance", "/settings", "/simulator/clock/advance"])
def test_a_form_of_another_site_is_refused(simulator: SimulatorProcess, path: str) -> None:
    before = simulator.now

    for origin in ("https://example.com", "null"):
        refused = simulator.http.post(path, data={"seconds": "86400"}, headers={"Origin": origin})
        assert refused.status_code == 403

    assert simulator.now - before < 1000


def test_what_customers_write_is_escaped(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop
) -> None:
    buyer = client.v1.customers.create({"email": "a@example.com", "name": NASTY})
    simulator.set_card(buyer.id)
    price = client.v1.prices.create(
        {
            "product_data": {"name": NASTY},
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
        }
    )
    client.v1.subscriptions.create({"customer": buyer.id, "items": [{"price": price.id}]})
    session = client.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": buyer.id,
            "line_items": [{"price": price.id, "quantity": 1}],
            "success_url": "http://127.0.0.1:9/",
        }
    )
    invoice = invoices(client, buyer.id)[0]

    for url in ("/", session.url or "", invoice.hosted_invoice_url or ""):
        page = simulator.http.get(url)
        assert page.status_code == 200
        assert "<script>" not in page.text
        assert "&lt;script&gt;" in page.text
        assert "no money moves" in page.text


def test_the_home_page_moves_the_clock(simulator: SimulatorProcess) -> None:
    before = simulator.now

    moved = simulator.post("/advance", seconds="3600")

    assert moved.status_code == 303
    assert 3600 <= simulator.now - before < 3700


def test_the_home_page_moves_to_the_next_renewal(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.small}]})
    renewal = simulator.http.get("/simulator/clock").json()["next_renewal"]

    simulator.post("/advance", until="renewal")

    assert renewal <= simulator.now <= renewal + 60


def test_settings_are_changed_on_the_home_page(simulator: SimulatorProcess) -> None:
    simulator.post("/settings", after_last_retry="unpaid", meter_lag="5")

    assert simulator.http.get("/simulator/settings").json() == {"after_last_retry": "unpaid", "meter_lag": 5}
    assert simulator.post("/settings", after_last_retry="nonsense").status_code == 400
    simulator.set(after_last_retry="cancel", meter_lag=0)


def test_invoices_and_receipts_are_pdfs_with_their_amounts(
    simulator: SimulatorProcess, client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.pro}]})
    invoice = invoices(client, customer)[0]
    charge = client.v1.charges.list({"customer": customer}).data[0]

    texts = [
        pdf_text(simulator.http.get(url or "").content) for url in (invoice.invoice_pdf, charge.receipt_url)
    ]

    for wanted in (str(invoice.number), "Northwind", "$799.00", "no money moved"):
        assert wanted in texts[0]
    for wanted in (charge.id, "Visa ending in 4242", "$799.00"):
        assert wanted in texts[1]


def pdf_text(content: bytes) -> str:
    """Return the text of a PDF of ours, after a look at its structure."""
    assert content.startswith(b"%PDF-1.4")
    assert content.endswith(b"%%EOF\n")
    start = int(re.findall(rb"startxref\n(\d+)", content)[0])
    assert content[start:].startswith(b"xref\n")
    for number, place in enumerate(re.findall(rb"(\d{10}) 00000 n", content), 1):
        assert content[int(place) :].startswith(b"%d 0 obj" % number)
    streams = re.findall(rb"stream\n(.*?)\nendstream", content, re.S)
    commands = b"\n".join(zlib.decompress(stream) for stream in streams).decode("cp1252")
    return " ".join(re.findall(r"\((.*)\) Tj", commands))


@pytest.mark.parametrize(
    "path", ["/nowhere", "/checkout/cs_test_unknown", "/invoices/in_unknown", "/portal/bps_unknown"]
)
def test_an_unknown_page_is_not_found(simulator: SimulatorProcess, path: str) -> None:
    assert simulator.http.get(path).status_code == 404


def test_nothing_went_wrong_inside(simulator: SimulatorProcess) -> None:
    assert "Traceback" not in simulator.log()
