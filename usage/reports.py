"""Every read of usage. Each starts from the organization, and asks the database a fixed number of questions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, LiteralString, TypeVar

from django.db import connection, models
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import prepared
from accounts.cursors import Cursor
from accounts.models import ApiKey, Organization
from usage.models import (
    DailyJobs,
    IdempotencyKey,
    Job,
    JobQuerySet,
    JobStatus,
    PipelineConfig,
    UsageDay,
    UsageRecord,
)

# What the totals of a key say when the key itself is gone: keys go with their owner, facts stay.
DELETED_KEY = "deleted"


def today(organization: Organization, *, now: datetime | None = None) -> date:
    """The day it is in the organization's time zone."""
    now = now or timezone.now()
    return now.astimezone(organization.zone_at(now)).date()


def keys(organization: Organization) -> list[ApiKey]:
    """The keys that usage can be filtered by, the live ones first."""
    found = organization.api_keys.order_by("name", "id")
    return sorted(found, key=lambda key: key.revoked_at is not None)


class Dimension(models.TextChoices):
    """What usage is told apart by: the usage export groups by these."""

    PRODUCT = "product"
    FEATURE = "feature"
    API_KEY = "api_key"
    FILE_TYPE = "file_type"


@dataclass
class Totals:
    """What was used in a while. `cost` is the list cost in dollars."""

    requests: int = 0
    pages: int = 0
    credits: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)

    def add(self, other: "Totals") -> None:
        self.requests += other.requests
        self.pages += other.pages
        self.credits += other.credits
        self.cost += other.cost


# Only usage with any of the values of each dimension that is named; a key is named by its number, as text.
Only = Mapping[Dimension, Collection[str]]
# What was used of a value of a dimension on a day, or in an hour by its number.
Time = TypeVar("Time", date, int)
Sums = list[tuple[Time, str, Totals]]

_COLUMNS: dict[Dimension, LiteralString] = {
    Dimension.PRODUCT: "u.product",
    Dimension.FEATURE: "u.feature",
    Dimension.API_KEY: "u.api_key_id",
    Dimension.FILE_TYPE: "u.file_type",
}
_SUMS = "SUM(u.requests)::bigint, SUM(u.pages)::bigint, SUM(u.credits), SUM(u.cost)"

# Clean days from their margins, the others from the cube. One statement sees one moment, so nothing can be folded or
# written between the two.
_DAYS = f"""
WITH days AS MATERIALIZED (
    SELECT day, COALESCE(folded_at >= changed_at, false) AS is_clean FROM usage_usageday
    WHERE organization_id = %s AND day BETWEEN %s AND %s)
SELECT dimension, day, value, requests, pages, credits, cost FROM usage_usagemargin
WHERE organization_id = %s AND dimension = ANY(%s) AND day BETWEEN %s AND %s
    AND day IN (SELECT day FROM days WHERE is_clean) {{values}}
UNION ALL
SELECT m.dimension, u.day, m.value, {_SUMS}
FROM usage_dailyusage u CROSS JOIN LATERAL {{told_apart}}
WHERE u.organization_id = %s AND u.day = ANY(ARRAY(SELECT day FROM days WHERE NOT is_clean)) {{only}}
GROUP BY 1, 2, 3
"""

_CUBE = f"""
SELECT m.dimension, u.day, m.value, {_SUMS}
FROM usage_dailyusage u CROSS JOIN LATERAL {{told_apart}}
WHERE u.organization_id = %s AND u.day BETWEEN %s AND %s {{only}}
GROUP BY 1, 2, 3
"""

_HOURS = f"""
SELECT m.dimension, floor(extract(epoch FROM u.timestamp - %s) / 3600)::int, m.value, {_SUMS}
FROM usage_usagerecord u CROSS JOIN LATERAL {{told_apart}}
WHERE u.organization_id = %s AND u.day BETWEEN %s AND %s
    AND u.timestamp >= %s AND u.timestamp < %s {{only}}
GROUP BY 1, 2, 3
"""


