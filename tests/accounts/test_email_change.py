"""Another address to sign in with: both addresses agree, in either order, and nobody learns who is known."""

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

from accounts import email_change
from accounts.models import AuditEntry, EmailChange, Notification, Organization, User
from tests.accounts.seen import link_in, without_tokens
from tests.conftest import PASSWORD, person

NEW = "olivia@private.example"
ASK = "/me/email/"


@pytest.fixture
def browser(owner: User) -> Client:
    """The owner's, who has just typed their password once more."""
    client = Client()
    client.force_login(owner)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


@pytest.fixture
def links(browser: Client, owner: User, mailoutbox: list[EmailMessage]) -> tuple[str, str]:
    """Those sent to the old address and to the new one."""
    browser.post(ASK, {"email": NEW})
    old, new = mailoutbox
    assert (old.to, new.to) == ([owner.email], [NEW])
    return link_in(old), link_in(new)


def email_of(user: User) -> str:
    return User.objects.get(pk=user.pk).email


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_address_changes_once_both_have_agreed(
    links: tuple[str, str], owner: User, order: tuple[int, int]
) -> None:
    stranger = Client()

    first = stranger.post(links[order[0]])
    between = email_of(owner)
    second = stranger.post(links[order[1]])

    assert b"One more to go" in first.content
    assert between == "olivia@example.com"
    assert b"Your address is changed" in second.content
    assert email_of(owner) == NEW
    address = EmailAddress.objects.get(user=owner)
    assert (address.email, address.verified, address.primary) == (NEW, True, True)
    entry = AuditEntry.objects.get(action="user.email_changed")
    assert (entry.before, entry.after) == ({"email": "olivia@example.com"}, {"email": NEW})
    assert Notification.objects.get(user=owner).title == f"You now sign in with {NEW}"


def test_an_owner_is_told_where_the_old_address_still_gets_the_bills(
    links: tuple[str, str], organization: Organization, other_organization: Organization, owner: User
) -> None:
    Organization.objects.update(billing_email="Olivia@example.com")

    Client().post(links[0])
    page = Client().post(links[1]).content.decode()

    assert f"/o/{organization.uid}/settings/" in page
    assert other_organization.uid not in page
    body = Notification.objects.get(user=owner).body
    assert "That is still the billing e-mail of Northwind: change it in the settings there." in body
    assert other_organization.name not in body


def test_one_signs_in_with_the_new_address_only(links: tuple[str, str], owner: User) -> None:
    for link in links:
        Client().post(link)

    tried = {}
    for address in ("olivia@example.com", NEW):
        client = Client()
        client.post("/accounts/login/", {"login": address, "password": PASSWORD})
        tried[address] = "_auth_user_id" in client.session

    assert tried == {"olivia@example.com": False, NEW: True}


def test_opening_a_link_changes_nothing(links: tuple[str, str], owner: User) -> None:
    pages = [Client().get(link) for link in links]

    assert all(b"Yes, confirm" in page.content for page in pages)
    change = EmailChange.objects.get()
    assert (change.old_confirmed_at, change.new_confirmed_at) == (None, None)


def test_one_link_twice_is_one_consent(links: tuple[str, str], owner: User) -> None:
    client = Client()

    client.post(links[1])
    again = client.post(links[1])

    assert b"One more to go" in again.content
    assert b"One more to go" in client.get(links[1]).content
    assert email_of(owner) == "olivia@example.com"


def test_links_are_used_up(links: tuple[str, str]) -> None:
    for link in links:
        Client().post(link)

    answers = [Client().post(link) for link in links] + [Client().get(link) for link in links]

    assert {answer.status_code for answer in answers} == {404}
    assert b"This link works no more" in answers[0].content


def test_links_end_after_three_days(links: tuple[str, str], owner: User, browser: Client) -> None:
    Client().post(links[0])

    with time_machine.travel(timezone.now() + timedelta(days=3, minutes=1)):
        answer = Client().post(links[1])
        profile = browser.get("/me/")

    assert answer.status_code == 404
    assert email_of(owner) == "olivia@example.com"
    assert profile.context["email_change"] is None


def test_asking_again_ends_the_first_links(links: tuple[str, str], browser: Client, owner: User) -> None:
    Client().post(links[0])

    browser.post(ASK, {"email": "olivia@third.example"})

    assert {Client().post(link).status_code for link in links} == {404}
    change = EmailChange.objects.get()
    assert (change.new_email, change.old_confirmed_at) == ("olivia@third.example", None)


def test_it_can_be_taken_back(links: tuple[str, str], browser: Client, owner: User) -> None:
    pending = browser.get("/me/")
    answer = browser.post("/me/email/cancel/", follow=True)

    assert NEW.encode() in pending.content
    assert b"Your address stays as it is" in answer.content
    assert {Client().post(link).status_code for link in links} == {404}


@pytest.mark.parametrize("token", ["made-up", "%00", "x" * 2000, "é"])
def test_a_made_up_link_is_none(client: Client, db: None, token: str) -> None:
    assert client.post(f"/email-change/{token}/").status_code == 404


