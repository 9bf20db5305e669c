"""What is listed in the back office, taken along as CSV."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import admin_lists
from accounts.models import ApiKey, AuditEntry, Organization, User
from tests.usage.rows import job_row
from usage.models import Job

JOBS, ORGANIZATIONS, KEYS, TRAIL = (
    "/admin/usage/job/",
    "/admin/accounts/organization/",
    "/admin/accounts/apikey/",
    "/admin/accounts/auditentry/",
)


@pytest.fixture
def add_job(organization_key: tuple[ApiKey, str]) -> Callable[..., Job]:
    return partial(job_row, organization_key[0])


def read(answer: Any) -> list[dict[str, str]]:
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_all_pages_are_taken_along_in_their_order(
    back_office: Client, add_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_lists, "ROWS_AT_ONCE", 25)
    for number in range(60):
        add_job(f"job-{number}")

    rows = read(back_office.get(f"{JOBS}csv/"))

    assert [row["job id"] for row in rows] == [f"job-{number}" for number in reversed(range(60))]


def test_only_what_is_narrowed_to_is_taken_along(back_office: Client, add_job: Callable[..., Job]) -> None:
    add_job("good"), add_job("bad", status="Failed"), add_job("worse", status="Failed", type="Edit")

    link = back_office.get(JOBS, {"status__exact": "Failed", "type__exact": "Edit"}).context["actions_list"][
        -1
    ]
    rows = read(back_office.get(link["path"]))

    assert [row["job id"] for row in rows] == ["worse"]


def test_what_is_searched_for_is_taken_along(back_office: Client, add_job: Callable[..., Job]) -> None:
    add_job("one"), add_job("other")

    rows = read(back_office.get(f"{JOBS}csv/", {"q": "one"}))

    assert [row["job id"] for row in rows] == ["one"]


def test_cells_are_text_and_numbers(
    back_office: Client, add_job: Callable[..., Job], organization: Organization
) -> None:
    add_job(credits=1234567, created_at=datetime(2026, 6, 1, 10, 0, tzinfo=UTC), num_pages=None)

    [row] = read(back_office.get(f"{JOBS}csv/"))

    assert row == {
        "job id": "job-1",
        "organization": "Northwind",
        "organization id": organization.uid,
        "type": "Parse",
        "status": "Completed",
        "num pages": "",
        "credits": "1234567",
        "region": "eu",
        "created at": "2026-06-01T10:00:00.000000Z",
    }


def test_links_become_text(back_office: Client, organization: Organization) -> None:
    rows = read(back_office.get(f"{TRAIL}csv/", {"q": organization.uid}))

    assert {row["organization"] for row in rows} == {"Northwind"}


def test_no_cell_is_a_formula(back_office: Client, organization: Organization) -> None:
    Organization.objects.update(name="=HYPERLINK(1)")

    [row] = read(back_office.get(f"{ORGANIZATIONS}csv/"))

    assert row["name"] == "'=HYPERLINK(1)"


def test_what_is_written_meanwhile_disturbs_nobody(
    back_office: Client, add_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_lists, "ROWS_AT_ONCE", 2)
    jobs = [add_job(f"job-{number}") for number in range(5)]
    listed = back_office.get(JOBS).context["cl"]
    rows = admin_lists.in_parts(listed.queryset)

    found = [next(rows)]
    add_job("late")
    jobs[2].delete()
    found += rows

    assert [job.job_id for job in found] == ["job-4", "job-3", "job-1", "job-0"]


def test_nothing_is_read_for_whoever_has_gone_away(
    back_office: Client, add_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_lists, "ROWS_AT_ONCE", 2)
    for number in range(9):
        add_job(f"job-{number}")
    rows = admin_lists.in_parts(back_office.get(JOBS).context["cl"].queryset)

    with CaptureQueriesContext(connection) as queries:
        next(rows)
        rows.close()  # type: ignore[attr-defined]

    assert len(queries) == 1


def test_the_trail_tells_who_took_what_along(back_office: Client, staff: User) -> None:
    read(back_office.get(f"{KEYS}csv/", {"q": "server", "state": "revoked"}))

    entry = AuditEntry.objects.get(action="admin_list.exported")
    assert entry.actor == staff
    assert entry.after == {
        "list": "accounts.ApiKey",
        "search": "server",
        "filters": {"state": ["revoked"]},
    }


def test_a_pasted_key_is_not_kept_by_the_trail(
    back_office: Client, organization_key: tuple[ApiKey, str]
) -> None:
    answer = back_office.get(f"{KEYS}csv/", {"q": organization_key[1]})

    assert answer.status_code == 302
    assert not AuditEntry.objects.filter(action="admin_list.exported").exists()


def test_a_key_that_was_pasted_into_another_list_is_not_kept_either(
    back_office: Client, organization_key: tuple[ApiKey, str]
) -> None:
    secret = organization_key[1]

    answer = back_office.get(f"{JOBS}csv/", {"q": secret, "region": secret})

    assert answer.status_code == 302
    assert not AuditEntry.objects.filter(action="admin_list.exported").exists()


def test_a_list_that_takes_too_long_gives_no_file(
    back_office: Client, add_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(changelist: Any, rows: Any) -> list[Any]:
        return read_page(changelist, rows.extra(where=["pg_sleep(1) IS NOT NULL"]))

    add_job()
    read_page = admin_lists.PagedByPlace._read
    monkeypatch.setattr(admin_lists, "LONGEST_READ", timedelta(milliseconds=50))
    monkeypatch.setattr(admin_lists.PagedByPlace, "_read", slowly)

    answer = back_office.get(f"{JOBS}csv/")

    assert (answer.status_code, answer["Location"]) == (302, JOBS)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("usage/job", "metadata"),
        ("webhooks/message", "payload"),
        ("webhooks/outboxmessage", "payload"),
        ("webhooks/attempt", "response"),
        ("webhooks/attempt", "payload"),
        ("accounts/auditentry", "after"),
    ],
)
def test_long_texts_that_are_not_shown_are_not_read(back_office: Client, table: str, column: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        read(back_office.get(f"/admin/{table}/csv/"))

    selects = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    assert not [sql for sql in selects if f'."{column}"' in sql]


def test_a_filter_that_makes_no_sense_gives_no_file(back_office: Client) -> None:
    answer = back_office.get(f"{JOBS}csv/", {"created_at__gte": "yesterday"})

    assert (answer.status_code, answer["Location"]) == (302, JOBS)


@pytest.mark.parametrize(("permissions", "status"), [(["view_job"], 200), (["view_usagerecord"], 403)])
def test_whoever_may_see_a_list_may_take_it_along(
    back_office: Client, staff: User, permissions: list[str], status: int
) -> None:
    staff.is_superuser = False
    staff.save()
    staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))

    assert back_office.get(f"{JOBS}csv/").status_code == status


def test_a_list_that_takes_too_long_says_so(
    back_office: Client, add_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(changelist: Any, rows: Any) -> list[Any]:
        return read_page(changelist, rows.extra(where=["pg_sleep(1) IS NOT NULL"]))

    add_job()
    read_page = admin_lists.PagedByPlace._read
    monkeypatch.setattr(admin_lists, "LONGEST_READ", timedelta(milliseconds=50))
    monkeypatch.setattr(admin_lists.PagedByPlace, "_read", slowly)

    page = back_office.get(JOBS).content.decode()

    assert "too many rows" in page


def test_a_place_that_was_not_made_here_leads_back(back_office: Client) -> None:
    for word in ("x", "[]", "[1,2]", '["a"]', "[null]", "{}"):
        assert back_office.get(JOBS, {"after": word}).status_code == 302


def test_a_column_that_is_not_offered_sorts_nothing(back_office: Client, add_job: Callable[..., Job]) -> None:
    add_job("b"), add_job("a")

    listed = back_office.get(JOBS, {"o": "0"}).context["cl"]

    assert [job.job_id for job in listed.result_list] == ["a", "b"]
