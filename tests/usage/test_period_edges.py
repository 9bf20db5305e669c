"""Where days, weeks and months begin: with clocks that change, in leap years, and when a new zone takes over."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from accounts import organizations
from accounts.models import ApiKey, Organization
from tests.usage.conftest import item
from usage import alert_periods, ingest, reports, reports_in
from usage.alert_periods import Kind
from usage.models import UsageDay, UsageRecord
from usage.reports import Dimension, RecordFilters


@pytest.mark.parametrize(
    ("zone", "moment", "day"),
    [
        # An hour that happens twice, or never, is of the day around it.
        ("America/New_York", "2026-03-08T04:59:59.999999Z", "2026-03-07"),
        ("America/New_York", "2026-03-08T05:00:00Z", "2026-03-08"),
        ("America/New_York", "2026-03-09T03:59:59.999999Z", "2026-03-08"),
        ("America/New_York", "2026-11-02T04:59:59.999999Z", "2026-11-01"),
        ("America/New_York", "2026-11-02T05:00:00Z", "2026-11-02"),
        # Midnight itself does not happen.
        ("America/Santiago", "2026-09-06T03:59:59.999999Z", "2026-09-05"),
        ("America/Santiago", "2026-09-06T04:00:00Z", "2026-09-06"),
        # Leap days.
        ("UTC", "2024-02-29T00:00:00Z", "2024-02-29"),
        ("Asia/Kathmandu", "2024-02-28T18:15:00Z", "2024-02-29"),
        ("Pacific/Kiritimati", "2024-02-29T10:00:00Z", "2024-03-01"),
        ("Pacific/Pago_Pago", "2024-03-01T10:59:59Z", "2024-02-29"),
        # A day that a country left out.
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31"),
    ],
)
def test_a_moment_counts_in_the_day_that_the_clock_on_the_wall_tells(
    zone: str, moment: str, day: str
) -> None:
    assert str(ingest.day_of(ZoneInfo(zone), datetime.fromisoformat(moment))) == day


@pytest.mark.parametrize(
    ("kind", "now", "zone", "start", "end"),
    [
        (Kind.DAILY, "2026-03-08T12:00Z", "America/New_York", "2026-03-08", "2026-03-09T04:00Z"),
        (Kind.DAILY, "2026-11-01T12:00Z", "America/New_York", "2026-11-01", "2026-11-02T05:00Z"),
        (Kind.WEEKLY, "2026-03-29T21:59Z", "Europe/Berlin", "2026-03-23", "2026-03-29T22:00Z"),
        (Kind.WEEKLY, "2026-03-29T22:00Z", "Europe/Berlin", "2026-03-30", "2026-04-05T22:00Z"),
        (Kind.WEEKLY, "2024-02-29T12:00Z", "UTC", "2024-02-26", "2024-03-04T00:00Z"),
        (Kind.MONTHLY, "2024-02-29T23:59Z", "UTC", "2024-02-01", "2024-03-01T00:00Z"),
        (Kind.MONTHLY, "2026-02-28T23:59Z", "UTC", "2026-02-01", "2026-03-01T00:00Z"),
        (Kind.MONTHLY, "2026-10-31T22:59Z", "Europe/Berlin", "2026-10-01", "2026-10-31T23:00Z"),
        (Kind.MONTHLY, "2026-12-31T12:00Z", "Pacific/Kiritimati", "2027-01-01", "2027-01-31T10:00Z"),
    ],
)
def test_alerts_and_caps_go_by_the_days_weeks_and_months_of_the_organization(
    kind: str, now: str, zone: str, start: str, end: str
) -> None:
    organization = Organization(time_zone=zone)

    period = alert_periods.current(organization, kind, now=datetime.fromisoformat(now))

    assert (str(period.start), period.end) == (start, datetime.fromisoformat(end))


@pytest.mark.django_db
def test_days_before_a_change_of_zone_keep_what_was_counted_in_them(
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    job: Callable[..., dict[str, Any]],
    rates: None,
) -> None:
    changed = datetime(2026, 11, 20, 12, tzinfo=UTC)
    # In Tokyo, the morning of the 19th.
    evening = datetime(2026, 11, 18, 20, tzinfo=UTC)
    later = datetime(2026, 11, 21, 20, tzinfo=UTC)

    def report(job_id: str, now: datetime) -> None:
        at = now.isoformat()
        body = reports_in.encode({"jobs": [job(job_id, created_at=at, usage=[item(job_id, timestamp=at)])]})
        assert ingest.ingest(reports_in.read_json(body), now=now).accepted == 1

    report("before", evening)
    organizations.update(
        organization=organization, changes={"time_zone": "Asia/Tokyo"}, actor=None, now=changed
    )
    organizations.settle_time_zones(now=changed + timedelta(days=1))
    organization.refresh_from_db()
    report("after", later)

    days = {date(2026, 11, 18): "before", date(2026, 11, 22): "after"}
    assert set(UsageDay.objects.values_list("day", flat=True)) == set(days)
    for day, key in days.items():
        filters = RecordFilters(since=day, until=day)
        found = filters.apply(UsageRecord.objects.all(), organization)
        assert [record.idempotency_key for record in found] == [key]
        hours = reports.by_hour(
            organization,
            start=day,
            end=day,
            begin=reports.midnight(day, organization),
            dimensions=[Dimension.PRODUCT],
        )
        assert [used.requests for _, _, used in hours[Dimension.PRODUCT]] == [1]
