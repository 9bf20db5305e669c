"""What waits, how much of it and since when: each from a row that waits, and nothing where none does."""

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import notifications
from accounts.models import ApiKey, NoticeKind, Notification, Organization, User
from billing import inbox, settlement
from billing.models import SettlementMark, StripeChange
from config import waiting
from config.celery import app
from tests.usage.rows import daily_usage
from usage import export_files, margins
from usage.models import AlertMark, UsageDay, UsageExportFile
from webhooks.embedded import queue
from webhooks.models import Delivery, Endpoint, Message, OutboxMessage

AN_HOUR = 3600.0


def ago(**how_long: int) -> datetime:
    return timezone.now() - timedelta(**how_long)


def told(name: str) -> float:
    found = waiting.in_database()
    assert found is not None
    return found[name]


@pytest.fixture
def endpoint(organization: Organization) -> Endpoint:
    return Endpoint.objects.create(organization=organization, url="https://example.com/hook")


@pytest.fixture
def used(organization_key: tuple[ApiKey, str]) -> None:
    """An hour ago a day's totals changed."""
    daily_usage(organization_key[0], timezone.now().date())
    UsageDay.objects.update(changed_at=ago(hours=1))


def delivery(endpoint: Endpoint, due_at: datetime | None) -> Delivery:
    message = Message.objects.create(
        organization=endpoint.organization,
        event_id=uuid.uuid4().hex,
        event_type="job.completed",
        payload="{}",
    )
    return Delivery.objects.create(
        organization=endpoint.organization,
        message=message,
        endpoint=endpoint,
        lane=endpoint.pk,
        next_attempt_at=due_at,
    )


def outbox(organization: Organization, **fields: Any) -> OutboxMessage:
    return OutboxMessage.objects.create(
        organization=organization, event_type="job.completed", payload="{}", **fields
    )


def test_where_nothing_waits_all_is_nought(db: None) -> None:
    found = waiting.in_database()

    assert found == dict.fromkeys(set(waiting.MEANINGS) - {"queue_length"}, 0.0)
    assert not [age for age in waiting.ages() if age.since]


def test_a_day_waits_until_it_is_folded(used: None) -> None:
    before = told("rollup_lag_seconds")
    UsageDay.objects.update(folded_at=timezone.now())

    assert before == pytest.approx(AN_HOUR, abs=60)
    assert told("rollup_lag_seconds") == 0


def test_alerts_lag_since_the_mark_while_a_change_lies_after_it(used: None) -> None:
    AlertMark.objects.create(pk=1, looked_until=ago(hours=2))
    before = told("alert_lag_seconds")
    AlertMark.objects.update(looked_until=timezone.now())

    assert before == pytest.approx(2 * AN_HOUR, abs=60)
    assert told("alert_lag_seconds") == 0


def test_alerts_that_were_never_looked_at_lag_since_the_oldest_change(used: None) -> None:
    assert told("alert_lag_seconds") == pytest.approx(AN_HOUR, abs=60)


# ── What is settled ──────────────────────────────────────────────────────────────────────────────────────────
def test_the_ledger_lags_since_its_mark_while_a_change_lies_after_it(used: None) -> None:
    SettlementMark.objects.update_or_create(pk=1, defaults={"settled_until": ago(hours=2)})

    assert told("settlement_lag_seconds") == pytest.approx(2 * AN_HOUR, abs=60)


def test_a_day_that_changes_all_the_time_looks_as_old_as_it_is(used: None) -> None:
    SettlementMark.objects.update_or_create(pk=1, defaults={"settled_until": ago(hours=2)})
    UsageDay.objects.update(changed_at=timezone.now())

    assert told("settlement_lag_seconds") == pytest.approx(2 * AN_HOUR, abs=60)


def test_a_ledger_that_followed_does_not_lag(used: None) -> None:
    settlement.follow()

    assert told("settlement_lag_seconds") == 0


def test_a_ledger_that_never_followed_lags_since_the_oldest_change(used: None) -> None:
    SettlementMark.objects.all().delete()

    assert told("settlement_lag_seconds") == pytest.approx(AN_HOUR, abs=60)


# ── The other queues ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_day_waits_to_be_folded_until_it_is(used: None) -> None:
    assert margins.oldest_unfolded() == UsageDay.objects.get().changed_at

    margins.fold(now=timezone.now() + timedelta(minutes=5))

    assert margins.oldest_unfolded() is None


@pytest.mark.parametrize("state", ["waiting", "done"])
def test_only_exports_that_nobody_has_begun_wait(organization: Organization, owner: User, state: str) -> None:
    export = UsageExportFile.objects.create(
        organization=organization, created_by=owner, kind="jobs", state=state
    )

    assert export_files.oldest_waiting() == (export.created_at if state == "waiting" else None)


def test_a_letter_waits_from_when_it_is_due(owner: User) -> None:
    Notification.objects.all().delete()
    due = timezone.now() - timedelta(minutes=7)
    for minutes, key in ((0, "due"), (20, "later")):
        Notification.objects.create(
            user=owner,
            kind=NoticeKind.TEAM,
            key=key,
            title="Something happened",
            next_mail_at=due + timedelta(minutes=minutes),
        )

    assert notifications.oldest_due() == due


@pytest.mark.django_db
def test_an_event_of_stripes_waits_to_be_applied() -> None:
    assert inbox.oldest_change() is None

    inbox.note("cus_1")

    assert inbox.oldest_change()