def by_day(
    organization: Organization,
    *,
    start: date,
    end: date,
    dimensions: Collection[Dimension],
    only: Only | None = None,
) -> dict[Dimension, Sums[date]]:
    """Usage by day and value of each of these dimensions, both days included, in no order.

    Exact at any moment. Where no other dimension has a say, clean days come from margins and cost next to nothing;
    filters that combine dimensions are read from the cube.
    """
    only = only or {}
    place = (organization.pk, start, end)
    values = _values(only)
    if len({*dimensions, *only}) > 1 and only:
        rows = prepared.fetch(_written(_CUBE, dimensions, only), [*place, *values])
    else:
        of_margins = [str(value) for each in only.values() for value in each]
        query = _written(_DAYS, dimensions, only, values="AND value = ANY(%s)" if only else "")
        wanted = [dimension.value for dimension in dimensions]
        margins = [organization.pk, wanted, start, end, *([of_margins] if only else [])]
        rows = prepared.fetch(query, [*place, *margins, organization.pk, *values])
    return _by_dimension(rows, dimensions)


def by_hour(
    organization: Organization,
    *,
    start: date,
    end: date,
    begin: datetime,
    dimensions: Collection[Dimension],
    only: Only | None = None,
) -> dict[Dimension, Sums[int]]:
    """Usage of these days by the hour since the moment `begin`, from the records: for a few days at most.

    It adds up to `by_day`. Where days were cut in another zone than the one that they now begin in, some of it lies
    before the first hour, or after the last.
    """
    only = only or {}
    # Whichever zone cut a day, it lies within these moments, for which there are partitions and an index.
    moments = _utc_midnight(start) - timedelta(hours=14), _utc_midnight(end) + timedelta(hours=24 + 12)
    place = (organization.pk, start, end, *moments)
    rows = prepared.fetch(_written(_HOURS, dimensions, only), [begin, *place, *_values(only)])
    return _by_dimension(rows, dimensions)


def _written(
    query: LiteralString, dimensions: Iterable[Dimension], only: Only, *, values: LiteralString = ""
) -> LiteralString:
    """The query with these dimensions and filters and no others: each has a plan, and an index where there is one."""
    apart = ", ".join(f"('{dimension.value}', {_COLUMNS[dimension]}::text)" for dimension in dimensions)
    which = " ".join(
        f"AND {_COLUMNS[dimension]} = ANY(%s::{_TYPES[dimension]}[])" for dimension in _in_order(only)
    )
    return query.format(told_apart=f"(VALUES {apart}) AS m (dimension, value)", only=which, values=values)


_TYPES: dict[Dimension, LiteralString] = dict.fromkeys(Dimension, "varchar") | {Dimension.API_KEY: "bigint"}


def _in_order(only: Only) -> list[Dimension]:
    return [dimension for dimension in Dimension if dimension in only]


def _values(only: Only) -> list[list[str] | list[int]]:
    """The values asked for, as `_written` takes them."""
    return [
        [int(value) for value in only[dimension]] if dimension is Dimension.API_KEY else list(only[dimension])
        for dimension in _in_order(only)
    ]


def _by_dimension(rows: Iterable[tuple[Any, ...]], dimensions: Iterable[Dimension]) -> dict[Dimension, Any]:
    found: dict[str, list[tuple[Any, str, Totals]]] = {dimension: [] for dimension in dimensions}
    for dimension, place, value, *measures in rows:
        found[dimension].append((place, value, Totals(*measures)))
    return {Dimension(dimension): rows for dimension, rows in found.items()}


def credits_by_day(organization: Organization, *, start: date, end: date) -> list[tuple[date, Decimal]]:
    """The credits of each day with usage, in no order."""
    days = UsageDay.objects.filter(organization_id=organization.pk, day__range=(start, end))
    return list(days.values_list("day", "credits"))


@dataclass(frozen=True)
class JobCount:
    """The jobs of a day that ended in a region with a status. `durations` is a histogram, as in `DailyJobs`."""

    day: date
    region: str
    status: str
    jobs: int
    durations: list[int]


