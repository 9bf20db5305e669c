"""When a failed delivery is tried again: cases 31 and 32 of the conformance table."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.webhooks.conftest import Receiver, deliver
from webhooks.embedded import delivery, queue
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Status

HOUR = 3600


@pytest.mark.parametrize(
    ("failures", "seconds"),
    list(enumerate([5, 300, HOUR / 2, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR], start=1)),
)
def test_32_waits_follow_the_schedule_give_or_take_a_fifth(failures: int, seconds: float) -> None:
    waits = [queue.wait_after(failures) for _ in range(200)]

    assert all(
        timedelta(seconds=0.8 * seconds) <= wait <= timedelta(seconds=1.2 * seconds) for wait in waits if wait
    )
    assert len(set(waits)) > 100


def test_32_after_the_schedule_it_is_given_up() -> None:
    assert queue.wait_after(8) is None


@pytest.mark.django_db
def test_31_a_timeout_has_code_0_and_waits_a_minute_at_least(
    endpoint: NewEndpoint, send: Callable[..., None], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT", 0.2)
    receiver.delay = 1
    send()

    deliver()

    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.status_code, attempt.response) == (Status.FAIL, 0, "Timed out.")
    next_attempt_at = Delivery.objects.get().next_attempt_at
    assert next_attempt_at and next_attempt_at > timezone.now() + timedelta(seconds=55)


@pytest.mark.parametrize(
    ("asked_for", "seconds"), [(-5.0, 300), (0.0, 300), (299.0, 300), (450.0, 450), (600.5, 600), (1e20, 600)]
)
def test_32_a_receiver_may_ask_for_up_to_twice_the_wait(asked_for: float, seconds: float) -> None:
    assert queue.wait_after(2, retry_after=asked_for) == timedelta(seconds=seconds)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("8", 8),
        ("0", 5),
        ("3600", 10),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 10),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 5),
    ],
)
def test_32_retry_after_is_a_number_of_seconds_or_a_date(
    value: str, seconds: float, endpoint: NewEndpoint, send: Callable[..., None], receiver: Receiver
) -> None:
    receiver.answer(429, headers={"retry-after": value})
    send()

    deliver()

    next_attempt_at = Delivery.objects.get().next_attempt_at
    assert next_attempt_at
    waits = next_attempt_at - Attempt.objects.get().timestamp
    assert timedelta(seconds=seconds) <= waits < timedelta(seconds=seconds + 3)


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["", "soon", "1e9", "-1", "Wed, 99 Oct 99999999999999999999 07:28:00 GMT"])
def test_32_a_retry_after_that_says_nothing_is_passed_over(
    value: str, endpoint: NewEndpoint, send: Callable[..., None], receiver: Receiver
) -> None:
    receiver.answer(503, headers={"retry-after": value})
    send()

    deliver()

    assert Attempt.objects.get().status_code == 503
    assert Delivery.objects.get().status == Status.SENDING
