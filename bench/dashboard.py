"""What the usage page, the usage export and the request log ask the database, over much usage of one organization.

Two organizations have all their usage in 90 days, one of them a hundredth of the other's, in a database with many
others. Beside each question stands the same from the raw records in SQL, and the same for the small organization.
Rows are made by SQL as ingest leaves them; folding is the product's own. Medians of the rounds, which take turns.
Pages are asked for in this process, with all middleware, beside a page of nothing.

`--records 10000000` is the size that counts: some 10 minutes and 12 GB. The default takes two minutes.
"""

import argparse
import importlib
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from bench._system import line, median, system

if TYPE_CHECKING:
    from accounts.models import ApiKey, Organization, User

DAYS = 90
KEYS = 8
NOTHING = "/bench/nothing/"
OWNED = 20  # organizations that one person may own
# The ratios we mean to keep; every run says whether they are reached.
RAW_GOAL, FILTERED_GOAL, SIZE_GOAL, OFFSET_GOAL = 200.0, 10.0, 1 / 1.5, 20.0
# And the most milliseconds that each may take.
MOST = {
    "usage of 90 days": 5,
    "first page of the log": 2,
    "page in the middle": 2,
    "usage page": 25,
    "log": 25,
}

# Products, features and file types as they come together, so that the cube has the cells of a real customer.
_RECORDS = """
INSERT INTO usage_usagerecord (
    organization_id, idempotency_key, job_id, api_key_id, product, feature, file_type, region, priority, requests,
    pages, quantity, credits, cost, rate_id, unrated, corrects, reason, day, timestamp, attributes)
SELECT %(organization)s, 'b' || n, 'b' || n, (%(keys)s::bigint[])[1 + n %% %(key_count)s],
    (ARRAY['parse', 'parse', 'parse', 'extract', 'extract', 'split', 'classify', 'edit', 'pipeline'])[1 + n / 7 %% 9],
    CASE WHEN n / 7 %% 9 < 3 THEN (ARRAY['standard', 'complex', 'agentic', 'text'])[1 + n / 63 %% 4]
        ELSE 'standard' END,
    (ARRAY['pdf', 'docx', 'png', 'jpg', 'xlsx', 'html', 'tiff', 'pptx'])[1 + n / 11 %% 8],
    (ARRAY['us', 'eu', 'ap'])[1 + n / 13 %% 3], 'standard', 1, 1 + n %% 17, NULL, 1 + n %% 17, (1 + n %% 17) * 0.01,
    NULL, false, '', '', (at AT TIME ZONE 'UTC')::date, at, NULL
FROM generate_series(0, %(records)s - 1) n,
    LATERAL (SELECT %(end)s::timestamptz - n * (interval '1 day' * %(days)s / %(records)s)) t (at)
"""
_CUBE = """
INSERT INTO usage_dailyusage (
    organization_id, day, api_key_id, product, feature, file_type, requests, pages, credits, cost)
SELECT organization_id, day, api_key_id, product, feature, file_type,
    SUM(requests), SUM(pages), SUM(credits), SUM(cost)
FROM usage_usagerecord GROUP BY 1, 2, 3, 4, 5, 6
"""
_DAYS = """
INSERT INTO usage_usageday (organization_id, day, requests, pages, credits, cost, changed_at)
SELECT organization_id, day, SUM(requests), SUM(pages), SUM(credits), SUM(cost), now() - interval '1 hour'
FROM usage_dailyusage GROUP BY 1, 2
"""
_JOBS = """
INSERT INTO usage_job (
    organization_id, job_id, api_key_id, type, status, stage, created_at, duration, num_pages, total_pages, credits,
    usage_items, region, file_type, source, config_sha256, webhook, metadata, error, report_digest, updated_at)
SELECT organization_id, job_id, api_key_id, initcap(product),
    CASE WHEN id %% 50 = 0 THEN 'Failed' ELSE 'Completed' END, 3, timestamp, 0.2 + id %% 97 / 7.0, pages, pages,
    credits, 1, region, file_type, to_jsonb('s3://inbox/' || job_id || '.' || file_type), '', '{"mode": "svix"}',
    jsonb_build_object('customer', id %% 1000, 'batch', id / 1000),
    CASE WHEN id %% 50 = 0 THEN '{"code": "unreadable", "message": "The file could not be read."}'::jsonb END,
    '', timestamp
FROM usage_usagerecord WHERE organization_id = ANY(%(organizations)s)
"""
_DAILY_JOBS = """
INSERT INTO usage_dailyjobs (organization_id, day, api_key_id, type, region, status, jobs, durations)
SELECT organization_id, (created_at AT TIME ZONE 'UTC')::date, api_key_id, type, region, status, COUNT(*),
    ARRAY[{counts}]
FROM usage_job, LATERAL (SELECT width_bucket(duration, %(bounds)s::float8[])) t (bucket)
GROUP BY 1, 2, 3, 4, 5, 6
"""
_JOB_MARGINS = """
INSERT INTO usage_jobmargin (organization_id, day, region, status, jobs, durations)
SELECT organization_id, day, region, status, SUM(jobs), ARRAY[{sums}] FROM usage_dailyjobs GROUP BY 1, 2, 3, 4
"""
_RAW = """
SELECT day, product, SUM(requests), SUM(pages), SUM(credits), SUM(cost) FROM usage_usagerecord
WHERE organization_id = %s AND timestamp >= %s AND timestamp < %s GROUP BY 1, 2
"""
FILTERS = {
    "of a key": "AND api_key_id = %s",
    "of a file type": "AND file_type = 'pdf'",
    "of both": "AND api_key_id = %s AND file_type = 'pdf'",
}
_OFFSET = (
    "SELECT * FROM usage_job WHERE organization_id = %s ORDER BY created_at DESC, id DESC OFFSET %s LIMIT 50"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_000_000, help="of the large organization")
    parser.add_argument("--others", type=int, default=200, help="organizations beside them")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with system("config.settings"):
        measure(options.records, options.others, options.rounds)