_JOB_MARGINS = """
SELECT day, region, status, jobs, durations FROM usage_jobmargin
WHERE organization_id = %s AND day BETWEEN %s AND %s
"""
_DURATIONS = ", ".join(
    f"COALESCE(SUM(durations[{n + 1}]), 0)::bigint" for n in range(len(DailyJobs.DURATION_BUCKETS) + 1)
)
_JOBS = f"""
SELECT day, region, status, SUM(jobs)::bigint, ARRAY[{_DURATIONS}]
FROM usage_dailyjobs
WHERE organization_id = %s AND day BETWEEN %s AND %s {{only}}
GROUP BY 1, 2, 3
"""


def jobs_by_day(
    organization: Organization,
    *,
    start: date,
    end: date,
    keys: list[int] | None = None,
    type: str | None = None,
) -> list[JobCount]:
    """The finished jobs of these days, of all keys or these (by number), of all types or one."""
    place = (organization.pk, start, end)
    if keys is None and type is None:
        return [JobCount(*row) for row in prepared.fetch(_JOB_MARGINS, place)]
    only: LiteralString = ""
    values: list[Any] = []
    if keys is not None:
        only, values = "AND api_key_id = ANY(%s::bigint[])", [keys]
    if type is not None:
        only, values = only + " AND type = %s", [*values, type]
    return [JobCount(*row) for row in prepared.fetch(_JOBS.format(only=only), [*place, *values])]


@dataclass(frozen=True)
class ExportRow:
    """One day of one group."""

    date: date
    group: str
    credits: Decimal
    requests: int


def export(
    organization: Organization,
    *,
    start: date,
    end: date,
    group_by: Dimension = Dimension.PRODUCT,
    products: Sequence[str] = (),
    features: Sequence[str] = (),
    api_keys: Sequence[str] = (),
    file_types: Sequence[str] = (),
) -> list[ExportRow]:
    """Credits and requests a day and group, both days included, sorted by day and group; idle days are absent.

    A filter keeps the rows of any of its values; `api_keys` are public ids, and so is the group of a key.
    """
    asked = {Dimension.PRODUCT: products, Dimension.FEATURE: features, Dimension.FILE_TYPE: file_types}
    only: dict[Dimension, Collection[str]] = {
        dimension: values for dimension, values in asked.items() if values
    }
    names: dict[str, str] = {}
    if api_keys or group_by is Dimension.API_KEY:
        names = {str(id): uid for id, uid in organization.api_keys.values_list("id", "uid")}
    if api_keys:
        wanted = set(api_keys)
        only[Dimension.API_KEY] = [id for id, uid in names.items() if uid in wanted]
    sums = by_day(organization, start=start, end=end, dimensions=[group_by], only=only)[group_by]

    totals: dict[tuple[date, str], tuple[Decimal, int]] = {}
    for day, value, used in sums:
        place = (day, names.get(value, DELETED_KEY) if group_by is Dimension.API_KEY else value)
        credits, requests = totals.get(place, (Decimal(0), 0))
        totals[place] = (credits + used.credits, requests + used.requests)
    return [ExportRow(*place, *total) for place, total in sorted(totals.items()) if any(total)]


# A day's changes only ever go forward, so any change of any day makes the sum larger.
_VERSION = """
SELECT COUNT(*), COALESCE(SUM(extract(epoch FROM changed_at)), 0)::text,
    CASE WHEN %s THEN (SELECT md5(string_agg(uid, ',' ORDER BY id)) FROM accounts_apikey WHERE organization_id = %s) END
FROM usage_usageday WHERE organization_id = %s AND day BETWEEN %s AND %s
"""


def export_version(
    organization: Organization, *, start: date, end: date, group_by: Dimension, api_keys: Sequence[str]
) -> str:
    """A word for the state of what an export tells, which differs as soon as any of it has changed."""
    # Keys go with their owners, and are called deleted from then on.
    by_key = group_by is Dimension.API_KEY or bool(api_keys)
    found = prepared.fetch(_VERSION, [by_key, organization.pk, organization.pk, start, end])
    return " ".join(map(str, found[0]))


