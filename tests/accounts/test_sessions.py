"""Where somebody is signed in, and the end of it."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import sessions
from accounts.models import AuditEntry, User
from tests.conftest import PASSWORD

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/19.0 Mobile/15E148 Safari/604.1"
)
CHROME = "Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Mobile Safari/537.36"
EDGE = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 "
    "Safari/537.36 Edg/150.0.0.0"
)


def signed_in(user: User, agent: str = FIREFOX, address: str = "198.51.100.7") -> Client:
    browser = Client(headers={"user-agent": agent}, REMOTE_ADDR=address)
    browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    return browser


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Windows"),
        (SAFARI, "Safari on iPhone"),
        (CHROME, "Chrome on Android"),
        (EDGE, "Edge on macOS"),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.34", "python-requests"),
        ("", "Unknown device"),
    ],
)
def test_a_browser_is_told_in_words(agent: str, words: str) -> None:
    assert sessions.device_in_words(agent) == words


def test_the_page_tells_device_and_place_of_each(owner: User, outsider: User) -> None:
    here = signed_in(owner)
    signed_in(owner, SAFARI, "2001:db8::1")
    signed_in(outsider, CHROME)

    page = here.get("/me/sessions/")

    rows = {(row["device"], row["place"], row["is_here"]) for row in page.context["rows"]}
    assert rows == {
        ("Firefox on Windows", "198.51.100.7", True),
        ("Safari on iPhone", "2001:db8::1", False),
    }
    assert b"This device" in page.content


def test_the_last_use_is_written_every_few_minutes_only(owner: User) -> None:
    browser = signed_in(owner)
    noted_at = UserSession.objects.get().last_seen_at

    with CaptureQueriesContext(connection) as queries:
        browser.get("/me/")
    writes = [each["sql"] for each in queries if not each["sql"].startswith("SELECT")]
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        browser.get("/me/")

    assert not [sql for sql in writes if "session" in sql]
    assert UserSession.objects.get().last_seen_at - noted_at > timedelta(minutes=5)


def test_a_session_is_known_by_whichever_door_it_came(client: Client, owner: User) -> None:
    client.force_login(owner)

    client.get("/me/")

    assert sessions.of(owner).get().session_key == client.session.session_key


def test_one_browser_may_change_hands(owner: User, outsider: User) -> None:
    browser = signed_in(owner)

    browser.force_login(outsider)
    browser.get("/me/")

    assert sessions.of(outsider).get().session_key == browser.session.session_key
    assert not sessions.of(owner).exists()


def test_a_browser_that_says_too_much_is_no_trouble(owner: User) -> None:
    browser = signed_in(owner, "x" * 5000 + "\x01")

    assert browser.get("/me/sessions/").status_code == 200


def test_ending_one_ends_it_at_once(owner: User) -> None:
    here, elsewhere = signed_in(owner), signed_in(owner, SAFARI)
    row = UserSession.objects.get(session_key=elsewhere.session.session_key)

    answer = here.post(f"/me/sessions/{row.pk}/end/", follow=True)

    assert b"That session has ended." in answer.content
    assert elsewhere.get("/me/").status_code == 302
    assert here.get("/me/").status_code == 200
    entry = AuditEntry.objects.get(action="session.ended")
    assert entry.before == {"ip": "198.51.100.7", "device": "Safari on iPhone"}


def test_ending_ones_own_signs_out(owner: User) -> None:
    here = signed_in(owner)

    answer = here.post(f"/me/sessions/{UserSession.objects.get().pk}/end/")

    assert answer["Location"] == "/accounts/login/"
    assert "_auth_user_id" not in here.session


@pytest.mark.parametrize("number", ["other", "0", "9" * 30])
def test_nobody_ends_those_of_others(owner: User, outsider: User, number: str) -> None:
    here, other = signed_in(owner), signed_in(outsider)
    if number == "other":
        number = str(UserSession.objects.get(user=outsider).pk)

    answer = here.post(f"/me/sessions/{number}/end/")

    assert answer.status_code == 404
    assert other.get("/me/").status_code == 200


def test_ending_all_others_keeps_this(owner: User, outsider: User) -> None:
    here, others, stranger = signed_in(owner), [signed_in(owner) for _ in range(2)], signed_in(outsider)

    answer = here.post("/me/sessions/end-others/", follow=True)

    assert b"Ended: 2 other sessions." in answer.content
    assert [browser.get("/me/").status_code for browser in (here, *others, stranger)] == [200, 302, 302, 200]
    assert AuditEntry.objects.get(action="session.ended").before == {"sessions": 2}


def test_a_session_that_has_expired_is_not_listed(owner: User) -> None:
    here, elsewhere = signed_in(owner), signed_in(owner)
    Session.objects.filter(session_key=elsewhere.session.session_key).update(
        expire_date=timezone.now() - timedelta(minutes=1)
    )

    assert len(here.get("/me/sessions/").context["rows"]) == 1


def test_the_list_takes_as_many_queries_for_many(owner: User, django_assert_max_num_queries: Any) -> None:
    here = signed_in(owner)
    for _ in range(15):
        signed_in(owner)

    with django_assert_max_num_queries(9):
        page = here.get("/me/sessions/")

    assert len(page.context["rows"]) == 16


def test_what_is_over_is_forgotten(owner: User) -> None:
    here, gone, expired = (signed_in(owner) for _ in range(3))
    Session.objects.filter(session_key=gone.session.session_key).delete()
    Session.objects.filter(session_key=expired.session.session_key).update(
        expire_date=timezone.now() - timedelta(minutes=1)
    )

    sessions.clear_ended()

    assert [row.session_key for row in UserSession.objects.all()] == [here.session.session_key]
    assert Session.objects.count() == 1


def test_an_ended_session_is_not_brought_back(owner: User) -> None:
    browser = signed_in(owner)
    key = browser.session.session_key

    sessions.end_all(owner)
    browser.get("/me/")

    assert not Session.objects.filter(session_key=key).exists()
    assert not sessions.of(owner).exists()