def test_of_a_known_address_the_page_says_the_same(
    browser: Client, owner: User, outsider: User, mailoutbox: list[EmailMessage]
) -> None:
    unknown = browser.post(ASK, {"email": "otti@example.com"}, follow=True).content
    letters = [(mail.to, mail.subject) for mail in mailoutbox]
    mailoutbox.clear()
    known = browser.post(ASK, {"email": "Otto@example.com"}, follow=True).content

    assert letters == [
        ([owner.email], "Confirm your new address · Countinghouse"),
        (["otti@example.com"], "Confirm your new address · Countinghouse"),
    ]
    assert [(mail.to, mail.subject) for mail in mailoutbox] == [
        ([owner.email], "Confirm your new address · Countinghouse"),
        (["otto@example.com"], "You have an account already · Countinghouse"),
    ]
    assert "/email-change/" not in str(mailoutbox[1].body)

    def plain(page: bytes) -> list[bytes]:
        lines = without_tokens(page.replace(b"otti@", b"otto@"))
        return [line for line in lines if b"<time" not in line and b"datetime" not in line]

    assert plain(known) == plain(unknown)


def test_an_address_taken_meanwhile_is_explained(links: tuple[str, str], owner: User) -> None:
    Client().post(links[0])
    User.objects.create_user(NEW.upper(), PASSWORD)

    answer = Client().post(links[1])

    assert answer.status_code == 409
    assert b"Another account has" in answer.content
    assert email_of(owner) == "olivia@example.com"
    assert not EmailChange.objects.exists()
    assert not AuditEntry.objects.filter(action="user.email_changed").exists()


def test_somebody_switched_off_changes_nothing(links: tuple[str, str], owner: User) -> None:
    User.objects.update(is_active=False)

    assert {Client().post(link).status_code for link in links} == {404}


def test_it_takes_the_password_once_more(client: Client, owner: User) -> None:
    client.force_login(owner)

    asked = client.get(ASK)
    posted = client.post(ASK, {"email": NEW})

    for answer in (asked, posted):
        assert answer["Location"] == "/accounts/reauthenticate/?next=%2Fme%2Femail%2F"
    assert not EmailChange.objects.exists()


def test_after_the_password_one_is_back_at_the_form(client: Client, owner: User) -> None:
    client.force_login(owner)
    page = client.get(client.get(ASK)["Location"])

    answer = client.post("/accounts/reauthenticate/", {"password": PASSWORD, "next": ASK}, follow=True)

    assert b"Your password, once more" in page.content
    assert answer.redirect_chain == [(ASK, 302)]
    assert b"Send both letters" in answer.content


@pytest.mark.parametrize(
    ("email", "message"),
    [
        ("", "Type the new address."),
        ("nobody", "valid email address"),
        ("OLIVIA@example.com", "already"),
        ("a@example.com\r\nBcc: b@example.com", "valid email address"),
        ("nul\0@example.com", "Null characters"),
        ("ol\u0131via@example.com", "plain letters"),
        (f"{'x' * 260}@example.com", "at most 254"),
    ],
)
def test_a_bad_address_is_explained(
    browser: Client, email: str, message: str, mailoutbox: list[EmailMessage]
) -> None:
    answer = browser.post(ASK, {"email": email})

    assert answer.status_code == 400
    assert message in str(answer.context["form"].errors["email"])
    assert not EmailChange.objects.exists()
    assert not mailoutbox


def test_nobody_mails_the_world_this_way(browser: Client, mailoutbox: list[EmailMessage]) -> None:
    statuses = [
        browser.post(ASK, {"email": f"somebody{number}@example.org"}).status_code for number in range(11)
    ]

    assert statuses == [302] * 10 + [429]


def tokens_of(user: User, new_email: str, mailoutbox: list[EmailMessage]) -> list[str]:
    mailoutbox.clear()
    email_change.ask(user=user, new_email=new_email)
    return [link_in(mail).split("/")[2] for mail in mailoutbox]


def at_once(calls: list[Any]) -> list[str]:
    def outcome(call: Any) -> str:
        try:
            return "done" if call() is None else "waiting"
        except (email_change.LinkEnded, email_change.AddressTaken) as error:
            return type(error).__name__
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return sorted(pool.map(outcome, calls))


@pytest.mark.django_db(transaction=True)
def test_both_links_at_once_change_the_address_once(mailoutbox: list[EmailMessage]) -> None:
    user = person("Olivia")
    tokens = tokens_of(user, NEW, mailoutbox)

    outcomes = at_once([lambda token=token: email_change.confirm(token=token, ip=None) for token in tokens])

    assert outcomes == ["done", "waiting"]
    assert email_of(user) == NEW
    assert AuditEntry.objects.filter(action="user.email_changed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_who_want_one_address_one_gets_it(mailoutbox: list[EmailMessage]) -> None:
    last_links = []
    for name in ("Olivia", "Otto"):
        first, last = tokens_of(person(name), NEW, mailoutbox)
        email_change.confirm(token=first, ip=None)
        last_links.append(last)

    outcomes = at_once(
        [lambda token=token: email_change.confirm(token=token, ip=None) for token in last_links]
    )

    assert outcomes == ["AddressTaken", "done"]
    assert User.objects.filter(email=NEW).count() == 1
    assert EmailAddress.objects.filter(email=NEW).count() == 1
