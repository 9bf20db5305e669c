"""Corrections by several people at once, and while reports come in."""

import json
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, Notification, Organization, User
from tests.usage.conftest import item
from usage import corrections, ingest, reports_in
from usage.corrections import AlreadyCorrected, Amendment, TakesBack
from usage.models import DailyUsage, Entitlement, Job, UsageDay, UsageRecord

Make = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each of these returns, or raises, when they start together in threads of their own."""
    reverse("home")  # routes are loaded once, and not by two threads at a time
    gate = threading.Barrier(len(works))
    results: dict[int, Any] = {}

    def run(number: int, work: Callable[[], Any]) -> None:
        try:
            gate.wait()
            results[number] = work()
        except Exception as error:  # noqa: BLE001 (whatever it is, the test is to see it)
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(results) == len(works)
    return [results[number] for number in range(len(works))]


def report(*reports: dict[str, Any]) -> None:
    items = reports_in.read_json(json.dumps({"jobs": reports}).encode())
    assert not ingest.ingest(items, now=timezone.now()).rejected


def check_that_all_agree(organization: Organization) -> None:
    measures = {name: Sum(name) for name in ("requests", "pages", "credits", "cost")}
    summed = UsageRecord.objects.aggregate(**measures)
    assert DailyUsage.objects.aggregate(**measures) == UsageDay.objects.aggregate(**measures) == summed
    assert Entitlement.objects.get(organization=organization).credits_used == summed["credits"]
    of_jobs = dict(UsageRecord.objects.values_list("job_id").annotate(Sum("credits")).order_by())
    assert dict(Job.objects.values_list("job_id", "credits")) == of_jobs


def test_of_several_clicks_one_corrects(
    rates: None, job: Make, staff: User, owner: User, organization: Organization
) -> None:
    report(job(usage=[item("a", pages=12)]))
    record = UsageRecord.objects.get()
    amendment = Amendment("parse", "standard", 10, None)

    answers = at_once(
        *[lambda: corrections.correct(record=record, reason="Twice.", actor=None)] * 3,
        *[lambda: corrections.correct(record=record, reason="Two.", actor=None, amendment=amendment)] * 3,
    )

    assert sum(isinstance(answer, AlreadyCorrected) for answer in answers) == 5
    assert UsageRecord.objects.filter(corrects="a", pages=-12).count() == 1
    assert AuditEntry.objects.filter(action__startswith="usage_record.").count() == 1
    assert Notification.objects.filter(key__startswith="usage_record.corrected:").count() == 1
    check_that_all_agree(organization)


def test_a_correction_while_the_job_fails_takes_back_once(
    rates: None, job: Make, organization: Organization
) -> None:
    for number in range(20):
        report(job(f"job-{number}", status="InProgress", usage=[item(f"a-{number}")]))
    records = list(UsageRecord.objects.order_by("id"))
    failing = [job(f"job-{number}", status="Failed", usage=[]) for number in range(20)]

    def correct() -> list[Any]:
        amendment = Amendment("parse", "complex", 10, None)
        answers = []
        for record in records:
            try:
                answers.append(
                    corrections.correct(record=record, reason="Wrong.", actor=None, amendment=amendment)
                )
            except AlreadyCorrected:
                answers.append([])
        return answers

    def fail() -> None:
        for failed in failing:
            report(failed)

    answers = at_once(correct, fail)

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert UsageRecord.objects.aggregate(sum=Sum("credits"))["sum"] == 0
    for number in range(20):
        assert UsageRecord.objects.filter(corrects=f"a-{number}", credits__lt=0).count() == 1
    check_that_all_agree(organization)


def test_corrections_among_reports_do_not_deadlock(
    rates: None, job: Make, organization: Organization, settings: Any
) -> None:
    settings.STORE_USAGE_FOR_BILLING = True
    jobs = range(60)
    report(*(job(f"job-{n}", status="InProgress", usage=[item(f"a-{n}"), item(f"b-{n}")]) for n in jobs))
    ends = [job(f"job-{n}", status="Failed" if n % 2 else "Completed", usage=[item(f"c-{n}")]) for n in jobs]

    def reports(seed: int) -> Callable[[], None]:
        def send() -> None:
            shuffled = random.Random(seed).sample(ends, len(ends))
            for start in range(0, len(shuffled), 10):
                report(*shuffled[start : start + 10])

        return send

    def correct(seed: int) -> Callable[[], int]:
        def run() -> int:
            chosen = random.Random(seed)
            done = 0
            for _ in range(60):
                record = chosen.choice(list(UsageRecord.objects.order_by("id")))
                pages = chosen.choice([None, 0, chosen.randint(4, 10**6)])
                amendment = None if pages is None else Amendment("extract", "standard", pages, None)
                try:
                    corrections.correct(record=record, reason="Wrong.", actor=None, amendment=amendment)
                    done += 1
                except (AlreadyCorrected, TakesBack):
                    pass
            return done

        return run

    answers = at_once(reports(1), reports(2), correct(3), correct(4))

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert min(answers[2:]) > 0
    assert len(set(UsageRecord.objects.values_list("idempotency_key"))) == UsageRecord.objects.count()
    failed = Job.objects.filter(status="Failed")
    assert set(failed.values_list("credits", flat=True)) == {0}
    check_that_all_agree(organization)