def measure(records: int, others: int, rounds: int) -> None:
    from django.utils import timezone

    from usage import margins, reports

    now = timezone.now()
    owner, (large, small) = make_rows(records, others, now)
    start = time.perf_counter()
    folded = margins.fold(now=now)
    folding = time.perf_counter() - start
    today = reports.today(large[0], now=now)
    # Two days came to something again, as they do: these are read from the cube.
    dirty(large[0], [today, today - timedelta(days=40)])
    dirty(small[0], [today, today - timedelta(days=40)])
    vacuum()
    add_page_of_nothing()
    times: dict[str, list[float]] = defaultdict(list)
    asked = {"large": questions(large, owner, today), "small": questions(small, owner, today)}
    for number in range(rounds + 2):
        for size, each in asked.items():
            for name, question in each.items():
                begin = time.perf_counter()
                question()
                # Not measured: what is first read, planned or imported.
                if number >= 2:
                    times[f"{name}, {size}"].append(time.perf_counter() - begin)
    report(times, records, others, folded, folding)


def make_rows(records: int, others: int, now: Any) -> "tuple[User, list[tuple[Organization, list[ApiKey]]]]":
    from django.db import connection

    from accounts import keys, organizations
    from accounts.audit import Actor
    from accounts.models import User
    from usage import partitions
    from usage.models import DailyJobs

    made = []
    for number in range(2 + others):
        if number % OWNED == 0:
            owner = User.objects.create_user(f"bench-{number}@example.com")
        organization = organizations.create(name=f"Organization {number}", owner=owner)
        api_keys = [
            keys.create_organization_key(organization=organization, name=f"k{k}", actor=Actor(owner))[0]
            for k in range(KEYS if number < 2 else 1)
        ]
        made.append((organization, api_keys))
    first = (now - timedelta(days=DAYS + 1)).date()
    partitions.ensure(
        {partitions.month_of(now - timedelta(days=number)) for number in range((now.date() - first).days + 1)}
    )
    with connection.cursor() as cursor:
        for number, (organization, api_keys) in enumerate(made):
            count = records if number == 0 else records // 100 if number == 1 else 1_000
            values = {
                "organization": organization.pk,
                "keys": [key.pk for key in api_keys],
                "key_count": len(api_keys),
                "records": count,
                "days": DAYS,
                "end": now - timedelta(minutes=1),
            }
            cursor.execute(_RECORDS, values)
        cursor.execute(_CUBE)
        cursor.execute(_DAYS)
        cursor.execute(_JOBS, {"organizations": [organization.pk for organization, _ in made[:2]]})
        bounds = DailyJobs.DURATION_BUCKETS
        counts = ", ".join(f"COUNT(*) FILTER (WHERE bucket = {n})" for n in range(len(bounds) + 1))
        cursor.execute(_DAILY_JOBS.format(counts=counts), {"bounds": [float(bound) for bound in bounds]})
        sums = ", ".join(f"SUM(durations[{n + 1}])::bigint" for n in range(len(bounds) + 1))
        cursor.execute(_JOB_MARGINS.format(sums=sums))
    vacuum()
    return User.objects.get(email="bench-0@example.com"), made[:2]


def dirty(organization: "Organization", days: list[date]) -> None:
    from django.utils import timezone

    from usage.models import UsageDay

    UsageDay.objects.filter(organization_id=organization.pk, day__in=days).update(changed_at=timezone.now())


def vacuum() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def add_page_of_nothing() -> None:
    from django.http import HttpResponse
    from django.urls import clear_url_caches, path

    from config import urls

    importlib.import_module(
        "config.wsgi"
    )  # with which the web server's settings of the garbage collector come
    urls.urlpatterns.append(path(NOTHING.lstrip("/"), lambda request: HttpResponse(str(request.user))))
    clear_url_caches()


