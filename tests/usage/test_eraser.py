"""Details of jobs are erased when their retention ends; what was used stays, and nothing brings them back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey, Organization, User
from tests.conftest import sign_in_verified
from tests.usage.conftest import item
from tests.usage.rows import job_row
from usage import corrections, idempotency, retention
from usage.models import DailyUsage, Entitlement, IdempotencyKey, Job, PipelineConfig, UsageRecord

pytestmark = pytest.mark.django_db

Json = dict[str, Any]
Post = Callable[..., Json]
Make = Callable[..., Json]

NOW = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)
DETAILS: Json = {
    "source": "a.pdf",
    "webhook": {"mode": "direct", "url": "https://example.com/"},
    "metadata": {"customer": "4711"},
    "error": {"message": "It broke."},
}


@pytest.fixture(autouse=True)
def thirty_days(organization: Organization) -> None:
    Entitlement.objects.filter(organization=organization).update(retention_days=30)


def ended(key: ApiKey, days_ago: float, job_id: str = "job-1", **fields: Any) -> Job:
    """A job with all details that ended so many days before NOW."""
    end = NOW - timedelta(days=days_ago)
    times = {"created_at": end - timedelta(seconds=1.5), "updated_at": end, "duration": 1.5}
    job = job_row(key, job_id, **(times | DETAILS | {"config": {"ocr": True}} | fields))
    PipelineConfig.objects.filter(sha256=job.config_sha256).update(used_at=end)
    return job


def details(job: Job) -> tuple[Any, ...]:
    job.refresh_from_db()
    return tuple(getattr(job, column) for column in retention.COLUMNS.values())


GONE = ("", None, None, None, None)


def test_a_job_loses_its_details_when_its_time_is_over(organization_key: tuple[ApiKey, str]) -> None:
    over, kept = ended(organization_key[0], 30.1, "over"), ended(organization_key[0], 29.9, "kept")

    erased = retention.erase_due(now=NOW)

    assert erased == 1
    assert details(over) == GONE
    assert (over.erased, over.erased_under) == (Job.DETAILS, 30)
    assert over.erased_at
    assert details(kept)[1:] == tuple(DETAILS.values())
    assert kept.erased is None


def test_what_was_used_stays(post_jobs: Post, job: Make) -> None:
    post_jobs(job(config={"ocr": True}, metadata={"a": 1}))
    before = [
        list(model.objects.values()) for model in (UsageRecord, DailyUsage, IdempotencyKey, Entitlement)
    ]
    kept = Job.objects.values("credits", "num_pages", "report_digest", "usage_items", "duration").get()

    retention.erase_due(now=timezone.now() + timedelta(days=31))

    assert details(Job.objects.get()) == GONE
    assert before == [
        list(model.objects.values()) for model in (UsageRecord, DailyUsage, IdempotencyKey, Entitlement)
    ]
    assert (
        kept == Job.objects.values("credits", "num_pages", "report_digest", "usage_items", "duration").get()
    )


def test_only_what_was_there_is_called_erased(organization_key: tuple[ApiKey, str]) -> None:
    nothing = dict.fromkeys(DETAILS)
    some = ended(organization_key[0], 31, "some", **nothing | {"config": None, "metadata": {"a": 1}})
    none = ended(organization_key[0], 31, "none", **nothing | {"config": None})

    assert retention.erase_due(now=NOW) == 1

    some.refresh_from_db()
    none.refresh_from_db()
    assert (some.erased, none.erased, none.erased_at) == (["metadata"], None, None)


def test_it_is_the_end_that_counts_not_the_beginning(organization_key: tuple[ApiKey, str]) -> None:
    long = ended(
        organization_key[0], 0, created_at=NOW - timedelta(days=32), duration=5 * 86400, updated_at=NOW
    )

    assert retention.erase_due(now=NOW) == 0
    assert retention.erase_due(now=NOW + timedelta(days=4)) == 1

    assert details(long) == GONE


def test_a_job_whose_report_came_late_counts_from_its_end(organization_key: tuple[ApiKey, str]) -> None:
    ended(organization_key[0], 31, updated_at=NOW)

    assert retention.erase_due(now=NOW) == 1


@pytest.mark.parametrize(("last_heard_of", "erased"), [(29, 0), (31, 1)])
def test_a_job_that_never_ends_counts_from_its_last_report(
    organization_key: tuple[ApiKey, str], last_heard_of: int, erased: int
) -> None:
    heard = NOW - timedelta(days=last_heard_of)
    ended(organization_key[0], 90, status="Pending", stage=0, duration=None, updated_at=heard)

    assert retention.erase_due(now=NOW) == erased


def test_a_shorter_choice_counts_from_the_next_run(
    organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    job = ended(organization_key[0], 8)
    assert retention.erase_due(now=NOW) == 0

    Organization.objects.filter(pk=organization.pk).update(retention_days=7)
    assert retention.erase_due(now=NOW) == 1

    Organization.objects.filter(pk=organization.pk).update(retention_days=None)
    assert retention.erase_due(now=NOW) == 0
    assert details(job) == GONE
    assert job.erased_under == 7


def test_a_configuration_goes_with_the_last_job_that_ran_with_it(
    organization_key: tuple[ApiKey, str],
) -> None:
    first = ended(organization_key[0], 40, "first")
    last = ended(organization_key[0], 20, "last", config_sha256=first.config_sha256, config=None)
    other = ended(organization_key[0], 40, "other", config={"ocr": False})

    retention.erase_due(now=NOW)
    assert set(PipelineConfig.objects.values_list("sha256", flat=True)) == {last.config_sha256}

    retention.erase_due(now=NOW + timedelta(days=11))
    assert not PipelineConfig.objects.exists()
    assert details(other) == details(last) == GONE


def test_a_configuration_waits_for_a_job_that_reported_it_once_and_is_still_under_way(
    organization_key: tuple[ApiKey, str],
) -> None:
    at_work = ended(organization_key[0], 40, status="InProgress", stage=1, updated_at=NOW)

    retention.erase_due(now=NOW)

    at_work.refresh_from_db()
    assert PipelineConfig.objects.get().sha256 == at_work.config_sha256


def test_in_batches_it_erases_everything(
    organization_key: tuple[ApiKey, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    for number in range(10):
        ended(organization_key[0], 31 + number % 2, f"job-{number}", config={"number": number})

    assert retention.erase_due(now=NOW) == 10
    assert retention.erase_due(now=NOW) == 0
    assert not PipelineConfig.objects.exists()
    assert Job.objects.filter(erased=Job.DETAILS).count() == 10


def test_a_late_report_of_an_erased_job_brings_nothing_back(post_jobs: Post, job: Make) -> None:
    Entitlement.objects.update(retention_days=3650)
    end = datetime.now(UTC) - timedelta(days=31)
    report = job(created_at=end.isoformat(), config={"ocr": True}, metadata={"a": 1}, duration=None)
    post_jobs(report)
    Entitlement.objects.update(retention_days=30)
    Job.objects.update(updated_at=end)
    PipelineConfig.objects.update(used_at=end)
    retention.erase_due(now=timezone.now())

    post_jobs(report)
    post_jobs(report | {"status": "Failed", "error": "Late.", "usage": [item("late")]})

    assert details(Job.objects.get()) == GONE
    assert not PipelineConfig.objects.exists()
    assert UsageRecord.objects.count() == 2


def test_details_of_a_job_that_ended_long_ago_are_not_stored(post_jobs: Post, job: Make) -> None:
    long_ago = (datetime.now(UTC) - timedelta(days=31)).isoformat()

    post_jobs(job(created_at=long_ago, config={"ocr": True}, metadata={"a": 1}, source="a.pdf"))

    assert details(found := Job.objects.get()) == GONE
    assert (found.erased, found.erased_under) == (["configuration", "source", "metadata"], 30)
    assert not PipelineConfig.objects.exists()


def test_a_configuration_that_is_used_again_is_kept_from_then_on(post_jobs: Post, job: Make) -> None:
    post_jobs(job("first", config={"ocr": True}))
    PipelineConfig.objects.update(used_at=timezone.now() - timedelta(days=29))

    post_jobs(job("second", config={"ocr": True}))
    retention.erase_due(now=timezone.now() + timedelta(days=20))

    assert PipelineConfig.objects.count() == 1


def test_pages_and_api_say_what_was_erased(
    client: Client, owner: User, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key
    ended(key, 31, status="Failed")
    retention.erase_due(now=NOW)
    sign_in_verified(client, owner)

    page = client.get(reverse("usage:job", args=[organization.uid, "job-1"])).content.decode()
    body = client.get("/api/v1/job/job-1", headers={"Authorization": f"Bearer {secret}"}).json()

    assert page.count("a data retention of 30 days") == 4
    assert "It broke." not in page
    assert "reported." not in page
    assert body["erased"] == Job.DETAILS
    assert body["erased_at"]
    assert (body["raw_config"], body["source"], body["metadata"], body["error"]) == ("", None, None, None)


def test_the_settings_page_says_since_when_and_when_next(
    client: Client, owner: User, organization: Organization
) -> None:
    sign_in_verified(client, owner)

    context = client.get(reverse("usage:data_settings", args=[organization.uid])).context

    assert context["next_run"] - context["kept_since"] > timedelta(days=30)
    assert retention.next_run(NOW) == NOW + retention.EVERY
    assert retention.next_run(NOW + timedelta(minutes=3)) == NOW + retention.EVERY


def test_more_days_than_a_calendar_has_are_all_there_are(organization: Organization) -> None:
    Entitlement.objects.update(retention_days=2**31 - 1)

    assert retention.retention_days(organization) == retention.LONGEST
    assert retention.erase_due(now=NOW) == 0


def test_idempotency_keys_are_pruned_in_batches(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "BATCH", 2)
    for number in range(5):
        IdempotencyKey.objects.create(
            organization_id=organization.pk, key=f"old-{number}", digest="", created_at=NOW
        )
    IdempotencyKey.objects.create(
        organization_id=organization.pk, key="new", digest="", created_at=NOW + timedelta(days=1)
    )

    assert idempotency.prune(before=NOW + timedelta(hours=1)) == 5
    assert IdempotencyKey.objects.get().key == "new"


def test_that_a_record_was_taken_back_is_never_forgotten(organization: Organization) -> None:
    IdempotencyKey.objects.create(
        organization_id=organization.pk, key=corrections.correction_key("a"), digest="", created_at=NOW
    )

    assert idempotency.prune(before=NOW + timedelta(hours=1)) == 0
    assert IdempotencyKey.objects.exists()
