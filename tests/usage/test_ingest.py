"""What a batch of job reports does to jobs, records and totals."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum

from accounts import keys
from accounts.models import ApiKey, Organization
from tests.usage.conftest import item
from usage import reports_in
from usage.models import (
    CreditRate,
    DailyJobs,
    DailyUsage,
    Entitlement,
    IdempotencyKey,
    Job,
    PipelineConfig,
    UsageDay,
    UsageRecord,
)

Json = dict[str, Any]
Post = Callable[..., Json]
Make = Callable[..., Json]


def totals(model: Any) -> Json:
    measures = ("requests", "pages", "credits", "cost")
    return model.objects.aggregate(**{name: Sum(name, default=0) for name in measures})


def test_a_job_is_recorded_and_every_total_agrees(
    post_jobs: Post, job: Make, organization: Organization
) -> None:
    answer = post_jobs(job())

    assert answer == {"accepted": 1, "duplicates": 0, "rejected": []}
    expected = {"requests": 1, "pages": 3, "credits": Decimal(3), "cost": Decimal("0.03")}
    assert totals(UsageRecord) == totals(DailyUsage) == totals(UsageDay) == expected
    assert Entitlement.objects.get(organization=organization).credits_used == 3
    assert Job.objects.get().credits == 3
    assert DailyJobs.objects.get().jobs == 1


def test_the_same_report_again_is_a_duplicate(post_jobs: Post, job: Make) -> None:
    report = job()
    post_jobs(report)

    answer = post_jobs(report, report)

    assert answer == {"accepted": 0, "duplicates": 2, "rejected": []}
    assert totals(UsageRecord)["credits"] == 3


def test_reports_of_one_job_fold_within_a_batch(post_jobs: Post, job: Make) -> None:
    pending = job(status="Pending", usage=[], duration=None)

    answer = post_jobs(pending, job(), pending)

    assert answer == {"accepted": 2, "duplicates": 1, "rejected": []}
    assert Job.objects.get().status == "Completed"


def test_a_folded_batch_sent_again_is_all_duplicates(post_jobs: Post, job: Make) -> None:
    reports = [job(status="Pending", usage=[]), job(status="InProgress", usage=[])]
    post_jobs(*reports)

    answer = post_jobs(*reports)

    assert answer == {"accepted": 0, "duplicates": 2, "rejected": []}


def test_a_terminal_status_is_final(post_jobs: Post, job: Make) -> None:
    post_jobs(job())

    answer = post_jobs(job(status="Failed", usage=[]))

    assert answer["duplicates"] == 1
    assert Job.objects.get().status == "Completed"


def test_an_earlier_stage_arriving_late_changes_nothing(post_jobs: Post, job: Make) -> None:
    post_jobs(job(status="InProgress", usage=[]))

    answer = post_jobs(job(status="Pending", usage=[]))

    assert answer["duplicates"] == 1
    assert Job.objects.get().status == "InProgress"


def test_a_later_report_keeps_what_it_does_not_mention(post_jobs: Post, job: Make) -> None:
    post_jobs(job(status="InProgress", usage=[], config={"ocr": True}, metadata={"a": 1}))

    post_jobs(job(region=None, num_pages=None))

    saved = Job.objects.get()
    assert (saved.region, saved.num_pages, saved.metadata) == ("eu", 3, {"a": 1})
    assert PipelineConfig.objects.get(sha256=saved.config_sha256).text == '{"ocr":true}'


def test_the_same_key_with_another_payload_rejects_the_whole_report(post_jobs: Post, job: Make) -> None:
    first = job("job-1", usage=[item("k")])
    second = job("job-2", usage=[item("fresh"), item("k", pages=9)])
    post_jobs(first)

    answer = post_jobs(second)

    assert [(r["index"], r["code"]) for r in answer["rejected"]] == [(0, "idempotency_conflict")]
    assert Job.objects.count() == 1
    assert totals(UsageRecord)["pages"] == 3


def test_a_rejected_report_leaves_its_other_keys_free(post_jobs: Post, job: Make) -> None:
    post_jobs(job("job-1", usage=[item("k")]))
    post_jobs(job("job-2", usage=[item("fresh"), item("k", pages=9)]))

    answer = post_jobs(job("job-3", usage=[item("fresh")]))

    assert answer["accepted"] == 1
    assert IdempotencyKey.objects.count() == 2


def test_within_a_batch_the_first_use_of_a_key_stands(post_jobs: Post, job: Make) -> None:
    answer = post_jobs(job("job-1", usage=[item("k")]), job("job-2", usage=[item("k", pages=9)]))

    assert (answer["accepted"], [r["index"] for r in answer["rejected"]]) == (1, [1])
    assert totals(UsageRecord)["pages"] == 3


def test_a_refused_report_decides_nothing_for_the_next_one(post_jobs: Post, job: Make) -> None:
    post_jobs(job("old", usage=[item("old")]))
    refused = job("job-1", usage=[item("old", pages=9), item("k", pages=1)])
    good = job("job-2", usage=[item("k", pages=2)])

    answer = post_jobs(refused, good)

    assert (answer["accepted"], [r["index"] for r in answer["rejected"]]) == (1, [0])
    assert post_jobs(good)["duplicates"] == 1


def test_a_late_report_of_an_earlier_stage_overwrites_nothing_when_folded(post_jobs: Post, job: Make) -> None:
    post_jobs(job(status="Completing", usage=[], metadata={"v": 2}))

    post_jobs(job(status="InProgress", usage=[], metadata={"v": 1}), job(usage=[]))

    saved = Job.objects.get()
    assert (saved.status, saved.metadata) == ("Completed", {"v": 2})


def test_tiny_costs_add_up_alike_everywhere(post_jobs: Post, job: Make, organization: Organization) -> None:
    CreditRate.objects.create(product="split", feature="standard", credits_per_unit="0.00005")
    CreditRate.objects.update(effective_from=datetime(2020, 1, 1, tzinfo=UTC))

    post_jobs(*(job(f"job-{n}", usage=[item(f"k{n}", product="split", pages=1)]) for n in range(100)))

    assert totals(UsageRecord) == totals(DailyUsage) == totals(UsageDay)


def test_two_batches_that_give_charges_back_do_not_wait_for_each_other_crosswise(
    post_jobs: Post, job: Make, other_organization: Organization
) -> None:
    other, _ = keys.create_organization_key(organization=other_organization, name="x", actor=None)
    post_jobs(job("a", status="InProgress"), job("a", api_key_id=other.uid, status="InProgress"))

    post_jobs(
        job("b"),
        job("a", api_key_id=other.uid, status="Failed", usage=[]),
        job("a", status="Failed", usage=[]),
    )

    assert totals(UsageRecord) == totals(DailyUsage) == totals(UsageDay)
    assert totals(UsageRecord)["credits"] == 3


def test_the_same_key_serves_two_organizations(
    post_jobs: Post, job: Make, other_organization: Organization
) -> None:
    other_key, _ = keys.create_organization_key(organization=other_organization, name="x", actor=None)

    answer = post_jobs(job(), job(api_key_id=other_key.uid))

    assert answer["accepted"] == 2
    assert Job.objects.count() == 2


def test_only_a_jobs_first_item_counts_a_request(post_jobs: Post, job: Make) -> None:
    post_jobs(job(status="InProgress", usage=[item("a"), item("b")]))

    post_jobs(job(usage=[item("b2"), item("c")]))

    assert totals(UsageRecord)["requests"] == totals(DailyUsage)["requests"] == 1


def test_usage_after_the_jobs_last_word_still_counts(post_jobs: Post, job: Make) -> None:
    post_jobs(job(usage=[]))

    answer = post_jobs(job(usage=[item("late")]))

    assert answer["accepted"] == 1
    assert totals(UsageDay)["credits"] == Job.objects.get().credits == 3


def test_a_failed_job_is_not_charged(post_jobs: Post, job: Make, organization: Organization) -> None:
    post_jobs(job(status="Failed", error={"code": "unreadable"}))

    assert totals(UsageRecord) == {"requests": 1, "pages": 3, "credits": 0, "cost": 0}
    assert Entitlement.objects.get(organization=organization).credits_used == 0


def test_a_job_that_fails_later_gets_its_charge_back(
    post_jobs: Post, job: Make, organization: Organization
) -> None:
    post_jobs(job(status="InProgress", usage=[item("a"), item("b", feature="complex")]))

    post_jobs(job(status="Failed", usage=[]))

    assert totals(UsageRecord) == totals(DailyUsage) == totals(UsageDay)
    assert totals(UsageRecord) == {"requests": 1, "pages": 6, "credits": 0, "cost": 0}
    assert Job.objects.get().credits == 0
    assert Entitlement.objects.get(organization=organization).credits_used == 0
    corrections = UsageRecord.objects.exclude(corrects="").order_by("credits")
    assert [(c.corrects, c.credits, c.reason) for c in corrections] == [
        ("b", -6, "The job failed."),
        ("a", -3, "The job failed."),
    ]


def test_usage_of_a_job_already_failed_is_not_charged(post_jobs: Post, job: Make) -> None:
    post_jobs(job(status="Failed", usage=[]))

    post_jobs(job(status="InProgress", usage=[item("late")]))

    assert totals(UsageRecord)["credits"] == Job.objects.get().credits == 0


def test_usage_without_a_rate_is_accepted_at_nothing_and_flagged(post_jobs: Post, job: Make) -> None:
    post_jobs(job(usage=[item("a", product="edit")]))

    record = UsageRecord.objects.get()
    assert (record.credits, record.unrated, record.rate_id) == (0, True, None)


def test_the_rate_in_force_at_the_time_of_use_applies(post_jobs: Post, job: Make) -> None:
    old = datetime.now(UTC) - timedelta(days=40)
    new_rate = CreditRate.objects.create(
        product="parse", feature="standard", credits_per_unit=5, effective_from=old + timedelta(days=1)
    )

    post_jobs(job(usage=[item("then", timestamp=old.isoformat()), item("now")]))

    assert {r.idempotency_key: r.credits for r in UsageRecord.objects.all()} == {"then": 3, "now": 15}
    assert UsageRecord.objects.get(idempotency_key="now").rate_id == new_rate.pk


def test_reports_for_a_revoked_key_are_accepted(
    post_jobs: Post, job: Make, organization_key: tuple[ApiKey, str]
) -> None:
    keys.revoke(key=organization_key[0], actor=None)

    assert post_jobs(job())["accepted"] == 1


def test_a_day_is_cut_in_the_organizations_zone(
    post_jobs: Post, job: Make, organization: Organization
) -> None:
    Organization.objects.filter(pk=organization.pk).update(time_zone="Pacific/Auckland")
    at = datetime(2026, 6, 30, 12, 30, tzinfo=UTC)

    post_jobs(job(usage=[item("a", timestamp=at.isoformat())]))

    assert str(UsageDay.objects.get().day) == "2026-07-01"


def test_records_of_any_month_find_their_partition(post_jobs: Post, job: Make) -> None:
    months = [datetime.now(UTC) - timedelta(days=days) for days in (1, 400, 1829)]

    post_jobs(job(usage=[item(str(at), timestamp=at.isoformat()) for at in months]))

    assert UsageRecord.objects.count() == 3


def test_batch_priority_costs_a_fifth_less(post_jobs: Post, job: Make) -> None:
    post_jobs(job(usage=[item("a", priority="batch", pages=10)]))

    assert UsageRecord.objects.get().credits == 8


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"job_id": ""}, "invalid_report", "job_id"),
        ({"job_id": "x" * 129}, "invalid_report", "job_id"),
        ({"job_id": ".."}, "invalid_report", "job_id"),
        ({"metadata": {"half": "\ud83d"}}, "invalid_report", "Malformed JSON"),
        ({"metadata": {"number": float("nan")}}, "invalid_report", "Malformed JSON"),
        ({"job_id": "a\0b"}, "invalid_report", "U+0000"),
        ({"metadata": {"deep": ["a\0b"]}}, "invalid_report", "U+0000"),
        ({"api_key_id": "key_\0"}, "invalid_report", "U+0000"),
        ({"api_key_id": "key_unknown"}, "unknown_api_key", "api_key_id"),
        ({"type": "Paint"}, "invalid_report", "type"),
        ({"status": "Done"}, "invalid_report", "status"),
        ({"created_at": "yesterday"}, "invalid_report", "created_at"),
        ({"created_at": "2026-01-01T00:00:00"}, "invalid_report", "created_at"),
        ({"created_at": "1999-01-01T00:00:00Z"}, "timestamp_out_of_range", "created_at"),
        ({"created_at": "2999-01-01T00:00:00Z"}, "timestamp_out_of_range", "created_at"),
        ({"duration": -1}, "invalid_report", "duration"),
        ({"num_pages": 1.5}, "invalid_report", "num_pages"),
        ({"num_pages": -1}, "invalid_report", "num_pages"),
        ({"num_pages": 10**30}, "invalid_report", "num_pages"),
        ({"region": "x" * 33}, "invalid_report", "region"),
        ({"config": [1]}, "invalid_report", "config"),
        ({"webhook": {"mode": "carrier pigeon"}}, "invalid_report", "mode"),
        ({"webhook": {"mode": "direct", "url": "file:///etc/passwd"}}, "invalid_report", "webhook.url"),
        (
            {"webhook": {"mode": "direct", "url": "https://me:secret@example.com"}},
            "invalid_report",
            "password",
        ),
        ({"webhook": {"mode": "svix", "channels": ["no spaces"]}}, "invalid_report", "channels"),
        ({"usage": [{"idempotency_key": "k"}]}, "invalid_report", "usage[0]"),
        ({"usage": [item("correction:1")]}, "invalid_report", "usage[0].idempotency_key"),
        ({"usage": [item("k", pages=-1)]}, "invalid_report", "pages"),
        ({"usage": [item("k", product="paint")]}, "invalid_report", "product"),
        ({"usage": [item("k", quantity=-1)]}, "invalid_report", "usage[0].quantity"),
        ({"metadata": {"deep": json.loads("[" * 200 + "]" * 200)}}, "invalid_report", "nested"),
        ({"job_id": "a/../b"}, "invalid_report", "job_id"),
        ({"usage": [item("k", quantity="NaN")]}, "invalid_report", "usage[0].quantity"),
        ({"usage": [item("k", quantity="1." + "0" * 20_000)]}, "invalid_report", "usage[0].quantity"),
        ({"usage": [item("k", quantity=1e-300)]}, "invalid_report", "usage[0].quantity"),
        ({"usage": [item("k", quantity=1e300)]}, "invalid_report", "usage[0].quantity"),
        ({"usage": [item("k", priority="urgent")]}, "invalid_report", "priority"),
        (
            {"usage": [item("k", timestamp="2999-01-01T00:00:00Z")]},
            "timestamp_out_of_range",
            "usage[0].timestamp",
        ),
    ],
)
def test_a_bad_report_is_refused_by_field_and_harms_no_other(
    post_jobs: Post, job: Make, change: Json, code: str, named: str
) -> None:
    answer = post_jobs(job("good-1"), job("bad") | change, job("good-2"))

    assert answer["accepted"] == 2
    assert [(r["index"], r["code"]) for r in answer["rejected"]] == [(1, code)]
    assert named in answer["rejected"][0]["message"]
    assert Job.objects.count() == 2


def test_backslashes_before_u0000_are_text(post_jobs: Post, job: Make) -> None:
    assert post_jobs(job(metadata={"path": "C:\\u0000"}))["accepted"] == 1


def test_a_value_that_only_the_database_refuses_harms_no_other_report(
    post_jobs: Post, job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports_in, "is_quantity", lambda number: True)

    answer = post_jobs(job("good-1"), job("bad", usage=[item("k", quantity=1e300)]), job("good-2"))

    assert (answer["accepted"], [r["index"] for r in answer["rejected"]]) == (2, [1])
    assert "overflow" in answer["rejected"][0]["message"]
    assert Job.objects.count() == 2
