"""Several evaluators and tellers at once, and changes that become visible late."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import ApiKey, Notification, Organization
from tests.usage.rows import daily_usage
from usage import alert_notices, alerts, firings
from usage.models import AlertMark, TriggeredAlert, UsageAlert, UsageDay

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(work: Callable[[], Any], times: int = 4) -> list[Any]:
    """What each of so many threads, starting together, returns."""
    gate = threading.Barrier(times)
    results: list[Any] = []

    def run() -> None:
        try:
            gate.wait()
            results.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(results) == times
    return results


def watched(organization: Organization, thresholds: int) -> None:
    alerts.create(
        organization=organization,
        metric="pages",
        period="monthly",
        thresholds=[Decimal(number) for number in range(1, thresholds + 1)],
        actor=None,
    )


def use(key: ApiKey, pages: int) -> None:
    daily_usage(key, datetime.now(UTC).date(), pages=pages)
    UsageDay.objects.update(changed_at=Now())


def test_several_evaluators_fire_each_alert_once(
    organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    watched(organization, 50)
    firings.evaluate()
    use(organization_key[0], 50)

    fired = at_once(firings.evaluate)

    assert sum(fired) == TriggeredAlert.objects.count() == 50


def test_several_tellers_tell_each_firing_once(
    organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    use(organization_key[0], 20)
    watched(organization, 20)

    told = at_once(alert_notices.tell)

    assert sum(told) == Notification.objects.filter(kind="usage").count() == 20


def test_a_change_that_is_committed_long_after_it_was_made_still_fires(
    organization: Organization, organization_key: tuple[ApiKey, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the overlap: what makes sure is that the mark waits for the oldest transaction."""
    monkeypatch.setattr(firings, "OVERLAP", firings.OVERLAP * 0)
    watched(organization, 1)
    firings.evaluate()
    written, looked = threading.Event(), threading.Event()

    def report() -> None:
        try:
            with transaction.atomic():
                use(organization_key[0], 5)
                written.set()
                looked.wait(timeout=30)
        finally:
            connection.close()

    reporter = threading.Thread(target=report)
    reporter.start()
    assert written.wait(timeout=30)
    before = AlertMark.objects.get().looked_until
    assert [firings.evaluate() for _ in range(2)] == [0, 0]
    looked.set()
    reporter.join(timeout=30)

    assert AlertMark.objects.get().looked_until >= before
    assert firings.evaluate() == 1


def test_the_same_alert_is_made_once(organization: Organization) -> None:
    def create() -> int:
        try:
            watched(organization, 1)
        except alerts.Duplicate:
            return 0
        return 1

    assert sum(at_once(create)) == UsageAlert.objects.count() == 1


def test_as_many_alerts_at_once_as_an_organization_may_have(organization: Organization) -> None:
    watched(organization, alerts.MOST - 1)
    thresholds = count(1000)

    def create() -> int:
        try:
            alerts.create(
                organization=organization,
                metric="pages",
                period="monthly",
                thresholds=[Decimal(next(thresholds))],
                actor=None,
            )
        except alerts.TooMany:
            return 0
        return 1

    assert sum(at_once(create)) == 1


def test_an_open_transaction_that_wrote_nothing_keeps_nobody_waiting(
    organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    firings.evaluate()
    opened, looked = threading.Event(), threading.Event()

    def read() -> None:
        try:
            with transaction.atomic():
                Organization.objects.count()
                opened.set()
                looked.wait(timeout=30)
        finally:
            connection.close()

    reader = threading.Thread(target=read)
    reader.start()
    assert opened.wait(timeout=30)
    opened_at = timezone.now()

    firings.evaluate()

    looked.set()
    reader.join(timeout=30)
    assert AlertMark.objects.get().looked_until > opened_at
