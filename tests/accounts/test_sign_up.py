"""Opening an account: nobody learns which addresses are known, and only the owner of an address gets in with it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.core.mail import EmailMessage
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import invitations
from accounts.audit import Actor
from accounts.models import AuditEntry, Organization, User
from tests.accounts.seen import link_in, without_tokens
from tests.conftest import PASSWORD

SIGN_UP = "/accounts/signup/"
SENT = "/accounts/confirm-email/"
NEW = {"name": "Nina", "email": "nina@example.com", "password1": "a long enough one"}


def sign_up(client: Client, **fields: str) -> Any:
    return client.post(SIGN_UP, NEW | fields)


def test_a_new_person_confirms_and_gets_where_they_wanted(
    client: Client, db: None, mailoutbox: list[EmailMessage]
) -> None:
    sent = sign_up(client, next="/me/")
    [mail] = mailoutbox
    link = link_in(mail)
    before = client.get("/me/").status_code
    asked = client.get(link)
    still_out = "_auth_user_id" not in client.session
    confirmed = client.post(link)

    assert sent["Location"] == SENT
    assert mail.to == ["nina@example.com"]
    assert mail.subject == "Confirm your address · Countinghouse"
    assert "You get this letter because" in str(mail.body)
    assert before == 302
    assert b"Yes, confirm" in asked.content
    assert still_out
    assert confirmed["Location"] == "/me/"
    assert b"nina@example.com is confirmed." in client.get("/me/").content


def test_a_new_account_is_recorded_without_its_password(client: Client, db: None) -> None:
    sign_up(client)

    entry = AuditEntry.objects.get(action="user.created")
    assert entry.after == {"email": "nina@example.com", "name": "Nina"}
    assert entry.actor_name == entry.target_name == "nina@example.com"
    assert entry.ip == "127.0.0.1"


def test_in_another_browser_the_link_confirms_and_leads_to_sign_in(
    client: Client, db: None, mailoutbox: list[EmailMessage]
) -> None:
    sign_up(client, next="/me/sessions/")
    elsewhere = Client()

    confirmed = elsewhere.post(link_in(mailoutbox[0]), follow=True)

    assert "_auth_user_id" not in elsewhere.session
    assert confirmed.redirect_chain[-1][0] == "/accounts/login/?next=/me/sessions/"
    assert b"nina@example.com is confirmed. Sign in to go on." in confirmed.content


def test_until_it_is_confirmed_nobody_gets_in(
    client: Client, db: None, mailoutbox: list[EmailMessage]
) -> None:
    sign_up(client)

    response = client.post("/accounts/login/", {"login": NEW["email"], "password": NEW["password1"]})

    assert response["Location"] == SENT
    assert "_auth_user_id" not in client.session


def test_a_link_works_once(client: Client, db: None, mailoutbox: list[EmailMessage]) -> None:
    sign_up(client)
    link = link_in(mailoutbox[0])
    client.post(link)

    again = Client().get(link)

    assert b"This link works no more" in again.content
    assert Client().post(link).status_code == 404


def test_a_link_ends_after_three_days(client: Client, db: None, mailoutbox: list[EmailMessage]) -> None:
    sign_up(client)

    with time_machine.travel(timezone.now() + timedelta(days=3, minutes=1)):
        page = client.get(link_in(mailoutbox[0]))

    assert b"This link works no more" in page.content
    assert not EmailAddress.objects.filter(verified=True).exists()


@pytest.mark.parametrize("key", ["made-up", "MQ:1abcde:made-up", "%00", "x" * 3000])
def test_a_made_up_link_confirms_nothing(client: Client, db: None, key: str) -> None:
    response = client.post(f"/accounts/confirm-email/{key}/")

    assert response.status_code == 404


def test_a_known_address_gets_the_same_answer_and_another_letter(
    client: Client, owner: User, mailoutbox: list[EmailMessage]
) -> None:
    stranger = Client()

    known = sign_up(client, email="OLIVIA@example.com")
    unknown = sign_up(stranger)
    pages = [each.get(SENT).content for each in (client, stranger)]

    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert known.headers.keys() == unknown.headers.keys()
    assert known.cookies.keys() == unknown.cookies.keys()
    assert without_tokens(pages[0]) == without_tokens(pages[1])
    to_known, to_unknown = mailoutbox
    assert to_known.to == [owner.email]
    assert to_known.subject == "You have an account already · Countinghouse"
    assert to_unknown.subject == "Confirm your address · Countinghouse"
    owner.refresh_from_db()
    assert owner.check_password(PASSWORD)
    assert User.objects.count() == 2


def test_with_a_known_address_a_password_is_hashed_all_the_same(
    client: Client, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr("accounts.sign_up.make_password", hashed.append)

    sign_up(client, email=owner.email)

    assert hashed == [NEW["password1"]]


@pytest.mark.parametrize("email", ["olivia@example.com", "nina@example.com"])
def test_the_letter_is_sent_again_but_not_at_once(
    client: Client, owner: User, email: str, mailoutbox: list[EmailMessage]
) -> None:
    sign_up(client, email=email)

    soon = client.post("/accounts/confirm-email/resend/", follow=True)
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        later = client.post("/accounts/confirm-email/resend/", follow=True)

    assert b"Wait a minute" in soon.content
    assert b"Another letter is on its way." in later.content
    assert [mail.to for mail in mailoutbox] == [[email], [email]]
    assert mailoutbox[0].subject == mailoutbox[1].subject


def test_who_is_not_signing_up_is_sent_nothing(
    client: Client, owner: User, mailoutbox: list[EmailMessage]
) -> None:
    response = client.post("/accounts/confirm-email/resend/")

    assert response["Location"] == "/accounts/login/"
    assert not mailoutbox


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "Say what to call you."),
        ("name", "   ", "Say what to call you."),
        ("name", "x" * 121, "at most 120 characters"),
        ("name", "two\r\nBcc: everybody@example.com", "cannot be seen"),
        ("name", "nul\0", "Null characters are not allowed"),
        ("name", "right to \u202eleft", "cannot be seen"),
        ("email", "", "required"),
        ("email", "nobody", "valid email address"),
        ("email", "nina@example.com\r\nBcc: everybody@example.com", "valid email address"),
        ("email", "nina\0@example.com", "Null characters are not allowed"),
        ("email", f"{'x' * 250}@example.com", "at most 254 characters"),
        ("email", "oliv\u0131a@example.com", "plain letters"),
        ("email", "olivia@ex\u0430mple.com", "plain letters"),
        ("password1", "", "required"),
        ("password1", "short", "at least 10"),
        ("password1", "1234567890", "too common"),
        ("password1", "nul\0nul\0nul\0", "Null characters are not allowed"),
    ],
)
def test_a_bad_value_is_explained_beside_its_field(
    client: Client, owner: User, field: str, value: str, message: str, mailoutbox: list[EmailMessage]
) -> None:
    response = sign_up(client, **{field: value})

    assert message in str(response.context["form"].errors[field])
    assert User.objects.count() == 1
    assert not mailoutbox


@pytest.mark.parametrize("email", ["Nina@Example.COM", "nina@example.com", " nina@example.com "])
def test_an_address_is_kept_in_small_letters(client: Client, db: None, email: str) -> None:
    sign_up(client, email=email)

    assert User.objects.get().email == EmailAddress.objects.get().email == "nina@example.com"


def test_a_letter_that_turns_into_another_one_takes_nobodys_place(
    client: Client, db: None, mailoutbox: list[EmailMessage]
) -> None:
    User.objects.create_user("kate@example.com", PASSWORD)

    # In small letters, the sign for kelvin is a k.
    sign_up(client, email="\u212aate@example.com")

    assert User.objects.count() == 1
    assert [(mail.to, mail.subject) for mail in mailoutbox] == [
        (["kate@example.com"], "You have an account already · Countinghouse")
    ]


def test_a_form_of_another_site_is_refused(db: None) -> None:
    strict = Client(enforce_csrf_checks=True)

    assert sign_up(strict).status_code == 403
    assert not User.objects.exists()


def test_where_sign_up_is_closed_an_invitation_opens_it_and_proves_the_address(
    client: Client,
    organization: Organization,
    owner: User,
    settings: Settings,
    mailoutbox: list[EmailMessage],
    django_capture_on_commit_callbacks: Any,
) -> None:
    settings.SIGN_UP_OPEN = False
    with django_capture_on_commit_callbacks(execute=True):
        invitation = invitations.invite(
            organization=organization, email="nina@example.com", role="member", actor=Actor(owner)
        )
    session = client.session
    session[invitations.OPENED] = invitation.token_hash
    session.save()
    mailoutbox.clear()

    response = sign_up(client, next="/me/")

    assert response["Location"] == "/me/"
    assert not mailoutbox
    assert EmailAddress.objects.get(user__email="nina@example.com").verified


def test_another_address_than_the_invited_one_is_confirmed(
    client: Client, organization: Organization, owner: User, settings: Settings
) -> None:
    settings.SIGN_UP_OPEN = False
    invitation = invitations.invite(
        organization=organization, email="nina@example.com", role="member", actor=Actor(owner)
    )
    session = client.session
    session[invitations.OPENED] = invitation.token_hash
    session.save()

    response = sign_up(client, email="nina@private.example")

    assert response["Location"] == SENT
    assert not EmailAddress.objects.get(user__email="nina@private.example").verified


def test_too_many_accounts_from_one_address_are_refused(client: Client, db: None) -> None:
    answers = [sign_up(client, email=f"nina{number}@example.com", password1="short") for number in range(11)]

    assert {answer.status_code for answer in answers[:10]} == {200}
    assert answers[10].status_code == 429
    assert b"Too many attempts" in answers[10].content


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_with_one_address_one_gets_the_account() -> None:
    def attempt(number: int) -> int:
        try:
            return int(sign_up(Client(), name=f"Nina {number}").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(attempt, range(4)))

    assert statuses == {302}
    assert User.objects.count() == 1
    assert AuditEntry.objects.filter(action="user.created").count() == 1
