"""Telling people once, and the page on which they read it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import notification_preferences
from accounts.models import NoticeKind, Notification, Organization, User
from accounts.notification_preferences import Place
from accounts.notifications import KEPT, notify, prune


def tell(*users: User, key: str = "fact", **fields: object) -> None:
    given = {"kind": NoticeKind.TEAM, "title": "Mia joined", "url": "/me/"} | fields
    notify(users, key=key, **given)  # type: ignore[arg-type]


def test_the_same_fact_is_told_once(owner: User, admin: User) -> None:
    tell(owner)

    tell(owner, admin, owner)

    assert list(Notification.objects.values_list("user", flat=True).order_by("user")) == [owner.pk, admin.pk]


@pytest.mark.django_db(transaction=True)
def test_a_fact_told_by_many_at_once_is_told_once(owner: User, admin: User, member: User) -> None:
    people = [owner, admin, member]
    start = Barrier(4)

    def transaction_telling(turn: int) -> None:
        try:
            start.wait()
            with transaction.atomic():
                for number in range(20):
                    tell(*people[turn % 3 :], *people[: turn % 3], key=f"fact {number}")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(transaction_telling, range(4)))

    assert Notification.objects.count() == 60


def test_a_title_longer_than_its_column_is_cut(owner: User) -> None:
    tell(owner, title="x" * 300)

    assert Notification.objects.get().title == "x" * 199 + "…"


def test_a_preference_counts_for_its_organization_and_kind_only(
    owner: User, organization: Organization
) -> None:
    wanted = {Place(organization, NoticeKind.TEAM): False}
    notification_preferences.change(user=owner, wanted=wanted, actor=None)

    tell(owner, key="its team", organization=organization)
    tell(owner, key="its keys", organization=organization, kind=NoticeKind.API_KEYS)
    tell(owner, key="account's team")

    mailed = dict(Notification.objects.values_list("key", "by_mail"))
    assert mailed == {"its team": False, "its keys": True, "account's team": True}


@pytest.fixture
def page(client: Client, owner: User) -> Callable[..., str]:
    client.force_login(owner)
    return lambda query="": client.get(f"/me/notifications/{query}").content.decode()


def test_an_empty_page_teaches(page: Callable[..., str]) -> None:
    assert "Nothing to tell you yet" in page()


def test_the_page_shows_ones_own_and_nobody_elses(
    page: Callable[..., str], owner: User, outsider: User, organization: Organization
) -> None:
    tell(owner, title="<b>Mia</b> joined", organization=organization)
    tell(outsider, title="Not for Olivia")

    shown = page()

    assert "&lt;b&gt;Mia&lt;/b&gt; joined" in shown
    assert organization.name in shown
    assert "Not for Olivia" not in shown


def test_the_bell_counts_what_is_unread_up_to_a_bound(page: Callable[..., str], owner: User) -> None:
    for number in range(3):
        tell(owner, key=str(number))
    few = page()
    for number in range(3, 110):
        tell(owner, key=str(number))
    many = page()

    assert ">3<span" in few
    assert ">99+<span" in many


def test_pages_go_on_where_the_last_one_ended(client: Client, page: Callable[..., str], owner: User) -> None:
    for number in range(40):
        tell(owner, key=str(number), title=f"Notice {number:02}")

    first = client.get("/me/notifications/")
    second = client.get(f"/me/notifications/{first.context['older']}")

    told = [each.title for answer in (first, second) for each in answer.context["notifications"]]
    assert told == [f"Notice {number:02}" for number in reversed(range(40))]
    assert second.context["older"] == ""


@pytest.mark.parametrize("cursor", ["x", "AAAA", "\0", "x" * 5000])
def test_a_cursor_made_elsewhere_is_refused(client: Client, owner: User, cursor: str) -> None:
    client.force_login(owner)

    assert client.get("/me/notifications/", {"older_than": cursor}).status_code == 400


def test_queries_do_not_grow_with_notices(
    page: Callable[..., str], owner: User, organization: Organization
) -> None:
    tell(owner, key="first", organization=organization)
    page()
    with CaptureQueriesContext(connection) as few:
        page()
    for number in range(20):
        tell(owner, key=str(number), organization=organization)

    with CaptureQueriesContext(connection) as many:
        page()

    assert len(many) == len(few)


def test_opening_marks_it_read_and_leads_to_the_thing(client: Client, owner: User) -> None:
    tell(owner, url="/me/sessions/")
    notification = Notification.objects.get()
    client.force_login(owner)

    response = client.post(f"/me/notifications/{notification.uid}/open/")

    assert (response.status_code, response["Location"]) == (302, "/me/sessions/")
    assert Notification.objects.unread().count() == 0


def test_somebody_elses_is_not_there(client: Client, owner: User, outsider: User) -> None:
    tell(owner)
    client.force_login(outsider)

    response = client.post(f"/me/notifications/{Notification.objects.get().uid}/open/")

    assert response.status_code == 404
    assert Notification.objects.unread().count() == 1


def test_all_ones_own_can_be_marked_as_read(client: Client, owner: User, outsider: User) -> None:
    tell(owner, outsider)
    tell(owner, key="another")
    client.force_login(owner)

    client.post("/me/notifications/read/")

    assert [each.user for each in Notification.objects.unread()] == [outsider]


def test_old_notices_are_forgotten(owner: User) -> None:
    tell(owner, key="old")
    Notification.objects.update(created_at=timezone.now() - KEPT - timedelta(minutes=1))
    tell(owner, key="new")

    forgotten = prune()

    assert forgotten == 1
    assert Notification.objects.get().key == "new"
