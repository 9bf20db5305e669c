"""The link at the foot of a letter: it works without signing in, and only as it was made."""

import pytest
from django.test import Client

from accounts import notification_preferences, personal_data
from accounts.audit import Actor
from accounts.models import AuditEntry, NoticeKind, NotificationPreference, Organization, User

KIND = NoticeKind.API_KEYS


@pytest.fixture
def address(member: User, organization: Organization) -> str:
    url = notification_preferences.unsubscribe_url(user=member, organization=organization, kind=KIND)
    return "/" + url.split("/", 3)[3]


def wants(user: User, organization: Organization | None, kind: NoticeKind = KIND) -> bool:
    return notification_preferences.wants_mail(user=user, organization=organization, kind=kind)


@pytest.mark.parametrize("method", ["get", "head"])
def test_following_it_changes_nothing(
    client: Client, address: str, member: User, organization: Organization, method: str
) -> None:
    response = getattr(client, method)(address)

    assert response.status_code == 200
    assert wants(member, organization)


def test_the_page_says_what_will_stop(client: Client, address: str) -> None:
    page = client.get(address).content.decode()

    assert "API keys" in page
    assert "Northwind" in page
    assert "Stop these letters" in page


def test_its_button_stops_these_letters_and_no_others(
    client: Client, address: str, member: User, organization: Organization
) -> None:
    page = client.post(address).content.decode()

    assert "These letters have stopped" in page
    assert "/me/notifications/preferences/" in page
    assert not wants(member, organization)
    assert wants(member, organization, NoticeKind.TEAM)
    assert wants(member, None)


def test_a_mail_program_stops_them_with_one_click(
    address: str, member: User, organization: Organization
) -> None:
    client = Client(enforce_csrf_checks=True)

    response = client.post(address, {"List-Unsubscribe": "One-Click"})

    assert response.status_code == 200
    assert not wants(member, organization)


def test_a_second_time_says_the_same_and_records_nothing_more(
    client: Client, address: str, member: User
) -> None:
    client.post(address)

    response = client.post(address)

    assert b"These letters have stopped" in response.content
    assert AuditEntry.objects.filter(action="user.updated", actor=member).count() == 1


def test_of_the_account_it_stops_those_of_the_account(
    client: Client, member: User, organization: Organization
) -> None:
    url = notification_preferences.unsubscribe_url(user=member, organization=None, kind=KIND)

    client.post("/" + url.split("/", 3)[3])

    assert not wants(member, None)
    assert wants(member, organization)


def test_changed_or_cut_links_stop_nothing(client: Client, address: str, admin: User) -> None:
    token = address.removeprefix("/unsubscribe/").removesuffix("/")
    user, organization, kind, signature = token.split(".")
    others = [
        f"{admin.uid}.{organization}.{kind}.{signature}",
        f"{user}..{kind}.{signature}",
        f"{user}.{organization}.security.{signature}",
        token[:-1],
        token.upper(),
        "x",
        "....",
        "%00",
        "x" * 5000,
    ]

    answers = [client.post(f"/unsubscribe/{other}/") for other in others]

    assert {answer.status_code for answer in answers} == {404}
    assert all(b"This link is not complete" in answer.content for answer in answers)
    assert not NotificationPreference.objects.exists()


def test_the_link_of_a_deleted_account_stops_nothing(client: Client, address: str, member: User) -> None:
    personal_data.delete_account(user=member, actor=Actor(member))

    response = client.post(address)

    assert response.status_code == 404
    assert not NotificationPreference.objects.exists()