def questions(
    tenant: "tuple[Organization, list[ApiKey]]", owner: "User", today: date
) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    from django.conf import settings
    from django.db import connection
    from django.test import Client

    from accounts.cursors import Cursor
    from usage import reports
    from usage.models import Job
    from usage.reports import Dimension

    organization, api_keys = tenant
    start = today - timedelta(days=DAYS - 1)
    key = {Dimension.API_KEY: [str(api_keys[0].pk)]}
    pdf = {Dimension.FILE_TYPE: ["pdf"]}
    count = Job.objects.filter(organization=organization).count()
    deep = Job.objects.filter(organization=organization).newest_first()[count // 2]
    place = Cursor(deep.created_at, deep.pk)
    browser = Client(HTTP_HOST=settings.ALLOWED_HOSTS[0])
    browser.force_login(owner)

    def by_day(only: Any = None) -> Callable[[], object]:
        asked: Any = {"start": start, "end": today, "dimensions": [Dimension.PRODUCT], "only": only}
        return lambda: reports.by_day(organization, **asked)

    def raw(condition: str = "") -> Callable[[], object]:
        query = _RAW.replace("GROUP BY", f"{condition} GROUP BY")
        values = [organization.pk, start, today + timedelta(days=1)]
        if "%s" in condition:
            values.append(api_keys[0].pk)
        return lambda: rows(query, values)

    def rows(query: str, values: list[Any]) -> object:
        with connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def page(address: str) -> Callable[[], object]:
        def ask() -> object:
            response = browser.get(address)
            assert response.status_code == 200, response.status_code
            return response

        return ask

    usage, log = f"/o/{organization.uid}/usage/", f"/o/{organization.uid}/jobs/"
    return {
        "usage of 90 days": by_day(),
        "usage of 90 days, raw": raw(),
        "of a key": by_day(key),
        "of a key, raw": raw(FILTERS["of a key"]),
        "of a file type": by_day(pdf),
        "of a file type, raw": raw(FILTERS["of a file type"]),
        "of both": by_day(key | pdf),
        "of both, raw": raw(FILTERS["of both"]),
        "export": lambda: reports.export(organization, start=start, end=today),
        "jobs of 60 days": lambda: reports.jobs_by_day(
            organization, start=today - timedelta(days=59), end=today
        ),
        "first page of the log": lambda: reports.log(organization, limit=50),
        "page in the middle": lambda: reports.log(organization, limit=50, older_than=place),
        "page in the middle, OFFSET": lambda: rows(_OFFSET, [organization.pk, count // 2]),
        "no page": page(NOTHING),
        "usage page": page(usage),
        "usage page, filtered": page(f"{usage}?api_key={api_keys[0].uid}&file_type=pdf&group=feature"),
        "usage page of 90 days": page(f"{usage}?from={start}&to={today}&by=day"),
        "log": page(log),
        "log, in the middle": page(f"{log}?older_than={place}"),
    }


def report(times: dict[str, list[float]], records: int, others: int, folded: int, folding: float) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (version,) = cursor.fetchone()
    found = {name: median(values) * 1000 for name, values in times.items()}

    def of(name: str, ratio: float | None = None, goal: float | None = None, note: str = "") -> None:
        line(name, f"{found[name]:,.2f} ms", ratio, goal, note)

    def compared(name: str, beside: str) -> float:
        return found[beside] / found[name]

    print(
        f"{records:,} records in {DAYS} days of one organization, {records // 100:,} of another, "
        f"{others:,} others, PostgreSQL {version}; two dirty days each"
    )
    line("folding a day", f"{folding * 1000 / max(folded, 1):,.2f} ms", note=f"{folded:,} days")

    def against(name: str, beside: str, goal: float, note: str) -> None:
        of(beside)
        of(name, compared(name, beside), goal, note)

    against("usage of 90 days, large", "usage of 90 days, raw, large", RAW_GOAL, "raw")
    for name in FILTERS:
        against(f"{name}, large", f"{name}, raw, large", FILTERED_GOAL, "raw")
    against("page in the middle, large", "page in the middle, OFFSET, large", OFFSET_GOAL, "OFFSET")
    of(
        "page in the middle, large",
        compared("page in the middle, large", "first page of the log, large"),
        SIZE_GOAL,
    )
    of("no page, large")
    for name in (
        "usage of 90 days",
        "export",
        "jobs of 60 days",
        "first page of the log",
        "page in the middle",
        "usage page",
        "usage page, filtered",
        "usage page of 90 days",
        "log",
        "log, in the middle",
    ):
        of(f"{name}, small")
        of(f"{name}, large", compared(f"{name}, large", f"{name}, small"), SIZE_GOAL, "small")
        if most := MOST.get(name):
            of(f"{name}, large", most / found[f"{name}, large"], 1, f"of {most} ms")


if __name__ == "__main__":
    main()
