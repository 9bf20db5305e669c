"""Invoices: listed with where they are paid and fetched, and each line explained by the usage behind it."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Organization
from billing import invoices, metering
from billing.models import BillingAccount, Invoice
from tests.billing.conftest import Use, settle
from tests.billing.pages.conftest import Page
from tests.billing.pages.rows import invoice
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import buy, subscribe


def test_they_are_listed_with_what_they_came_to(page: Page, organization: Organization) -> None:
    invoice(organization, total=Decimal("811.04"), amount_paid=Decimal("811.04"))

    text = page("invoices/")

    assert "A-1" in text
    assert "$811.04" in text
    assert "Paid" in text


def test_an_open_one_can_be_paid_and_says_when_the_card_is_tried_again(
    page: Page, organization: Organization
) -> None:
    again = timezone.now() + timedelta(days=3)
    invoice(organization, status="open", hosted_url="https://invoice.stripe.com/i/1", next_attempt_at=again)

    for text in (page("invoices/"), page()):
        assert "Payment failed" in text
        assert 'href="https://invoice.stripe.com/i/1"' in text
        assert f"{again:%Y-%m-%d}" in text


@pytest.mark.parametrize("url", ["http://example.com/i", "javascript:alert(1)", "//example.com"])
def test_a_link_is_shown_only_over_tls(page: Page, organization: Organization, url: str) -> None:
    invoice(organization, hosted_url=url, pdf_url=url, receipt_url=url)

    assert url not in page("invoices/")


def test_the_simulators_links_are_shown(page: Page, organization: Organization, settings: Settings) -> None:
    settings.STRIPE_IS_SIMULATED = True
    invoice(organization, pdf_url=f"{settings.STRIPE_API_BASE}/pdf/1")

    assert f'href="{settings.STRIPE_API_BASE}/pdf/1"' in page("invoices/")


def test_pages_follow_each_other(by_owner: Client, organization: Organization) -> None:
    for number in range(60):
        invoice(organization, number)

    first: Any = by_owner.get(f"/o/{organization.uid}/billing/invoices/")
    second: Any = by_owner.get(f"/o/{organization.uid}/billing/invoices/{first.context['older']}")

    seen = [each.number for each in [*first.context["invoices"], *second.context["invoices"]]]
    assert seen == [f"A-{number}" for number in range(60)]


def test_as_csv_there_are_all_of_them(page: Page, by_owner: Client, organization: Organization) -> None:
    invoice(organization, number=1)
    invoice(organization, number=2)

    response: Any = by_owner.get(f"/o/{organization.uid}/billing/invoices.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(response).decode())))

    assert [row["number"] for row in rows] == ["A-1", "A-2"]


def test_one_of_another_organization_is_not_there(page: Page, other_organization: Organization) -> None:
    page(f"invoices/{invoice(other_organization).uid}/", status=404)


def test_a_pack_leads_to_its_credits(
    catalogued: SimulatorProcess, page: Page, organization: Organization
) -> None:
    buy(catalogued, organization)
    invoices.record_all(BillingAccount.objects.get().stripe_customer)

    text = page(f"invoices/{Invoice.objects.get().uid}/")

    assert "$10.00" in text
    assert "1,000 credits" in text


def test_overage_is_explained_by_days_and_jobs(
    at_present: SimulatorProcess,
    page: Page,
    organization: Organization,
    rates: None,
    use: Use,
    questions: list[Any],
    django_assert_max_num_queries: Any,
) -> None:
    account = subscribe(at_present, organization)
    use(100_500)
    settle(organization)
    metering.flush(organization)
    assert account.period_end
    at_present.advance(to=int(account.period_end.timestamp()) + 7_200)
    invoices.record_all(account.stripe_customer)

    bill = invoices.of(organization).first()
    assert bill
    page()
    questions.clear()
    with django_assert_max_num_queries(12) as asked:
        text = page(f"invoices/{bill.uid}/")

    assert len(asked) + len(questions) <= 12
    today = timezone.now().date()
    assert "400 credits beyond what was included, $0.01 each" in text
    assert f"/jobs/?since={today}&amp;until={today}" in text
    assert f"/usage/?period=range&amp;from={today}&amp;to={today}" in text
    assert '<th scope="row">Billed</th> <td class="number">400</td>' in text


def test_a_list_takes_no_more_questions_for_more_invoices(
    by_owner: Client, organization: Organization, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        invoice(organization, number)
    by_owner.get(f"/o/{organization.uid}/billing/invoices/")

    with django_assert_max_num_queries(7):
        by_owner.get(f"/o/{organization.uid}/billing/invoices/")
