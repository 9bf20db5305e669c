"""`POST /billing-usage`, sentence by sentence as it is promised to whoever runs an air-gapped deployment."""

import gzip
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from pytest_django import Settings

from accounts import keys
from accounts.models import ApiKey, AuditEntry
from tests.usage import billing_rows as rows
from tests.usage.billing_rows import NOON, answer, ask, fetch, queued, waiting
from tests.usage.conftest import item
from usage.models import BillingExportFile, BillingExportRow

Json = dict[str, Any]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("exports_folder")]


def test_usage_is_exported_and_a_link_to_the_file_answered(data_plane: Client) -> None:
    queued("a", "b", "c")

    found = answer(data_plane)

    assert set(found) == {"presigned_url", "num_records"}
    assert found["num_records"] == 3
    assert rows.keys(fetch(Client(), found["presigned_url"])) == ["a", "b", "c"]


def test_the_answer_leads_to_the_manifest_too(data_plane: Client) -> None:
    queued("a")

    response = ask(data_plane)

    [url] = re.findall(r'^<(.+)>; rel="describedby"$', response["Link"])
    manifest = json.loads(fetch(Client(), url))
    assert manifest["records"] == 1
    assert json.loads(response.content)["presigned_url"].partition("?")[0].endswith(manifest["file"])


def test_the_file_has_these_columns(data_plane: Client) -> None:
    queued("a", type="extract", num_pages=7, attributes={"tier": "gold", "n": [1, 2]})

    [line] = rows.lines(fetch(Client(), answer(data_plane)["presigned_url"]))

    assert list(line) == ["idempotency_key", "type", "num_pages", "attributes", "timestamp"]
    assert json.loads(line.pop("attributes")) == {"tier": "gold", "n": [1, 2]}
    assert datetime.fromisoformat(line.pop("timestamp")) == NOON
    assert line == {"idempotency_key": "a", "type": "extract", "num_pages": "7"}


def test_attributes_are_json_also_where_there_are_none(data_plane: Client) -> None:
    queued("a")

    [line] = rows.lines(fetch(Client(), answer(data_plane)["presigned_url"]))

    assert json.loads(line["attributes"]) == {}


def test_text_survives_csv(data_plane: Client) -> None:
    odd = ['quote " and , comma', "line\nbreak\r\n", "=1+1", "ключ 🔑", "x" * 255]
    queued(*odd, attributes={"text": 'a "quoted", one\n\\ 🔑'})

    packed = fetch(Client(), answer(data_plane)["presigned_url"])

    assert rows.keys(packed) == odd
    assert json.loads(rows.lines(packed)[0]["attributes"]) == {"text": 'a "quoted", one\n\\ 🔑'}


def test_records_come_oldest_first(data_plane: Client) -> None:
    queued("late", timestamp=NOON)
    queued("early", timestamp=NOON - timedelta(days=400))
    queued("same time, second", timestamp=NOON)

    found = answer(data_plane)

    assert rows.keys(fetch(Client(), found["presigned_url"])) == ["early", "late", "same time, second"]


def test_count_is_the_most_records_of_a_file(data_plane: Client) -> None:
    queued("a", "b", "c")

    found = answer(data_plane, count=2)

    assert found["num_records"] == 2
    assert rows.keys(fetch(Client(), found["presigned_url"])) == ["a", "b"]


def test_without_delete_the_same_records_come_again(data_plane: Client) -> None:
    queued("a", "b", "c")

    first, second = (fetch(Client(), answer(data_plane, count=2)["presigned_url"]) for _ in range(2))

    assert rows.keys(first) == rows.keys(second) == ["a", "b"]
    assert waiting() == ["a", "b", "c"]


def test_with_delete_only_exported_records_are_deleted(data_plane: Client) -> None:
    queued("a", "b", "c")

    found = answer(data_plane, count=2, delete=True)

    assert rows.keys(fetch(Client(), found["presigned_url"])) == ["a", "b"]
    assert waiting() == ["c"]


def test_with_delete_the_calls_go_through_all_records_until_the_link_is_null(data_plane: Client) -> None:
    queued("a", "b", "c", "d", "e")

    answers = [answer(data_plane, count=2, delete=True) for _ in range(4)]

    assert [found["num_records"] for found in answers] == [2, 2, 1, 0]
    assert answers.pop() == {"presigned_url": None, "num_records": 0}
    exported = [rows.keys(fetch(Client(), found["presigned_url"])) for found in answers]
    assert exported == [["a", "b"], ["c", "d"], ["e"]]


def test_nothing_left_makes_no_file(data_plane: Client) -> None:
    assert answer(data_plane) == {"presigned_url": None, "num_records": 0}

    assert not BillingExportFile.objects.exists()


def test_an_empty_body_means_the_defaults(data_plane: Client) -> None:
    queued("a")

    response = ask(data_plane, b"")

    assert json.loads(response.content)["num_records"] == 1
    assert waiting() == ["a"]


def test_the_file_lies_under_its_prefix_and_is_named_by_number_and_times(data_plane: Client) -> None:
    queued("a", timestamp=datetime.fromisoformat("2026-01-02T03:04:05Z"))
    queued("b", timestamp=datetime.fromisoformat("2026-06-07T08:09:10Z"))

    url = answer(data_plane)["presigned_url"]

    name = BillingExportFile.objects.get().name
    assert re.fullmatch(r"usage_for_billing/000001-20260102T030405Z-20260607T080910Z-\w{8}\.csv\.gz", name), (
        name
    )
    assert f"/{name}?" in url


