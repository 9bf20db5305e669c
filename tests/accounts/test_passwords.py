"""Passwords: changed, forgotten and chosen for the first time; every other session ends with the old one."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.mail import EmailMessage
from django.test import Client
from django.utils import timezone

from accounts import sessions
from accounts.models import AuditEntry, Notification, User
from tests.accounts.seen import link_in, without_tokens
from tests.conftest import PASSWORD

NEW = "an entirely different one"


def signed_in(user: User) -> Client:
    browser = Client()
    browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    return browser


def change(client: Client, old: str = PASSWORD, new: str = NEW, again: str = NEW) -> Any:
    return client.post(
        "/accounts/password/change/", {"oldpassword": old, "password1": new, "password2": again}
    )


def test_a_new_password_ends_every_session_but_this(owner: User) -> None:
    here, elsewhere = signed_in(owner), signed_in(owner)

    response = change(here)

    assert (response.status_code, response["Location"]) == (302, "/me/")
    assert b"Your password is changed." in here.get("/me/").content
    assert elsewhere.get("/me/").status_code == 302
    assert [row.session_key for row in sessions.of(owner)] == [here.session.session_key]
    owner.refresh_from_db()
    assert owner.check_password(NEW)


def test_the_form_says_in_plain_words_what_a_password_needs(owner: User) -> None:
    fields = signed_in(owner).get("/accounts/password/change/").context["form"].fields

    assert [field.label for field in fields.values()] == [
        "Present password",
        "New password",
        "New password again",
    ]
    assert fields["password1"].help_text == "At least 10 characters, and not what others use, too."


def test_it_is_recorded_and_told_without_the_password(owner: User) -> None:
    here, _ = signed_in(owner), signed_in(owner)

    change(here)

    entry = AuditEntry.objects.get(action="user.password_changed")
    assert (entry.actor, entry.before, entry.after) == (owner, {}, {"sessions_ended": 1})
    notice = Notification.objects.get(user=owner)
    assert (notice.kind, notice.title) == ("security", "Your password was changed")
    assert NEW not in str(list(AuditEntry.objects.values())) + str(list(Notification.objects.values()))


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"old": "wrong"}, "oldpassword", "current password"),
        ({"again": "something else"}, "password2", "the same password"),
        ({"new": "short", "again": "short"}, "password1", "at least 10"),
    ],
)
def test_a_bad_value_changes_nothing(owner: User, values: dict[str, str], field: str, message: str) -> None:
    here, elsewhere = signed_in(owner), signed_in(owner)

    response = change(here, **values)

    assert message in str(response.context["form"].errors[field])
    assert elsewhere.get("/me/").status_code == 200
    assert not AuditEntry.objects.filter(action="user.password_changed").exists()


def test_a_reset_ends_every_session(client: Client, owner: User, mailoutbox: list[EmailMessage]) -> None:
    elsewhere = signed_in(owner)
    client.post("/accounts/password/reset/", {"email": owner.email})
    form = client.get(link_in(mailoutbox[0]))["Location"]

    client.post(form, {"password1": NEW, "password2": NEW})

    assert elsewhere.get("/me/").status_code == 302
    assert AuditEntry.objects.get(action="user.password_changed").after == {"sessions_ended": 1}
    assert Notification.objects.get(user=owner).title == "Your password was changed"


def test_the_link_is_not_in_the_address_of_the_form(
    client: Client, owner: User, mailoutbox: list[EmailMessage]
) -> None:
    client.post("/accounts/password/reset/", {"email": owner.email})
    link = link_in(mailoutbox[0])

    form = client.get(link)["Location"]

    assert form.endswith("-set-password/")
    assert Client().get(form).context["token_fail"]


def test_a_link_works_once(client: Client, owner: User, mailoutbox: list[EmailMessage]) -> None:
    client.post("/accounts/password/reset/", {"email": owner.email})
    link = link_in(mailoutbox[0])
    client.post(client.get(link)["Location"], {"password1": NEW, "password2": NEW})

    again = Client().get(link)

    assert b"This link works no more" in again.content


def test_a_link_ends_after_three_days(client: Client, owner: User, mailoutbox: list[EmailMessage]) -> None:
    client.post("/accounts/password/reset/", {"email": owner.email})

    with time_machine.travel(timezone.now() + timedelta(days=3, minutes=1)):
        page = client.get(link_in(mailoutbox[0]))

    assert b"This link works no more" in page.content


@pytest.mark.parametrize("path", ["1-made-up", "zzzzzzzzzzzzzzzzzzzz-made-up", "1-%00", "0-set-password"])
def test_a_made_up_link_opens_nothing(client: Client, owner: User, path: str) -> None:
    page = client.get(f"/accounts/password/reset/key/{path}/")

    assert b"This link works no more" in page.content


def test_no_answer_tells_whether_an_address_is_known(owner: User, mailoutbox: list[EmailMessage]) -> None:
    answers = [
        Client().post("/accounts/password/reset/", {"email": address}, follow=True)
        for address in (owner.email, "nobody@example.com")
    ]

    known, unknown = answers
    assert known.redirect_chain == unknown.redirect_chain
    assert without_tokens(known.content) == without_tokens(unknown.content)
    assert [mail.subject for mail in mailoutbox] == [
        "Choose a new password · Countinghouse",
        "There is no account with this address · Countinghouse",
    ]


def test_somebody_switched_off_gets_no_link(
    client: Client, owner: User, mailoutbox: list[EmailMessage]
) -> None:
    User.objects.update(is_active=False)

    client.post("/accounts/password/reset/", {"email": owner.email})

    assert mailoutbox[0].subject == "There is no account with this address · Countinghouse"


def test_a_look_alike_of_an_address_gets_no_link(
    client: Client, owner: User, mailoutbox: list[EmailMessage]
) -> None:
    response = client.post("/accounts/password/reset/", {"email": "ol\u0131via@example.com"})

    assert "plain letters" in str(response.context["form"].errors["email"])
    assert not mailoutbox


def test_who_has_no_password_chooses_a_first_one(client: Client, owner: User) -> None:
    owner.set_unusable_password()
    owner.save()
    client.force_login(owner)

    sent_on = client.get("/accounts/password/change/")
    page = client.get("/accounts/password/set/")
    client.post("/accounts/password/set/", {"password1": NEW, "password2": NEW})

    assert sent_on["Location"] == "/accounts/password/set/"
    assert b"Choose a password" in page.content
    owner.refresh_from_db()
    assert owner.check_password(NEW)
    assert client.get("/me/").status_code == 200
