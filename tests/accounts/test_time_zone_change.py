"""A new time zone counts from its next midnight, and days that have passed stay as they were cut."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from accounts import organizations, time_zones
from accounts.models import AuditEntry, Organization
from usage import reports

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def choose(organization: Organization, name: str, *, now: datetime = NOON) -> bool:
    return organizations.update(organization=organization, changes={"time_zone": name}, actor=None, now=now)


@pytest.mark.parametrize(
    ("name", "midnight"),
    [
        ("UTC", datetime(2026, 11, 21, tzinfo=UTC)),
        ("Asia/Tokyo", datetime(2026, 11, 20, 15, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 21, 5, tzinfo=UTC)),
        ("Asia/Kathmandu", datetime(2026, 11, 20, 18, 15, tzinfo=UTC)),
        ("Pacific/Kiritimati", datetime(2026, 11, 21, 10, tzinfo=UTC)),
    ],
)
def test_the_next_midnight_is_the_new_zones_own(name: str, midnight: datetime) -> None:
    assert time_zones.next_midnight(name, now=NOON) == midnight


def test_where_clocks_skip_midnight_the_day_begins_later() -> None:
    # In Cairo, 00:00 to 01:00 of 24 April 2026 does not exist.
    at = time_zones.next_midnight("Africa/Cairo", now=datetime(2026, 4, 23, 12, tzinfo=UTC))

    assert at == datetime(2026, 4, 23, 22, tzinfo=UTC)
    assert at.astimezone(ZoneInfo("Africa/Cairo")).hour == 1


def test_the_old_zone_cuts_days_until_then_and_the_new_one_from_then_on(organization: Organization) -> None:
    choose(organization, "Asia/Tokyo")

    at = datetime(2026, 11, 20, 15, tzinfo=UTC)
    assert organization.zone_at(at - timedelta(microseconds=1)).key == "UTC"
    assert organization.zone_at(at).key == "Asia/Tokyo"
    assert reports.today(organization, now=at - timedelta(microseconds=1)) == date(2026, 11, 20)
    assert reports.today(organization, now=at) == date(2026, 11, 21)


def test_the_days_go_on_one_after_the_other_westwards_too(organization: Organization) -> None:
    Organization.objects.update(time_zone="Asia/Tokyo")
    organization.refresh_from_db()
    choose(organization, "America/New_York")

    days = [reports.today(organization, now=NOON + timedelta(hours=hours)) for hours in range(72)]

    assert days == sorted(days)
    assert days[0] == date(2026, 11, 20)
    assert days[-1] == date(2026, 11, 23)


def test_settling_changes_nothing_but_where_it_is_written(organization: Organization) -> None:
    choose(organization, "Asia/Tokyo")
    at = datetime(2026, 11, 20, 15, tzinfo=UTC)

    early = organizations.settle_time_zones(now=at - timedelta(microseconds=1))
    due = organizations.settle_time_zones(now=at)
    again = organizations.settle_time_zones(now=at)

    assert (early, due, again) == (0, 1, 0)
    settled = Organization.objects.get()
    assert (settled.time_zone, settled.next_time_zone, settled.next_time_zone_at) == ("Asia/Tokyo", "", None)
    assert settled.zone_at(at).key == organization.zone_at(at).key == "Asia/Tokyo"


def test_a_second_change_replaces_the_first(organization: Organization) -> None:
    choose(organization, "Asia/Tokyo")

    choose(organization, "Europe/Berlin", now=NOON + timedelta(hours=1))

    stored = Organization.objects.get()
    assert stored.time_zone == "UTC"
    assert stored.next_time_zone == "Europe/Berlin"
    assert stored.next_time_zone_at == datetime(2026, 11, 20, 23, tzinfo=UTC)


def test_the_same_again_does_not_put_it_off(organization: Organization) -> None:
    choose(organization, "Asia/Tokyo")

    changed = choose(organization, "Asia/Tokyo", now=NOON + timedelta(hours=1))

    assert not changed
    assert Organization.objects.get().next_time_zone_at == datetime(2026, 11, 20, 15, tzinfo=UTC)


def test_changing_back_cancels(organization: Organization) -> None:
    choose(organization, "Asia/Tokyo")

    changed = choose(organization, "UTC")

    assert changed
    stored = Organization.objects.get()
    assert (stored.time_zone, stored.next_time_zone, stored.next_time_zone_at) == ("UTC", "", None)
    entry = AuditEntry.objects.filter(action="organization.updated").latest("pk")
    assert entry.before["next_time_zone"] == "Asia/Tokyo"
    assert entry.after["next_time_zone"] == ""


def test_changing_back_after_it_took_effect_waits_for_midnight_again(organization: Organization) -> None:
    choose(organization, "Asia/Tokyo")

    choose(organization, "UTC", now=datetime(2026, 11, 20, 16, tzinfo=UTC))

    stored = Organization.objects.get()
    assert (stored.time_zone, stored.next_time_zone) == ("Asia/Tokyo", "UTC")
    assert stored.next_time_zone_at == datetime(2026, 11, 21, tzinfo=UTC)


def test_every_zone_on_offer_can_be_used() -> None:
    for name in time_zones.names():
        assert time_zones.next_midnight(name, now=NOON) > NOON