def test_the_link_is_valid_for_six_days(data_plane: Client) -> None:
    queued("a")
    with time_machine.travel(NOON, tick=False) as clock:
        path = answer(data_plane)["presigned_url"].removeprefix("http://127.0.0.1:8000")

        clock.shift(timedelta(days=6))
        in_time = rows.keys(fetch(Client(), path))
        clock.shift(timedelta(seconds=1))
        too_late = Client().get(path).status_code

    assert (in_time, too_late) == (["a"], 410)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"count": 0}, "count"),
        ({"count": -1}, "count"),
        ({"count": True}, "count"),
        ({"count": 10_000_001}, "count"),
        ({"count": 10**40}, "count"),
        ({"count": "x"}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": None}, "count"),
        ({"count": [1]}, "count"),
        ({"delete": "yes"}, "delete"),
        ({"delete": 1}, "delete"),
        ({"delete": None}, "delete"),
        ({"limit": 5}, "limit"),
        ([], None),
        (b"null", None),
        (b"not JSON", None),
        (b'{"count": NaN}', None),
        (b'{"count": 1', None),
        (b"\xff\xfe", None),
        (b"[" * 10_000, None),
    ],
)
def test_a_bad_body_is_refused_by_field_and_exports_nothing(
    data_plane: Client, body: Any, param: str | None
) -> None:
    queued("a")

    response = ask(data_plane, body)

    assert response.status_code == 400
    error = json.loads(response.content)["error"]
    assert error["code"] == "invalid_body"
    assert error.get("param") == param
    assert waiting() == ["a"]
    assert not BillingExportFile.objects.exists()


def test_the_largest_count_is_accepted(data_plane: Client) -> None:
    queued("a")

    assert answer(data_plane, count=10_000_000)["num_records"] == 1


def test_a_large_body_is_refused(data_plane: Client) -> None:
    assert ask(data_plane, b" " * 20_000).status_code == 413


def test_a_gzipped_body_is_read(data_plane: Client) -> None:
    queued("a", "b")

    response = data_plane.post(
        "/billing-usage",
        gzip.compress(b'{"count": 1}'),
        content_type="application/json",
        headers={"Content-Encoding": "gzip"},
    )

    assert response.json()["num_records"] == 1


def test_other_methods_are_refused(data_plane: Client) -> None:
    response = data_plane.get("/billing-usage")

    assert response.status_code == 405
    assert response["Allow"] == "POST"


def test_without_a_key_nobody_exports() -> None:
    response = ask(Client())

    assert response.status_code == 401
    assert json.loads(response.content)["error"]["code"] == "invalid_api_key"


def test_a_service_key_needs_the_scope(db: None) -> None:
    queued("a")
    _, secret = keys.create_service_key(name="data plane", scopes=["gateway:verify", "gateway:report"])

    response = ask(Client(headers={"Authorization": f"Bearer {secret}"}), {"delete": True})

    assert response.status_code == 403
    assert "billing_usage:export" in json.loads(response.content)["error"]["message"]
    assert waiting() == ["a"]


def test_the_scope_alone_is_enough(db: None) -> None:
    _, secret = keys.create_service_key(name="carrier", scopes=["billing_usage:export"])

    assert answer(Client(headers={"Authorization": f"Bearer {secret}"}))["num_records"] == 0


def test_a_key_that_a_process_still_knows_exports_nothing_once_it_is_revoked(
    data_plane: Client, service_key: tuple[ApiKey, str]
) -> None:
    queued("a", "b")
    answer(data_plane, count=1, delete=True)

    keys.revoke(key=service_key[0], actor=None)

    assert ask(data_plane, {"delete": True}).status_code == 401
    assert waiting() == ["b"]


def test_a_customers_key_may_not(organization_key: tuple[ApiKey, str]) -> None:
    response = ask(Client(headers={"Authorization": f"Bearer {organization_key[1]}"}))

    assert response.status_code == 403


def test_switched_off_it_says_what_to_set(data_plane: Client, settings: Settings) -> None:
    settings.STORE_USAGE_FOR_BILLING = False
    queued("a")

    response = ask(data_plane, {"delete": True})

    assert response.status_code == 400
    error = json.loads(response.content)["error"]
    assert error["code"] == "billing_usage_off"
    assert "STORE_USAGE_FOR_BILLING=yes" in error["message"]
    assert waiting() == ["a"]


def test_switched_off_nothing_is_stored(
    post_jobs: Callable[..., Json], job: Callable[..., Json], settings: Settings
) -> None:
    settings.STORE_USAGE_FOR_BILLING = False

    post_jobs(job())

    assert not BillingExportRow.objects.exists()


def test_processed_documents_are_stored_by_themselves(
    post_jobs: Callable[..., Json], job: Callable[..., Json], data_plane: Client
) -> None:
    post_jobs(job(usage=[item("k1", pages=5, attributes={"doc": 1}), item("k2", product="extract")]))

    found = rows.lines(fetch(Client(), answer(data_plane)["presigned_url"]))

    assert {(line["idempotency_key"], line["type"], line["num_pages"]) for line in found} == {
        ("k1", "parse", "5"),
        ("k2", "extract", "3"),
    }
    assert {line["attributes"] for line in found} == {'{"doc": 1}', "{}"}


def test_an_export_is_in_the_audit_trail(data_plane: Client, service_key: tuple[ApiKey, str]) -> None:
    queued("a", "b")

    answer(data_plane, delete=True)

    entry = AuditEntry.objects.get(action="billing_usage.exported")
    assert entry.api_key_uid == service_key[0].uid
    assert entry.target_uid == BillingExportFile.objects.get().uid
    assert entry.after["records"] == 2
    assert entry.after["deleted"] is True
