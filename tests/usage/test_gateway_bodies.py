"""How the gateway reads what it is sent: forms, packing, sizes, and who may send."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts import keys
from accounts.models import ApiKey
from tests.usage.conftest import ndjson
from usage.models import Job

URL = "/api/v1/gateway/jobs"
Make = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("rates")


def post(client: Client, body: bytes, content_type: str = "application/json", **headers: str) -> Any:
    return client.post(URL, body, content_type=content_type, headers=headers)


def test_newline_delimited_reports_are_read_one_by_one(data_plane: Client, job: Make) -> None:
    body = ndjson(job("a")) + b"\n\n{broken\n" + ndjson(job("b")) + b"\n"

    answer = post(data_plane, body, "application/x-ndjson").json()

    assert (answer["accepted"], [r["index"] for r in answer["rejected"]]) == (2, [1])


def test_gzip_is_unpacked(data_plane: Client, job: Make) -> None:
    body = gzip.compress(json.dumps({"jobs": [job()]}).encode())

    assert post(data_plane, body, **{"Content-Encoding": "gzip"}).json()["accepted"] == 1


def test_gzip_of_several_members_is_unpacked(data_plane: Client, job: Make) -> None:
    text = json.dumps({"jobs": [job()]}).encode()
    body = gzip.compress(text[:20]) + gzip.compress(text[20:])

    assert post(data_plane, body, **{"Content-Encoding": "gzip"}).json()["accepted"] == 1


def test_gzip_of_very_many_members_is_refused(data_plane: Client) -> None:
    body = gzip.compress(b" ") * 101

    assert post(data_plane, body, **{"Content-Encoding": "gzip"}).status_code == 400


def test_very_many_blank_lines_are_refused(data_plane: Client) -> None:
    assert post(data_plane, b"\n" * 30_000, "application/x-ndjson").status_code == 400


def test_a_gzip_bomb_is_refused_unopened(data_plane: Client) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(80)) + packer.flush()

    response = post(data_plane, bomb, **{"Content-Encoding": "gzip"})

    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


def test_a_plain_body_over_64_mib_is_refused(data_plane: Client) -> None:
    assert post(data_plane, b" " * (64 * 1024 * 1024 + 1)).status_code == 413


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"not json", {}),
        (b"[]", {}),
        (b"{}", {}),
        (b'{"jobs": {}}', {}),
        (b'{"jobs": null}', {}),
        (b'{"jobs": [' + b"[" * 100_000, {}),
        (b"\xff\xfe", {}),
        (b"not gzip", {"Content-Encoding": "gzip"}),
        (gzip.compress(b'{"jobs": []}', mtime=0)[:-9], {"Content-Encoding": "gzip"}),
        (b"{}", {"Content-Encoding": "br"}),
    ],
)
def test_an_unreadable_body_is_a_400(data_plane: Client, body: bytes, headers: dict[str, str]) -> None:
    response = post(data_plane, body, **headers)

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request"


@pytest.mark.parametrize(
    "report",
    [b"[" * 100_000 + b"]" * 100_000, b'"\xff"', b'{"job_id": "\\ud800"}', b"null", b"1e999", b'"x"', b"{}"],
)
def test_a_report_of_any_rubbish_is_refused_alone(data_plane: Client, job: Make, report: bytes) -> None:
    body = report + b"\n" + ndjson(job())

    answer = post(data_plane, body, "application/x-ndjson").json()

    assert (answer["accepted"], [r["code"] for r in answer["rejected"]]) == (1, ["invalid_report"])


@pytest.mark.parametrize(
    "field",
    [b'"metadata":{"a":"\\ud800"}', b'"metadata":{"a":1e400}', b'"error":"\\udfff"', b'"source":1e999'],
)
def test_json_that_the_database_cannot_hold_is_refused_or_kept_but_no_500(
    data_plane: Client, job: Make, field: bytes
) -> None:
    body = ndjson(job())[:-1] + b"," + field + b"}"

    response = post(data_plane, body, "application/x-ndjson")

    assert response.status_code == 200
    assert response.json()["accepted"] + len(response.json()["rejected"]) == 1


def test_more_than_10000_reports_are_refused(data_plane: Client) -> None:
    response = post(data_plane, b'{"jobs": [' + b",".join([b"{}"] * 10_001) + b"]}")

    assert (response.status_code, response.json()["error"]["param"]) == (400, "jobs")


def test_no_reports_are_no_problem(data_plane: Client) -> None:
    assert post(data_plane, b'{"jobs": []}').json() == {"accepted": 0, "duplicates": 0, "rejected": []}


def test_a_wide_batch_is_taken_whole(data_plane: Client, job: Make) -> None:
    reports = [job(f"job-{number}") for number in range(3_000)]

    answer = post(data_plane, json.dumps({"jobs": reports}).encode()).json()

    assert answer["accepted"] == Job.objects.count() == 3_000


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer nonsense", "Basic abc", "Bearer ch_production_" + "0" * 38]
)
def test_without_a_good_key_the_answer_is_401(header: str) -> None:
    response = Client(headers={"Authorization": header}).post(URL, b"{}", content_type="application/json")

    assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication")


def test_an_organization_key_is_no_service_key(organization_key: tuple[ApiKey, str]) -> None:
    client = Client(headers={"Authorization": f"Bearer {organization_key[1]}"})

    assert post(client, b'{"jobs": []}').status_code == 403


def test_a_service_key_without_the_scope_may_not_report(db: None) -> None:
    _, secret = keys.create_service_key(name="verify only", scopes=["gateway:verify"])
    client = Client(headers={"Authorization": f"Bearer {secret}"})

    assert post(client, b'{"jobs": []}').status_code == 403


def test_a_revoked_service_key_stops_at_once(data_plane: Client, service_key: tuple[ApiKey, str]) -> None:
    keys.revoke(key=service_key[0], actor=None)

    assert post(data_plane, b'{"jobs": []}').status_code == 401


def test_only_post_is_understood(data_plane: Client) -> None:
    response = data_plane.get(URL)

    assert (response.status_code, response["Allow"]) == (405, "POST")
