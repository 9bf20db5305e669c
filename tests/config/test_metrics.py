"""`/metrics`: who may read it, what is on it, and that nothing a caller makes up gets there."""

from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.test import Client
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from pytest_django import Settings

from accounts import volatile
from config import checks, waiting

TOKEN = "a-token-for-prometheus"
OF_APPS = (
    "verify_seconds_bucket",
    "verify_keys_total",
    "verify_looks_total",
    "unlimited_requests_total",
    "ingest_reports_total",
    "ingest_records_total",
    "ingest_batch_seconds_bucket",
)


def samples(client: Client) -> list[Sample]:
    response = client.get("/metrics")
    assert response.status_code == 200
    families = text_string_to_metric_families(response.content.decode())
    return [sample for family in families for sample in family.samples]


def up(client: Client) -> dict[str, float]:
    return {one.labels["part"]: one.value for one in samples(client) if one.name == "countinghouse_up"}


def test_each_metric_appears(client: Client, db: None) -> None:
    client.get("/healthz")  # requests are told of once there was one

    names = {sample.name for sample in samples(client)}

    assert {f"countinghouse_{name}" for name in (*OF_APPS, *waiting.MEANINGS)} <= names
    assert "django_http_requests_latency_seconds_by_view_method_bucket" in names


def test_each_is_explained(client: Client, db: None, settings: Settings) -> None:
    page = (Path(settings.BASE_DIR) / "docs" / "metrics.md").read_text()
    # A histogram by its own name.
    names = {
        sample.name.removesuffix("_bucket") for sample in samples(client) if "_created" not in sample.name
    }
    ours = {
        name for name in names if name.startswith("countinghouse_") and not name.endswith(("_sum", "_count"))
    }

    assert [name for name in sorted(ours) if f"`{name.removeprefix('countinghouse_')}`" not in page] == []


@pytest.mark.parametrize("queue", waiting.QUEUES, ids=lambda queue: queue.metric)
def test_each_is_worth_a_look_from_when_the_back_office_calls_it_late(
    queue: waiting.Queue, settings: Settings
) -> None:
    page = (Path(settings.BASE_DIR) / "docs" / "metrics.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith(f"| `{queue.metric}` |"))

    assert line.endswith(f"| {queue.limit.total_seconds():,.0f} |")


def test_codes_appear_before_the_first_call(client: Client, db: None) -> None:
    codes = {
        one.labels["code"] for one in samples(client) if one.name == "countinghouse_verify_seconds_count"
    }

    assert {"VALID", "NOT_FOUND", "RATE_LIMITED"} <= codes


# ── Who may read it ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("header", "status"), [(f"Bearer {TOKEN}", 200), ("Bearer other", 404), ("Bearer é", 404), ("", 404)]
)
def test_a_token_opens_it_and_nothing_else_does(
    client: Client, db: None, settings: Settings, header: str, status: int
) -> None:
    settings.METRICS_TOKEN = TOKEN

    response = client.get("/metrics", headers={"Authorization": header}, REMOTE_ADDR="127.0.0.1")

    assert response.status_code == status


def test_a_token_opens_it_from_anywhere(client: Client, db: None, settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN

    response = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, REMOTE_ADDR="192.0.2.1")

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 404), ("10.0.0.1", 404), ("", 404), ("unix:", 404)],
)
def test_without_a_token_only_this_machine_reads_it(
    client: Client, db: None, address: str, status: int
) -> None:
    assert client.get("/metrics", REMOTE_ADDR=address).status_code == status


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"])
def test_without_a_token_a_proxy_on_this_machine_opens_it_to_nobody(
    client: Client, db: None, name: str
) -> None:
    assert client.get("/metrics", headers={name: "127.0.0.1"}).status_code == 404


@pytest.mark.parametrize(
    ("token", "demo", "found"), [("", False, ["countinghouse.W002"]), (TOKEN, False, []), ("", True, [])]
)
def test_a_missing_token_is_warned_of_outside_the_demo(
    settings: Settings, token: str, demo: bool, found: list[str]
) -> None:
    settings.METRICS_TOKEN, settings.DEMO = token, demo

    assert [warning.id for warning in checks.no_unread_metrics(None)] == found


# ── What is away ─────────────────────────────────────────────────────────────────────────────────────────────
def test_a_database_that_is_away_leaves_its_numbers_out(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", away)
        found = samples(client)

    assert {one.labels["part"]: one.value for one in found if one.name == "countinghouse_up"} == {
        "database": 0,
        "redis": 1,
    }
    names = {one.name.removeprefix("countinghouse_") for one in found}
    assert names & set(waiting.MEANINGS) == {"queue_length"}
    assert set(OF_APPS) <= names


def test_a_redis_that_is_away_leaves_the_queue_out(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> None:
        raise volatile.Unavailable("Redis is away")

    monkeypatch.setattr(volatile, "ask", away)

    assert up(client) == {"database": 1, "redis": 0}
    assert "countinghouse_queue_length" not in {sample.name for sample in samples(client)}


# ── Labels ───────────────────────────────────────────────────────────────────────────────────────────────────
def series() -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith("django_")
    }


def test_unknown_paths_and_methods_make_no_new_labels(client: Client, db: None) -> None:
    for method in ("GET", "MADEUP0"):
        client.generic(method, "/nowhere/0")
    before = series()

    for number in range(1, 6):
        client.get(f"/nowhere/{number}")
        client.generic(f"MADEUP{number}", f"/nowhere/{number}", headers={"Host": f"h{number}.example"})

    assert series() == before


def test_a_length_that_is_no_number_breaks_nothing(client: Client, db: None) -> None:
    assert client.get("/healthz", CONTENT_LENGTH="many").status_code == 200
