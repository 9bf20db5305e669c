"""The days, weeks and months that alerts and caps count in: an organization's own, cut in its time zone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
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


def table(*, now: datetime, with_previous: bool = False) -> list[dict[str, str]]:
    """The periods it is in each time zone, and those before them: what a statement over organizations joins.

    `zone`, `kind`, the days `start` and `next`, and the moment `ends_at`.
    """
    zones_by_day: dict[date, list[str]] = {}
    for name in time_zones.names():
        zones_by_day.setdefault(now.astimezone(ZoneInfo(name)).date(), []).append(name)
    rows = []
    for today, names in zones_by_day.items():
        for kind in Kind.values:
            this = bounds(kind, today)
            before = [bounds(kind, this[0] - DAY)] if with_previous else []
            rows += [
                {
                    "zone": name,
                    "kind": kind,
                    "start": start.isoformat(),
                    "next": following.isoformat(),
                    "ends_at": _midnight(following, ZoneInfo(name)).isoformat(),
                }
                for start, following in (this, *before)
                for name in names
            ]
    return rows


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The moment at which a day begins. Where clocks skip midnight, it is the one they go on from."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
