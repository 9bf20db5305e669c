"""`GET /api/v1/jobs` and `GET /api/v1/job/{job_id}`."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from accounts.permissions import Scope
from tests.usage.rows import NOON, job_row

Json = dict[str, Any]


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def client(organization_key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"Authorization": f"Bearer {organization_key[1]}"})


@pytest.fixture
def foreign_key(other_organization: Organization, outsider: User) -> ApiKey:
    return keys.create_organization_key(organization=other_organization, name="x", actor=Actor(outsider))[0]


def listing(client: Client, **query: Any) -> Json:
    response = client.get("/api/v1/jobs", query)
    assert response.status_code == 200, response.content
    answer: Json = response.json()
    return answer


def ids(answer: Json) -> list[str]:
    return [job["job_id"] for job in answer["jobs"]]


def test_list_has_exactly_the_described_fields(client: Client, key: ApiKey) -> None:
    job_row(key, config={"mode": "fast"}, source="a.pdf")

    assert listing(client) == {
        "jobs": [
            {
                "job_id": "job-1",
                "type": "Parse",
                "status": "Completed",
                "created_at": "2026-06-18T12:00:00.000000Z",
                "duration": 1.5,
                "num_pages": 3,
                "total_pages": 4,
                "raw_config": '{"mode": "fast"}',
                "source": "a.pdf",
                "bucket": None,
            }
        ],
        "next_cursor": None,
    }


def test_configuration_is_empty_when_excluded_or_never_reported(client: Client, key: ApiKey) -> None:
    job_row(key, "with", config={"mode": "fast"})
    job_row(key, "without")

    excluded = listing(client, exclude_configs="true")
    included = listing(client, exclude_configs="false")

    assert [job["raw_config"] for job in excluded["jobs"]] == ["", ""]
    assert [json.loads(job["raw_config"] or "null") for job in included["jobs"]] == [None, {"mode": "fast"}]


def test_newest_comes_first(client: Client, key: ApiKey) -> None:
    for hours in (2, 3, 1):
        job_row(key, f"{hours} hours old", created_at=NOON - timedelta(hours=hours))

    assert ids(listing(client)) == ["1 hours old", "2 hours old", "3 hours old"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 500])
def test_pages_are_complete_and_repeat_nothing_when_times_tie(
    client: Client, key: ApiKey, limit: int
) -> None:
    expected = {f"job-{number}" for number in range(7)}
    for number in range(7):
        job_row(key, f"job-{number}", created_at=NOON - timedelta(seconds=number // 3))

    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = listing(client, limit=limit, cursor=cursor)
        seen += ids(page)
        cursor = page["next_cursor"]

    assert len(seen) == 7
    assert set(seen) == expected


def test_jobs_that_arrive_meanwhile_shift_no_page(client: Client, key: ApiKey) -> None:
    for number in range(4):
        job_row(key, f"job-{number}", created_at=NOON - timedelta(hours=number))
    first = listing(client, limit=2)
    job_row(key, "new", created_at=NOON + timedelta(hours=1))

    second = listing(client, limit=2, cursor=first["next_cursor"])

    assert ids(second) == ["job-2", "job-3"]


def test_default_page_has_a_hundred(client: Client, key: ApiKey) -> None:
    for number in range(101):
        job_row(key, f"job-{number}")

    page = listing(client)

    assert len(page["jobs"]) == 100
    assert page["next_cursor"]


@pytest.mark.parametrize(
    "field", [{"region": "us"}, {"status": "Failed"}, {"type": "Extract"}], ids=["region", "status", "type"]
)
def test_filters_keep_what_matches(client: Client, key: ApiKey, field: dict[str, str]) -> None:
    job_row(key, "other")
    job_row(key, "wanted", **field)

    assert ids(listing(client, **field)) == ["wanted"]


def test_key_filter_takes_an_id(client: Client, key: ApiKey, organization: Organization, owner: User) -> None:
    second, _ = keys.create_organization_key(organization=organization, name="staging", actor=Actor(owner))
    job_row(key, "first")
    job_row(second, "second")

    assert ids(listing(client, api_key=second.uid)) == ["second"]
    assert ids(listing(client, api_key="key_nobody")) == []


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("limit", "0"),
        ("limit", "501"),
        ("limit", "-1"),
        ("limit", "ten"),
        ("limit", "1.5"),
        ("limit", "9" * 2000),
        ("cursor", "nonsense"),
        ("cursor", "é"),
        ("cursor", "_" * 22),
        ("cursor", "AAAA"),
        ("exclude_configs", "perhaps"),
        ("status", "Done"),
        ("type", "Summarize"),
        ("region", "e\0u"),
        ("api_key", "\0"),
    ],
)
def test_malformed_parameter_is_refused_by_name(client: Client, parameter: str, value: str) -> None:
    response = client.get("/api/v1/jobs", {parameter: value})

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request"
    assert response.json()["error"]["param"] == parameter


def test_another_organizations_jobs_never_show(client: Client, foreign_key: ApiKey) -> None:
    job_row(foreign_key, "foreign")

    assert ids(listing(client)) == []
    assert ids(listing(client, api_key=foreign_key.uid)) == []
    assert client.get("/api/v1/job/foreign").status_code == 404


def test_queries_do_not_grow_with_the_page(
    client: Client, key: ApiKey, django_assert_max_num_queries: Any
) -> None:
    for number in range(50):
        job_row(key, f"job-{number}", config={"number": number})

    # The key, its creator's membership, the jobs, their configurations.
    with django_assert_max_num_queries(4):
        assert len(listing(client)["jobs"]) == 50


def test_job_has_everything_known_of_it(client: Client, key: ApiKey, post_jobs: Any, job: Any) -> None:
    post_jobs(job("job-1", config={"mode": "fast"}, metadata={"customer": 7}, total_pages=4))

    answer = client.get("/api/v1/job/job-1").json()

    usage = answer.pop("usage")
    created_at = answer.pop("created_at")
    assert created_at.endswith("Z")
    assert answer == {
        "job_id": "job-1",
        "type": "Parse",
        "status": "Completed",
        "duration": 1.5,
        "num_pages": 3,
        "total_pages": 4,
        "raw_config": '{"mode":"fast"}',
        "source": None,
        "bucket": None,
        "api_key_id": key.uid,
        "region": "eu",
        "credits": 3.0,
        "metadata": {"customer": 7},
        "error": None,
        "erased": [],
        "erased_at": None,
    }
    assert len(usage) == 1
    assert usage[0] == {
        "idempotency_key": "job-1:1",
        "product": "parse",
        "feature": "standard",
        "file_type": "pdf",
        "pages": 3,
        "quantity": None,
        "priority": "standard",
        "credits": 3.0,
        "cost": 0.03,
        "rate": {
            "product": "parse",
            "feature": "standard",
            "credits_per_unit": 1.0,
            "unit": "page",
            "minimum_credits": 0.0,
            "batch_factor": 0.8,
            "effective_from": "2020-01-01T00:00:00.000000Z",
        },
        "corrects": "",
        "reason": "",
        "timestamp": usage[0]["timestamp"],
        "attributes": None,
    }


@pytest.mark.parametrize("job_id", ["a/b", "100%", "a b?c#d", "line\nbreak", "ünï/", "'\"<b>", "x" * 128])
def test_job_is_found_whatever_its_id(client: Client, key: ApiKey, job_id: str) -> None:
    job_row(key, job_id)

    response = client.get("/api/v1/job/" + quote(job_id, safe=""))

    assert response.json()["job_id"] == job_id


@pytest.mark.parametrize("job_id", ["unknown", "%00", "%ff", "x" * 5000, "a/b/c"])
def test_unknown_job_is_not_found(client: Client, job_id: str) -> None:
    response = client.get(f"/api/v1/job/{job_id}")

    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found"


@pytest.mark.parametrize("path", ["jobs", "job/job-1"])
def test_jobs_need_their_scope(organization: Organization, owner: User, path: str) -> None:
    _, secret = keys.create_organization_key(
        organization=organization, name="usage only", actor=Actor(owner), scopes=[Scope.USAGE]
    )
    client = Client(headers={"Authorization": f"Bearer {secret}"})

    assert client.get(f"/api/v1/{path}").status_code == 403


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["jobs", "job/job-1"])
def test_jobs_need_a_key(path: str) -> None:
    assert Client().get(f"/api/v1/{path}").status_code == 401
