"""The pages of signing in: which there are, where they lead, and how often they may be tried."""

import re
from pathlib import Path

import pytest
from django.template.loader import get_template
from django.test import Client
from django.urls import NoReverseMatch, get_resolver, reverse

from accounts import sign_in_urls
from accounts.adapter import LETTERS
from accounts.models import User
from tests.conftest import PASSWORD

# Addresses of allauth that would let people in, or change their address, by another way than ours.
MISSING = [
    "account_email",
    "account_confirm_login_code",
    "account_request_login_code",
    "account_signup_by_passkey",
    "google_login_by_token",
    "usersessions_list",
    "mfa_index",
]
ELSEWHERE = [
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "http://evil.example/",
    "https:evil.example",
    "http:///evil.example/",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,hello",
    "\t//evil.example/",
    " //evil.example/",
    "http://testserver@evil.example/",
    "http://testserver.evil.example/",
    "http://localhost/",
    "//127.0.0.1:9999/",
    "http://[evil",
    "\0//evil.example/",
]


@pytest.mark.parametrize("name", MISSING)
def test_there_is_no_way_around(name: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(name)


@pytest.mark.parametrize("path", ["email/", "login/code/", "login/code/confirm/", "3rdparty/", "sessions/"])
def test_what_is_not_ours_has_no_address(client: Client, owner: User, path: str) -> None:
    client.force_login(owner)

    assert client.get(f"/accounts/{path}").status_code == 404


def templates_named() -> set[str]:
    """The template of every page of allauth that has an address here."""
    views = [getattr(pattern.callback, "view_class", None) for pattern in sign_in_urls.urlpatterns]
    return {view.template_name for view in views if view and getattr(view, "template_name", None)}


@pytest.mark.parametrize("name", sorted(templates_named()))
def test_every_page_is_drawn_by_us(name: str) -> None:
    path = Path(get_template(name).template.origin.name)  # type: ignore[attr-defined]

    assert "site-packages" not in path.parts


@pytest.mark.parametrize("prefix", LETTERS)
def test_every_letter_is_written_by_us(prefix: str) -> None:
    for ending in ("txt", "html"):
        get_template(f"mail/{LETTERS[prefix].template}.{ending}")


@pytest.mark.parametrize("path", ["login/", "signup/", "password/reset/", "inactive/", "confirm-email/"])
def test_strangers_find_the_doors(client: Client, db: None, path: str) -> None:
    assert client.get(f"/accounts/{path}").status_code == 200


def test_allauths_own_address_is_no_page() -> None:
    assert not any(re.search("allauth.account.urls", str(pattern)) for pattern in get_resolver().url_patterns)


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_signing_in_leads_to_nobody_else(client: Client, owner: User, wanted: str) -> None:
    response = client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD, "next": wanted})

    assert response["Location"] == "/"


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_the_sign_in_page_passes_no_such_address_on(client: Client, owner: User, wanted: str) -> None:
    client.force_login(owner)

    for path in ("login", "signup"):
        assert client.get(f"/accounts/{path}/", {"next": wanted})["Location"] == "/"


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_neither_does_anything_else(client: Client, owner: User, wanted: str) -> None:
    client.force_login(owner)

    again = client.post("/accounts/reauthenticate/", {"password": PASSWORD, "next": wanted})
    out = client.post("/accounts/logout/", {"next": wanted})

    assert again["Location"] == "/"
    assert out["Location"] == "/accounts/login/"


@pytest.mark.parametrize(
    "wanted", ["/me/", "/me/sessions/?page=2", "http://testserver/me/", "/%09/evil.example"]
)
def test_our_own_pages_are_led_to(client: Client, owner: User, wanted: str) -> None:
    response = client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD, "next": wanted})

    assert response["Location"] == wanted


def test_guessing_a_password_is_stopped_also_for_the_right_one(client: Client, owner: User) -> None:
    for _ in range(5):
        client.post("/accounts/login/", {"login": owner.email, "password": "wrong"})

    sixth = client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})

    assert "Too many failed login attempts" in str(sixth.context["form"].errors)
    assert "_auth_user_id" not in client.session


def test_guessing_is_stopped_alike_for_an_unknown_address(client: Client, db: None) -> None:
    for _ in range(5):
        client.post("/accounts/login/", {"login": "nobody@example.com", "password": "wrong"})

    sixth = client.post("/accounts/login/", {"login": "nobody@example.com", "password": "wrong"})

    assert "Too many failed login attempts" in str(sixth.context["form"].errors)


def test_letters_for_a_new_password_are_limited(client: Client, owner: User) -> None:
    answers = [client.post("/accounts/password/reset/", {"email": owner.email}) for _ in range(11)]

    assert [answer.status_code for answer in answers[9:]] == [302, 429]
    assert b"Too many attempts" in answers[-1].content


def test_typing_the_password_once_more_is_limited(client: Client, owner: User) -> None:
    client.force_login(owner)

    answers = [client.post("/accounts/reauthenticate/", {"password": "wrong"}) for _ in range(11)]

    assert "Too many failed" in str(answers[5].context["form"].errors) or answers[5].status_code == 429
    assert answers[10].status_code == 429


def test_a_limit_is_of_the_client_not_of_the_proxy(owner: User, settings: object) -> None:
    settings.BEHIND_PROXY = True  # type: ignore[attr-defined]

    def attempt(address: str) -> int:
        browser = Client(headers={"x-forwarded-for": f"6.6.6.6, {address}"})
        return int(browser.post("/accounts/signup/", {}).status_code)

    answers = [attempt("198.51.100.7") for _ in range(11)]

    assert answers[10] == 429
    assert attempt("198.51.100.8") == 200


@pytest.mark.parametrize(
    "path", ["login/", "signup/", "password/reset/", "logout/", "confirm-email/resend/", "password/change/"]
)
def test_a_form_of_another_site_is_refused(owner: User, path: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(owner)

    assert strict.post(f"/accounts/{path}").status_code == 403


def test_a_client_whose_address_has_a_zone_signs_in(owner: User) -> None:
    browser = Client(REMOTE_ADDR="fe80::1%eth0")

    browser.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})

    assert browser.get("/me/").status_code == 200
