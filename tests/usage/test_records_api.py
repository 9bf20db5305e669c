"""`GET /api/v1/usage/records` and `/api/v1/usage/exports`."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.test import Client
from pytest_django import Settings

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from accounts.permissions import Scope
from tests.usage.rows import NOON
from tests.usage.test_csv import body, record_row
from usage import columns, export_files
from usage.models import UsageExportFile

RECORDS, EXPORTS = "/api/v1/usage/records", "/api/v1/usage/exports"


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def client(organization_key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"Authorization": f"Bearer {organization_key[1]}"})


def test_record_has_the_columns_of_the_csv(client: Client, key: ApiKey) -> None:
    record_row(key)

    answer = client.get(RECORDS).json()

    [record] = answer["data"]
    assert list(record) == [column.name for column in columns.RECORDS]
    assert record["api_key_id"] == key.uid
    assert (record["timestamp"], record["credits"]) == ("2026-06-18T12:00:00.000000Z", 3.0)
    assert answer["next_cursor"] is None


@pytest.mark.parametrize("limit", [1, 3, 500])
def test_pages_are_complete(client: Client, key: ApiKey, limit: int) -> None:
    for number in range(7):
        record_row(key, f"{number}", timestamp=NOON - timedelta(days=10 * (number // 2)))

    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = client.get(RECORDS, {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})).json()
        seen += [record["idempotency_key"] for record in answer["data"]]
        cursor = answer["next_cursor"]

    assert seen == ["1", "0", "3", "2", "5", "4", "6"]


@pytest.mark.parametrize(
    "query", [{"product": "extract"}, {"file_type": "docx"}, {"region": "us"}, {"job_id": "j2"}]
)
def test_filters_keep_what_matches(client: Client, key: ApiKey, query: dict[str, str]) -> None:
    record_row(key, "other")
    record_row(key, "wanted", **query)

    assert [record["idempotency_key"] for record in client.get(RECORDS, query).json()["data"]] == ["wanted"]


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("limit", "0"),
        ("cursor", "x"),
        ("since", "x"),
        ("product", "x"),
        ("format", "xml"),
        ("region", "\0"),
        ("startDate", "2026-06-18"),
    ],
)
def test_bad_parameter_is_named(client: Client, param: str, value: str) -> None:
    response = client.get(RECORDS, {param: value})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_questions_do_not_grow_with_the_page(
    client: Client, key: ApiKey, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        record_row(key, f"{number}")
    client.get(RECORDS)

    with django_assert_max_num_queries(8):
        client.get(RECORDS)


@pytest.mark.django_db(transaction=True)
def test_csv_comes_at_once(client: Client, key: ApiKey) -> None:
    record_row(key)

    response = client.get(RECORDS, {"format": "csv"})

    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert body(response).count(b"\n") == 2


def test_csv_needs_the_permission_to_export(viewer: User, organization: Organization) -> None:
    _, secret = keys.create_personal_key(user=viewer, organization=organization, name="reader")
    reader = Client(headers={"Authorization": f"Bearer {secret}"})

    assert reader.get(RECORDS).status_code == 200
    assert reader.get(RECORDS, {"format": "csv"}).status_code == 403


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGES = settings.STORAGES | {
        "exports": {"BACKEND": "usage.files.Folder", "OPTIONS": {"location": tmp_path}}
    }
    storages._storages.clear()  # type: ignore[attr-defined]


def ask(client: Client, **fields: Any) -> Any:
    return client.post(EXPORTS, {"kind": "records"} | fields, content_type="application/json")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("folder")
def test_export_is_asked_for_made_fetched_and_deleted(client: Client, key: ApiKey) -> None:
    record_row(key)
    asked = ask(client, since="2026-06-01")
    address = f"{EXPORTS}/{asked.json()['id']}"
    early = client.get(f"{address}/file").status_code
    export_files.make_waiting()
    made = client.get(address).json()
    text = body(client.get(f"{address}/file"))
    deleted = client.delete(address)

    assert (asked.status_code, early) == (201, 409)
    assert (made["state"], made["rows"], made["filters"]) == ("done", 1, {"since": "2026-06-01"})
    assert text.count(b"\n") == 2
    assert deleted.status_code == 204
    assert client.get(address).status_code == 404


def test_export_under_way_is_stopped_by_deleting_it(client: Client) -> None:
    address = f"{EXPORTS}/{ask(client).json()['id']}"

    assert client.delete(address).status_code == 204
    assert not UsageExportFile.objects.exists()


def test_exports_are_listed_newest_first(client: Client) -> None:
    made = [ask(client).json()["id"] for _ in range(3)]

    first = client.get(EXPORTS, {"limit": 2}).json()
    rest = client.get(EXPORTS, {"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [each["id"] for each in first["data"] + rest["data"]] == made[::-1]


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("kind", {"kind": "x"}),
        ("kind", {"kind": ["records"]}),
        ("since", {"since": "June"}),
        ("since", {"since": "2026-06-02", "until": "2026-06-01"}),
        ("type", {"type": "Parse"}),
        ("environment", {"environment": "staging"}),
        ("product", {"kind": "jobs", "product": "parse"}),
        ("region", {"region": "\0"}),
        ("region", {"region": "x" * 33}),
        ("job_id", {"job_id": "x" * 129}),
        ("gzip", {"gzip": "maybe"}),
    ],
)
def test_bad_field_is_named(client: Client, param: str, fields: dict[str, Any]) -> None:
    response = ask(client, **fields)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert not UsageExportFile.objects.exists()


def test_sixth_unfinished_export_is_a_conflict(client: Client) -> None:
    codes = [ask(client).status_code for _ in range(6)]

    assert codes == [201] * 5 + [409]


def test_key_that_may_not_read_jobs_may_not_export_them(organization: Organization, owner: User) -> None:
    _, secret = keys.create_organization_key(
        organization=organization, name="usage", actor=Actor(owner), scopes=[Scope.USAGE]
    )
    client = Client(headers={"Authorization": f"Bearer {secret}"})

    assert ask(client, kind="jobs").status_code == 403
    assert ask(client, kind="records").status_code == 201


def test_foreign_export_is_not_there(client: Client, other_organization: Organization) -> None:
    foreign = UsageExportFile.objects.create(organization=other_organization, kind="records")

    assert client.get(f"{EXPORTS}/{foreign.uid}").status_code == 404
    assert client.get(f"{EXPORTS}/{foreign.uid}/file").status_code == 404
    assert client.delete(f"{EXPORTS}/{foreign.uid}").status_code == 404
