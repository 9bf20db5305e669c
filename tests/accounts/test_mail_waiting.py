"""The sweep that mails notices: each once, to who still wants it, whatever fails in between."""

import logging
import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.mail.message import EmailMessage
from django.db import connections
from django.utils import timezone

from accounts import members, notification_preferences, notifications
from accounts.audit import Actor
from accounts.models import NoticeKind, Notification, Organization, User
from accounts.notification_preferences import Place
from accounts.notifications import ATTEMPTS, mail_waiting, notify


def tell(*users: User, key: str = "fact", **fields: Any) -> None:
    given = {
        "kind": NoticeKind.API_KEYS,
        "title": "A key expires",
        "body": "Tomorrow.",
        "url": "/me/",
    } | fields
    notify(users, key=key, **given)


class Refusal:
    """A mail server that takes no letter to some addresses, or to none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: set[str] = set()
        accept = EmailMessage.send

        def send(message: EmailMessage, fail_silently: bool = False) -> int:
            for address in message.to:
                if address in self.refused:
                    raise smtplib.SMTPRecipientsRefused({address: (550, b"No such user here")})
            return accept(message, fail_silently)

        monkeypatch.setattr(EmailMessage, "send", send)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Refusal:
    return Refusal(monkeypatch)


def letter() -> Any:
    (sent,) = mail.outbox
    return sent


def test_a_letter_goes_out_once(owner: User, organization: Organization) -> None:
    tell(owner, organization=organization)

    first, second = mail_waiting(), mail_waiting()

    assert (first, second) == (1, 0)
    assert letter().to == ["olivia@example.com"]
    assert letter().subject == "A key expires"
    assert Notification.objects.get().emailed_at


def test_both_forms_say_why_it_comes_and_how_to_end_it(owner: User, organization: Organization) -> None:
    tell(owner, organization=organization)
    mail_waiting()

    text, (html, kind) = letter().body, letter().alternatives[0]
    stop = letter().extra_headers["List-Unsubscribe"].strip("<>")

    assert kind == "text/html"
    reason = "you are a member of Northwind and want its notices about API keys."
    for form in (text, html):
        assert reason in form
        assert stop in form
        assert "/me/" in form
        assert "support@example.com" in form
    assert letter().extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_of_an_account_it_says_so(owner: User) -> None:
    tell(owner, kind=NoticeKind.SECURITY)

    mail_waiting()

    assert "because you have an account here and want notices about security." in letter().body


def test_names_are_written_as_they_are(owner: User, organization: Organization) -> None:
    Organization.objects.update(name="Fish & <Chips>")
    organization.refresh_from_db()
    tell(owner, title="Fish & <Chips> grows", organization=organization)

    mail_waiting()

    assert letter().subject == "Fish & <Chips> grows"
    assert "a member of Fish & <Chips> and" in letter().body
    assert "<Chips>" not in letter().alternatives[0][0]


@pytest.mark.parametrize("mark", ["\n", "\r\n", "\x0b", "\x1c", "\u2028", "\x85"])
def test_no_name_adds_a_header(owner: User, organization: Organization, mark: str) -> None:
    title = f"Hello{mark}Bcc: eve@example.com"
    Organization.objects.update(name=title)
    organization.refresh_from_db()
    tell(owner, title=title, organization=organization)

    mail_waiting()

    message = letter().message()
    assert message["Bcc"] is None
    assert message["Subject"] == "Hello Bcc: eve@example.com"


def test_a_preference_changed_meanwhile_counts(owner: User, organization: Organization) -> None:
    tell(owner, organization=organization)
    wanted = {Place(organization, NoticeKind.API_KEYS): False}
    notification_preferences.change(user=owner, wanted=wanted, actor=None)

    mail_waiting()

    assert mail.outbox == []
    assert not Notification.objects.due().exists()


def test_nobody_is_mailed_who_was_switched_off(owner: User) -> None:
    tell(owner)
    User.objects.update(is_active=False)

    assert mail_waiting() == 0


def test_nobody_is_mailed_about_an_organization_they_left(member: User, organization: Organization) -> None:
    tell(member, organization=organization)
    members.leave(membership=member.memberships.get(), actor=Actor(member))

    mail_waiting()

    assert "mia@example.com" not in [address for sent in mail.outbox for address in sent.to]


def test_nobody_is_mailed_about_a_deleted_organization(owner: User, organization: Organization) -> None:
    tell(owner, organization=organization)
    Organization.objects.update(deleted_at=timezone.now())

    assert mail_waiting() == 0


def test_one_refused_letter_stops_no_other(owner: User, admin: User, server: Refusal) -> None:
    server.refused = {"olivia@example.com"}
    tell(owner, admin)

    mailed = mail_waiting()

    assert mailed == 1
    assert letter().to == ["adam@example.com"]
    assert [each.user for each in Notification.objects.filter(emailed_at=None)] == [owner]


def test_a_refusal_is_logged_without_the_address(
    owner: User, server: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    server.refused = {"olivia@example.com"}
    tell(owner)

    mail_waiting()

    assert Notification.objects.get().uid in caplog.text
    assert "SMTPRecipientsRefused" in caplog.text
    assert "olivia" not in caplog.text


def tries(until: timedelta) -> Iterator[int]:
    """Sweep every ten minutes for some time; yields how many letters each sent."""
    start = timezone.now()
    for minute in range(0, int(until.total_seconds() // 60), 10):
        with time_machine.travel(start + timedelta(minutes=minute), tick=False):
            yield mail_waiting()


def test_a_refused_letter_is_tried_again_ever_later_and_then_no_more(
    owner: User, server: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "accounts.notifications")
    server.refused = {"olivia@example.com"}
    tell(owner)

    sent = sum(tries(timedelta(days=4)))

    assert sent == 0
    assert len(caplog.records) == ATTEMPTS
    assert not Notification.objects.filter(by_mail=True).exists()


def test_a_server_that_comes_back_gets_the_letter(owner: User, server: Refusal) -> None:
    server.refused = {"olivia@example.com"}
    tell(owner)
    mail_waiting()
    server.refused = set()

    sent = sum(tries(timedelta(hours=1)))

    assert sent == 1


class Killed(BaseException):
    """The worker's end."""


