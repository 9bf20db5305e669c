"""An organization's day so far beside what is usual for it, in three questions however much was used."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.utils import timezone

from accounts.models import Organization
from usage import reports
from usage.models import Product
from usage.reports import Dimension, Totals
from usage.summary import JobTotals

# As many days as are drawn, today among them, and as many weeks as lie in them.
DAYS = 30
WEEKS = 4
MEASURES = ("requests", "pages", "credits")


@dataclass(frozen=True)
class Figure:
    """A number of today so far. What is usual is the whole day's; None where there is nothing to go by."""

    name: str
    today: float
    usual: float | None
    usual_by_now: float | None

    @property
    def change(self) -> int | None:
        """By how many percent today differs from what is usual by now."""
        if not self.usual_by_now:
            return None
        return round(100 * (self.today - self.usual_by_now) / self.usual_by_now)


@dataclass
class Today:
    """`compared` are the same weekdays before today, as far back as there was usage, four at most.

    What is usual by now is their mean in proportion to the part of the day that is over, as if use were even: what
    came by which hour is known of records only, of which there may be millions.
    """

    day: date
    share: float
    compared: list[date] = field(default_factory=list)
    days: dict[date, Totals] = field(default_factory=dict)
    products: dict[str, Totals] = field(default_factory=dict)
    # Of this day, by the numbers of keys, the one with the most credits first.
    keys: dict[int, Totals] = field(default_factory=dict)
    jobs: JobTotals = field(default_factory=JobTotals)
    jobs_before: JobTotals = field(default_factory=JobTotals)

    @property
    def figures(self) -> Iterator[Figure]:
        for name in MEASURES:
            used = {day: float(getattr(totals, name)) for day, totals in self.days.items()}
            yield figure(name, used, self.day, compared=self.compared, share=self.share)

    @property
    def percent_over(self) -> int:
        """How much of the day is over."""
        return int(100 * self.share)

    @property
    def failure_rate(self) -> float | None:
        """Failed jobs of today in percent of those that completed or failed."""
        return _failure_rate(self.jobs)

    @property
    def failure_rate_before(self) -> float | None:
        """The same of the days before that are drawn."""
        return _failure_rate(self.jobs_before)

    @property
    def has_usage(self) -> bool:
        return any(used.requests for used in self.days.values())


def of(organization: Organization, *, now: datetime | None = None) -> Today:
    now = now or timezone.now()
    today = reports.today(organization, now=now)
    start = today - timedelta(days=DAYS - 1)
    found = Today(today, share(today, organization.zone_at(now), now=now))
    found.days = {start + timedelta(days=number): Totals() for number in range(DAYS)}
    products: dict[str, Totals] = defaultdict(Totals)
    used = reports.by_day(organization, start=start, end=today, dimensions=[Dimension.PRODUCT])
    for day, product, totals in used[Dimension.PRODUCT]:
        found.days[day].add(totals)
        products[Product(product).label if product in Product.values else product].add(totals)
    of_keys = reports.by_day(organization, start=today, end=today, dimensions=[Dimension.API_KEY])
    by_key = sorted(of_keys[Dimension.API_KEY], key=lambda each: -each[2].credits)
    found.keys = {int(key): totals for _, key, totals in by_key}
    found.products = dict(sorted(products.items(), key=lambda item: -item[1].credits))
    first = min((day for day, _, _ in used[Dimension.PRODUCT]), default=today)
    found.compared = compared(today, first=first)
    for count in reports.jobs_by_day(organization, start=start, end=today):
        (found.jobs if count.day == today else found.jobs_before).add(count)
    return found


def compared(day: date, *, first: date) -> list[date]:
    """The same weekdays before a day, as far back as `first`, on which there was usage."""
    weeks = (day - timedelta(weeks=number) for number in range(1, WEEKS + 1))
    return [each for each in weeks if each >= first]


def figure(name: str, used: Mapping[date, float], day: date, *, compared: list[date], share: float) -> Figure:
    """What was used on a day, of which this part is over, beside what is usual: on days with nothing there is 0."""
    usual = sum(used.get(each, 0.0) for each in compared) / len(compared) if compared else None
    return Figure(name, used.get(day, 0.0), usual, None if usual is None else usual * share)


def share(day: date, zone: ZoneInfo, *, now: datetime) -> float:
    """The part of a day of a time zone that is over: days are 23 to 25 hours where clocks change."""
    begin, end = (
        datetime.combine(each, time(), tzinfo=zone).timestamp() for each in (day, day + timedelta(days=1))
    )
    return min(max((now.timestamp() - begin) / (end - begin), 0.0), 1.0)


def _failure_rate(jobs: JobTotals) -> float | None:
    return None if jobs.success_rate is None else 100 - jobs.success_rate
