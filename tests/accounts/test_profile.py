"""The page about oneself."""

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import AuditEntry, User


@pytest.fixture
def browser(client: Client, owner: User) -> Client:
    client.force_login(owner)
    return client


def test_a_name_is_changed_and_recorded(browser: Client, owner: User) -> None:
    answer = browser.post("/me/", {"name": "  Olivia O’Hara "}, follow=True)

    owner.refresh_from_db()
    assert owner.name == "Olivia O’Hara"
    assert b"Your name is saved." in answer.content
    entry = AuditEntry.objects.get(action="user.updated")
    assert (entry.before, entry.after) == ({"name": "Olivia"}, {"name": "Olivia O’Hara"})


def test_the_same_name_is_no_change(browser: Client) -> None:
    browser.post("/me/", {"name": "Olivia"})

    assert not AuditEntry.objects.filter(action="user.updated").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Say what to call you."),
        ("x" * 121, "at most 120 characters"),
        ("two\nlines", "cannot be seen"),
        ("Olivia\r\nBcc: everybody@example.com", "cannot be seen"),
        ("zero\u200bwidth", "cannot be seen"),
        ("nul\0", "Null characters are not allowed"),
    ],
)
def test_a_bad_name_is_explained(browser: Client, owner: User, name: str, message: str) -> None:
    answer = browser.post("/me/", {"name": name})

    assert answer.status_code == 400
    assert message in str(answer.context["form"].errors["name"])
    owner.refresh_from_db()
    assert owner.name == "Olivia"


def test_a_name_is_text_and_nothing_else(browser: Client) -> None:
    browser.post("/me/", {"name": "<script>alert(1)</script>"})

    page = browser.get("/me/").content

    assert b"<script>alert" not in page
    assert b"&lt;script&gt;alert" in page


def test_other_accounts_are_offered_only_where_there_are_any(browser: Client, settings: Settings) -> None:
    without = browser.get("/me/").content
    settings.SOCIALACCOUNT_PROVIDERS = {"github": {"APPS": [{"client_id": "id", "secret": "secret"}]}}
    with_some = browser.get("/me/").content

    assert b"Connected accounts" not in without
    assert b"Connected accounts" in with_some


def test_the_parts_of_the_account_are_a_tab_away(browser: Client) -> None:
    page = browser.get("/me/").content.decode()

    for address in ("/me/two-factor/", "/me/sessions/", "/me/notifications/"):
        assert f'href="{address}"' in page