def first_day(organization: Organization) -> date | None:
    """The first day with usage."""
    days = UsageDay.objects.filter(organization_id=organization.pk)
    return days.order_by("day").values_list("day", flat=True).first()


def has_usage(organization: Organization) -> bool:
    """Whether anything was ever used or asked for."""
    asked = Job.objects.filter(organization=organization).values(found=models.Value(1))[:1]
    used = UsageDay.objects.filter(organization_id=organization.pk).values(found=models.Value(1))[:1]
    return bool(used.union(asked, all=True))


# How many lines of a log one request looks through for those that a filter keeps, where no index knows them.
LOOK_BACK = 20_000
# Of how many ids with the same beginning a search chooses from.
SEARCHED = 1_000


def midnight(day: date, organization: Organization) -> datetime:
    """When this day begins for the organization."""
    return datetime.combine(day, time(), tzinfo=organization.zone)


@dataclass(frozen=True)
class Filters:
    """Which jobs of the request log to list; None lists all.

    `api_key` is one of the organization's or a public id, `job_id` how an id begins, `hour` the moment it begins; days
    are the organization's, and the last one counts as well.
    Those before a change of zone are cut as they would be now, for jobs carry no day of their own.
    """

    api_key: ApiKey | str | None = None
    region: str | None = None
    type: str | None = None
    status: str | None = None
    file_type: str | None = None
    since: date | None = None
    until: date | None = None
    job_id: str | None = None
    environment: str | None = None
    hour: datetime | None = None

    def apply(self, jobs: JobQuerySet, organization: Organization) -> JobQuerySet:
        found, rest = self.split(jobs, organization)
        return found.filter(**rest)

    def split(self, jobs: JobQuerySet, organization: Organization) -> tuple[JobQuerySet, dict[str, Any]]:
        """What an index finds in the log's order, and the conditions that then are left for each line."""
        rest: dict[str, Any] = {
            name: value
            for name in ("region", "type", "status", "file_type")
            if (value := getattr(self, name)) is not None
        }
        if self.api_key is not None:
            rest["api_key_id"] = _key_id(organization, self.api_key)
        if self.environment is not None:
            of_it = organization.api_keys.filter(environment=self.environment)
            rest["api_key_id__in"] = list(of_it.values_list("id", flat=True))
        # Each of these has an index of its own; two of them together have none.
        along = "status" if self.status not in {None, JobStatus.COMPLETED} else "api_key_id"
        if along in rest:
            jobs = jobs.filter(**{along: rest.pop(along)})
        if self.job_id is not None:
            jobs = jobs.filter(job_id__startswith=self.job_id)
        if self.hour is not None:
            jobs = jobs.filter(created_at__gte=self.hour, created_at__lt=self.hour + timedelta(hours=1))
        return _within(jobs, self.since, self.until, organization), rest


@dataclass(frozen=True)
class RecordFilters:
    """Which usage records to list; None lists all. `api_key` is a public id, `job_id` a whole one.

    Days are those the records were counted in, also where the organization's zone was another one then.
    """

    api_key: str | None = None
    product: str | None = None
    feature: str | None = None
    file_type: str | None = None
    region: str | None = None
    since: date | None = None
    until: date | None = None
    job_id: str | None = None

    def apply(self, records: QuerySet[UsageRecord], organization: Organization) -> QuerySet[UsageRecord]:
        found, rest = self.split(records, organization)
        return found.filter(**rest)

    def split(
        self, records: QuerySet[UsageRecord], organization: Organization
    ) -> tuple[QuerySet[UsageRecord], dict[str, Any]]:
        """As `Filters.split`."""
        rest: dict[str, Any] = {
            name: value
            for name in ("product", "feature", "file_type", "region")
            if (value := getattr(self, name)) is not None
        }
        if self.api_key is not None:
            rest["api_key_id"] = _key_id(organization, self.api_key)
        if self.job_id is not None:
            records = records.filter(job_id=self.job_id)
        # Whichever zone cut a day, it lies within these moments, for which there are partitions and an index.
        if self.since:
            records = records.filter(day__gte=self.since)
            if self.since > date.min:
                records = records.filter(timestamp__gte=_utc_midnight(self.since) - timedelta(hours=14))
        if self.until:
            records = records.filter(day__lte=self.until)
            if self.until < date.max - timedelta(days=1):
                records = records.filter(timestamp__lt=_utc_midnight(self.until) + timedelta(hours=24 + 12))
        return records, rest


