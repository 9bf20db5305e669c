"""The ledger: its lines add up to what verify has, each leads to its cause, and as CSV it is the same."""

import csv
import io
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from accounts.models import Organization, User
from billing import balance, calls, credits
from billing.models import BillingAccount, CreditEntry, CreditGrant
from tests.billing.conftest import Use, settle
from tests.billing.pages.conftest import Page
from tests.billing.pages.rows import invoice
from usage import corrections
from usage.models import Entitlement, UsageRecord


def balance_of(organization: Organization) -> balance.Balance:
    found = calls.of(organization)
    assert found
    return balance.of(found.account)


def give(organization: Organization, amount: int, key: str, **fields: Any) -> CreditGrant:
    granted = credits.grant(
        organization,
        amount=Decimal(amount),
        key=key,
        **{"kind": CreditGrant.Kind.PROMOTIONAL, "reason": "Thanks for waiting"} | fields,
    )
    assert granted
    return granted


@pytest.mark.parametrize("used", [[], [30], [30, 40], [100], [100, 30]])
def test_what_is_left_is_what_verify_has(
    organization: Organization, rates: None, use: Use, used: list[int]
) -> None:
    for number, amount in enumerate(used):
        use(amount)
        if number == 0:
            settle(organization)

    entitlement = Entitlement.objects.get()
    found = balance_of(organization)

    assert found.remaining == entitlement.credits_remaining
    assert found.settled - found.uncovered - found.unsettled + found.beyond == found.remaining


def test_what_is_left_of_each_grant_adds_up_to_what_is_left(
    organization: Organization, rates: None, use: Use
) -> None:
    give(organization, 50, "a")
    use(30)
    settle(organization)
    use(80)

    found = balance_of(organization)
    left = balance.grants(organization, found)

    assert [each.left for each in left] == [0, 40]
    assert sum(each.left for each in left) == found.remaining == 40


def test_the_page_says_what_is_not_yet_in_it(page: Page, rates: None, use: Use) -> None:
    use(30)

    text = page("ledger/")

    assert 'Balance of the ledger, after its newest line</td> <td class="number">100</td>' in text
    assert "Used today and not yet settled" in text
    assert '<td class="number">−30</td>' in text
    assert '<td class="number">70</td>' in text


def test_a_line_of_usage_leads_to_the_usage_of_its_day(
    page: Page, organization: Organization, rates: None, use: Use
) -> None:
    use(30)
    settle(organization)

    entry = CreditEntry.objects.get(kind="usage")

    assert f"/usage/?period=range&amp;from={entry.day}&amp;to={entry.day}" in page("ledger/")


def test_what_was_given_back_leads_to_its_job_and_says_why(
    page: Page, organization: Organization, rates: None, use: Use
) -> None:
    job = use(30)
    settle(organization)
    corrections.correct(record=UsageRecord.objects.get(), reason="Reported twice", actor=None)
    settle(organization)

    text = page("ledger/")

    assert f'<a href="/o/{organization.uid}/jobs/{job}/">Job {job}</a>' in text
    assert "Reported twice" in text


def test_what_staff_gave_says_so_without_a_name(page: Page, organization: Organization, staff: User) -> None:
    give(organization, 10, "a", created_by=staff)

    text = page("ledger/")

    assert "support</span>" in text
    assert "Thanks for waiting" in text
    assert "Stella" not in text


def test_what_was_bought_leads_to_its_invoice(page: Page, organization: Organization) -> None:
    bill = invoice(organization)
    give(organization, 10, "a", kind=CreditGrant.Kind.PURCHASED, stripe_object="in_1")

    assert f'<a href="/o/{organization.uid}/billing/invoices/{bill.uid}/">Invoice A-1</a>' in page("ledger/")


def test_pages_follow_each_other_without_a_gap(
    page: Page, by_owner: Client, organization: Organization
) -> None:
    for number in range(120):
        give(organization, 1, f"{number}", reason=f"Number {number}.")
    seen: list[str] = []
    query = ""

    while True:
        response: Any = by_owner.get(f"/o/{organization.uid}/billing/ledger/{query}")
        seen += [line.entry.reason for line in response.context["lines"]]
        query = response.context["older"]
        if not query:
            break

    assert seen == [f"Number {number}." for number in reversed(range(120))] + ["Free credits for signing up"]


def test_it_can_be_narrowed_by_kind_and_day(
    page: Page, organization: Organization, rates: None, use: Use
) -> None:
    use(30)
    settle(organization)

    assert "Free credits for signing up" in page("ledger/?kind=grant")
    assert "Free credits for signing up" not in page("ledger/?kind=usage")
    assert "Nothing matches" in page("ledger/?until=2020-01-01")


def test_days_that_make_no_sense_are_refused(page: Page) -> None:
    assert "before the day it begins" in page("ledger/?since=2026-02-01&until=2026-01-01", status=400)


@pytest.mark.parametrize("query", ["kind=nothing", "since=yesterday"])
def test_what_is_no_filter_is_refused(page: Page, query: str) -> None:
    page(f"ledger/?{query}", status=400)
    page(f"ledger.csv?{query}", status=400)


def test_a_place_that_was_not_made_here_is_refused(page: Page) -> None:
    page("ledger/?older_than=nonsense", status=400)


def test_as_csv_it_has_all_lines_and_runs_no_formula(by_owner: Client, organization: Organization) -> None:
    give(organization, 10, "a", reason="=HYPERLINK(1)")
    credits.deduct(organization, amount=Decimal("2.5"), key="b", reason="Too many")

    response: Any = by_owner.get(f"/o/{organization.uid}/billing/ledger.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(response).decode())))

    assert [(row["kind"], row["amount"], row["balance"]) for row in rows] == [
        ("correction", "-2.5", "107.5"),
        ("grant", "10", "110"),
        ("grant", "100", "100"),
    ]
    assert rows[1]["reason"] == "'=HYPERLINK(1)"


def test_it_takes_no_more_questions_for_more_lines(
    by_owner: Client,
    organization: Organization,
    staff: User,
    rates: None,
    pro: BillingAccount,
    use: Use,
    questions: list[Any],
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(10):
        give(organization, 10, f"{number}", created_by=staff, stripe_object=f"in_{number}")
    use(100_200)
    settle(organization)
    by_owner.get(f"/o/{organization.uid}/billing/ledger/")
    questions.clear()

    with django_assert_max_num_queries(10) as asked:
        by_owner.get(f"/o/{organization.uid}/billing/ledger/")

    assert len(asked) + len(questions) <= 10
