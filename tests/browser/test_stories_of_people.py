"""Support stories about people, from the mail to the fix: locked out, left without an owner, and to be forgotten."""

from collections.abc import Callable

import pytest
from django.core.mail import EmailMessage
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from accounts import staff, two_factor
from accounts.audit import Action, Actor
from accounts.models import AuditEntry, Membership, Note, Organization, User
from accounts.permissions import Role
from config import staff_groups
from tests.browser.desk import Desk, reason_of
from tests.conftest import PASSWORD, person

DeskOf = Callable[[str], Desk]


@pytest.fixture
def gets_in(browser: Browser, live_server: LiveServer) -> Callable[[str], None]:
    """Somebody signs in by their password alone, in a browser of their own."""

    def try_it(address: str) -> None:
        context = browser.new_context(base_url=live_server.url)
        page = context.new_page()
        page.goto("/accounts/login/")
        page.get_by_label("Email").fill(address)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Sign out").wait_for(timeout=10_000)
        context.close()

    return try_it


def test_locked_out_of_two_factor(
    desk_of: DeskOf, gets_in: Callable[[str], None], member: User, mailoutbox: list[EmailMessage]
) -> None:
    """My phone fell into the lake, and the recovery codes were on it. I cannot sign in. Mia, mia@example.com"""
    two_factor.enrol_totp(user=member, actor=None)
    desk = desk_of(staff_groups.ADMINISTRATOR)

    desk.search("mia@example.com")
    desk.reads("2FA on")
    desk.press("Reset second factor…")
    desk.choose("How you made sure who asks", "Video")
    desk.write("What you saw or heard", "Her passport, held into the camera")
    desk.press("Reset second factor")

    desk.ends("locked out of 2FA", done="The second factor of mia@example.com is reset.", at_most=3)
    gets_in("mia@example.com")
    [letter] = [letter for letter in mailoutbox if letter.to == ["mia@example.com"]]
    assert "second factor" in letter.body
    assert AuditEntry.objects.get(action=Action.TWO_FACTOR_RESET).after["identity_check"] == "video_call"
    assert "Her passport, held into the camera" in Note.objects.get(user=member).text


def test_owner_left(desk_of: DeskOf, organization: Organization, owner: User, admin: User) -> None:
    """Olivia, who set all this up, left us in May. Nobody can change the plan now. Adam, adam@example.com"""
    staff.switch(user=owner, is_active=False, reason="She left", actor=Actor(person("Stella", is_staff=True)))
    desk = desk_of(staff_groups.ADMINISTRATOR)

    desk.search("adam@example.com")
    desk.reads("switched off")
    desk.press("New owner…")
    desk.choose("New owner", "Adam")
    desk.write("How it was proven", "The company register names Adam as its director")
    desk.write("Reason", "Olivia has left the company").press("Enter")

    desk.ends("owner left", done="adam@example.com owns Northwind.", at_most=3)
    assert Membership.objects.get(organization=organization, role=Role.OWNER).user == admin
    assert reason_of(Action.OWNERSHIP_RECOVERED) == "Olivia has left the company"


def test_delete_my_data(
    desk_of: DeskOf, organization: Organization, member: User, mailoutbox: list[EmailMessage]
) -> None:
    """I have left Northwind. Delete my account and all that you know of me, please. Mia, mia@example.com"""
    desk = desk_of(staff_groups.ADMINISTRATOR)

    desk.search("mia@example.com")
    desk.reads("mia@example.com", "Member")
    desk.press("Delete account…")
    desk.write("Its e-mail address", "mia@example.com")
    desk.write("Reason", "She asked from this address, and confirmed by phone").press("Enter")

    desk.ends("delete my data", done="The account is deleted", at_most=3)
    member.refresh_from_db()
    assert member.deleted_at
    assert (member.name, "mia" in member.email) == ("", False)
    assert not organization.memberships.filter(user=member).exists()
    assert reason_of(Action.USER_DELETED) == "She asked from this address, and confirmed by phone"
    assert [letter.to for letter in mailoutbox][-1] == ["mia@example.com"]