def _key_id(organization: Organization, key: ApiKey | str) -> int:
    if isinstance(key, ApiKey):
        return key.pk
    return organization.api_keys.filter(uid=key).values_list("id", flat=True).first() or -1


def _utc_midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _within(
    jobs: JobQuerySet, since: date | None, until: date | None, organization: Organization
) -> JobQuerySet:
    if since:
        jobs = jobs.filter(created_at__gte=midnight(since, organization))
    if until and until < date.max:
        jobs = jobs.filter(created_at__lt=midnight(until + timedelta(days=1), organization))
    return jobs


@dataclass(frozen=True)
class LogPage:
    """Some jobs, newest first, and the places beside them where the next pages begin; None where there are none.

    `looked_until` is where the look for what a filter keeps was broken off, to be gone on with from the next place.
    """

    jobs: list[Job]
    older: Cursor | None
    newer: Cursor | None
    looked_until: datetime | None = None


def log(
    organization: Organization,
    *,
    limit: int,
    filters: Filters | None = None,
    older_than: Cursor | None = None,
    newer_than: Cursor | None = None,
    look_back: int | None = None,
) -> LogPage:
    """A page of the request log. Any page costs the same: it is found by its place, not by counting up to it.

    `look_back` is how many lines to look through, where not `LOOK_BACK`.
    """
    jobs, rest = (filters or Filters()).split(_lines(organization), organization)
    if newer_than:
        # From the place forth, the line of the place left out; what then lies behind begins with that line.
        here = Cursor(newer_than.created_at, newer_than.id + 1)
        found = _walk(jobs, rest, "created_at", limit, newer_than, forth=True, look_back=look_back)
        page = found.rows[::-1]
        return LogPage(page, _place(page[-1:]) or here, found.ends, found.looked_until)
    found = _walk(jobs, rest, "created_at", limit, older_than, look_back=look_back)
    newer = _place(found.rows[:1]) or (older_than and Cursor(older_than.created_at, older_than.id - 1))
    return LogPage(found.rows, found.ends, newer if older_than else None, found.looked_until)


# What the lists of pages and API show of a job. The rest can be long, and takes its time to be read.
_SHOWN = (
    "job_id",
    "api_key",
    "type",
    "status",
    "created_at",
    "duration",
    "num_pages",
    "total_pages",
    "credits",
    "region",
    "file_type",
    "source",
    "config_sha256",
)


def _lines(organization: Organization) -> JobQuerySet:
    return Job.objects.filter(organization=organization).only(*_SHOWN)


def _place(jobs: list[Job]) -> Cursor | None:
    return Cursor(jobs[0].created_at, jobs[0].pk) if jobs else None


def search(organization: Organization, *, filters: Filters, limit: int) -> LogPage:
    """The newest jobs whose ids begin with `filters.job_id`, among the first thousand that do."""
    jobs = _lines(organization)
    begin_so = Filters(job_id=filters.job_id).apply(jobs, organization)
    ids = list(begin_so.order_by().values_list("pk", flat=True)[:SEARCHED])
    rest = replace(filters, job_id=None)
    return LogPage(list(rest.apply(jobs.filter(pk__in=ids), organization).newest_first()[:limit]), None, None)


@dataclass(frozen=True)
class RecordPage:
    """Some usage records, newest first, and the place where the next ones begin."""

    records: list[UsageRecord]
    older: Cursor | None


def record_log(
    organization: Organization, *, limit: int, filters: RecordFilters, older_than: Cursor | None = None
) -> RecordPage:
    """A page of what was metered. It may hold fewer than `limit`, or none, though there are older ones."""
    records, rest = filters.split(UsageRecord.objects.filter(organization=organization), organization)
    found = _walk(records, rest, "timestamp", limit, older_than)
    return RecordPage(found.rows, found.ends)


