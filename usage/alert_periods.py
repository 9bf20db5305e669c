"""The days, weeks and months that alerts and caps count in: an organization's own, cut in its time zone."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import LiteralString
from zoneinfo import ZoneInfo

from django.utils import timezone

from accounts import time_zones
from accounts.models import Organization
from usage.models import UsageAlert

Kind = UsageAlert.Period
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """The days from `start` on and before `next`, and the moment (UTC) at which that one begins."""

    start: date
    next: date
    end: datetime

    @property
    def last(self) -> date:
        return self.next - DAY


def bounds(kind: str, day: date) -> tuple[date, date]:
    """The first day of the day, week (from Monday) or month that `day` lies in, and of the one after."""
    if kind == Kind.DAILY:
        return day, day + DAY
    if kind == Kind.WEEKLY:
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


def current(organization: Organization, kind: str, *, now: datetime | None = None) -> Period:
    """The period it is in the organization's time zone."""
    now = now or timezone.now()
    zone = organization.zone_at(now)
    start, following = bounds(kind, now.astimezone(zone).date())
    return Period(start, following, _midnight(following, zone))


def days(*, now: datetime) -> str:
    """The day it is in each time zone, and the moment at which its month ends: JSON that `DAYS` reads."""
    rows = []
    for name in time_zones.names():
        zone = ZoneInfo(name)
        today = now.astimezone(zone).date()
        month_end = _midnight(bounds(Kind.MONTHLY, today)[1], zone)
        rows.append({"zone": name, "today": today.isoformat(), "month_end": month_end.isoformat()})
    return json.dumps(rows)


# Joined with organizations `o`: the day it is in theirs.
DAYS: LiteralString = """json_to_recordset(%(days)s::json) AS z (zone text, today date, month_end timestamptz)
    ON z.zone = CASE WHEN o.next_time_zone_at <= %(now)s THEN o.next_time_zone ELSE o.time_zone END"""


def periods_of(day: LiteralString) -> LiteralString:
    """In SQL, the periods that a day lies in, as `bounds` gives them: (kind, start, next)."""
    return f"""(VALUES
        ('daily', {day}, {day} + 1),
        ('weekly', date_trunc('week', {day}::timestamp)::date, date_trunc('week', {day}::timestamp)::date + 7),
        ('monthly', date_trunc('month', {day}::timestamp)::date,
            (date_trunc('month', {day}::timestamp) + interval '1 month')::date)
    ) AS p (kind, start, next)"""


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The moment at which a day begins. Where clocks skip midnight, it is the one they go on from."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
