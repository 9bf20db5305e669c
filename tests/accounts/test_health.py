from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from config import health


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> Iterator[None]:
    """Nothing known of migrations, no demo, and dj-stripe's tables made without its migrations."""
    monkeypatch.setattr(health, "_migrated", False)
    settings.MIGRATION_MODULES = {"djstripe": None}
    settings.DEMO = False
    settings.VAR_DIR = tmp_path
    yield


def ready(client: Client) -> tuple[int, dict[str, str]]:
    response = client.get("/readyz")
    return response.status_code, response.json()


def test_healthz_answers_without_touching_anything(
    client: Client, db: None, django_assert_num_queries: DjangoAssertNumQueries, settings: Settings
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    with django_assert_num_queries(0):
        response = client.get("/healthz")

    assert (response.status_code, response.content) == (200, b"ok")


def test_ready_names_each_part(client: Client, db: None) -> None:
    assert ready(client) == (200, {"database": "ok", "redis": "ok", "migrations": "ok"})


def test_applied_migrations_are_looked_at_once(
    client: Client, db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ready(client)

    with django_assert_num_queries(1):
        ready(client)


def test_a_missing_redis_is_named_without_its_address(client: Client, db: None, settings: Settings) -> None:
    settings.REDIS_URL = "redis://:hunter2@127.0.0.1:1/0"

    status, parts = ready(client)

    assert (status, parts["redis"], parts["database"]) == (503, "does not answer", "ok")
    assert "hunter2" not in str(parts)


def test_missing_migrations_are_counted(client: Client, db: None, settings: Settings) -> None:
    settings.MIGRATION_MODULES = {}  # in the tests' database dj-stripe's tables are there, its migrations not

    status, parts = ready(client)

    assert status == 503
    assert parts["migrations"].endswith("not applied yet")


def test_the_demo_is_ready_once_its_file_is_written(
    client: Client, db: None, settings: Settings, tmp_path: Path
) -> None:
    settings.DEMO = True

    before = ready(client)
    (tmp_path / "demo.json").write_text("{}")
    after = ready(client)

    assert (before[0], before[1]["demo"]) == (503, "still being made")
    assert (after[0], after[1]["demo"]) == (200, "ok")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_only_reading_is_allowed(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
