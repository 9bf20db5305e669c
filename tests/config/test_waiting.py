"""What waits, and for how long: each number from a row that waits, and 0 where none does."""

import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiKey, NoticeKind, Notification, Organization, User
from billing import settlement
from billing.models import StripeChange
from config import waiting
from config.celery import app
from tests.usage.rows import daily_usage
from usage.models import AlertMark, UsageDay
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
    daily_usage(ApiKey.objects.get(), ago(days=2).date())

    assert told("alert_lag_seconds") == pytest.approx(AN_HOUR, abs=60)


def test_what_the_ledger_lacks_is_told_with_its_credits(used: None) -> None:
    found = waiting.in_database()

    assert found is not None
    assert found["settlement_lag_seconds"] == pytest.approx(AN_HOUR, abs=60)
    assert found["unsettled_credits"] == 3


def test_a_settled_day_does_not_wait(used: None, organization: Organization) -> None:
    settlement.settle_changed()

    assert (told("settlement_lag_seconds"), told("unsettled_credits")) == (0, 0)


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
            created_at=ago(hours=1),
            emailed_at=mailed,
        )

    assert told("mail_waiting") == 1
    assert told("mail_oldest_seconds") == pytest.approx(AN_HOUR, abs=60)


def test_a_number_that_takes_too_long_is_left_out_and_the_others_stay(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "SELECT 1 AS slow FROM pg_sleep(5)"
    monkeypatch.setattr(waiting, "_QUERIES", (slow, "SELECT 2 AS quick"))
    monkeypatch.setattr(waiting, "_MOMENTS", {})
    monkeypatch.setattr(waiting, "PATIENCE", 50)

    assert waiting.in_database() == {"quick": 2.0}


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
    # To see whether anybody answers, and for each a savepoint around it and its limit of time.
    with django_assert_max_num_queries(1 + 4 * (len(waiting._QUERIES) + len(waiting._MOMENTS))):
        waiting.in_database()


def test_the_queue_tells_how_many_tasks_wait(clean_redis: redis.Redis) -> None:
    clean_redis.rpush(app.conf.task_default_queue, "a", "b")

    assert waiting.in_queue() == 2


def test_unsettled_credits_count_whichever_way_they_differ(used: None, organization: Organization) -> None:
    settlement.settle_changed()
    UsageDay.objects.update(credits=Decimal(1))

    assert told("unsettled_credits") == 2
