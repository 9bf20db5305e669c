"""Whatever is reported, in whatever order and how often, every door tells the same numbers: those of the records.

Three processes take in shuffled batches of the same reports, while staff take records back and days are folded.
"""

import csv
import io
import json
import logging
import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from tests.usage.test_ingest_concurrently import write_at_once
from usage import (
    billing_import,
    corrections,
    exports,
    ingest,
    margins,
    periods,
    reports,
    reports_in,
    spending,
    summary,
)
from usage.alert_periods import Period as AlertPeriod
from usage.corrections import AlreadyCorrected, Amendment, TakesBack
from usage.models import DailyUsage, Entitlement, Job, JobMargin, UsageDay, UsageMargin, UsageRecord
from usage.reports import Dimension, Filters, RecordFilters

logger = logging.getLogger(__name__)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("exports_folder", "rates")]

Json = dict[str, Any]
JOBS = 100
OLDEST = 70  # days
STAGES = ["Pending", "InProgress", "Completing"]
ENDS = ["Completed", "Completed", "Completed", "Failed", "Cancelled"]
FILES = ["pdf", "docx", "=xlsx", "", 'ünïcode, "quoted"']


@dataclass
class Told:
    """Somebody's organization, its keys, and a client that calls the API with one of them."""

    organization: Organization
    keys: list[ApiKey]
    client: Client


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    logger.info("SEED=%s makes the same reports again", seed)
    return random.Random(seed)


@pytest.fixture
def everybody(
    organization: Organization, owner: User, other_organization: Organization, outsider: User
) -> list[Told]:
    told = []
    for each, person, zone in (
        (organization, owner, "America/New_York"),
        (other_organization, outsider, "Asia/Kolkata"),
    ):
        Organization.objects.filter(pk=each.pk).update(time_zone=zone)
        each.refresh_from_db()
        made = [
            keys.create_organization_key(
                organization=each, name=environment, environment=environment, actor=Actor(person)
            )
            for environment in ("production", "staging")
        ]
        client = Client(headers={"Authorization": f"Bearer {made[0][1]}"})
        told.append(Told(each, [key for key, _ in made], client))
    return told


def reports_of(told: Told, chance: random.Random, now: datetime) -> Iterator[list[Json]]:
    """Of each job what is reported of it: its way, then perhaps more of it, wrong or late."""
    edges = [timedelta(hours=hour, minutes=minute) for hour in (0, 4, 5) for minute in (0, 59)]
    for number in range(JOBS):
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        created = day - timedelta(days=chance.choice([1, 1, 2, chance.randrange(OLDEST)]))
        created += chance.choice([*edges, timedelta(seconds=chance.randrange(86_400))])
        created = min(created, now - timedelta(minutes=5))

        def usage(count: int, *, name: str = "", number: int = number, created: datetime = created) -> Any:
            return [
                {
                    # Now and then a key that another job, or this one, uses for something else.
                    "idempotency_key": f"{name}{chance.randrange(JOBS)}"
                    if chance.random() < 0.1
                    else f"job-{number}:{name}:{position}",
                    "product": chance.choice(["parse", "extract", "edit"]),
                    "feature": chance.choice(["standard", "complex"]),
                    "file_type": chance.choice(FILES),
                    "pages": chance.choice([0, 1, 7, 1_000]),
                    "priority": chance.choice(["standard", "batch"]),
                    "timestamp": (
                        created
                        + timedelta(seconds=chance.randrange(3_600)) * (created < now - timedelta(hours=2))
                    ).isoformat(),
                }
                for position in range(count)
            ]

        key = chance.choice(told.keys)
        base: Json = {
            "job_id": f"job-{number}",
            "api_key_id": key.uid,
            "type": chance.choice(["Parse", "Extract", "Edit"]),
            "created_at": created.isoformat(),
            "region": chance.choice(["eu", "us", ""]),
        }
        way = [stage for stage in STAGES if chance.random() < 0.4]
        told_of = [base | {"status": stage, "usage": usage(chance.randrange(2), name=stage)} for stage in way]
        end = chance.choice(ENDS)
        told_of.append(
            base
            | {
                "status": end,
                "duration": chance.random() * 100,
                "usage": usage(chance.randrange(4), name="end"),
            }
        )
        if chance.random() < 0.2:  # later, and too late to be otherwise
            told_of.append(base | {"status": "Failed", "usage": usage(1, name="late")})
        if chance.random() < 0.2:  # the same keys for something else
            told_of.append(base | {"status": end, "usage": usage(2, name="end")})
        yield told_of


