"""Following a job from the usage page to the exact configuration it ran with."""

from collections.abc import Callable

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import ApiKey, Organization, User
from tests.usage.rows import daily_jobs, daily_usage, job_row
from usage import reports


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def open_usage(sign_in: Callable[[User], None], member: User) -> Callable[[], None]:
    """Sign a member in, who then looks at the usage page."""
    return lambda: sign_in(member)


def test_from_the_charts_to_a_jobs_configuration(
    page: Page, open_usage: Callable[[], None], key: ApiKey, organization: Organization
) -> None:
    daily_usage(key, reports.today(organization), requests=17)
    daily_jobs(key, "eu")
    daily_jobs(key, "us")
    job_row(key, "the-job", region="us", config={"tables": "html"}, created_at=timezone.now())
    job_row(key, "another-job", created_at=timezone.now())

    open_usage()
    expect(page.get_by_role("heading", name="Requests by endpoint")).to_be_visible()
    expect(page.get_by_text("17", exact=True).first).to_be_visible()

    page.get_by_role("link", name="All request logs").click()
    # A choice made before the page's script runs waits for the button: that is another story.
    page.wait_for_url("**/jobs/", wait_until="load")
    page.get_by_label("Region").select_option("us")
    expect(page.get_by_role("link", name="another-job")).to_have_count(0)
    page.get_by_role("link", name="the-job").click()
    page.get_by_role("button", name="Copy the configuration").click()

    expect(page.get_by_text('"tables": "html"')).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == '{\n  "tables": "html"\n}'


def test_period_changes_without_loading_the_page_anew(
    page: Page, open_usage: Callable[[], None], key: ApiKey, organization: Organization
) -> None:
    daily_usage(key, reports.today(organization))
    open_usage()
    page.evaluate("window.stayed = true")

    page.get_by_label("Period").focus()
    page.get_by_label("Period").select_option("7")

    page.wait_for_url("**period=7*")
    expect(page.locator("#requests-title")).to_be_visible()
    expect(page.locator("figure").first.locator("g.day")).to_have_count(7)
    assert page.evaluate("window.stayed")
    expect(page.get_by_label("Period")).to_be_focused()

    page.reload()
    expect(page.get_by_label("Period")).to_have_value("7")


def test_refresh_brings_the_latest_requests(
    page: Page, open_usage: Callable[[], None], key: ApiKey, organization: Organization
) -> None:
    job_row(key, "first-job")
    open_usage()
    page.get_by_role("link", name="Request logs", exact=True).click()
    expect(page.get_by_role("link", name="first-job")).to_be_visible()
    job_row(key, "second-job")

    page.get_by_role("button", name="Refresh request logs").click()

    expect(page.get_by_role("link", name="second-job")).to_be_visible()


def test_a_day_can_be_read_with_the_keyboard(
    page: Page, open_usage: Callable[[], None], key: ApiKey, organization: Organization
) -> None:
    daily_usage(key, reports.today(organization), requests=17)
    open_usage()
    last_day = page.locator("figure").first.locator("g.day").last

    last_day.locator("a").first.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")

    expect(last_day.locator("text.wide")).to_be_visible()
    expect(last_day.locator("text.wide")).to_contain_text("17 requests (Parse 17)")
