"""Usage alerts, as somebody sees them who sets some and hears of one."""

from collections.abc import Callable
from datetime import UTC, datetime

from playwright.sync_api import Page, expect

from accounts.models import ApiKey, Organization, User
from tests.usage.rows import daily_usage
from usage import alert_notices
from usage.models import UsageAlert


def test_alerts_at_several_thresholds_are_set_fire_and_are_heard_of(
    page: Page,
    sign_in: Callable[[User], None],
    owner: User,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
) -> None:
    daily_usage(organization_key[0], datetime.now(UTC).date(), pages=600)
    sign_in(owner)
    page.get_by_role("link", name="Usage", exact=True).first.click()

    page.get_by_role("link", name="Create New Alert").click()
    page.get_by_label("Threshold value").fill("1000")
    for percentage in ("50", "80"):
        page.locator(f"input[name=percentages][value='{percentage}']").check()
    page.get_by_label("Daily").check()
    page.get_by_label("Name").fill("pilot")
    page.get_by_role("button", name="Save alert").click()

    expect(page.get_by_text("3 alerts are on.")).to_be_visible()
    expect(page.get_by_text("600 pages today")).to_have_count(3)
    expect(page.get_by_role("cell", name="Fired")).to_have_count(1)
    assert UsageAlert.objects.count() == 3

    alert_notices.tell()
    page.get_by_role("row", name="Fired").get_by_role("link", name="pilot, 50 %", exact=True).click()
    expect(page.get_by_role("row", name="600 pages on")).to_contain_text("Olivia")
    page.get_by_role("link", name="Notifications").first.click()
    page.get_by_role("button", name="Usage alert: 600 pages on").click()
    expect(page.get_by_role("heading", name="Usage", exact=True)).to_be_visible()


def test_an_alert_is_tested_turned_off_and_deleted(
    page: Page, sign_in: Callable[[User], None], owner: User, organization: Organization
) -> None:
    sign_in(owner)
    page.goto(f"/o/{organization.uid}/usage/alerts/")
    page.get_by_role("link", name="Create New Alert").click()
    page.get_by_role("button", name="Save alert").click()
    expect(page.get_by_text("Say how much.")).to_be_visible()
    page.get_by_label("Cost amount").check()
    page.get_by_label("Threshold value").fill("12.50")
    page.get_by_role("button", name="Save alert").click()
    expect(page.get_by_text("The alert is on.")).to_be_visible()

    page.get_by_role("link", name="$12.50 a month", exact=True).click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_text("A test notice is on its way to Olivia.")).to_be_visible()
    page.get_by_role("button", name="Turn off").click()
    expect(page.get_by_text("The alert is off.")).to_be_visible()
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete alert").click()

    expect(page.get_by_text("No alert yet")).to_be_visible()
    assert not UsageAlert.objects.exists()


def test_a_cap_is_set_reached_and_raised(
    page: Page,
    sign_in: Callable[[User], None],
    owner: User,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
) -> None:
    daily_usage(organization_key[0], datetime.now(UTC).date(), cost=10)
    sign_in(owner)
    page.goto(f"/o/{organization.uid}/usage/alerts/")
    page.get_by_role("link", name="Spend cap").click()

    page.get_by_label("Dollars a month").fill("10")
    page.get_by_role("button", name="Set cap").click()
    expect(page.get_by_text("The cap is reached.")).to_be_visible()

    page.get_by_label("Dollars a month").fill("20")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("$10.00 of $20.00 spent")).to_be_visible()
    expect(page.get_by_text("The cap is reached.")).to_have_count(0)
