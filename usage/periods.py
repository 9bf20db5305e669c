"""Which days a page or call asks about: a period by name or by its days, cut into hours, days or months."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db import models

RANGE = "range"
NAMES = {
    "7": "Last 7 days",
    "10": "Last 10 days",
    "30": "Last 30 days",
    "month": "Month to date",
    "last_month": "Last month",
    RANGE: "Days of your choice",
}
DEFAULT = "30"
EARLIEST, LATEST = date(2000, 1, 1), date(2199, 12, 31)


class Granularity(models.TextChoices):
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


# How many days can be told apart: records are read for hours, and nobody can point at more bars than these.
MOST_DAYS: dict[str, int] = {Granularity.HOUR: 2, Granularity.DAY: 366, Granularity.MONTH: 3_660}
# Days are what is shown unless something else is asked for or there would be too many to tell apart.
MOST_DAYS_BY_DEFAULT = 92


@dataclass(frozen=True)
class Span:
    """An hour, a day or a month of a period, with its days, both included; only an hour has a beginning."""

    first: date
    last: date
    begin: datetime | None = None


@dataclass(frozen=True)
class Period:
    """Days, both included, and those before them that they are compared with."""

    name: str
    start: date
    end: date
    before_start: date
    before_end: date
    by: Granularity

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1

    def spans(self, zone: ZoneInfo) -> list[Span]:
        """What the period is cut into. Where clocks are put forward or back, a day has 23 or 25 hours."""
        if self.by is Granularity.HOUR:
            begin, end = self.hours(zone)
            count = -(-(end - begin) // timedelta(hours=1))
            moments = [(begin + timedelta(hours=number)).astimezone(zone) for number in range(count)]
            return [Span(moment.date(), moment.date(), moment) for moment in moments]
        days = [self.start + timedelta(days=number) for number in range(self.days)]
        if self.by is Granularity.DAY:
            return [Span(day, day) for day in days]
        firsts = [day for day in days if day == self.start or day.day == 1]
        lasts = [first - timedelta(days=1) for first in firsts[1:]] + [self.end]
        return [Span(first, last) for first, last in zip(firsts, lasts, strict=True)]

    def hours(self, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """The moments, in UTC, at which the period's first day begins and its last day ends."""
        following = self.end + timedelta(days=1)
        begin, end = (datetime.combine(day, time(), tzinfo=zone) for day in (self.start, following))
        return begin.astimezone(UTC), end.astimezone(UTC)

    def place(self, day: date) -> int:
        """Which of the spans this day is in, where they are days or months."""
        if self.by is Granularity.MONTH:
            return (day.year - self.start.year) * 12 + day.month - self.start.month
        return (day - self.start).days


def read(query: Mapping[str, str], *, today: date) -> Period:
    """The period asked for by `period`, `from`, `to` and `by`; the last 30 days by default.

    Raises ValidationError with a message for the field that makes no sense.
    """
    name = query.get("period") or (RANGE if query.get("from") or query.get("to") else DEFAULT)
    if name not in NAMES:
        raise ValidationError({"period": f"One of: {', '.join(NAMES)}."})
    start, end, before_start, before_end = _days(name, query, today)
    days = (end - start).days + 1
    by = query.get("by") or (Granularity.DAY if days <= MOST_DAYS_BY_DEFAULT else Granularity.MONTH)
    if by not in Granularity.values:
        raise ValidationError({"by": f"One of: {', '.join(Granularity.values)}."})
    if days > MOST_DAYS[by]:
        if by == Granularity.MONTH:
            raise ValidationError({"to": f"At most {MOST_DAYS[by]:,} days at once; these are {days:,}."})
        raise ValidationError(
            {"by": f"By the {by}, at most {MOST_DAYS[by]} days can be shown; these are {days:,}."}
        )
    return Period(name, start, end, before_start, before_end, Granularity(by))


def _days(name: str, query: Mapping[str, str], today: date) -> tuple[date, date, date, date]:
    first = today.replace(day=1)
    last_of_previous = first - timedelta(days=1)
    if name == "month":
        first_of_previous = last_of_previous.replace(day=1)
        # As many days of the month before, if it has as many.
        before_end = min(first_of_previous + (today - first), last_of_previous)
        return first, today, first_of_previous, before_end
    if name == "last_month":
        start = last_of_previous.replace(day=1)
        before_end = start - timedelta(days=1)
        return start, last_of_previous, before_end.replace(day=1), before_end
    if name == RANGE:
        start, end = _day(query, "from"), _day(query, "to", default=today)
        if start > end:
            raise ValidationError({"from": f"{start} is after {end}."})
    else:
        start, end = today - timedelta(days=int(name) - 1), today
    length = end - start + timedelta(days=1)
    return start, end, start - length, start - timedelta(days=1)


def _day(query: Mapping[str, str], name: str, *, default: date | None = None) -> date:
    text = query.get(name) or ""
    if not text and default is not None:
        return default
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        with suppress(ValueError):
            day = date.fromisoformat(text)
            if EARLIEST <= day <= LATEST:
                return day
    raise ValidationError({name: f"Use a day in the form yyyy-mm-dd, from {EARLIEST} to {LATEST}."})
