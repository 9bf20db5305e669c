"""Warnings before a key ends: each once, to the people behind it, and only the most urgent."""

from datetime import UTC, datetime, timedelta

import pytest

from accounts import key_notices, keys
from accounts.audit import Actor
from accounts.models import ApiKey, Notification, Organization, User

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def key(organization: Organization, admin: User) -> ApiKey:
    """A year-old key of the admin's making, without an end."""
    made, _ = keys.create_organization_key(organization=organization, name="checkout", actor=Actor(admin))
    ApiKey.objects.filter(pk=made.pk).update(created_at=NOW - timedelta(days=365))
    return made


def ends(key: ApiKey, **left: float) -> None:
    ApiKey.objects.filter(pk=key.pk).update(expires_at=NOW + timedelta(**left))


def titles(user: User) -> list[str]:
    told = Notification.objects.filter(user=user, kind="api_keys").order_by("pk")
    return list(told.values_list("title", flat=True))


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (31, None),
        (30, "in 30 days"),
        (8, "in 8 days"),
        (7, "in 7 days"),
        (1, "within a day"),
        (0.1, "within a day"),
    ],
)
def test_maker_and_owner_are_warned(
    key: ApiKey, owner: User, admin: User, member: User, days: float, words: str | None
) -> None:
    ends(key, days=days)

    key_notices.warn_of_expiry(now=NOW)

    expected = [f"The API key checkout expires {words}"] if words else []
    assert titles(owner) == titles(admin) == expected
    assert titles(member) == []


def test_each_warning_comes_once(key: ApiKey, owner: User) -> None:
    ends(key, days=29)

    new = [key_notices.warn_of_expiry(now=NOW + timedelta(hours=hours)) for hours in range(3)]

    assert new == [1, 0, 0]
    assert len(titles(owner)) == 1


def test_all_three_come_in_their_time(key: ApiKey, owner: User) -> None:
    ends(key, days=40)

    for day in range(41):
        key_notices.warn_of_expiry(now=NOW + timedelta(days=day))

    assert [title.partition("expires ")[2] for title in titles(owner)] == [
        "in 30 days",
        "in 7 days",
        "within a day",
    ]


def test_a_changed_end_is_warned_of_anew(key: ApiKey, owner: User) -> None:
    ends(key, days=5)
    key_notices.warn_of_expiry(now=NOW)
    ends(key, days=6)

    key_notices.warn_of_expiry(now=NOW)

    assert len(titles(owner)) == 2


def test_no_warning_is_older_than_the_key(key: ApiKey, owner: User) -> None:
    ApiKey.objects.update(created_at=NOW)
    ends(key, days=20)

    early = key_notices.warn_of_expiry(now=NOW + timedelta(hours=1))
    late = key_notices.warn_of_expiry(now=NOW + timedelta(days=13))

    assert (early, late) == (0, 1)
    assert titles(owner) == ["The API key checkout expires in 7 days"]


@pytest.mark.parametrize("field", ["revoked_at", "disabled_at"])
def test_only_live_keys_are_warned_of(key: ApiKey, field: str) -> None:
    ends(key, days=5)
    ApiKey.objects.update(**{field: NOW})

    assert key_notices.warn_of_expiry(now=NOW) == 0


def test_keys_of_deleted_organizations_are_not_warned_of(key: ApiKey) -> None:
    ends(key, days=5)
    Organization.objects.update(deleted_at=NOW)

    assert key_notices.warn_of_expiry(now=NOW) == 0


def test_an_ended_key_is_not_warned_of(key: ApiKey) -> None:
    ends(key, days=-1)

    assert key_notices.warn_of_expiry(now=NOW) == 0


def test_a_maker_who_left_is_not_told(key: ApiKey, owner: User, admin: User) -> None:
    admin.memberships.all().delete()
    ends(key, days=5)

    key_notices.warn_of_expiry(now=NOW)

    assert (len(titles(owner)), titles(admin)) == (1, [])


def test_a_personal_key_is_its_owners_affair(member: User, owner: User, organization: Organization) -> None:
    key, _ = keys.create_personal_key(user=member, organization=organization, name="laptop")
    ApiKey.objects.update(created_at=NOW - timedelta(days=90))
    ends(key, days=5)

    key_notices.warn_of_expiry(now=NOW)

    assert (len(titles(member)), titles(owner)) == (1, [])


def test_of_a_service_key_superusers_are_warned(
    service_key: tuple[ApiKey, str], staff: User, owner: User
) -> None:
    ApiKey.objects.update(created_at=NOW - timedelta(days=90))
    ends(service_key[0], days=5)

    key_notices.warn_of_expiry(now=NOW)

    assert (len(titles(staff)), titles(owner)) == (1, [])


def test_the_moment_is_told_in_the_organizations_zone(key: ApiKey, owner: User) -> None:
    Organization.objects.update(time_zone="America/New_York")
    ends(key, days=5)

    key_notices.warn_of_expiry(now=NOW)

    assert "25 November 2026 at 07:00 EST" in Notification.objects.get(user=owner).body
