"""What every process shares and may be lost at any moment: a Redis, asked briefly and left alone when it fails."""

import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import redis
from django.conf import settings

Answer = TypeVar("Answer")

# After a failure Redis is left alone for a while: when it hangs, each question would wait for its time-out.
PAUSE = 1.0  # seconds
_silent_until = 0.0


class Unavailable(Exception):
    """Redis does not answer, or did not a moment ago."""


@cache
def client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.25, socket_connect_timeout=0.25)


def ask(question: Callable[[], Answer]) -> Answer:
    """What Redis answers to `question`, a call of the client's. Raises `Unavailable`."""
    global _silent_until
    if time.monotonic() < _silent_until:
        raise Unavailable
    try:
        return question()
    except redis.RedisError as error:
        _silent_until = time.monotonic() + PAUSE
        raise Unavailable(str(error)) from error