def test_a_worker_killed_before_the_mark_mails_once_more_under_the_same_id(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(owner)
    post = notifications._mail

    def post_and_die(notification: Notification) -> None:
        post(notification)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(notifications, "_mail", post_and_die)
        mail_waiting()
    at_once = mail_waiting()
    later = sum(tries(timedelta(hours=4)))

    assert (at_once, later) == (0, 1)
    first, second = mail.outbox
    assert first.extra_headers["Message-ID"] == second.extra_headers["Message-ID"]
    assert Notification.objects.get().uid in first.extra_headers["Message-ID"]


@pytest.mark.django_db(transaction=True)
def test_sweeps_at_the_same_time_mail_each_letter_once(owner: User, admin: User) -> None:
    for number in range(20):
        tell(owner, admin, key=str(number))
    start = Barrier(4)

    def sweep(_: int) -> int:
        try:
            start.wait()
            return mail_waiting()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        mailed = sum(pool.map(sweep, range(4)))

    assert mailed == 40
    assert len({sent.extra_headers["Message-ID"] for sent in mail.outbox}) == len(mail.outbox) == 40


def test_nothing_is_held_open_while_a_server_is_asked(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(owner)
    seen: list[tuple[int, bool]] = []

    def look(notification: Notification) -> None:
        current = Notification.objects.get()
        seen.append((current.mail_attempts, current.next_mail_at > timezone.now()))

    monkeypatch.setattr(notifications, "_mail", look)
    mail_waiting()

    assert seen == [(1, True)]
