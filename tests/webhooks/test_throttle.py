"""An endpoint's rate is kept, however many workers there are: case 47 of the conformance table."""

from collections.abc import Callable
from datetime import timedelta
from time import monotonic

import pytest
from django.utils import timezone

from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import relay
from webhooks.embedded import queue
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Endpoint, Status

pytestmark = pytest.mark.django_db

Send = Callable[..., None]


def _moments() -> list[float]:
    return sorted(attempt.timestamp.timestamp() for attempt in Attempt.objects.all())


def test_47_messages_are_sent_apart(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    Endpoint.objects.update(throttle_rate=5)
    for number in range(6):
        send(f"job-{number}")

    deliver()

    moments = _moments()
    assert len(moments) == 6
    assert moments[-1] - moments[0] >= 0.95


def test_47_two_workers_share_an_endpoints_rate(endpoint: NewEndpoint, send: Send) -> None:
    Endpoint.objects.update(throttle_rate=10)
    for number in range(20):
        send(f"job-{number}")
    relay.hand_over()

    start = monotonic()
    first = queue.claim(64)
    after_first = Endpoint.objects.get().next_slot_at
    second = queue.claim(64)
    took = monotonic() - start
    after_second = Endpoint.objects.get().next_slot_at

    assert [claimed.delay for claimed in first] == [0, 0.1, 0.2]  # the next has its moment after AHEAD
    assert len(second) <= 10 * (took + queue.AHEAD) - 2  # those whose moment came nearer meanwhile
    assert after_first and after_second
    assert after_second - after_first >= len(second) * timedelta(seconds=0.1)


def test_47_what_has_to_wait_keeps_its_place_and_state(endpoint: NewEndpoint, send: Send) -> None:
    Endpoint.objects.update(throttle_rate=1)
    for job in ("a", "b"):
        send(job)
    relay.hand_over()
    before = Delivery.objects.order_by("pk")[1].next_attempt_at

    [claimed] = queue.claim(64)

    first, second = Delivery.objects.order_by("pk")
    assert claimed.delivery_id == first.pk
    assert (second.next_attempt_at, second.status) == (before, Status.PENDING)


def test_47_time_that_went_by_unused_is_not_caught_up(endpoint: NewEndpoint, send: Send) -> None:
    Endpoint.objects.update(throttle_rate=1, next_slot_at=timezone.now() - timedelta(hours=1))
    for job in ("a", "b"):
        send(job)
    relay.hand_over()

    assert len(queue.claim(64)) == 1
    assert queue.claim(64) == []


def test_47_others_do_not_wait_for_it(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    Endpoint.objects.update(throttle_rate=1, next_slot_at=timezone.now() + timedelta(hours=1))
    send("throttled")
    for _ in range(20):
        send(url=receiver.url)
    relay.hand_over()

    claimed = queue.claim(64)

    assert len(claimed) == queue.AT_ONCE_IN_LANE
    assert {each.delay for each in claimed} == {0}


def test_47_a_rate_that_was_lifted_holds_nothing_up(endpoint: NewEndpoint, send: Send) -> None:
    Endpoint.objects.update(throttle_rate=None, next_slot_at=timezone.now() - timedelta(hours=1))
    for number in range(5):
        send(f"job-{number}")
    relay.hand_over()

    assert [claimed.delay for claimed in queue.claim(64)] == [0] * 5


def test_47_retries_count_as_well(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    Endpoint.objects.update(throttle_rate=1)
    send("a")
    receiver.answer(500)
    deliver()
    let_time_pass()

    assert queue.claim(64) == []