def test_the_delivery_that_has_been_due_longest_counts_whichever_its_lane(organization: Organization) -> None:
    now = timezone.now()
    message = Message.objects.create(organization=organization, event_type="job.completed", payload="{}")
    for lane, minutes in ((-1, 3), (-2, 9), (-3, -5)):
        Delivery.objects.create(
            organization=organization,
            message=message,
            url="https://example.com",
            lane=lane,
            next_attempt_at=now - timedelta(minutes=minutes),
        )

    assert queue.oldest_due() == now - timedelta(minutes=9)


def test_the_outbox_tells_how_many_wait_and_the_oldest_of_all_organizations(
    organization: Organization, other_organization: Organization
) -> None:
    outbox(organization, created_at=ago(minutes=1))
    outbox(other_organization, created_at=ago(hours=1))
    outbox(other_organization, created_at=ago(minutes=1))
    outbox(organization, created_at=ago(hours=5), handed_over_at=timezone.now())
    outbox(organization, created_at=ago(hours=5), refused_at=timezone.now())

    assert told("outbox_waiting") == 3
    assert told("outbox_oldest_seconds") == pytest.approx(AN_HOUR, abs=60)


def test_counting_stops_where_there_is_much(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        outbox(organization)
    monkeypatch.setattr(waiting, "MOST", 2)

    assert told("outbox_waiting") == 2


def test_deliveries_tell_since_when_one_is_due(endpoint: Endpoint) -> None:
    delivery(endpoint, ago(hours=1))
    delivery(endpoint, ago(minutes=1))
    delivery(endpoint, None)

    assert told("deliveries_oldest_due_seconds") == pytest.approx(AN_HOUR, abs=60)


def test_a_delivery_that_is_to_be_tried_later_is_not_due(endpoint: Endpoint) -> None:
    delivery(endpoint, ago(hours=-1))

    assert told("deliveries_oldest_due_seconds") == 0


@pytest.mark.parametrize(
    ("fields", "count"),
    [({}, 1), ({"disabled": True}, 0), ({"deleted_at": timezone.now()}, 0), ({"failing_since": None}, 0)],
)
def test_endpoints_that_fail_are_counted(endpoint: Endpoint, fields: dict[str, Any], count: int) -> None:
    Endpoint.objects.update(**{"failing_since": ago(hours=1)} | fields)

    assert told("endpoints_failing") == count


def test_what_stripe_told_waits_until_it_is_applied(db: None) -> None:
    StripeChange.objects.create(stripe_id="in_1", created_at=ago(hours=1), next_attempt_at=ago(hours=-1))

    assert told("stripe_changes_waiting") == 1
    assert told("stripe_changes_oldest_seconds") == pytest.approx(AN_HOUR, abs=60)


def test_notices_wait_until_they_are_mailed(owner: User) -> None:
    Notification.objects.all().delete()
    for key, mailed in (("a", None), ("b", timezone.now())):
        Notification.objects.create(
            user=owner,
            kind=NoticeKind.values[0],
            key=key,
            title="Told",
            next_mail_at=ago(hours=1),
            emailed_at=mailed,
        )

    assert told("mail_waiting") == 1
    assert told("mail_oldest_seconds") == pytest.approx(AN_HOUR, abs=60)


# ── A database in trouble ────────────────────────────────────────────────────────────────────────────────────
def sleep(seconds: float) -> Callable[[], None]:
    def question() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [seconds])

    return question


def ask_instead(monkeypatch: pytest.MonkeyPatch, *questions: Callable[[], Any]) -> None:
    monkeypatch.setattr(waiting, "_COUNTS", {})
    monkeypatch.setattr(
        waiting,
        "QUEUES",
        [replace(queue, oldest=asked) for queue, asked in zip(waiting.QUEUES, questions, strict=False)],
    )


def test_a_number_that_takes_too_long_is_left_out_and_the_others_stay(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_instead(monkeypatch, sleep(5), timezone.now)
    monkeypatch.setattr(waiting, "PATIENCE", 50)

    assert list(waiting.in_database() or ()) == ["deliveries_oldest_due_seconds"]


def test_what_did_not_tell_in_time_is_not_known_on_pages(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_instead(monkeypatch, sleep(5), lambda: None)
    monkeypatch.setattr(waiting, "PATIENCE", 50)

    assert [(age.is_known, age.is_old) for age in waiting.ages()] == [(False, False), (True, False)]


def test_all_of_them_together_have_an_end(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus waits for ten seconds, and would get none of the other numbers."""
    ask_instead(monkeypatch, *[sleep(5)] * 9)
    monkeypatch.setattr(waiting, "PATIENCE", 200)
    monkeypatch.setattr(waiting, "LONGEST", 0.5)
    began = time.monotonic()

    waiting.in_database()

    assert time.monotonic() - began < 1.5


@pytest.mark.django_db(transaction=True)
def test_a_database_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps no time either."""
    ask_instead(monkeypatch, sleep(10))
    monkeypatch.setattr(waiting, "_be_brief", lambda milliseconds: None)
    monkeypatch.setattr(waiting, "LONGEST", 0.3)
    began = time.monotonic()

    assert waiting.in_database() is None
    assert time.monotonic() - began < 5
    assert Organization.objects.count() == 0  # over a new connection


def test_a_database_that_does_not_answer_is_told_as_such(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", away)
        found = waiting.in_database()

    assert found is None


def test_each_number_takes_one_question(
    db: None, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    # And for each a savepoint around it, and its limit of time.
    with django_assert_max_num_queries(4 * (len(waiting.QUEUES) + len(waiting._COUNTS))):
        waiting.in_database()


def test_the_queue_tells_how_many_tasks_wait(clean_redis: redis.Redis) -> None:
    clean_redis.rpush(app.conf.task_default_queue, "a", "b")

    assert waiting.in_queue() == 2
