"""Support looks at an organization as one of its members, sees what they see, and stops."""

from playwright.sync_api import Page, expect

from accounts.models import Organization, User
from tests.accounts.looking import REASON, look_page


def test_support_looks_and_stops(
    page: Page, in_back_office: None, organization: Organization, owner: User, member: User
) -> None:
    page.goto(look_page(organization).replace("look/", "change/"))
    page.get_by_role("link", name="Look as a member").click()
    page.get_by_label("Member").select_option(label="Mia (Member)")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Look", exact=True).click()

    bar = page.get_by_role("complementary", name="Looking as a member")
    expect(bar).to_contain_text(
        "You are looking as Mia of Northwind. Nothing can be changed. Ends in 60 min."
    )
    page.get_by_role("link", name="Team").click()
    expect(page.get_by_role("heading", name="Team")).to_be_visible()
    expect(bar).to_be_in_viewport()
    page.get_by_role("link", name="Leave the organization").click()
    expect(page.get_by_role("heading", name="You are only looking")).to_be_visible()

    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("link", name="Back to the pages of Northwind").click()
    expect(bar).to_be_in_viewport()
    page.get_by_text("Skip to the content").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Stop looking")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**" + look_page(organization).replace("look/", "change/"))
