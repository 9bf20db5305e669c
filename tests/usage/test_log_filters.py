"""Finding jobs in the request log: by days, file type, id, and with filters that keep few."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from accounts.models import ApiKey, Organization, User
from tests.usage.rows import NOON, job_row
from tests.usage.test_csv import many_jobs
from usage import reports
from usage.models import Job
from usage.reports import Filters
from usage.views import request_log


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def page(client: Client, viewer: User, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(request_log, "PAGE", 3)
    client.force_login(viewer)
    return client


@pytest.fixture
def url(organization: Organization) -> str:
    return f"/o/{organization.uid}/jobs/"


def shown(page: Client, address: str, **query: Any) -> Any:
    response = page.get(address, query)
    assert response.status_code == 200
    return response.context


def ids(context: Any) -> list[str]:
    return [entry.job.job_id for entry in context["entries"]]


def test_days_are_cut_in_the_organizations_zone(
    page: Client, url: str, key: ApiKey, organization: Organization
) -> None:
    Organization.objects.update(time_zone="Pacific/Auckland")
    job_row(key, "18th", created_at=NOON - timedelta(seconds=1))
    job_row(key, "19th", created_at=NOON)
    job_row(key, "20th", created_at=NOON + timedelta(days=1))

    assert ids(shown(page, url, since="2026-06-19", until="2026-06-19")) == ["19th"]


def test_file_type_keeps_its_jobs(page: Client, url: str, key: ApiKey) -> None:
    job_row(key, "pdf", file_type="pdf")
    job_row(key, "docx", file_type="docx")

    assert ids(shown(page, url, file_type="docx")) == ["docx"]


def test_jump_to_a_day_begins_with_its_last_job(page: Client, url: str, key: ApiKey) -> None:
    for day in range(10, 20):
        job_row(key, f"{day}", created_at=NOON.replace(day=day))

    context = shown(page, url, day="2026-06-15")

    assert ids(context) == ["15", "14", "13"]
    assert ids(shown(page, url + context["newer"])) == ["18", "17", "16"]
    assert ids(shown(page, url + context["older"])) == ["12", "11", "10"]


@pytest.mark.parametrize(
    "query",
    [
        "day=someday",
        "since=2026-13-01",
        "since=2026-06-02&until=2026-06-01",
        "hour=noon",
        "hour=%00",
        "hour=0001-01-01T00:00%2B14:00",
        "hour=9999-12-31T23:59Z",
    ],
)
def test_senseless_day_is_told(page: Client, url: str, query: str) -> None:
    response = page.get(f"{url}?{query}")

    assert response.status_code == 400
    assert response.context["form"].errors


def test_hour_stays_chosen_from_page_to_page(page: Client, url: str, key: ApiKey) -> None:
    for number in range(8):
        job_row(key, f"{number}", created_at=NOON + timedelta(minutes=10 * number - 10))

    context = shown(page, url, hour=NOON.isoformat())

    assert ids(context) == ["6", "5", "4"]
    assert ids(shown(page, url + context["older"])) == ["3", "2", "1"]


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_ends_of_the_calendar_are_days_too(page: Client, url: str, key: ApiKey, day: str) -> None:
    for name in ("day", "since", "until"):
        shown(page, url, **{name: day})


@pytest.mark.parametrize("typed", ["job-77", "job-7", "job"])
def test_job_is_found_by_how_its_id_begins(page: Client, url: str, key: ApiKey, typed: str) -> None:
    job_row(key, "job-77")
    job_row(key, "other")

    assert ids(shown(page, url, job_id=typed)) == ["job-77"]


@pytest.mark.parametrize("typed", ["%", "job_", "\\", "ob-1", "JOB-1"])
def test_signs_of_patterns_stand_for_themselves(page: Client, url: str, key: ApiKey, typed: str) -> None:
    job_row(key)

    assert ids(shown(page, url, job_id=typed)) == []


def test_ids_are_searched_by_their_index(organization: Organization, key: ApiKey) -> None:
    many_jobs(key, 5_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE usage_job")

    plan = Filters(job_id="job-77").apply(Job.objects.filter(organization=organization), organization)

    assert "job_once" in plan.order_by().explain()


def test_look_for_what_is_rare_is_broken_off_and_goes_on(
    key: ApiKey, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "LOOK_BACK", 4)
    for number in range(12):
        job_row(key, f"job-{number}", created_at=NOON - timedelta(seconds=number))
    Job.objects.filter(job_id__in=["job-2", "job-9"]).update(region="us")
    filters = Filters(region="us")

    first = reports.log(organization, limit=3, filters=filters)
    second = reports.log(organization, limit=3, filters=filters, older_than=first.older)
    third = reports.log(organization, limit=3, filters=filters, older_than=second.older)

    assert [[job.job_id for job in found.jobs] for found in (first, second, third)] == [
        ["job-2"],
        [],
        ["job-9"],
    ]
    assert first.looked_until == NOON - timedelta(seconds=3)


def test_walk_with_a_filter_misses_nothing_there_and_back(
    key: ApiKey, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "LOOK_BACK", 5)
    for number in range(40):
        rare = number % 7 == 0
        job_row(
            key,
            f"job-{number}",
            created_at=NOON - timedelta(seconds=number // 3),
            region="us" if rare else "eu",
        )
    order = Job.objects.newest_first()
    expected = [job.job_id for job in order if job.region == "us"]
    filters = Filters(region="us")

    seen: list[str] = []
    found = reports.log(organization, limit=2, filters=filters)
    seen += [job.job_id for job in found.jobs]
    while found.older:
        found = reports.log(organization, limit=2, filters=filters, older_than=found.older)
        seen += [job.job_id for job in found.jobs]
    back = [job.job_id for job in found.jobs]
    while found.newer:
        found = reports.log(organization, limit=2, filters=filters, newer_than=found.newer)
        back = [job.job_id for job in found.jobs] + back

    assert seen == expected
    assert back == expected


def test_page_says_how_far_it_looked(
    page: Client, url: str, key: ApiKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "LOOK_BACK", 2)
    for number in range(5):
        job_row(key, f"job-{number}", created_at=NOON - timedelta(seconds=number))

    html = page.get(url, {"type": "Edit"}).content.decode()

    assert "No request matches so far" in html
    assert "Look further back" in html


def test_failed_jobs_are_found_by_their_own_index(organization: Organization) -> None:
    jobs, rest = Filters(status="Failed").split(Job.objects.filter(organization=organization), organization)

    assert rest == {}
    assert "Failed" in str(jobs.query)


def test_switch_keeps_the_filters_and_polls_the_newest_page_only(page: Client, url: str, key: ApiKey) -> None:
    for number in range(5):
        job_row(key, f"job-{number}", created_at=NOON - timedelta(seconds=number))

    off = shown(page, url, type="Parse")
    on = shown(page, url, type="Parse", live="on")
    older = shown(page, url + on["older"] + "&live=on")

    assert off["live"] == "?type=Parse&live=on"
    assert (off["is_live"], on["is_live"], older["is_live"]) == (False, True, False)
