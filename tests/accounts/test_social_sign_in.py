"""Signing in with an account elsewhere, at a provider that is really there."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django import Settings

from accounts import two_factor
from accounts.models import AuditEntry, Notification, User
from tests.accounts.oidc import Provider, serve
from tests.accounts.seen import link_in
from tests.conftest import PASSWORD

LOGIN = "/accounts/oidc/example/login/"
SENT = "/accounts/confirm-email/"
NINA = {"sub": "42", "email": "nina@example.com", "email_verified": True, "name": "Nina"}


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with serve() as provider:
        yield provider


@pytest.fixture
def provider(server: Provider, settings: Settings, db: None) -> Provider:
    settings.SOCIALACCOUNT_PROVIDERS = server.settings
    server.person, server.answer = dict(NINA), None
    return server


def come_back(client: Client, *, query: str = "") -> Any:
    """Press the button, sign in at the provider, and follow its way back to us."""
    leaving = client.post(LOGIN + query)
    back = requests.get(leaving["Location"], allow_redirects=False, timeout=5).headers["Location"]
    return client.get(urlsplit(back)._replace(scheme="", netloc="").geturl())


def connect(client: Client, user: User) -> None:
    client.force_login(user)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    come_back(client, query="?process=connect")


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_the_buttons_are_there_only_when_set_up(client: Client, db: None, settings: Settings) -> None:
    without = client.get("/accounts/login/").content
    settings.SOCIALACCOUNT_PROVIDERS = {"github": {"APPS": [{"client_id": "id", "secret": "secret"}]}}
    pages = [client.get(f"/accounts/{path}/").content for path in ("login", "signup")]

    assert b"Go on with" not in without
    assert all(b"Go on with GitHub" in page for page in pages)


@pytest.mark.parametrize("path", ["github", "google", "oidc/example", "oidc/other"])
def test_what_is_not_set_up_is_not_there(client: Client, db: None, path: str) -> None:
    for address in (f"/accounts/{path}/login/", f"/accounts/{path}/login/callback/?code=1&state=2"):
        assert client.get(address).status_code == 404
        assert client.post(address).status_code == 404


def test_somebody_new_with_a_verified_address_gets_an_account(client: Client, provider: Provider) -> None:
    response = come_back(client, query="?next=/me/")

    user = User.objects.get()
    assert response["Location"] == "/me/"
    assert is_signed_in(client)
    assert (user.email, user.name, user.has_usable_password()) == ("nina@example.com", "Nina", False)
    assert EmailAddress.objects.get().verified
    entry = AuditEntry.objects.get(action="user.created")
    assert entry.after == {"email": "nina@example.com", "name": "Nina", "provider": "example"}


def test_the_second_time_it_is_the_same_account(client: Client, provider: Provider) -> None:
    come_back(Client())
    provider.person["email"] = "nina@elsewhere.example"

    come_back(client)

    assert client.session["_auth_user_id"] == str(User.objects.get().pk)
    assert User.objects.get().email == "nina@example.com"


@pytest.mark.parametrize("verified", [False, None, "false", "true", 1])
def test_an_address_that_is_not_verified_there_is_confirmed_here(
    client: Client, provider: Provider, verified: object, mailoutbox: list[EmailMessage]
) -> None:
    provider.person["email_verified"] = verified

    response = come_back(client)
    out = not is_signed_in(client)
    client.post(link_in(mailoutbox[0]))

    assert response["Location"] == SENT
    assert out
    assert is_signed_in(client)


@pytest.mark.parametrize("verified", [True, False])
def test_an_account_with_the_same_address_is_never_opened(
    client: Client, provider: Provider, owner: User, verified: bool, mailoutbox: list[EmailMessage]
) -> None:
    provider.person |= {"email": "Olivia@example.com", "email_verified": verified}

    response = come_back(client)

    assert response["Location"] == SENT
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()
    assert [(mail.to, mail.subject) for mail in mailoutbox] == [
        ([owner.email], "You have an account already · Countinghouse")
    ]


def test_not_even_where_the_configuration_would_have_it(
    client: Client, provider: Provider, owner: User, settings: Settings
) -> None:
    settings.SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
    provider.person["email"] = owner.email

    come_back(client)

    assert not is_signed_in(client)


def test_an_account_is_connected_after_the_password(client: Client, provider: Provider, owner: User) -> None:
    client.force_login(owner)

    asked = come_back(client, query="?process=connect")
    before = SocialAccount.objects.exists()
    done = client.post(asked["Location"], {"password": PASSWORD}, follow=True)

    assert asked["Location"] == "/accounts/reauthenticate/"
    assert not before
    assert SocialAccount.objects.get().user == owner
    assert b"The account is connected" in done.content
    entry = AuditEntry.objects.get(action="user.updated")
    assert entry.after == {"connected": {"provider": "example", "id": "42"}}
    assert Notification.objects.get(user=owner).title == "You can now sign in with your Example SSO account"


def test_a_connected_account_opens_ours(client: Client, provider: Provider, owner: User) -> None:
    connect(Client(), owner)

    come_back(client)

    assert client.session["_auth_user_id"] == str(owner.pk)
    assert b"Example SSO" in client.get("/me/").content


def test_disconnected_it_opens_ours_no_more(client: Client, provider: Provider, owner: User) -> None:
    connect(client, owner)
    account = SocialAccount.objects.get()

    page = client.get("/accounts/connections/").content
    answer = client.post("/accounts/connections/", {"account": account.pk}, follow=True)

    assert b"Disconnect the chosen one" in page
    assert b"The account is disconnected." in answer.content
    assert not SocialAccount.objects.exists()
    assert AuditEntry.objects.filter(before={"connected": {"provider": "example", "id": "42"}}).exists()


def test_the_only_way_in_is_not_taken_away(client: Client, provider: Provider) -> None:
    come_back(client)

    answer = client.post("/accounts/connections/", {"account": SocialAccount.objects.get().pk})

    assert "no password" in str(answer.context["form"].errors)
    assert SocialAccount.objects.exists()


def test_nobody_disconnects_those_of_others(
    client: Client, provider: Provider, owner: User, outsider: User
) -> None:
    connect(Client(), owner)
    client.force_login(outsider)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    client.post("/accounts/connections/", {"account": SocialAccount.objects.get().pk})

    assert SocialAccount.objects.exists()


def test_an_account_elsewhere_belongs_to_one_person(
    client: Client, provider: Provider, owner: User, outsider: User
) -> None:
    connect(Client(), owner)

    connect(client, outsider)

    assert SocialAccount.objects.get().user == owner
    assert b"connected to another person" in client.get("/accounts/connections/").content


def test_the_second_factor_is_asked_for_here_too(client: Client, provider: Provider, owner: User) -> None:
    connect(Client(), owner)
    two_factor.enrol_totp(user=owner, actor=None)

    response = come_back(client)

    assert response["Location"].startswith("/accounts/code/")
    assert not is_signed_in(client)


def test_somebody_switched_off_stays_out(client: Client, provider: Provider, owner: User) -> None:
    connect(Client(), owner)
    User.objects.update(is_active=False)

    response = come_back(client)

    assert response["Location"] == "/accounts/inactive/"
    assert b"switched off" in client.get("/accounts/inactive/").content
    assert not is_signed_in(client)


def test_where_sign_up_is_closed_nobody_new_comes_in(
    client: Client, provider: Provider, settings: Settings
) -> None:
    settings.SIGN_UP_OPEN = False

    response = come_back(client)

    assert b"Accounts are made by invitation" in response.content
    assert not User.objects.exists()


def test_without_an_address_it_is_asked_for(
    client: Client, provider: Provider, mailoutbox: list[EmailMessage]
) -> None:
    del provider.person["email"]

    asked = come_back(client)
    page = client.get(asked["Location"])
    sent = client.post(asked["Location"], {"email": "nina@private.example"})

    assert b"did not tell us an address" in page.content
    assert sent["Location"] == SENT
    assert mailoutbox[0].to == ["nina@private.example"]
    assert not is_signed_in(client)


def test_whoever_reads_the_mail_shuts_out_who_opened_the_account_unproved(
    client: Client, provider: Provider, mailoutbox: list[EmailMessage]
) -> None:
    del provider.person["email"]
    stranger = Client()
    asked = come_back(stranger)
    stranger.post(asked["Location"], {"email": "victim@example.com"})
    client.post("/accounts/password/reset/", {"email": "victim@example.com"})
    reset = client.get(link_in(mailoutbox[-1]))
    client.post(reset["Location"], {"password1": PASSWORD, "password2": PASSWORD})
    client.post("/accounts/login/", {"login": "victim@example.com", "password": PASSWORD})
    EmailAddress.objects.update(verified=True)

    come_back(stranger)

    assert not is_signed_in(stranger)
    assert not SocialAccount.objects.filter(user__email="victim@example.com").exists()
    entry = AuditEntry.objects.get(action="user.updated")
    assert entry.before == {"connected": [{"provider": "example", "id": "42"}]}


def test_a_new_password_leaves_what_is_connected_to_a_proved_account(
    client: Client, provider: Provider, owner: User, mailoutbox: list[EmailMessage]
) -> None:
    connect(Client(), owner)
    client.post("/accounts/password/reset/", {"email": owner.email})
    reset = client.get(link_in(mailoutbox[-1]))

    client.post(reset["Location"], {"password1": PASSWORD, "password2": PASSWORD})

    assert SocialAccount.objects.get().user == owner


def test_an_address_that_nobody_has_shown_to_be_theirs_leads_to_no_account(
    client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claimed(self: OpenIDConnectProvider, data: object) -> list[EmailAddress]:
        return [
            EmailAddress(email="nina@example.com", verified=True, primary=True),
            EmailAddress(email="victim@example.com", verified=False),
        ]

    monkeypatch.setattr(OpenIDConnectProvider, "extract_email_addresses", claimed)

    come_back(client)

    assert [address.email for address in EmailAddress.objects.all()] == ["nina@example.com"]


@pytest.mark.parametrize(
    "claims",
    [
        {"name": "x" * 500},
        {"name": "two\r\nBcc: everybody@example.com"},
        {"name": "nul\0"},
        {"name": None, "given_name": "Nina", "family_name": None},
        {"name": ["Nina"]},
        {"email": "not an address"},
        {"email": "nin\u0131a@example.com"},
        {"email": f"{'x' * 300}@example.com"},
    ],
)
def test_odd_claims_are_no_trouble(
    client: Client, provider: Provider, claims: dict[str, object], mailoutbox: list[EmailMessage]
) -> None:
    provider.person |= claims

    response = come_back(client)

    assert response.status_code == 302
    for user in User.objects.all():
        assert user.name.isprintable()
        assert len(user.name) <= 120
        assert user.email.isascii()


@pytest.mark.parametrize("query", ["", "?code=1", "?code=1&state=made-up", "?error=server_error&state=x"])
def test_a_made_up_way_back_leads_nowhere(client: Client, provider: Provider, query: str) -> None:
    response = client.get(f"/accounts/oidc/example/login/callback/{query}")

    assert response.status_code == 401
    assert b"That did not work" in response.content


def test_turning_back_is_no_error(client: Client, provider: Provider) -> None:
    leaving = client.post(LOGIN)
    state = urlsplit(leaving["Location"]).query.split("state=")[1].split("&")[0]

    response = client.get(
        f"/accounts/oidc/example/login/callback/?error=access_denied&state={state}", follow=True
    )

    assert b"Nothing has happened" in response.content


def test_a_way_back_works_once_and_in_one_browser(client: Client, provider: Provider) -> None:
    leaving = client.post(LOGIN)
    back = requests.get(leaving["Location"], allow_redirects=False, timeout=5).headers["Location"]
    path = urlsplit(back)._replace(scheme="", netloc="").geturl()

    elsewhere = Client().get(path)
    here = client.get(path)
    again = Client().get(path)

    assert (elsewhere.status_code, here.status_code, again.status_code) == (401, 302, 401)


@pytest.mark.parametrize("answer", [{"error": "no"}, {"access_token": "another"}, {"id_token": "x.y.z"}])
def test_a_bad_answer_of_the_provider_signs_nobody_in(
    client: Client, provider: Provider, answer: dict[str, str]
) -> None:
    provider.answer = answer

    response = come_back(client)

    assert response.status_code == 401
    assert not is_signed_in(client)


@pytest.mark.parametrize("claims", [{}, {"sub": ""}, {"sub": "nul\0"}, {"sub": "x" * 500}])
def test_a_provider_that_names_nobody_signs_nobody_in(
    client: Client, provider: Provider, claims: dict[str, str]
) -> None:
    provider.person = {"email": "nina@example.com", "email_verified": True} | claims

    response = come_back(client)

    assert response.status_code == 401
    assert not is_signed_in(client)
    assert not User.objects.exists()


def test_a_provider_out_of_reach_is_explained(client: Client, provider: Provider, settings: Settings) -> None:
    unreachable = provider.settings
    unreachable["openid_connect"]["APPS"][0]["settings"]["server_url"] = "http://127.0.0.1:1"
    settings.SOCIALACCOUNT_PROVIDERS = unreachable

    response = client.post(LOGIN)

    assert response.status_code == 401
    assert b"it took too long" in response.content


def test_leaving_takes_a_button_not_a_link(client: Client, provider: Provider) -> None:
    page = client.get(LOGIN)

    assert page.status_code == 200
    assert b"Sign in with Example SSO?" in page.content


@pytest.mark.parametrize("wanted", ["//evil.example/", "javascript:alert(1)", "http://evil.example/"])
def test_it_leads_to_nobody_else(client: Client, provider: Provider, wanted: str) -> None:
    response = come_back(client, query=f"?next={wanted}")

    assert response["Location"] == "/"


def test_a_form_of_another_site_is_refused(provider: Provider) -> None:
    assert Client(enforce_csrf_checks=True).post(LOGIN).status_code == 403
