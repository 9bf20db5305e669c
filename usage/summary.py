"""The usage of a period added up as the dashboard and the API show it, beside the period before.

Requests, pages, credits and cost come from what was metered, which is kept by key, product, feature and file type.
Success and durations come from finished jobs, which are kept by key, endpoint, region and status. A filter narrows
what is kept by it: `Asked.leaves_jobs_whole` and `Asked.leaves_usage_whole` say what it leaves as it is.
"""

import operator
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from accounts.models import ApiKey, Organization
from usage import periods, reports
from usage.models import DailyJobs, JobStatus, JobType, Product
from usage.periods import Granularity, Period, Span
from usage.reports import Dimension, JobCount, Only, Totals


class Group(models.TextChoices):
    """What the figures can be told apart by: the first four what was used, the others finished jobs."""

    PRODUCT = "product"
    FEATURE = "feature"
    API_KEY = "api_key", "API key"
    FILE_TYPE = "file_type"
    REGION = "region"
    STATUS = "status"

    @property
    def dimension(self) -> Dimension | None:
        return Dimension(self.value) if self.value in Dimension.values else None


# The endpoint of each product: their names differ only in how they are written.
TYPE_OF: dict[str, str] = {type.lower(): type for type in JobType.values}
LONGEST = 64
PARAMETERS = (
    "period",
    "from",
    "to",
    "by",
    "group",
    "api_key",
    "environment",
    "product",
    "file_type",
    "region",
)


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see: a period, what of it, and told apart by what."""

    period: Period
    group: Group = Group.PRODUCT
    keys: tuple[ApiKey, ...] | None = None
    api_key: ApiKey | None = None
    environment: str = ""
    product: str = ""
    file_type: str = ""
    region: str = ""

    @property
    def leaves_jobs_whole(self) -> bool:
        """Whether a filter is set that finished jobs are not kept by."""
        return bool(self.file_type)

    @property
    def leaves_usage_whole(self) -> bool:
        """Whether a filter is set that usage is not kept by."""
        return bool(self.region)

    @property
    def only(self) -> Only:
        """The filters on what was used."""
        only: dict[Dimension, Collection[str]] = {}
        if self.keys is not None:
            only[Dimension.API_KEY] = [str(key.pk) for key in self.keys]
        if self.product:
            only[Dimension.PRODUCT] = [self.product]
        if self.file_type:
            only[Dimension.FILE_TYPE] = [self.file_type]
        return only


def read(query: Mapping[str, str], *, keys: Sequence[ApiKey], today: date) -> Asked:
    """What the parameters of an address ask for. `keys` are the organization's.

    Raises ValidationError with a message for the first parameter that makes no sense. A file type or region that
    never occurred is none of these: nothing was used with it.
    """
    for name in PARAMETERS:
        value = query.get(name, "")
        if "\0" in value or len(value) > LONGEST:
            raise ValidationError({name: f"At most {LONGEST} characters, and no NUL."})
    period = periods.read(query, today=today)
    group = query.get("group") or Group.PRODUCT
    if group not in Group.values:
        raise ValidationError({"group": f"One of: {', '.join(Group.values)}."})
    product = query.get("product", "")
    if product and product not in Product.values:
        raise ValidationError({"product": f"One of: {', '.join(Product.values)}."})
    environment = query.get("environment", "")
    if environment and environment not in ApiKey.Environment.values:
        raise ValidationError({"environment": f"One of: {', '.join(ApiKey.Environment.values)}."})
    uid = query.get("api_key", "")
    api_key = next((key for key in keys if key.uid == uid), None)
    if uid and api_key is None:
        raise ValidationError({"api_key": "No key of this organization has this id."})
    chosen = None
    if api_key or environment:
        chosen = tuple(
            key
            for key in ([api_key] if api_key else keys)
            if not environment or key.environment == environment
        )
    return Asked(
        period=period,
        group=Group(group),
        keys=chosen,
        api_key=api_key,
        environment=environment,
        product=product,
        file_type=query.get("file_type", ""),
        region=query.get("region", ""),
    )


@dataclass
class JobTotals:
    """What became of the jobs that finished in a while, and a histogram of their durations."""

    jobs: int = 0
    completed: int = 0
    failed: int = 0
    durations: list[int] = field(default_factory=lambda: [0] * (len(DailyJobs.DURATION_BUCKETS) + 1))

    def add(self, count: JobCount) -> None:
        self.jobs += count.jobs
        self.completed += count.jobs if count.status == JobStatus.COMPLETED else 0
        self.failed += count.jobs if count.status == JobStatus.FAILED else 0
        self.durations = list(map(operator.add, self.durations, count.durations))

    def merge(self, other: "JobTotals") -> None:
        self.jobs += other.jobs
        self.completed += other.completed
        self.failed += other.failed
        self.durations = list(map(operator.add, self.durations, other.durations))

    @property
    def success_rate(self) -> float | None:
        """Completed jobs in percent of those completed or failed: who cancels a job says nothing of it."""
        ended = self.completed + self.failed
        return 100 * self.completed / ended if ended else None

    def quantile(self, share: float) -> float | None:
        """The seconds within which this share of the jobs ended; None without jobs.

        Durations are kept in a histogram: within the bucket that the share falls into, they are taken to lie evenly
        apart. In the last one, which has no end, they are taken to lie at its beginning.
        """
        wanted = share * sum(self.durations)
        if not wanted:
            return None
        seen, low = 0, 0.0
        for count, high in zip(self.durations, DailyJobs.DURATION_BUCKETS, strict=False):
            if seen + count >= wanted:
                return low + (high - low) * (wanted - seen) / count
            seen, low = seen + count, high
        return low

    @property
    def p50(self) -> float | None:
        return self.quantile(0.5)

    @property
    def p95(self) -> float | None:
        return self.quantile(0.95)


@dataclass
class Comparison:
    """The whole days of a period, beside as many before it."""

    start: date
    end: date
    before_start: date
    before_end: date
    totals: Totals = field(default_factory=Totals)
    before: Totals = field(default_factory=Totals)
    jobs: JobTotals = field(default_factory=JobTotals)
    jobs_before: JobTotals = field(default_factory=JobTotals)


@dataclass
class Summary:
    """A period in numbers. Each list has a number for each of `spans`; jobs' are by day or month."""

    spans: list[Span]
    job_spans: list[Span]
    totals: Totals = field(default_factory=Totals)
    before: Totals = field(default_factory=Totals)
    jobs: JobTotals = field(default_factory=JobTotals)
    jobs_before: JobTotals = field(default_factory=JobTotals)
    # None while none of the days is over.
    compared: Comparison | None = None
    by_span: list[Totals] = field(default_factory=list)
    products: dict[str, list[Totals]] = field(default_factory=dict)
    # Told apart as asked: what was used, or the number of jobs.
    groups: dict[str, list[Totals]] = field(default_factory=dict)
    job_groups: dict[str, list[int]] = field(default_factory=dict)
    jobs_by_span: list[JobTotals] = field(default_factory=list)
    # Where hours are shown and a zone changed meanwhile, what they add up to is not what the days add up to.
    hours_differ: bool = False
    file_types: list[str] = field(default_factory=list)
    regions: list[str] = field(default_factory=list)


