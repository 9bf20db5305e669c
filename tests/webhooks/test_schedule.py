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
