"""Narrowing the usage page down, and from a bar to the jobs behind it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import ApiKey, Organization, User
from tests.usage.rows import daily_usage, job_row
from usage import reports


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


def test_filters_narrow_the_page_without_loading_it_anew(
    page: Page, sign_in: Callable[[User], None], member: User, key: ApiKey, organization: Organization
) -> None:
    today = reports.today(organization)
    daily_usage(key, today, product="parse", file_type="pdf", requests=17)
    daily_usage(key, today, product="split", file_type="docx", requests=4)
    sign_in(member)
    page.evaluate("window.stayed = true")

    page.get_by_label("File type", exact=True).select_option("docx")
    page.wait_for_url("**file_type=docx*")
    expect(page.locator("#requests-title + .legend")).to_have_text("Split 4")
    page.get_by_label("Group by").select_option("file_type")
    expect(page.get_by_role("heading", name="Requests by file type")).to_be_visible()

    assert page.evaluate("window.stayed")
    page.reload()
    expect(page.get_by_label("File type", exact=True)).to_have_value("docx")
    expect(page.get_by_label("Group by")).to_have_value("file_type")


def test_days_of_ones_choice(
    page: Page, sign_in: Callable[[User], None], member: User, key: ApiKey, organization: Organization
) -> None:
    today = reports.today(organization)
    daily_usage(key, today - timedelta(days=50), requests=17)
    sign_in(member)
    expect(page.get_by_label("From", exact=True)).to_be_hidden()

    page.get_by_label("Period").select_option("range")
    page.wait_for_url("**period=range*")
    page.get_by_label("From", exact=True).fill(str(today - timedelta(days=51)))
    page.get_by_label("To", exact=True).fill(str(today - timedelta(days=49)))
    page.get_by_role("button", name="Show").click()

    expect(page.locator("figure").first.locator("g.day")).to_have_count(3)
    expect(page.locator("#requests-title + .legend")).to_have_text("Parse 17")

    page.get_by_label("To", exact=True).fill(str(today - timedelta(days=60)))
    page.get_by_role("button", name="Show").click()

    expect(page.get_by_role("alert")).to_contain_text("From:")
    expect(page.get_by_label("To", exact=True)).to_have_value(str(today - timedelta(days=60)))


def test_click_on_a_bar_shows_its_jobs(
    page: Page, sign_in: Callable[[User], None], member: User, key: ApiKey, organization: Organization
) -> None:
    today = reports.today(organization)
    daily_usage(key, today, product="parse", requests=3)
    daily_usage(key, today, product="edit", requests=9)
    job_row(key, "parsed-today", created_at=timezone.now())
    job_row(key, "edited-today", type="Edit", created_at=timezone.now())
    job_row(key, "edited-before", type="Edit", created_at=timezone.now() - timedelta(days=3))
    sign_in(member)

    page.locator("figure").first.locator("g.day").last.locator('a[href*="type=Edit"]').click()

    page.wait_for_url("**/jobs/**type=Edit*")
    expect(page.get_by_role("link", name="edited-today")).to_be_visible()
    expect(page.get_by_role("link", name="parsed-today")).to_have_count(0)
    expect(page.get_by_role("link", name="edited-before")).to_have_count(0)
