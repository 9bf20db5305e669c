"""The request log and usage records as CSV that is written while it is sent."""

import csv
import gzip
import io
import tracemalloc
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client

from accounts.models import ApiKey, Organization, User
from tests.usage.rows import NOON, job_row
from usage import columns, exports, partitions
from usage.exports import Export, Reading, TooMany
from usage.models import UsageRecord
from usage.reports import Filters, RecordFilters

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def page(client: Client, member: User) -> Client:
    client.force_login(member)
    return client


@pytest.fixture
def url(organization: Organization) -> str:
    return f"/o/{organization.uid}/usage"


def record_row(key: ApiKey, idempotency_key: str = "job-1:1", **fields: Any) -> UsageRecord:
    """A metered item of three standard pages; name what differs."""
    partitions.ensure([partitions.month_of(fields.get("timestamp", NOON))])
    return UsageRecord.objects.create(
        **{
            "organization": key.organization,
            "idempotency_key": idempotency_key,
            "job_id": "job-1",
            "api_key": key,
            "product": "parse",
            "feature": "standard",
            "file_type": "pdf",
            "requests": 1,
            "pages": 3,
            "credits": Decimal(3),
            "cost": Decimal("0.03"),
            "day": fields.get("timestamp", NOON).date(),
            "timestamp": NOON,
        }
        | fields
    )


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def rows(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    text = body(response).decode()
    response.close()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_line_of_the_log_tells_what_the_page_tells(page: Client, url: str, key: ApiKey) -> None:
    job_row(key, credits="12.500000", file_type="pdf")

    [line] = rows(page.get(f"{url}/jobs.csv"))

    assert line == {
        "job_id": "job-1",
        "created_at": "2026-06-18T12:00:00.000000Z",
        "duration": "1.5",
        "type": "Parse",
        "status": "Completed",
        "num_pages": "3",
        "credits": "12.5",
        "region": "eu",
        "file_type": "pdf",
        "api_key": "production",
        "api_key_id": key.uid,
    }


def test_page_has_the_columns_of_the_list(page: Client, organization: Organization, key: ApiKey) -> None:
    job_row(key)

    html = page.get(f"/o/{organization.uid}/jobs/").content.decode()

    head, body = html[html.index("<thead") :].split("</thead>", 1)
    labels = [column.label for column in columns.JOBS if column.label]
    assert [part.split("</th>")[0].rpartition(">")[2] for part in head.split("<th ")[1:]] == labels
    assert [f'data-label="{label}"' in body for label in labels[1:]] == [True] * (len(labels) - 1)


def test_line_of_a_record_has_every_column(page: Client, url: str, key: ApiKey) -> None:
    record_row(key, credits=Decimal("-3"), corrects="job-1:0", reason="-1 page", unrated=True)

    [line] = rows(page.get(f"{url}/records.csv"))

    assert list(line) == [column.name for column in columns.RECORDS]
    assert line["timestamp"] == "2026-06-18T12:00:00.000000Z"
    assert (line["day"], line["credits"], line["unrated"]) == ("2026-06-18", "-3", "true")
    assert line["reason"] == "'-1 page"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_text_never_begins_like_a_formula(page: Client, url: str, key: ApiKey, sign: str) -> None:
    ApiKey.objects.filter(pk=key.pk).update(name=f"{sign}name")
    job_row(key, f"{sign}1+1", region=f"{sign}eu", file_type=f"{sign}pdf")

    [line] = rows(page.get(f"{url}/jobs.csv"))

    for name in ("job_id", "region", "file_type", "api_key"):
        assert line[name].startswith(f"'{sign}")


@pytest.mark.parametrize("text", ['say "hi"', "a,b;c", "two\nlines", "größer 日本 🙂", "'quoted", "\\."])
def test_text_comes_back_as_it_was(page: Client, url: str, key: ApiKey, text: str) -> None:
    job_row(key, text)

    [line] = rows(page.get(f"{url}/jobs.csv"))

    assert line["job_id"] == text


def test_nothing_is_an_empty_cell(page: Client, url: str, key: ApiKey) -> None:
    job_row(key, duration=None, num_pages=None, region="", api_key_id=10**12)

    [line] = rows(page.get(f"{url}/jobs.csv"))

    assert [line[name] for name in ("duration", "num_pages", "region", "api_key", "api_key_id")] == [""] * 5


def test_filters_of_the_address_narrow_it(page: Client, url: str, key: ApiKey) -> None:
    job_row(key, "old", created_at=NOON.replace(day=1))
    job_row(key, "failed", status="Failed")
    job_row(key, "wanted", file_type="docx")

    found = rows(
        page.get(f"{url}/jobs.csv?since=2026-06-18&until=2026-06-18&status=Completed&file_type=docx")
    )

    assert [line["job_id"] for line in found] == ["wanted"]


def test_newest_comes_first(page: Client, url: str, key: ApiKey) -> None:
    for day in (3, 5, 4):
        record_row(key, f"{day}", timestamp=NOON.replace(day=day))

    assert [line["idempotency_key"] for line in rows(page.get(f"{url}/records.csv"))] == ["5", "4", "3"]


@pytest.mark.parametrize(
    "query", ["since=yesterday", "since=2026-06-02&until=2026-06-01", "type=x", "region=%00"]
)
def test_senseless_filter_is_told(page: Client, url: str, query: str) -> None:
    response = page.get(f"{url}/jobs.csv?{query}")

    assert response.status_code == 400
    assert response.context["form"].errors


def test_empty_export_is_its_header(page: Client, url: str) -> None:
    response = page.get(f"{url}/jobs.csv")

    assert body(response) == columns.header(columns.JOBS)


def test_file_is_named_after_what_it_holds(page: Client, url: str, organization: Organization) -> None:
    response = page.get(f"{url}/records.csv?since=2026-06-01&until=2026-06-30")

    name = f"records-{organization.uid}-2026-06-01-2026-06-30.csv"
    assert response["Content-Disposition"] == f'attachment; filename="{name}"'
    response.close()


def test_gzip_comes_back_the_same(page: Client, url: str, key: ApiKey) -> None:
    for number in range(50):
        job_row(key, f"job-{number}")

    plain = body(page.get(f"{url}/jobs.csv"))
    packed = page.get(f"{url}/jobs.csv", headers={"accept-encoding": "br, gzip;q=0.8"})
    as_file = page.get(f"{url}/jobs.csv?gzip=1", headers={"accept-encoding": "gzip"})

    assert packed["Content-Encoding"] == "gzip"
    assert gzip.decompress(body(packed)) == plain
    assert as_file["Content-Disposition"].endswith('.csv.gz"')
    assert "Content-Encoding" not in as_file
    assert gzip.decompress(body(as_file)) == plain


def test_client_that_refuses_gzip_gets_none(page: Client, url: str) -> None:
    response = page.get(f"{url}/jobs.csv", headers={"accept-encoding": "gzip;q=0"})

    assert "Content-Encoding" not in response
    response.close()


def many_jobs(key: ApiKey, count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO usage_job (organization_id, job_id, api_key_id, type, status, stage, created_at, credits,"
            " usage_items, region, file_type, config_sha256, report_digest, updated_at)"
            " SELECT %s, 'job-' || n, %s, 'Parse', 'Completed', 3, now(), 1, 1, 'eu', 'pdf', '', '', now()"
            " FROM generate_series(1, %s) n",
            [key.organization_id, key.pk, count],
        )


def read_through(export: Export) -> int:
    """The most memory in use while it is read."""
    reading = Reading(export, longest=60)
    tracemalloc.start()
    for _ in exports.gzipped(reading):
        pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    reading.close()
    return most


def test_memory_does_not_grow_with_the_rows(organization: Organization, key: ApiKey) -> None:
    many_jobs(key, 60_000)

    assert read_through(Export(organization, Filters())) < 2_000_000


def test_rows_are_counted_without_the_header(organization: Organization, key: ApiKey) -> None:
    many_jobs(key, 5_000)
    reading = Reading(Export(organization, Filters()), longest=60)

    lines = b"".join(reading).count(b"\n")
    reading.close()

    assert (reading.rows, lines) == (5_000, 5_001)


def exporting() -> int:
    """How many connections are busy copying."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%%'"
        )
        count: int = cursor.fetchone()[0]
        return count


def wait_until_none_is_exporting() -> None:
    for _ in range(500):
        if exporting() == 0:
            return
    raise AssertionError("a connection is still held")


def test_client_that_leaves_gives_the_connection_back(page: Client, url: str, key: ApiKey) -> None:
    many_jobs(key, 60_000)
    response: Any = page.get(f"{url}/jobs.csv")
    next(response.streaming_content)
    held = exporting()

    response.close()

    assert held == 1
    wait_until_none_is_exporting()


def test_what_is_reported_meanwhile_is_not_in_it(organization: Organization, key: ApiKey) -> None:
    many_jobs(key, 20_000)
    reading = Reading(Export(organization, Filters()), longest=60)
    first = next(reading)
    job_row(key, "late", created_at=NOON.replace(year=2020))

    text = first + b"".join(reading)
    reading.close()

    assert b"late" not in text


def test_third_download_of_an_organization_waits(organization: Organization, key: ApiKey) -> None:
    export = Export(organization, Filters())
    two = [Reading(export, longest=60, slots=2) for _ in range(2)]

    with pytest.raises(TooMany):
        Reading(export, longest=60, slots=2)
    for reading in two:
        reading.close()
    Reading(export, longest=60, slots=2).close()


def test_busy_process_says_so(page: Client, url: str) -> None:
    others = [page.get(f"{url}/jobs.csv"), page.get(f"{url}/jobs.csv")]

    response = page.get(f"{url}/jobs.csv")

    assert response.status_code == 429
    for other in others:
        other.close()
    assert rows(page.get(f"{url}/jobs.csv")) == []


@pytest.mark.parametrize("path", ["/o/{uid}/usage/jobs.csv?", "/api/v1/usage/records?orgId={uid}&format=csv"])
@pytest.mark.parametrize(("gzip_file", "accepts"), [("", "identity"), ("", "gzip"), ("&gzip=1", "identity")])
def test_export_that_breaks_off_says_so_at_its_end(
    page: Client,
    organization: Organization,
    path: str,
    gzip_file: str,
    accepts: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: Reading, header: bytes) -> Iterator[bytes]:
        yield header
        raise psycopg.errors.QueryCanceled

    monkeypatch.setattr(Reading, "_read", broken)

    response = page.get(path.format(uid=organization.uid) + gzip_file, headers={"Accept-Encoding": accepts})

    text = body(response)
    if gzip_file or accepts == "gzip":
        text = gzip.decompress(text)
    assert text.splitlines()[-1].startswith(b'"INCOMPLETE')


def test_days_are_those_the_records_were_counted_in(organization: Organization, key: ApiKey) -> None:
    # Cut in Auckland, which was the organization's zone then.
    record_row(key, "evening", timestamp=NOON.replace(hour=11), day=date(2026, 6, 18))
    record_row(key, "midnight", timestamp=NOON.replace(hour=12), day=date(2026, 6, 19))
    record_row(key, "next midnight", timestamp=NOON.replace(day=19, hour=12), day=date(2026, 6, 20))
    filters = RecordFilters(since=date(2026, 6, 19), until=date(2026, 6, 19))

    found = Export(organization, filters).rows().values_list("idempotency_key", flat=True)

    assert list(found) == ["midnight"]


@pytest.mark.parametrize(("zone", "hours"), [("Pacific/Kiritimati", -14), ("Pacific/Pago_Pago", 11)])
def test_days_of_the_outermost_zones_are_whole(
    organization: Organization, key: ApiKey, zone: str, hours: int
) -> None:
    begins = NOON.replace(hour=0) + timedelta(hours=hours)
    record_row(key, "first", timestamp=begins, day=NOON.date())
    record_row(key, "last", timestamp=begins + timedelta(hours=24, microseconds=-1), day=NOON.date())
    filters = RecordFilters(since=NOON.date(), until=NOON.date())

    found = Export(organization, filters).rows().values_list("idempotency_key", flat=True)

    assert list(found) == ["last", "first"]


@pytest.mark.parametrize("day", [date.min, date.max])
def test_ends_of_the_calendar_are_days_too(organization: Organization, key: ApiKey, day: date) -> None:
    record_row(key)

    found = Export(organization, RecordFilters(since=day, until=day)).rows()

    assert list(found) == []


def test_another_organizations_rows_are_not_in_it(
    page: Client, url: str, key: ApiKey, other_organization: Organization
) -> None:
    job_row(key, "foreign", organization=other_organization)

    assert rows(page.get(f"{url}/jobs.csv")) == []


def test_viewer_may_not_export(client: Client, viewer: User, url: str, organization: Organization) -> None:
    client.force_login(viewer)

    assert client.get(f"{url}/jobs.csv").status_code == 403
    assert "jobs.csv" not in client.get(f"/o/{organization.uid}/jobs/").content.decode()
