"""A price book, and a data plane to report jobs with."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import volatile
from accounts.models import ApiKey
from usage import limits
from usage.models import CreditRate

Json = dict[str, Any]


@pytest.fixture
def rates(db: None) -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    for product, feature, credits in (
        ("parse", "standard", 1),
        ("parse", "complex", 2),
        ("extract", "standard", 2),
    ):
        CreditRate.objects.create(
            product=product,
            feature=feature,
            credits_per_unit=credits,
            batch_factor="0.8",
            effective_from=start,
        )


@pytest.fixture(autouse=True)
def no_leases() -> None:
    """Limits begin anew with each test, in this process as in Redis."""
    limits.forget()


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What limits ask Redis from here on."""
    asked: list[object] = []
    ask = limits._ask

    def counted(limits_asked: Any) -> Any:
        asked.append(limits_asked)
        return ask(limits_asked)

    monkeypatch.setattr(limits, "_ask", counted)
    return asked


@pytest.fixture
def redis_down(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[None]:
    """Nobody listens where Redis should be."""

    def reconnect() -> None:
        volatile.client.cache_clear()
        limits._script.cache_clear()
        monkeypatch.setattr(volatile, "_silent_until", 0.0)

    url, settings.REDIS_URL = settings.REDIS_URL, "redis://127.0.0.1:1/0"
    reconnect()
    yield
    settings.REDIS_URL = url
    reconnect()


@pytest.fixture
def exports_folder(settings: Settings, tmp_path: Path) -> Path:
    """Where files of exports are kept in this test."""
    folder = {"BACKEND": "usage.files.Folder", "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = settings.STORAGES | {"exports": folder}
    return tmp_path


@pytest.fixture
def data_plane(service_key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"Authorization": f"Bearer {service_key[1]}"})


@pytest.fixture
def post_jobs(data_plane: Client, rates: None) -> Callable[..., Json]:
    """Send reports as the data plane does; the answer must be 200."""

    def post(*reports: Json) -> Json:
        response = data_plane.post("/api/v1/gateway/jobs", {"jobs": reports}, content_type="application/json")
        assert response.status_code == 200, response.content
        answer: Json = response.json()
        return answer

    return post


@pytest.fixture
def job(organization_key: tuple[ApiKey, str]) -> Callable[..., Json]:
    """A completed Parse job of three pages; name what differs."""

    def make(job_id: str = "job-1", **fields: Any) -> Json:
        now = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        report = {
            "job_id": job_id,
            "api_key_id": organization_key[0].uid,
            "type": "Parse",
            "status": "Completed",
            "created_at": now,
            "duration": 1.5,
            "num_pages": 3,
            "region": "eu",
            "usage": [item(f"{job_id}:1", timestamp=now)],
        }
        return report | fields

    return make


def item(key: str, **fields: Any) -> Json:
    """A usage item of three standard pages; name what differs."""
    return {
        "idempotency_key": key,
        "product": "parse",
        "feature": "standard",
        "file_type": "pdf",
        "pages": 3,
        "timestamp": datetime.now(UTC).isoformat(),
    } | fields


def ndjson(*reports: Json) -> bytes:
    return b"\n".join(json.dumps(report).encode() for report in reports)
