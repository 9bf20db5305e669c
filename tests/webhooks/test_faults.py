"""Real workers killed at any moment, while the receiver falls down, answers errors and sleeps, and Redis forgets."""

import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from redis import Redis

from tests.webhooks.conftest import Receiver, Worker, deliver, let_time_pass, until
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, OutboxMessage, Status

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGES = 1_000
KILLS = 8


@contextlib.contextmanager
def flapping(receiver: Receiver) -> Iterator[None]:
    """Let the receiver be well for a moment, then down, then in error, then slow, over and over."""
    stop = threading.Event()

    def flap() -> None:
        while not stop.is_set():
            receiver.is_down, receiver.delay = False, 0.02
            stop.wait(0.3)
            receiver.is_down = True
            stop.wait(0.1)
            receiver.is_down = False
            receiver.answer(*[500] * 10)
            stop.wait(0.1)
            receiver.delay = 0.2
            stop.wait(0.1)

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        receiver.delay = 0.0
        receiver.answers.clear()


def test_every_message_arrives_whatever_is_killed_and_the_attempts_tell_the_truth(
    endpoint: NewEndpoint, send: Callable[..., None], receiver: Receiver, start: Callable[[], Worker]
) -> None:
    jobs = [f"job-{number}" for number in range(MESSAGES)]
    for job in jobs:
        send(job)

    chance = random.Random(7)
    with flapping(receiver), Redis.from_url(settings.REDIS_URL) as redis:
        for _ in range(KILLS):
            before = len(receiver.arrivals)
            worker = start()
            until(lambda before=before: len(receiver.arrivals) > before)  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.3))
            worker.kill()
            worker.wait()
            redis.flushdb()
            let_time_pass()
    assert Delivery.objects.exclude(status=Status.SUCCESS).exists()  # they were killed amid the work
    while OutboxMessage.objects.filter(handed_over_at=None).exists() or _waiting():
        deliver()
        let_time_pass()

    assert {json.loads(arrival.body)["data"]["job_id"] for arrival in receiver.arrivals} == set(jobs)
    assert set(Delivery.objects.values_list("status", flat=True)) == {Status.SUCCESS}
    arrivals = Counter(arrival.headers["svix-id"] for arrival in receiver.arrivals)
    attempts = list(Attempt.objects.select_related("message"))
    assert not Counter(made.message.uid for made in attempts if made.status_code) - arrivals
    assert {made.status_code for made in attempts} <= {0, 200, 500}
    assert {made.message.uid for made in attempts if made.status == Status.SUCCESS} == set(arrivals)


def _waiting() -> bool:
    return Delivery.objects.exclude(next_attempt_at=None).exists()
