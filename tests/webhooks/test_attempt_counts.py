"""Attempts are counted by the hour, and the numbers are what the attempts themselves say, at any time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import Organization
from webhooks import relay, retention
from webhooks.embedded import attempt_counts, queue
from webhooks.embedded.attempt_counts import Counts
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Endpoint, EndpointHour, Message, Status

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
Made = Callable[..., None]


@pytest.fixture
def row(endpoint: NewEndpoint) -> Endpoint:
    return Endpoint.objects.get()


@pytest.fixture
def attempted(organization: Organization, row: Endpoint) -> Made:
    """Write attempts at these moments."""
    message = Message.objects.create(organization=organization, event_type="job.completed", payload="{}")

    def attempted(*moments: datetime, status: Status = Status.SUCCESS) -> None:
        for moment in moments:
            Attempt.objects.create(
                organization=organization,
                message=message,
                endpoint=row,
                url=row.url,
                status=status,
                status_code=200,
                response="",
                duration_ms=1,
                timestamp=moment,
            )

    return attempted


def test_hours_that_are_over_are_counted_once(row: Endpoint, attempted: Made) -> None:
    attempted(NOON, NOON + 59 * MINUTE, NOON + 2 * HOUR)
    attempted(NOON + MINUTE, status=Status.FAIL)

    first = attempt_counts.fold(now=NOON + 3 * HOUR + 10 * MINUTE)
    second = attempt_counts.fold(now=NOON + 3 * HOUR + 10 * MINUTE)

    hours = EndpointHour.objects.order_by("hour").values_list("hour", "arrived", "failed")
    assert list(hours) == [(NOON, 2, 1), (NOON + 2 * HOUR, 1, 0)]
    assert (first, second) == (2, 0)


def test_an_hour_is_counted_only_when_its_last_attempt_is_recorded_for_certain(attempted: Made) -> None:
    attempted(NOON)

    attempt_counts.fold(now=NOON + HOUR + 9 * MINUTE)

    assert not EndpointHour.objects.exists()


def test_later_hours_are_added(attempted: Made) -> None:
    attempted(NOON)
    attempt_counts.fold(now=NOON + 2 * HOUR)
    attempted(NOON + 5 * HOUR)

    attempt_counts.fold(now=NOON + 7 * HOUR)

    assert EndpointHour.objects.count() == 2


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (NOON, NOON + 5 * HOUR),
        (NOON + 30 * MINUTE, NOON + 3 * HOUR + 30 * MINUTE),
        (NOON + 30 * MINUTE, NOON + 40 * MINUTE),
        (NOON - 9 * HOUR, NOON + MINUTE),
        (NOON + 2 * HOUR, NOON + 2 * HOUR),
        (NOON + 4 * HOUR, NOON + 9 * HOUR),
    ],
)
def test_counted_or_not_the_numbers_are_the_same(
    row: Endpoint, attempted: Made, since: datetime, until: datetime
) -> None:
    attempted(*(NOON + number * 7 * MINUTE for number in range(50)))
    attempted(*(NOON + number * 31 * MINUTE for number in range(9)), status=Status.FAIL)
    before = attempt_counts.of(row, since=since, until=until)

    attempt_counts.fold(now=NOON + 4 * HOUR + 10 * MINUTE)

    attempts = Attempt.objects.filter(timestamp__gte=since, timestamp__lt=until)
    read = Counts(attempts.filter(status=Status.SUCCESS).count(), attempts.filter(status=Status.FAIL).count())
    assert before == attempt_counts.of(row, since=since, until=until) == read


def test_old_hours_are_pruned(attempted: Made) -> None:
    now = timezone.now()
    attempted(now - timedelta(days=91), now - timedelta(days=80))
    attempt_counts.fold(now=now)

    retention.prune(now=now)

    assert EndpointHour.objects.count() == 1


def test_an_attempt_recorded_after_its_hour_was_counted_is_counted_too(
    row: Endpoint, attempted: Made, send: Callable[..., None]
) -> None:
    now = timezone.now()
    attempted(now - 4 * HOUR, now - 2 * HOUR)
    for _ in range(2):
        send()
    relay.hand_over()
    late, in_time = queue.claim(2)
    attempt_counts.fold(now=now)

    queue.record(
        queue.Outcome(claimed, moment, duration_ms=1, reply=queue.Reply(200, ""))
        for claimed, moment in ((late, now - 3 * HOUR), (in_time, now))
    )

    until = now + MINUTE
    assert attempt_counts.of(row, since=now - 10 * HOUR, until=until) == Counts(arrived=4, failed=0)
    attempt_counts.fold(now=now)
    assert attempt_counts.of(row, since=now - 10 * HOUR, until=until) == Counts(arrived=4, failed=0)