@dataclass(frozen=True)
class _Walk:
    """Rows in the order they were met, and where the next ones begin."""

    rows: list[Any]
    ends: Cursor | None
    looked_until: datetime | None = None


def _walk(
    rows: Any,
    rest: dict[str, Any],
    column: str,
    limit: int,
    place: Cursor | None,
    *,
    forth: bool = False,
    look_back: int | None = None,
) -> _Walk:
    """Walk a log back from a place (or forth), keeping what meets the `rest`, and stop looking after `LOOK_BACK`."""
    if place:
        rows = rows.filter(_past(column, place, forth=forth))
    rows = rows.order_by(*((column, "id") if forth else (f"-{column}", "-id")))
    edge = None
    if rest:
        look_back = look_back or LOOK_BACK
        last = list(rows.values_list(column, "id")[look_back - 1 : look_back])
        if last:
            edge = Cursor(*last[0])
            just_past = Cursor(edge.created_at, edge.id + (1 if forth else -1))
            rows = rows.filter(_past(column, just_past, forth=not forth))
        rows = rows.filter(**rest)
    found = list(rows[: limit + 1])
    page = found[:limit]
    if found[limit:]:
        return _Walk(page, Cursor(getattr(page[-1], column), page[-1].pk))
    return _Walk(page, edge, edge.created_at if edge else None)


def _past(column: str, place: Cursor, *, forth: bool) -> Q:
    """What follows a place, said so that an index finds it."""
    step = "gt" if forth else "lt"
    return Q(**{f"{column}__{step}e": place.created_at}) & (
        Q(**{f"{column}__{step}": place.created_at}) | Q(**{f"id__{step}": place.id})
    )


def configurations(organization: Organization, jobs: Iterable[Job]) -> dict[str, str]:
    """The configurations these jobs ran with, as JSON text, by their `config_sha256`."""
    wanted = {job.config_sha256 for job in jobs if job.config_sha256}
    if not wanted:
        return {}
    kept = PipelineConfig.objects.filter(organization=organization, sha256__in=wanted)
    return dict(kept.values_list("sha256", "text"))


# From one region to the next along the index, however many days there are of each.
_REGIONS = """
WITH RECURSIVE found AS (
    (SELECT region FROM usage_dailyjobs WHERE organization_id = %(organization)s AND region > ''
     ORDER BY region LIMIT 1)
    UNION ALL
    SELECT (SELECT d.region FROM usage_dailyjobs d
            WHERE d.organization_id = %(organization)s AND d.region > found.region
            ORDER BY d.region LIMIT 1)
    FROM found WHERE found.region IS NOT NULL)
SELECT region FROM found WHERE region IS NOT NULL
"""


def regions(organization: Organization) -> list[str]:
    """The regions this organization's finished jobs ran in."""
    with connection.cursor() as cursor:
        cursor.execute(_REGIONS, {"organization": organization.pk})
        return [region for (region,) in cursor.fetchall()]


def job(organization: Organization, job_id: str) -> Job | None:
    """One job of this organization. A foreign one is as unknown as any other."""
    if "\0" in job_id:  # which PostgreSQL would not even compare
        return None
    return Job.objects.filter(organization=organization, job_id=job_id).first()


def key_of(job: Job) -> ApiKey | None:
    """The key a job ran under, unless it went with its owner."""
    return ApiKey.objects.filter(pk=job.api_key_id).first()


def records(job: Job) -> list[UsageRecord]:
    """What was metered for a job, corrections included, in the order it came."""
    found = UsageRecord.objects.filter(organization_id=job.organization_id, job_id=job.job_id)
    return list(found.order_by("timestamp", "id"))


def arrivals(records: Collection[UsageRecord]) -> dict[str, datetime]:
    """When each of these records of one organization came, by its idempotency key, as long as that is remembered."""
    if not records:
        return {}
    (organization,) = {record.organization_id for record in records}
    kept = IdempotencyKey.objects.filter(
        organization_id=organization, key__in=[record.idempotency_key for record in records]
    )
    return dict(kept.values_list("key", "created_at"))
