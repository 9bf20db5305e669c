"""What ingest queues for the air-gapped billing export."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Sum

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from tests.usage.conftest import item
from usage.models import BillingExportRow, UsageRecord

Json = dict[str, Any]

pytestmark = pytest.mark.django_db


@pytest.fixture
def other_key(other_organization: Organization, outsider: User) -> ApiKey:
    key, _ = keys.create_organization_key(
        organization=other_organization, name="production", actor=Actor(outsider)
    )
    return key


def exported_keys() -> list[str]:
    return list(BillingExportRow.objects.order_by("id").values_list("idempotency_key", flat=True))


def test_each_usage_item_is_queued_once(post_jobs: Callable[..., Json], job: Callable[..., Json]) -> None:
    report = job(usage=[item("a"), item("b")])

    post_jobs(report)
    post_jobs(report)

    assert sorted(exported_keys()) == ["a", "b"]


def test_a_rejected_report_queues_nothing(post_jobs: Callable[..., Json], job: Callable[..., Json]) -> None:
    post_jobs(job("one", usage=[item("a")]))

    post_jobs(job("two", usage=[item("b"), item("a", pages=9)]))

    assert exported_keys() == ["a"]


def test_a_second_organizations_key_is_told_apart(
    post_jobs: Callable[..., Json],
    job: Callable[..., Json],
    other_key: ApiKey,
    other_organization: Organization,
) -> None:
    post_jobs(job(usage=[item("same"), item("own")]))

    post_jobs(job(api_key_id=other_key.uid, usage=[item("same"), item("theirs")]))

    assert set(exported_keys()) == {"same", "own", f"same@{other_organization.uid}", "theirs"}


def test_keys_are_told_apart_also_within_a_batch(
    post_jobs: Callable[..., Json], job: Callable[..., Json], other_key: ApiKey
) -> None:
    post_jobs(job("a", usage=[item("same")]), job("b", api_key_id=other_key.uid, usage=[item("same")]))

    assert len(set(exported_keys())) == 2
    assert "same" in exported_keys()


def test_keys_are_told_apart_also_after_the_first_was_handed_over(
    post_jobs: Callable[..., Json], job: Callable[..., Json], other_key: ApiKey
) -> None:
    post_jobs(job(usage=[item("same")]))
    BillingExportRow.objects.all().delete()

    post_jobs(job(api_key_id=other_key.uid, usage=[item("same")]))

    [key] = exported_keys()
    assert key.startswith("same@org_")


def test_the_longest_keys_are_told_apart(
    post_jobs: Callable[..., Json], job: Callable[..., Json], other_key: ApiKey
) -> None:
    longest = "k" * 255

    post_jobs(job(usage=[item(longest)]))
    post_jobs(job(api_key_id=other_key.uid, usage=[item(longest)]))

    assert len(set(exported_keys())) == 2


def test_a_correction_is_queued_and_names_what_it_corrects(
    post_jobs: Callable[..., Json], job: Callable[..., Json]
) -> None:
    post_jobs(job(status="InProgress", usage=[item("a", pages=4)]))

    post_jobs(job(status="Failed", usage=[]))

    original, correction = BillingExportRow.objects.order_by("id")
    assert original.idempotency_key == "a"
    assert correction.idempotency_key.startswith("correction:")
    assert correction.timestamp == original.timestamp
    assert (original.num_pages, correction.num_pages) == (4, -4)
    assert correction.attributes == {"corrects": "a", "credits": -4}


def test_a_correction_names_a_key_as_it_was_exported(
    post_jobs: Callable[..., Json], job: Callable[..., Json], other_key: ApiKey
) -> None:
    post_jobs(job(usage=[item("same")]))
    post_jobs(job(api_key_id=other_key.uid, status="InProgress", usage=[item("same")]))

    post_jobs(job(api_key_id=other_key.uid, status="Failed", usage=[]))

    _, theirs, correction = BillingExportRow.objects.order_by("id")
    assert correction.attributes == {"corrects": theirs.idempotency_key, "credits": -3}


def test_usage_of_a_job_that_failed_already_has_no_pages(
    post_jobs: Callable[..., Json], job: Callable[..., Json]
) -> None:
    post_jobs(job(status="Failed", usage=[item("a", pages=4)]))

    assert BillingExportRow.objects.get().num_pages == 0


def test_pages_without_a_price_are_taken_back_too(
    post_jobs: Callable[..., Json], job: Callable[..., Json]
) -> None:
    post_jobs(job(status="InProgress", usage=[item("a", product="edit", pages=4)]))

    post_jobs(job(status="Failed", usage=[]))

    assert BillingExportRow.objects.aggregate(pages=Sum("num_pages")) == {"pages": 0}


def test_the_queue_adds_up_to_the_pages_of_what_did_not_fail(
    post_jobs: Callable[..., Json], job: Callable[..., Json], other_key: ApiKey
) -> None:
    for number in range(5):
        post_jobs(
            job(f"job-{number}", status="InProgress", usage=[item(f"a-{number}", pages=number)]),
            job(f"job-{number}", api_key_id=other_key.uid, usage=[item(f"a-{number}", pages=10)]),
        )
    post_jobs(job("job-3", status="Failed", usage=[item("late", pages=7)]))
    post_jobs(job("job-3", status="Failed", usage=[item("later still", pages=8)]))

    assert BillingExportRow.objects.count() == UsageRecord.objects.count()
    assert BillingExportRow.objects.aggregate(pages=Sum("num_pages")) == {"pages": 0 + 1 + 2 + 4 + 5 * 10}
