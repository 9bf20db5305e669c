"""From a stranger to a team of two behind a second factor, as people go through it."""

import re
from base64 import b32decode
from collections.abc import Callable, Iterator
from time import time

import pytest
from django.core.mail import EmailMessage
from django_otp.oath import TOTP
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import Membership
from accounts.permissions import Role

pytestmark = pytest.mark.django_db(transaction=True)

CHOSEN = "a brass lamp in the hall"


@pytest.fixture
def another_page(browser: Browser, live_server: LiveServer) -> Iterator[Page]:
    """The browser of somebody else."""
    context = browser.new_context(base_url=live_server.url)
    context.set_default_timeout(10_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def link(mailoutbox: list[EmailMessage]) -> Callable[[str, str], str]:
    """Find the path in the last letter to an address that begins like this."""

    def find(address: str, beginning: str) -> str:
        letters = [letter for letter in mailoutbox if letter.to == [address]]
        found = re.search(rf"https?://[^/\s]+({re.escape(beginning)}\S+)", str(letters[-1].body))
        assert found, letters[-1].body
        return found[1]

    return find


def code_of(secret: str, *, ahead: int = 0) -> str:
    """What an app that was given this secret shows, now or some steps ahead: a code works once."""
    totp = TOTP(b32decode(secret.replace(" ", "")))
    totp.time = time() + ahead * totp.step
    return f"{totp.token():06d}"


def sign_up(page: Page, name: str, email: str) -> None:
    page.get_by_label("Name").fill(name)
    if page.get_by_label("Email").input_value() != email:
        page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(CHOSEN)
    page.get_by_role("button", name="Open the account").click()


def test_a_stranger_founds_an_organization_and_protects_it(
    page: Page, another_page: Page, link: Callable[[str, str], str]
) -> None:
    # Ada opens an account, and confirms her address.
    page.goto("/")
    page.get_by_role("link", name="Open an account").click()
    sign_up(page, "Ada", "ada@example.com")
    expect(page.get_by_role("heading", name="Look into your mailbox")).to_be_visible()
    page.goto(link("ada@example.com", "/accounts/confirm-email/"))
    page.get_by_role("button", name="Yes, confirm").click()

    # She founds an organization and asks Ben to join.
    page.goto("/")
    page.get_by_role("link", name="Create an organization").click()
    page.get_by_label("Name", exact=True).fill("Analytical Engines")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("link", name="Team").first.click()
    page.get_by_role("link", name="Invite people").first.click()
    page.get_by_label(re.compile("ddress")).first.fill("ben@example.com")
    page.get_by_label("Viewer").check()
    page.get_by_role("button", name="Send invitations").click()
    expect(page.get_by_text("ben@example.com").first).to_be_visible()

    # Ben, who is new, joins in a browser of his own.
    another_page.goto(link("ben@example.com", "/invitations/"))
    expect(another_page.get_by_text("Analytical Engines").first).to_be_visible()
    another_page.get_by_role("link", name="Create an account").click()
    sign_up(another_page, "Ben", "ben@example.com")
    another_page.get_by_role("button", name="Join as ben@example.com").click()
    another_page.get_by_role("button", name="Sign out").wait_for()
    assert Membership.objects.get(user__email="ben@example.com").role == Role.VIEWER

    # Ben turns the second factor on, and needs it from then on.
    another_page.goto("/me/two-factor/")
    another_page.get_by_role("link", name="Set it up").click()
    another_page.get_by_label("Password").fill(CHOSEN)
    another_page.get_by_role("button", name="Go on").click()
    secret = another_page.locator("#secret").inner_text()
    another_page.get_by_role("textbox").fill(code_of(secret))
    another_page.get_by_role("button", name="Turn it on").click()
    expect(another_page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    another_page.get_by_role("button", name="Sign out").click()
    another_page.goto("/accounts/login/")
    another_page.get_by_label("Email").fill("ben@example.com")
    another_page.get_by_label("Password").fill(CHOSEN)
    another_page.get_by_role("button", name="Sign in").click()
    expect(another_page.get_by_role("heading", name="One more step")).to_be_visible()
    another_page.get_by_role("textbox").fill(code_of(secret, ahead=1))
    another_page.get_by_role("button", name="Sign in").click()
    another_page.get_by_role("button", name="Sign out").wait_for()

    # Ada sees it, and removes him: his open tab is closed to him.
    page.get_by_role("link", name="Team").first.click()
    expect(page.get_by_role("row", name=re.compile("Ben"))).to_be_visible()
    page.get_by_role("link", name="Remove Ben").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("row", name=re.compile("Ben"))).to_have_count(0)
    answer = another_page.reload()
    assert answer
    assert answer.status == 404