def summarize(
    organization: Organization,
    asked: Asked,
    *,
    keys: Sequence[ApiKey],
    with_choices: bool = False,
    now: datetime | None = None,
) -> Summary:
    """Add up what was asked for, in a fixed number of questions. `keys` are all of the organization's.

    `with_choices` finds the file types of the period.
    """
    now = now or timezone.now()
    period, only = asked.period, asked.only
    zone = organization.zone_at(now)
    by_hour = period.by is Granularity.HOUR
    days = [Span(day, day) for day in _each(period.start, period.end)]
    spans = period.spans(zone)
    found = Summary(spans=spans, job_spans=days if by_hour else spans)
    found.compared = compared = _compared(period, today=now.astimezone(zone).date())

    wanted = {Dimension.PRODUCT, *([asked.group.dimension] if asked.group.dimension else [])}
    # Without filters, one question answers all; what can be chosen from is never narrowed.
    choices = {Dimension.FILE_TYPE} if with_choices else set()
    start = min(period.start, period.before_start)
    sums = reports.by_day(
        organization,
        start=start,
        end=period.end,
        dimensions=sorted(wanted if only else wanted | choices),
        only=only,
    )
    if choices:
        of_choices = (
            reports.by_day(organization, start=period.start, end=period.end, dimensions=[Dimension.FILE_TYPE])
            if only
            else sums
        )
        within = {row[1] for row in of_choices[Dimension.FILE_TYPE] if row[0] >= period.start}
        found.file_types = sorted(within | ({asked.file_type} if asked.file_type else set()))

    for day, _, used in sums[Dimension.PRODUCT]:
        if day >= period.start:
            found.totals.add(used)
        elif period.before_start <= day <= period.before_end:
            found.before.add(used)
        if compared and compared.start <= day <= compared.end:
            compared.totals.add(used)
        elif compared and compared.before_start <= day <= compared.before_end:
            compared.before.add(used)

    places: dict[Dimension, reports.Sums[int]]
    if by_hour:
        hours = reports.by_hour(
            organization,
            start=period.start,
            end=period.end,
            begin=period.hours(zone)[0],
            dimensions=sorted(wanted),
            only=only,
        )
        places = {
            dimension: [row for row in rows if 0 <= row[0] < len(spans)] for dimension, rows in hours.items()
        }
        found.hours_differ = any(len(places[dimension]) < len(hours[dimension]) for dimension in wanted)
    else:
        places = {
            dimension: [
                (period.place(day), value, used)
                for day, value, used in sums[dimension]
                if day >= period.start
            ]
            for dimension in wanted
        }
    found.products = _series(places[Dimension.PRODUCT], len(spans))
    if asked.group is Group.API_KEY:
        # Keys that are gone are one.
        uids = {str(key.pk): key.uid for key in keys}
        named = places[Dimension.API_KEY]
        places[Dimension.API_KEY] = [
            (place, uids.get(value, reports.DELETED_KEY), used) for place, value, used in named
        ]
    if asked.group.dimension:
        found.groups = _series(places[asked.group.dimension], len(spans))
    found.by_span = [Totals() for _ in spans]
    for values in found.products.values():
        for total, used in zip(found.by_span, values, strict=True):
            total.add(used)
    _add_jobs(found, organization, asked)
    return found


