"""The eraser beside ingest: neither waits for the other for long, and no configuration that is needed is lost."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import ApiKey, Organization
from tests.usage.rows import job_row
from usage import ingest, reports_in, retention
from usage.models import Entitlement, Job, PipelineConfig

pytestmark = pytest.mark.django_db(transaction=True)

Json = dict[str, Any]
Make = Callable[..., Json]


@pytest.fixture(autouse=True)
def a_day(organization: Organization, rates: None) -> None:
    Entitlement.objects.filter(organization=organization).update(retention_days=1)


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def take_in(*reports: Json) -> None:
    body = msgspec.json.encode({"jobs": reports})
    assert not ingest.ingest(reports_in.read_json(body), now=timezone.now()).rejected


def configured_long_ago(job: Make) -> None:
    """Leave a configuration that no job has any more, as if its last one had ended long ago."""
    take_in(job("old", config={"ocr": True}))
    long_ago = timezone.now() - timedelta(days=3)
    Job.objects.update(created_at=long_ago, updated_at=long_ago)
    PipelineConfig.objects.update(used_at=long_ago)


def test_a_configuration_used_again_while_it_is_erased_is_there_afterwards(job: Make) -> None:
    configured_long_ago(job)

    with transaction.atomic():
        retention.erase_due(now=timezone.now())
        assert not PipelineConfig.objects.exists()
        ingesting = in_thread(lambda: take_in(job("new", config={"ocr": True})))
        ingesting.join(0.5)
        assert ingesting.is_alive()  # until it is decided whether the configuration is gone
    ingesting.join()

    assert PipelineConfig.objects.get().sha256 == Job.objects.get(job_id="new").config_sha256


def test_a_configuration_that_is_just_being_used_again_is_passed_by(job: Make) -> None:
    configured_long_ago(job)

    with transaction.atomic():
        take_in(job("new", config={"ocr": True}))
        erasing = in_thread(lambda: retention.erase_due(now=timezone.now()))
        erasing.join(10)
        assert not erasing.is_alive()

    assert PipelineConfig.objects.get().sha256 == Job.objects.get(job_id="new").config_sha256
    assert Job.objects.get(job_id="old").erased == ["configuration"]


def test_one_configuration_is_taken_in_by_several_at_once(job: Make) -> None:
    take_in(job("first", config={"ocr": True}))

    with transaction.atomic():
        take_in(job("second", config={"ocr": True}, status="Pending", usage=[]))
        third = in_thread(lambda: take_in(job("third", config={"ocr": True}, status="Pending", usage=[])))
        third.join(10)
        assert not third.is_alive()

    assert Job.objects.count() == 3


def test_a_job_that_is_being_reported_is_passed_by_until_the_next_run(
    organization_key: tuple[ApiKey, str], job: Make
) -> None:
    long_ago = timezone.now() - timedelta(days=3)
    row = {"created_at": long_ago, "updated_at": long_ago, "status": "Pending", "stage": 0, "duration": None}
    job_row(organization_key[0], "job-1", **row, metadata={"a": 1})

    with transaction.atomic():
        take_in(job(status="InProgress", usage=[], created_at=long_ago.isoformat(), duration=None))
        erasing = in_thread(lambda: retention.erase_due(now=timezone.now()))
        erasing.join(10)
        assert not erasing.is_alive()

    assert Job.objects.get().metadata == {"a": 1}
    assert retention.erase_due(now=timezone.now() + timedelta(days=2)) == 1


def test_two_erasers_share_the_work(organization_key: tuple[ApiKey, str]) -> None:
    long_ago = timezone.now() - timedelta(days=3)
    for number in range(50):
        job_row(
            organization_key[0],
            f"job-{number}",
            created_at=long_ago,
            updated_at=long_ago,
            metadata={"a": 1},
            config={"number": number},
        )
    PipelineConfig.objects.update(used_at=long_ago)

    erased: list[int] = []
    both = [in_thread(lambda: erased.append(retention.erase_due(now=timezone.now()))) for _ in range(2)]
    for thread in both:
        thread.join()
    retention.erase_due(now=timezone.now())

    assert sum(erased) == 50
    assert not PipelineConfig.objects.exists()
