"""Every read of usage. Each starts from the organization, and asks the database a fixed number of questions."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import connection, models
from django.db.models import Sum
from django.utils import timezone

from accounts.cursors import Cursor
from accounts.models import ApiKey, Organization
from usage.models import DailyUsage, Job, JobQuerySet, PipelineConfig, UsageRecord

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
    """What the usage export can group by."""

    PRODUCT = "product"
    FEATURE = "feature"
    API_KEY = "api_key"
    FILE_TYPE = "file_type"


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
    cube = DailyUsage.objects.filter(organization_id=organization.pk, day__range=(start, end))
    for column, wanted in (("product", products), ("feature", features), ("file_type", file_types)):
        if wanted:
            cube = cube.filter(**{f"{column}__in": wanted})
    if api_keys:
        cube = cube.filter(api_key_id__in=organization.api_keys.filter(uid__in=api_keys).values("id"))
    by_key = group_by is Dimension.API_KEY
    column = "api_key_id" if by_key else group_by.value
    sums = cube.values_list("day", column).annotate(Sum("credits"), Sum("requests")).order_by()
    names = dict(organization.api_keys.values_list("id", "uid")) if by_key else {}

    totals: dict[tuple[date, str], tuple[Decimal, int]] = {}
    for day, value, credits, requests in sums:
        place = (day, names.get(value, DELETED_KEY) if by_key else value)
        before = totals.get(place, (Decimal(0), 0))
        totals[place] = (before[0] + credits, before[1] + requests)
    return [ExportRow(*place, *total) for place, total in sorted(totals.items()) if any(total)]


@dataclass
class Totals:
    """What was used in a while. `cost` is the list cost in dollars."""

    requests: int = 0
    pages: int = 0
    credits: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)

    def add(self, requests: int, pages: int, credits: Decimal, cost: Decimal) -> None:
        self.requests += requests
        self.pages += pages
        self.credits += credits
        self.cost += cost


@dataclass
class Dashboard:
    """The last days of an organization. The lists of `requests` and `credits` have a number for each of `days`."""

    days: list[date]
    requests: dict[str, list[int]]
    credits: list[Decimal]
    totals: Totals = field(default_factory=Totals)
    before: Totals = field(default_factory=Totals)


def dashboard(
    organization: Organization, *, days: int, api_key: ApiKey | None = None, now: datetime | None = None
) -> Dashboard:
    """Requests a product and credits of each of the last `days`, today included, and totals beside those before."""
    end = today(organization, now=now)
    start = end - timedelta(days=days - 1)
    cube = DailyUsage.objects.filter(
        organization_id=organization.pk, day__range=(start - timedelta(days=days), end)
    )
    if api_key:
        cube = cube.filter(api_key_id=api_key.pk)
    sums = cube.values_list("day", "product").annotate(
        Sum("requests"), Sum("pages"), Sum("credits"), Sum("cost")
    )
    requests: dict[str, list[int]] = defaultdict(lambda: [0] * days)
    found = Dashboard(
        days=[start + timedelta(days=number) for number in range(days)],
        requests=requests,
        credits=[Decimal(0)] * days,
    )
    for day, product, *measures in sums.order_by("product"):
        if day < start:
            found.before.add(*measures)
            continue
        found.totals.add(*measures)
        requests[product][(day - start).days] += measures[0]
        found.credits[(day - start).days] += measures[2]
    return found


def has_usage(organization: Organization) -> bool:
    """Whether anything was ever used or asked for."""
    return (
        DailyUsage.objects.filter(organization_id=organization.pk).exists()
        or Job.objects.filter(organization=organization).exists()
    )


@dataclass(frozen=True)
class Filters:
    """Which jobs of the request log to list; None lists all. `api_key` is a public id."""

    api_key: str | None = None
    region: str | None = None
    type: str | None = None
    status: str | None = None

    def apply(self, jobs: JobQuerySet, organization: Organization) -> JobQuerySet:
        chosen = {name: value for name, value in vars(self).items() if value is not None}
        if uid := chosen.pop("api_key", None):
            # Looked up first, so that the log is read along the key's own index.
            key = organization.api_keys.filter(uid=uid).values_list("id", flat=True).first()
            chosen["api_key_id"] = key or -1
        return jobs.filter(**chosen)


@dataclass(frozen=True)
class LogPage:
    """Some jobs, newest first, and the places beside them where the next pages begin; None where there are none."""

    jobs: list[Job]
    older: Cursor | None
    newer: Cursor | None


def log(
    organization: Organization,
    *,
    limit: int,
    filters: Filters | None = None,
    older_than: Cursor | None = None,
    newer_than: Cursor | None = None,
) -> LogPage:
    """A page of the request log. Any page costs the same: it is found by its place, not by counting up to it."""
    jobs = (filters or Filters()).apply(Job.objects.filter(organization=organization), organization)
    if newer_than:
        found = list(jobs.before(newer_than.created_at, newer_than.id).newest_first().reverse()[: limit + 1])
        page, beyond = found[:limit][::-1], len(found) > limit
        return LogPage(page, older=_place(page[-1:]), newer=_place(page[:1]) if beyond else None)
    if older_than:
        jobs = jobs.after(older_than.created_at, older_than.id)
    found = list(jobs.newest_first()[: limit + 1])
    page, beyond = found[:limit], len(found) > limit
    return LogPage(
        page, older=_place(page[-1:]) if beyond else None, newer=_place(page[:1]) if older_than else None
    )


def _place(jobs: list[Job]) -> Cursor | None:
    return Cursor(jobs[0].created_at, jobs[0].pk) if jobs else None


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
