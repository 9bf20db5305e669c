"""Request limits, shared by every process through Redis.

GCRA: one number a limit, the moment by which all that was taken will have been earned back. A limit of n a minute
lets n through at once and then one every 60/n seconds. Redis down means nobody is limited, which is counted.
"""

import logging
import time
from dataclasses import dataclass
from functools import cache
from itertools import count

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

_MINUTE = 60_000_000  # microseconds

_GCRA = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local after = due + interval * cost
local allowed = after - now <= 60000000
if allowed and cost > 0 then
    redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
    due = after
end
return {allowed and 1 or 0, string.format('%.0f', due - now), string.format('%.0f', due)}
"""

# How often a request went unlimited because Redis did not answer, in this process.
unlimited = count(1)
# After a failure Redis is left alone for a while: when it hangs, each question would wait for its time-out.
PAUSE = 1.0  # seconds
_silent_until = 0.0


@dataclass(frozen=True)
class Taken:
    """The answer of a limit. `reset` is when it will be whole again, in unix seconds; `wait` is in seconds."""

    allowed: bool
    limit: int
    remaining: int
    reset: int
    wait: float = 0.0


@cache
def _script() -> "redis.commands.core.Script":
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.25, socket_connect_timeout=0.25)
    return client.register_script(_GCRA)


def take(name: str, *, limit: int, cost: int = 1) -> Taken:
    """Take from the limit called `name`, of `limit` requests a minute. `cost=0` only looks."""
    global _silent_until
    if limit <= 0:
        return Taken(allowed=cost == 0, limit=limit, remaining=0, reset=int(time.time()), wait=60.0)
    interval = _MINUTE / limit
    unlimited_now = Taken(allowed=True, limit=limit, remaining=limit, reset=int(time.time()))
    if time.monotonic() < _silent_until:
        next(unlimited)
        return unlimited_now
    try:
        allowed, owed, due = _script()(keys=[f"limit:{name}"], args=[interval, cost])
    except redis.RedisError as error:
        _silent_until = time.monotonic() + PAUSE
        logger.warning("Redis did not answer; request %d without a limit: %s", next(unlimited), error)
        return unlimited_now
    owed_us, due_us = int(owed), int(due)
    return Taken(
        allowed=bool(allowed),
        limit=limit,
        remaining=max(0, int((_MINUTE - owed_us) / interval + 1e-6)),
        reset=-(-due_us // 1_000_000),
        wait=max(0.0, (owed_us + interval - _MINUTE) / 1e6),
    )