def shuffled(every: list[Json], chance: random.Random) -> list[list[Json]]:
    """All of it in some order, some of it twice, in batches of any size."""
    mixed = [*every, *chance.sample(every, len(every) // 5)]
    chance.shuffle(mixed)
    batches = []
    while mixed:
        size = chance.choice([1, 2, 10, 50, 200])
        batches.append(mixed[:size])
        mixed = mixed[size:]
    return batches


def correct_some(chance: random.Random) -> None:
    """Staff take a few records back, or say what they should have been."""
    for record in UsageRecord.objects.order_by("?")[:3]:
        amendment = None
        if chance.random() < 0.5:
            amendment = Amendment(
                "extract", chance.choice(["standard", "complex"]), chance.randrange(5), None
            )
        with suppress(AlreadyCorrected, TakesBack, ValidationError):
            corrections.correct(record=record, reason="Metered wrongly.", actor=None, amendment=amendment)


Sums = dict[Any, tuple[int, int, Decimal, Decimal]]
MEASURES = ("requests", "pages", "credits", "cost")


def asked(query: str, *values: Any) -> Sums:
    """Sums by what comes before them; what adds up to nothing is as good as absent."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return {
            tuple(group): (int(requests), int(pages), credits, cost)
            for *group, requests, pages, credits, cost in cursor.fetchall()
            if any((requests, pages, credits, cost))
        }


TOTALS = ", ".join(f"SUM({name}) AS {name}" for name in MEASURES)
CUBE = "organization_id, day, api_key_id, product, feature, file_type"


def test_every_door_tells_the_sums_of_the_records(
    chance: random.Random, everybody: list[Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    every = [report for told in everybody for job in reports_of(told, chance, now) for report in job]
    last = [every.pop(chance.randrange(len(every))) for _ in range(20)]
    monkeypatch.setattr(margins, "QUIET", timedelta(0))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_at_once, [shuffled(every, chance) for _ in range(3)], may_refuse=True)
        while not writing.done():
            margins.fold()
            correct_some(chance)
            wait([writing], timeout=0.2)
    accepted, duplicates = map(sum, zip(*writing.result(), strict=True))
    for _ in range(5):
        correct_some(chance)
    while margins.fold():
        pass
    # Some days have changed since they were folded.
    outcome = ingest.ingest(reports_in.read_json(json.dumps({"jobs": last}).encode()), now=timezone.now())

    assert outcome.accepted
    assert duplicates > accepted > JOBS
    assert UsageRecord.objects.filter(corrects="").count() > JOBS
    assert UsageRecord.objects.exclude(corrects="").exists()
    assert UsageMargin.objects.exists()
    each_key_counts_once()
    the_rollups_agree()
    what_is_billed_by_files_agrees(tmp_path)
    for told in everybody:
        truth = asked(
            f"SELECT day, {TOTALS} FROM usage_usagerecord WHERE organization_id = %s GROUP BY day",
            told.organization.pk,
        )
        the_balance_and_what_is_spent_agree(told, truth)
        the_dashboard_agrees(told)
        the_hours_agree(told)
        the_export_agrees(told)
        the_files_agree(told)
        the_jobs_agree(told)


def each_key_counts_once() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*), COUNT(DISTINCT (organization_id, idempotency_key)),"
            " (SELECT COUNT(*) FROM usage_idempotencykey WHERE digest <> '' OR key LIKE 'correction:%%')"
            " FROM usage_usagerecord"
        )
        records, distinct, claimed = cursor.fetchone()
    assert records == distinct == claimed


def the_rollups_agree() -> None:
    truth = asked(f"SELECT {CUBE}, {TOTALS} FROM usage_usagerecord GROUP BY {CUBE}")
    assert asked(f"SELECT {CUBE}, {TOTALS} FROM {DailyUsage._meta.db_table} GROUP BY {CUBE}") == truth
    days = asked(f"SELECT organization_id, day, {TOTALS} FROM usage_usagerecord GROUP BY 1, 2")
    assert (
        asked(f"SELECT organization_id, day, {TOTALS} FROM {UsageDay._meta.db_table} GROUP BY 1, 2") == days
    )


def what_is_billed_by_files_agrees(tmp_path: Path) -> None:
    folder, state = tmp_path / "carried", tmp_path / "vendor.sqlite3"
    call_command("export_billing_usage", str(folder), count=100, stdout=io.StringIO())
    call_command("import_billing_usage", str(folder), state=state, stdout=io.StringIO())

    with billing_import.opened(state) as taken_in:
        totals = {total.type: (total.records, total.pages) for total in billing_import.totals(taken_in)}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.product, COUNT(*), COALESCE(SUM(r.pages) FILTER (WHERE j.status <> 'Failed'), 0)"
            " FROM usage_usagerecord r JOIN usage_job j USING (organization_id, job_id) GROUP BY r.product"
        )
        assert totals == {product: (records, pages) for product, records, pages in cursor.fetchall()}


def the_balance_and_what_is_spent_agree(told: Told, truth: Sums) -> None:
    used = Entitlement.objects.get(organization=told.organization).credits_used
    assert used == sum(credits for _, _, credits, _ in truth.values())
    first, after = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    always = AlertPeriod(first.date(), after.date(), after)
    assert spending.spend(told.organization, always) == sum(cost for *_, cost in truth.values())


COLUMNS = {
    Dimension.PRODUCT: "product",
    Dimension.FEATURE: "feature",
    Dimension.API_KEY: "api_key_id::text",
    Dimension.FILE_TYPE: "file_type",
}


def the_dashboard_agrees(told: Told) -> None:
    today = reports.today(told.organization)
    start = today - timedelta(days=OLDEST + 2)
    found = reports.by_day(told.organization, start=start, end=today, dimensions=list(Dimension))
    for dimension, column in COLUMNS.items():
        truth = asked(
            f"SELECT day, {column}, {TOTALS} FROM usage_usagerecord WHERE organization_id = %s GROUP BY 1, 2",
            told.organization.pk,
        )
        assert _sums(found[dimension]) == truth
        only_pdf = reports.by_day(
            told.organization,
            start=start,
            end=today,
            dimensions=[dimension],
            only={Dimension.FILE_TYPE: ["pdf"]},
        )
        assert _sums(only_pdf[dimension]) == asked(
            f"SELECT day, {column}, {TOTALS} FROM usage_usagerecord"
            " WHERE organization_id = %s AND file_type = 'pdf' GROUP BY 1, 2",
            told.organization.pk,
        )
    query = {"period": "range", "from": str(start), "to": str(today), "by": "day"}
    shown = summary.summarize(
        told.organization, summary.Asked(periods.read(query, today=today)), keys=told.keys
    )
    [whole] = asked(
        f"SELECT {TOTALS} FROM usage_usagerecord WHERE organization_id = %s", told.organization.pk
    ).values()
    assert (shown.totals.requests, shown.totals.pages, shown.totals.credits, shown.totals.cost) == whole
    answer = told.client.get("/api/v1/usage/summary", query).json()
    assert (answer["totals"]["requests"], answer["totals"]["pages"]) == whole[:2]
    assert Decimal(str(answer["totals"]["credits"])) == whole[2]


def _sums(rows: Any) -> Sums:
    return {
        (place, value): (used.requests, used.pages, used.credits, used.cost)
        for place, value, used in rows
        if any((used.requests, used.pages, used.credits, used.cost))
    }


def the_hours_agree(told: Told) -> None:
    today = reports.today(told.organization)
    start = today - timedelta(days=1)
    begin = datetime.combine(start, datetime.min.time(), told.organization.zone)
    hours = reports.by_hour(
        told.organization, start=start, end=today, begin=begin, dimensions=[Dimension.PRODUCT]
    )
    assert _sums(hours[Dimension.PRODUCT]) == asked(
        f"SELECT floor(extract(epoch FROM timestamp - %s) / 3600)::int, product, {TOTALS}"
        " FROM usage_usagerecord WHERE organization_id = %s AND day >= %s GROUP BY 1, 2",
        begin,
        told.organization.pk,
        start,
    )


def the_export_agrees(told: Told) -> None:
    today = reports.today(told.organization)
    dates = {"startDate": str(today - timedelta(days=OLDEST + 2)), "endDate": str(today)}
    names = {str(key.pk): key.uid for key in told.keys}
    for dimension, column in COLUMNS.items():
        truth = {
            (str(day), names.get(value, value)): (credits, requests)
            for (day, value), (requests, _, credits, _) in asked(
                f"SELECT day, {column}, {TOTALS} FROM usage_usagerecord WHERE organization_id = %s GROUP BY 1, 2",
                told.organization.pk,
            ).items()
            if credits or requests
        }
        query = dates | {"groupBy": dimension.value}

        body = told.client.get("/api/v1/usage/export", query).content
        rows = json.loads(body, parse_float=Decimal, parse_int=Decimal)["data"]
        text = told.client.get("/api/v1/usage/export", query | {"format": "csv"})
        lines = csv.DictReader(io.StringIO(b"".join(text).decode()))

        assert {
            (row["date"], row["group"]): (Decimal(row["credits"]), row["requestCount"]) for row in rows
        } == truth
        assert {
            (line["date"], _unsafe(line["group"])): (Decimal(line["credits"]), int(line["requestCount"]))
            for line in lines
        } == truth


def _unsafe(text: str) -> str:
    """As it was before spreadsheets were kept from running it."""
    return text.removeprefix("'")


def _lines(export: exports.Export) -> list[dict[str, str]]:
    with closing(exports.Reading(export, longest=60)) as reading:
        text = b"".join(reading).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def the_files_agree(told: Told) -> None:
    lines = _lines(exports.Export(told.organization, RecordFilters()))
    sums: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        place = (
            line["day"],
            line["api_key_id"],
            line["product"],
            line["feature"],
            _unsafe(line["file_type"]),
        )
        for name in MEASURES:
            sums[(*place, name)] += Decimal(line[name])  # type: ignore[assignment]
    names = {key.pk: key.uid for key in told.keys}
    truth = asked(
        f"SELECT {CUBE}, {TOTALS} FROM usage_usagerecord WHERE organization_id = %s GROUP BY {CUBE}",
        told.organization.pk,
    )
    assert {place: value for place, value in sums.items() if value} == {
        (str(day), names[key], *rest, name): value
        for (_, day, key, *rest), values in truth.items()
        for name, value in zip(MEASURES, values, strict=True)
        if value
    }
    assert len(lines) == UsageRecord.objects.filter(organization=told.organization).count()


def the_jobs_agree(told: Told) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT j.job_id, j.credits, j.usage_items, COALESCE(SUM(r.credits), 0),"
            " COUNT(r.id) FILTER (WHERE r.corrects = '')"
            " FROM usage_job j LEFT JOIN usage_usagerecord r USING (organization_id, job_id)"
            " WHERE j.organization_id = %s GROUP BY 1, 2, 3",
            [told.organization.pk],
        )
        jobs = cursor.fetchall()
    assert [(job, credits, items) for job, credits, items, *_ in jobs] == [
        (job, credits, items) for job, *_, credits, items in jobs
    ]
    lines = _lines(exports.Export(told.organization, Filters()))
    assert {line["job_id"]: Decimal(line["credits"]) for line in lines} == {job[0]: job[1] for job in jobs}
    ended = Counter(
        Job.objects.filter(organization=told.organization, stage=3).values_list("region", "status")
    )
    counted: Counter[tuple[str, str]] = Counter()
    by_key: Counter[tuple[str, str]] = Counter()
    for margin in JobMargin.objects.filter(organization_id=told.organization.pk):
        counted[margin.region, margin.status] += margin.jobs
    today = reports.today(told.organization)
    for count in reports.jobs_by_day(
        told.organization,
        start=today - timedelta(days=OLDEST + 2),
        end=today,
        keys=[key.pk for key in told.keys],
    ):
        by_key[count.region, count.status] += count.jobs
    assert ended == counted == by_key
