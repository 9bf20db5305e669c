"""A period in totals and steps: the same whether it is read from margins, cube or records."""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.db.models import Sum
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import keys, prepared
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from tests.usage.conftest import item
from tests.usage.rows import NOON, daily_jobs, daily_usage, job_row
from usage import alert_periods, forecast, margins, reports, spending, summary
from usage.models import DailyJobs, DailyUsage, UsageMargin, UsageRecord
from usage.reports import Dimension, Totals
from usage.summary import Asked, JobTotals

DAY = NOON.date()
Json = dict[str, Any]


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def api(organization_key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"Authorization": f"Bearer {organization_key[1]}"})


def asked_for(organization: Organization, **query: Any) -> tuple[Asked, summary.Summary]:
    known = reports.keys(organization)
    asked = summary.read(
        {name: str(value) for name, value in query.items()}, keys=known, today=reports.today(organization)
    )
    return asked, summary.summarize(organization, asked, keys=known, with_choices=True)


def measures(totals: list[Totals]) -> Totals:
    all = Totals()
    for each in totals:
        all.add(each)
    return all


# ── Equality ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("seed", range(4))
def test_margins_cube_and_records_agree_while_usage_comes_in(
    seed: int,
    post_jobs: Callable[..., Json],
    job: Callable[..., Json],
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    owner: User,
) -> None:
    rng = random.Random(seed)
    second, _ = keys.create_organization_key(organization=organization, name="two", actor=Actor(owner))
    organization.time_zone = rng.choice(["UTC", "America/New_York", "Australia/Lord_Howe"])
    organization.save()
    now = datetime.now(UTC)
    running: list[Json] = []
    for round in range(6):
        batch = []
        for number in range(rng.randint(1, 12)):
            at = (now - timedelta(seconds=rng.randint(60, 4 * 86_400))).isoformat()
            name = f"{seed}-{round}-{number}"
            report = job(
                name,
                api_key_id=rng.choice([organization_key[0].uid, second.uid]),
                created_at=at,
                status=rng.choice(["Completed", "InProgress", "Failed"]),
                usage=[
                    item(
                        f"{name}:{part}",
                        timestamp=at,
                        product=rng.choice(["parse", "extract"]),
                        feature=rng.choice(["standard", "complex"]),
                        file_type=rng.choice(["pdf", "docx", "png"]),
                        pages=rng.randint(0, 9),
                    )
                    for part in range(rng.randint(0, 3))
                ],
            )
            batch.append(report)
            if report["status"] == "InProgress":
                running.append(report)
        if running and rng.random() < 0.7:
            batch.append(running.pop() | {"status": "Failed", "usage": []})
        post_jobs(*batch)
        if rng.random() < 0.6:
            margins.fold(now=timezone.now() + timedelta(minutes=rng.choice([0, 5])))
        assert_all_agree(organization, rng)


def assert_all_agree(organization: Organization, rng: random.Random) -> None:
    today = reports.today(organization)
    start, end = today - timedelta(days=6), today
    for dimension in Dimension:
        column = "api_key_id" if dimension is Dimension.API_KEY else dimension.value
        expected = summed(UsageRecord, column, start, end, organization)
        assert summed(DailyUsage, column, start, end, organization) == expected
        found = reports.by_day(organization, start=start, end=end, dimensions=[dimension])[dimension]
        assert {(day, value): vars(used) for day, value, used in found} == expected
    value = rng.choice(["pdf", "docx"])
    only = {Dimension.FILE_TYPE: [value]}
    for dimension in (Dimension.PRODUCT, Dimension.FILE_TYPE):
        found = reports.by_day(organization, start=start, end=end, dimensions=[dimension], only=only)[
            dimension
        ]
        expected = summed(UsageRecord, dimension.value, start, end, organization, file_type=value)
        assert {(day, value): vars(used) for day, value, used in found} == expected

    assert counted(reports.jobs_by_day(organization, start=start, end=end)) == counted(
        reports.jobs_by_day(
            organization, start=start, end=end, keys=[key.pk for key in reports.keys(organization)]
        )
    )


def counted(jobs: list[reports.JobCount]) -> list[tuple[Any, ...]]:
    return sorted((*vars(count).values(),) for count in jobs)