def _compared(period: Period, *, today: date) -> Comparison | None:
    """What can be compared: a day that is not over has no like."""
    end = min(period.end, today - timedelta(days=1))
    if end < period.start:
        return None
    before_end = period.before_end
    if end < period.end:
        before_end = min(period.before_start + (end - period.start), before_end)
    return Comparison(period.start, end, period.before_start, before_end)


def _add_jobs(found: Summary, organization: Organization, asked: Asked) -> None:
    period, compared = asked.period, found.compared
    counts = reports.jobs_by_day(
        organization,
        start=min(period.start, period.before_start),
        end=period.end,
        keys=None if asked.keys is None else [key.pk for key in asked.keys],
        type=TYPE_OF[asked.product] if asked.product else None,
    )
    regions = {count.region for count in counts if count.region}
    found.regions = sorted(regions | ({asked.region} if asked.region else set()))
    found.jobs_by_span = [JobTotals() for _ in found.job_spans]
    by_hour = period.by is Granularity.HOUR
    groups: dict[str, Counter[int]] = defaultdict(Counter)
    for count in counts:
        if asked.region and count.region != asked.region:
            continue
        if count.day >= period.start:
            place = (count.day - period.start).days if by_hour else period.place(count.day)
            found.jobs_by_span[place].add(count)
            if asked.group in (Group.REGION, Group.STATUS):
                groups[count.region if asked.group is Group.REGION else count.status][place] += count.jobs
        elif period.before_start <= count.day <= period.before_end:
            found.jobs_before.add(count)
        if compared and compared.start <= count.day <= compared.end:
            compared.jobs.add(count)
        elif compared and compared.before_start <= count.day <= compared.before_end:
            compared.jobs_before.add(count)
    for each in found.jobs_by_span:
        found.jobs.merge(each)
    found.job_groups = {
        value: [places[place] for place in range(len(found.job_spans))]
        for value, places in sorted(groups.items(), key=lambda item: (-item[1].total(), item[0]))
    }


def _each(start: date, end: date) -> Iterable[date]:
    return (start + timedelta(days=number) for number in range((end - start).days + 1))


def _series(rows: reports.Sums[int], count: int) -> dict[str, list[Totals]]:
    """A list of totals for each value, those with the most credits first."""
    series: dict[str, list[Totals]] = defaultdict(lambda: [Totals() for _ in range(count)])
    for place, value, used in rows:
        series[value][place].add(used)
    return dict(sorted(series.items(), key=lambda item: (-sum(each.credits for each in item[1]), item[0])))
