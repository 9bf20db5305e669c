"""Folding days: what margins hold, when, and that no change is ever lost from what is read."""

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F, Sum
from django.utils import timezone

from accounts.models import ApiKey
from tests.usage.rows import daily_usage
from usage import margins, reports, statements
from usage.models import DailyUsage, UsageDay, UsageMargin

DAY = date(2026, 6, 18)
LATER = timedelta(minutes=5)


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


def fold_later() -> int:
    return margins.fold(now=timezone.now() + LATER)


def is_dirty(day: date = DAY) -> bool:
    return UsageDay.objects.filter(day=day).exclude(folded_at__gte=F("changed_at")).exists()


def test_each_dimension_adds_up_the_others(key: ApiKey) -> None:
    daily_usage(key, DAY, product="parse", feature="standard", file_type="pdf", requests=1)
    daily_usage(key, DAY, product="parse", feature="complex", file_type="pdf", requests=2)
    daily_usage(key, DAY, product="edit", feature="standard", file_type="docx", requests=4)

    assert fold_later() == 1

    found = {(row.dimension, row.value): row.requests for row in UsageMargin.objects.all()}
    assert found == {
        ("product", "parse"): 3,
        ("product", "edit"): 4,
        ("feature", "standard"): 5,
        ("feature", "complex"): 2,
        ("api_key", str(key.pk)): 7,
        ("file_type", "pdf"): 3,
        ("file_type", "docx"): 4,
    }


def test_day_that_just_changed_is_left_alone(key: ApiKey) -> None:
    daily_usage(key, DAY)

    assert margins.fold() == 0
    assert is_dirty()


def test_folded_day_is_not_folded_again(key: ApiKey) -> None:
    daily_usage(key, DAY)
    fold_later()

    assert fold_later() == 0
    assert not is_dirty()


def test_late_usage_makes_a_day_dirty_and_folding_recomputes_it(key: ApiKey) -> None:
    daily_usage(key, DAY, requests=1)
    fold_later()
    daily_usage(key, DAY, file_type="docx", requests=10)

    assert is_dirty()
    assert fold_later() == 1
    assert UsageMargin.objects.filter(dimension="product").aggregate(Sum("requests"))["requests__sum"] == 11


def test_more_days_than_a_batch_are_all_folded(key: ApiKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margins, "BATCH", 3)
    for number in range(10):
        daily_usage(key, DAY + timedelta(days=number))

    assert fold_later() == 10


@pytest.mark.parametrize("dimension", list(reports.Dimension))
def test_clean_days_are_read_from_margins_and_dirty_ones_from_the_cube(
    key: ApiKey, dimension: reports.Dimension
) -> None:
    assert key.organization
    daily_usage(key, DAY, requests=1)
    daily_usage(key, DAY + timedelta(days=1), requests=2)
    fold_later()
    daily_usage(key, DAY + timedelta(days=1), file_type="docx", product="edit", requests=4)
    daily_usage(key, DAY + timedelta(days=2), requests=8)
    # Where each number comes from shows by marking it.
    UsageMargin.objects.update(requests=100)

    rows = reports.export(key.organization, start=DAY, end=DAY + timedelta(days=2), group_by=dimension)

    totals: dict[date, int] = {}
    for row in rows:
        totals[row.date] = totals.get(row.date, 0) + row.requests
    assert totals == {DAY: 100, DAY + timedelta(days=1): 6, DAY + timedelta(days=2): 8}


def test_filters_of_two_dimensions_are_read_from_the_cube(key: ApiKey) -> None:
    assert key.organization
    daily_usage(key, DAY, file_type="pdf", requests=1)
    daily_usage(key, DAY, file_type="docx", requests=2)
    fold_later()
    UsageMargin.objects.update(requests=100)

    rows = reports.export(key.organization, start=DAY, end=DAY, file_types=["docx"])

    assert [row.requests for row in rows] == [2]


def test_change_during_the_fold_leaves_the_day_dirty(key: ApiKey, monkeypatch: pytest.MonkeyPatch) -> None:
    daily_usage(key, DAY, requests=1)
    run = statements.run

    def changed_meanwhile(*args: Any) -> Any:
        daily_usage(key, DAY, file_type="docx", requests=10)
        return run(*args)

    monkeypatch.setattr(statements, "run", changed_meanwhile)
    margins._fold_some(timezone.now() + LATER)
    monkeypatch.undo()

    assert is_dirty()
    fold_later()
    assert not is_dirty()
    assert UsageMargin.objects.filter(dimension="product").get().requests == 11


def test_a_days_changes_go_forward_even_where_the_clock_does_not(
    post_jobs: Callable[..., Any], job: Callable[..., Any]
) -> None:
    post_jobs(job("first"))
    tomorrow = timezone.now() + timedelta(days=1)
    UsageDay.objects.update(changed_at=tomorrow, folded_at=tomorrow)

    post_jobs(job("second"))

    assert UsageDay.objects.get().changed_at > tomorrow


def test_fold_agrees_with_the_cube_after_corrections(
    post_jobs: Callable[..., Any], job: Callable[..., Any]
) -> None:
    now = datetime.now(UTC) - timedelta(minutes=1)
    charged = job("a", status="InProgress", created_at=now.isoformat())
    post_jobs(charged, job("b"))
    fold_later()
    post_jobs(charged | {"status": "Failed", "usage": []})
    fold_later()

    for dimension in reports.Dimension:
        margin = UsageMargin.objects.filter(dimension=dimension)
        assert margin.aggregate(Sum("credits"), Sum("cost")) == DailyUsage.objects.aggregate(
            Sum("credits"), Sum("cost")
        )
    assert UsageMargin.objects.filter(dimension="product").get().credits == Decimal(3)


@pytest.mark.django_db(transaction=True)
def test_only_one_worker_folds_at_a_time(key: ApiKey) -> None:
    daily_usage(key, DAY)
    folded: list[int] = []

    def other_worker() -> None:
        folded.append(fold_later())
        connection.close()

    with transaction.atomic():
        margins._fold_some(timezone.now() + LATER)
        thread = threading.Thread(target=other_worker)
        thread.start()
        thread.join()

    assert folded == [0]
    assert not is_dirty()


@pytest.mark.django_db(transaction=True)
def test_day_that_is_being_written_to_is_passed_over(key: ApiKey) -> None:
    daily_usage(key, DAY)
    folded: list[int] = []

    def worker() -> None:
        folded.append(fold_later())
        connection.close()

    with transaction.atomic():
        daily_usage(key, DAY, file_type="docx")
        thread = threading.Thread(target=worker)
        thread.start()
        thread.join()

    assert folded == [0]
    assert is_dirty()