def summed(
    model: Any, column: str, start: date, end: date, organization: Organization, **filters: Any
) -> dict[tuple[date, str], dict[str, Any]]:
    rows = model.objects.filter(organization_id=organization.pk, day__range=(start, end), **filters)
    sums = rows.values_list("day", column).annotate(
        Sum("requests"), Sum("pages"), Sum("credits"), Sum("cost")
    )
    return {
        (day, str(value)): dict(zip(("requests", "pages", "credits", "cost"), found, strict=True))
        for day, value, *found in sums
    }


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_hours_add_up_to_their_days(
    zone: str, post_jobs: Callable[..., Json], job: Callable[..., Json], organization: Organization
) -> None:
    organization.time_zone = zone
    organization.save()
    now = datetime.now(UTC)
    for number in range(30):
        at = (now - timedelta(minutes=1 + 97 * number)).isoformat()
        post_jobs(job(f"job-{number}", created_at=at, usage=[item(f"{number}", timestamp=at)]))
    today = reports.today(organization)

    _, found = asked_for(organization, by="hour", **{"from": today - timedelta(days=1), "to": today})

    assert measures(found.by_span) == found.totals
    assert found.totals.requests > 0
    assert not found.hours_differ


def test_usage_that_comes_between_two_questions_is_no_change_of_zone(
    post_jobs: Callable[..., Json],
    job: Callable[..., Json],
    organization: Organization,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_hour = reports.by_hour

    def late(*args: Any, **kwargs: Any) -> Any:
        post_jobs(job())
        return by_hour(*args, **kwargs)

    monkeypatch.setattr(reports, "by_hour", late)
    today = reports.today(organization)

    _, found = asked_for(organization, by="hour", **{"from": today - timedelta(days=1), "to": today})

    assert measures(found.by_span).requests == 1
    assert not found.hours_differ


def test_hour_is_the_one_on_the_organizations_clock(
    key: ApiKey, post_jobs: Callable[..., Json], job: Callable[..., Json], organization: Organization
) -> None:
    organization.time_zone = "Europe/Berlin"
    organization.save()
    # Clocks go back at 01:00 UTC: 02:30 comes twice.
    for number, at in enumerate(["2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z"]):
        post_jobs(job(f"job-{number}", created_at=at, usage=[item(f"{number}", timestamp=at)]))

    _, found = asked_for(organization, by="hour", **{"from": "2025-10-26", "to": "2025-10-26"})

    assert len(found.spans) == 25
    used = [index for index, total in enumerate(found.by_span) if total.requests]
    assert used == [2, 3]
    assert all(span.begin and span.begin.hour == 2 for span in (found.spans[2], found.spans[3]))


def test_days_stay_as_they_were_cut_and_the_difference_of_the_hours_is_told(
    post_jobs: Callable[..., Json], job: Callable[..., Json], organization: Organization
) -> None:
    at = "2026-06-18T02:00:00Z"
    post_jobs(job("job", created_at=at, usage=[item("a", timestamp=at)]))
    organization.time_zone = "America/New_York"
    organization.save()

    _, found = asked_for(organization, by="hour", **{"from": "2026-06-18", "to": "2026-06-18"})

    assert found.totals.requests == 1
    assert measures(found.by_span).requests == 0
    assert found.hours_differ


# ── Filters ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_environment_is_that_of_the_keys(key: ApiKey, organization: Organization, owner: User) -> None:
    staging, _ = keys.create_organization_key(
        organization=organization, name="s", environment="staging", actor=Actor(owner)
    )
    daily_usage(key, DAY, requests=1)
    daily_usage(staging, DAY, requests=2)
    days = {"from": DAY, "to": DAY}

    assert asked_for(organization, environment="staging", **days)[1].totals.requests == 2
    assert asked_for(organization, environment="development", **days)[1].totals.requests == 0
    assert asked_for(organization, environment="staging", api_key=key.uid, **days)[1].totals.requests == 0


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"period": "7"}, ("2026-06-12", "2026-06-17", "2026-06-05", "2026-06-10")),
        ({"period": "month"}, ("2026-06-01", "2026-06-17", "2026-05-01", "2026-05-17")),
        ({"period": "last_month"}, ("2026-05-01", "2026-05-31", "2026-04-01", "2026-04-30")),
        ({"from": "2026-06-18"}, None),
    ],
)
def test_whole_days_are_compared(
    organization: Organization, query: Json, expected: tuple[str, ...] | None
) -> None:
    asked = summary.read(query, keys=[], today=DAY)

    found = summary.summarize(organization, asked, keys=[], now=NOON).compared

    assert expected == (
        tuple(map(str, (found.start, found.end, found.before_start, found.before_end))) if found else None
    )


def test_region_narrows_jobs_and_leaves_usage(key: ApiKey, organization: Organization) -> None:
    daily_usage(key, DAY, requests=5)
    daily_jobs(key, "eu")
    daily_jobs(key, "us")

    asked, found = asked_for(organization, region="eu", group="region", **{"from": DAY, "to": DAY})

    assert (found.totals.requests, found.jobs.jobs) == (5, 1)
    assert found.job_groups == {"eu": [1]}
    assert found.regions == ["eu", "us"]
    assert asked.leaves_usage_whole


def test_choices_are_not_narrowed_by_what_is_chosen(key: ApiKey, organization: Organization) -> None:
    daily_usage(key, DAY, file_type="pdf")
    daily_usage(key, DAY, file_type="docx")

    _, found = asked_for(organization, file_type="pdf", **{"from": DAY, "to": DAY})

    assert found.file_types == ["docx", "pdf"]


def test_keys_that_are_gone_are_one(key: ApiKey, organization: Organization) -> None:
    for number in range(2):
        daily_usage(key, DAY, api_key_id=10**12 + number, requests=3)

    _, found = asked_for(organization, group="api_key", **{"from": DAY, "to": DAY})

    assert {name: measures(totals).requests for name, totals in found.groups.items()} == {"deleted": 6}


# ── Jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────
def jobs_lasting(**buckets: int) -> JobTotals:
    totals = JobTotals()
    for bound, count in buckets.items():
        totals.durations[int(bound[1:])] = count
    return totals


def test_cancelled_jobs_say_nothing_of_success() -> None:
    assert JobTotals(jobs=12, completed=9, failed=1).success_rate == 90
    assert JobTotals(jobs=2).success_rate is None


def test_quantile_lies_evenly_within_its_bucket() -> None:
    # Ten jobs of 1 to 1.5 seconds, ten of 10 to 15.
    totals = jobs_lasting(_5=10, _12=10)

    assert totals.quantile(0.25) == pytest.approx(1.25)
    assert totals.p50 == pytest.approx(1.5)
    assert totals.p95 == pytest.approx(14.5)


def test_quantile_of_nothing_is_none_and_of_the_longest_their_least() -> None:
    assert JobTotals().p50 is None
    assert jobs_lasting(_24=3).p50 == DailyJobs.DURATION_BUCKETS[-1]


# ── Forecast ─────────────────────────────────────────────────────────────────────────────────────────────────
NOW = datetime(2026, 6, 21, tzinfo=UTC)


def test_forecast_goes_on_as_in_the_last_full_days(key: ApiKey, organization: Organization) -> None:
    for number in range(1, 31):
        daily_usage(key, NOW.date() - timedelta(days=number), credits=10, cost=1)

    found = forecast.of_month(organization, now=NOW)

    # Twenty days of June so far, ten to go.
    assert found
    assert (found.credits_so_far, found.credits, found.cost, found.days) == (200, 300, 30, 28)


def test_forecast_of_a_new_organization_goes_by_the_days_it_has(
    key: ApiKey, organization: Organization
) -> None:
    daily_usage(key, NOW.date() - timedelta(days=2), credits=20, cost=2)

    found = forecast.of_month(organization, now=NOW)

    assert found
    assert (found.days, found.credits) == (2, 20 + 10 * 10)


def test_without_a_full_day_there_is_no_forecast(key: ApiKey, organization: Organization) -> None:
    daily_usage(key, NOW.date())

    assert forecast.of_month(organization, now=NOW) is None


def test_forecast_and_caps_know_the_same_spend(key: ApiKey, organization: Organization) -> None:
    daily_usage(key, NOW.date() - timedelta(days=1), cost="12.345678")
    daily_usage(key, NOW.date().replace(day=1) - timedelta(days=1), cost=100)

    found = forecast.of_month(organization, now=NOW)

    month = alert_periods.current(organization, alert_periods.Kind.MONTHLY, now=NOW)
    assert found
    assert found.cost_so_far == spending.spend(organization, month) == Decimal("12.345678")


def test_month_ends_at_midnight_of_the_organization(key: ApiKey, organization: Organization) -> None:
    organization.time_zone = "Pacific/Kiritimati"
    daily_usage(key, NOW.date(), credits=24)
    now = datetime(2026, 6, 30, 12, tzinfo=ZoneInfo("Pacific/Kiritimati"))

    found = forecast.of_month(organization, now=now)

    assert found
    assert found.credits == 24 + Decimal("1.33")  # half a day, at 24 in nine


# ── The API ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_answer_has_totals_the_period_before_and_a_series(
    api: Client, key: ApiKey, organization: Organization
) -> None:
    daily_usage(key, DAY, requests=2, pages=5, credits="7.5", cost="0.075")
    daily_usage(key, DAY - timedelta(days=1), requests=1, pages=1, credits=1, cost=0)
    daily_jobs(key, "eu")

    answer = api.get("/api/v1/usage/summary", {"from": str(DAY), "to": str(DAY)}).json()

    assert answer["organization_id"] == organization.uid
    assert (answer["from"], answer["to"], answer["by"], answer["time_zone"]) == (
        str(DAY),
        str(DAY),
        "day",
        "UTC",
    )
    assert answer["totals"] == {
        "requests": 2,
        "pages": 5,
        "credits": 7.5,
        "cost": 0.075,
        "jobs": 1,
        "success_rate": 100.0,
        "duration_p50": None,
        "duration_p95": None,
    }
    assert answer["before"]["requests"] == 1
    assert answer["series"] == [
        {"start": str(DAY), "group": "parse", "requests": 2, "pages": 5, "credits": 7.5, "cost": 0.075}
    ]


def test_series_by_region_counts_jobs(api: Client, key: ApiKey) -> None:
    daily_jobs(key, "eu")

    answer = api.get("/api/v1/usage/summary", {"from": str(DAY), "to": str(DAY), "group": "region"}).json()

    assert answer["series"] == [{"start": str(DAY), "group": "eu", "jobs": 1}]


def test_hours_begin_at_moments(
    api: Client, post_jobs: Callable[..., Json], job: Callable[..., Json]
) -> None:
    at = "2026-06-18T09:30:00Z"
    post_jobs(job("job", created_at=at, usage=[item("a", timestamp=at)]))

    answer = api.get(
        "/api/v1/usage/summary", {"from": str(DAY), "to": str(DAY), "by": "hour", "group": "feature"}
    ).json()

    assert [(step["start"], step["group"]) for step in answer["series"]] == [
        ("2026-06-18T09:00:00.000000Z", "standard")
    ]


@pytest.mark.parametrize("query", [{}, {"file_type": "pdf", "group": "api_key"}, {"group": "status"}])
def test_summary_asks_as_much_for_much_usage(
    api: Client,
    key: ApiKey,
    organization: Organization,
    owner: User,
    query: dict[str, str],
    django_assert_num_queries: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    fetch = prepared.fetch

    def counted(*args: Any) -> Any:
        asked.append(args)
        return fetch(*args)

    monkeypatch.setattr(prepared, "fetch", counted)
    daily_usage(key, reports.today(organization) - timedelta(days=1))
    api.get("/api/v1/usage/summary", query)
    with CaptureQueriesContext(connection) as captured:
        api.get("/api/v1/usage/summary", query)
    little = len(asked)
    for number in range(20):
        extra, _ = keys.create_organization_key(
            organization=organization, name=f"k{number}", actor=Actor(owner)
        )
        daily_usage(extra, reports.today(organization) - timedelta(days=number), file_type=f"f{number}")

    with django_assert_num_queries(len(captured)):
        answer = api.get("/api/v1/usage/summary", query).json()

    assert answer["totals"]["requests"] > 0
    assert len(asked) - little == little // 2


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"period": "365"}, "period"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "1999-01-01"}, "from"),
        ({"from": "2026-06-18", "to": "2026-06-17"}, "from"),
        ({"to": "x"}, "to"),
        ({"period": "30", "by": "hour"}, "by"),
        ({"group": "\0"}, "group"),
        ({"api_key": "key_nobody"}, "api_key"),
        ({"product": "nonsense"}, "product"),
        ({"file_type": "x" * 200}, "file_type"),
        ({"region": "a\0"}, "region"),
        ({"groupBy": "region"}, "groupBy"),
        ({"startDate": "2026-06-18"}, "startDate"),
    ],
)
def test_bad_parameters_are_refused_by_name(api: Client, query: Json, param: str) -> None:
    response = api.get("/api/v1/usage/summary", query)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_page_and_api_show_the_same(
    api: Client, client: Client, viewer: User, key: ApiKey, organization: Organization
) -> None:
    daily_usage(key, DAY, file_type="pdf", requests=2)
    daily_usage(key, DAY, file_type="docx", requests=4)
    margins.fold(now=timezone.now() + timedelta(minutes=5))
    assert UsageMargin.objects.exists()
    job_row(key)
    client.force_login(viewer)
    query = {"from": str(DAY), "to": str(DAY), "file_type": "pdf", "group": "file_type", "by": "month"}

    answer = api.get("/api/v1/usage/summary", query).json()
    shown = client.get(f"/o/{organization.uid}/usage/", query).context["found"]

    assert answer["totals"]["requests"] == shown.totals.requests == 2
    assert [step["group"] for step in answer["series"]] == list(shown.groups) == ["pdf"]
