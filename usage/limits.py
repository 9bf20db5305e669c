"""Request limits, shared by every process through Redis.

GCRA: one number a limit, the moment by which all that was taken will have been earned back. A limit of n a minute
lets n through at once and then one every 60/n seconds.

A process does not ask Redis about each request: it takes a lease, as many requests as it will spend in about half a
second at its present pace, at most a hundredth of the limit and at least one. What it has not spent after a second is
lost. Every lease is paid for in Redis before it is spent, so the processes together never let more through than the
limit. They may let a little less through: a lease is at most twice the last one, so of what a process takes, no more
than about half is ever lost, and nothing at a steady pace. Limits below 200 a minute are leased one by one, and exact.

Redis down means nobody is limited, which is counted.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import redis

from accounts import volatile
from usage import counted

logger = logging.getLogger(__name__)

_MINUTE = 60_000_000  # microseconds
LIFE_OF_LEASE = 1.0  # seconds
_AIM = 0.5  # seconds that a lease should last
_MOST_LEASES = 20_000

# For each limit: the interval between two requests, how many there may be at once, how many are wanted. Gives every
# limit what it has of that, or, where one that is wanted of has nothing, none of them anything. Whole microseconds.
_GCRA = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local found, allowed = {}, 1
for i, key in ipairs(KEYS) do
    local interval, limit, wanted = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
    -- Never more than a minute ahead, also when Redis's clock was set back.
    local due = math.min(math.max(tonumber(redis.call('GET', key) or 0), now), now + limit * interval)
    local room = math.max(0, math.floor((limit * interval - (due - now)) / interval))
    if wanted > 0 and room < 1 then allowed = 0 end
    found[i] = {interval, due, room, math.min(wanted, room)}
end
local answer = {allowed}
for i, key in ipairs(KEYS) do
    local interval, due, room, given = unpack(found[i])
    if allowed == 1 and given > 0 then
        due, room = due + interval * given, room - given
        redis.call('SET', key, string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1)
    end
    answer[#answer + 1] = {due - now, due, room, allowed == 1 and given or 0}
end
return answer
"""


@dataclass(frozen=True)
class Taken:
    """The answer of a limit. `reset` is when it will be whole again, in unix seconds; `wait` is in seconds."""

    allowed: bool
    limit: int
    remaining: int
    reset: int
    wait: float = 0.0


@dataclass
class _Lease:
    """What a process has paid for and may still let through, beside what it knows of the limit's state in Redis.

    `left` has an item for each request. Threads take them off without a lock, for which they would queue up however
    briefly each one holds it: no two get the same item.
    """

    limit: int
    size: int
    left: list[None]
    since: float
    beyond: int
    reset: int

    def lives(self, limit: int, now: float) -> bool:
        return bool(self.left) and self.limit == limit and now - self.since < LIFE_OF_LEASE

    def taken(self) -> Taken:
        return Taken(allowed=True, limit=self.limit, remaining=self.beyond + len(self.left), reset=self.reset)

    def next_size(self, now: float) -> int:
        pace = (self.size - len(self.left)) / max(now - self.since, 1e-6)
        return max(1, min(int(pace * _AIM), 2 * self.size, self.limit // 100))


# By the limit's name. A lease that is spent or dead stays, to tell how large the next one should be.
_leases: dict[str, _Lease] = {}
_lock = threading.Lock()


@cache
def _script() -> "redis.commands.core.Script":
    return volatile.client().register_script(_GCRA)


def forget() -> None:
    """Give up what this process has leased."""
    with _lock:
        _leases.clear()


def take(name: str, *, limit: int, cost: int = 1) -> Taken:
    """Take one request from the limit called `name`, of `limit` requests a minute. `cost=0` only looks."""
    return take_all([(name, limit)], cost=cost)[0]


def take_all(limits: Sequence[tuple[str, int]], *, cost: int = 1) -> list[Taken]:
    """Take one request from each of these limits (name, requests a minute), or from none if one has none left.

    Asks Redis once, and not at all while leases last. `cost=0` only looks.
    """
    if any(limit <= 0 for _, limit in limits):
        return [
            _closed(limit, cost) if limit <= 0 else take(name, limit=limit, cost=0) for name, limit in limits
        ]
    now = time.monotonic()
    held = {name: _spend(name, limit, cost, now) for name, limit in limits}
    if all(held.values()):
        return [lease.taken() for lease in held.values() if lease]
    asked = [
        (name, limit, cost * _next_size(name, limit, now)) for name, limit in limits if held[name] is None
    ]
    try:
        allowed, *states = volatile.ask(lambda: _ask(asked))
    except volatile.Unavailable as error:
        counted.unlimited.inc()
        if error.args:
            logger.warning("Redis did not answer; requests have no limit: %s", error)
        return [
            Taken(allowed=True, limit=limit, remaining=limit, reset=int(time.time())) for _, limit in limits
        ]
    with _lock:
        if not allowed:
            for lease in filter(None, held.values()):
                lease.left += [None] * cost
        answers = {name: lease.taken() for name, lease in held.items() if lease}
        for (name, limit, wanted), state in zip(asked, states, strict=True):
            answers[name] = _settle(name, limit, wanted, state, now)
    return [answers[name] for name, _ in limits]


def peek(limits: Sequence[tuple[str, int]]) -> list[Taken]:
    """How each of these limits would answer now. Takes nothing of them."""
    return [replace(one, allowed=one.remaining > 0) for one in take_all(limits, cost=0)]


def _closed(limit: int, cost: int) -> Taken:
    return Taken(allowed=cost == 0, limit=limit, remaining=0, reset=int(time.time()), wait=60.0)


def _interval(limit: int) -> int:
    return -(-_MINUTE // limit)


def _spend(name: str, limit: int, cost: int, now: float) -> _Lease | None:
    """Spend of the lease there is, if one lives."""
    lease = _leases.get(name)
    if lease is None or not lease.lives(limit, now):
        return None
    try:
        for _ in range(cost):
            lease.left.pop()
    except IndexError:  # another thread had the last one
        return None
    return lease


def _next_size(name: str, limit: int, now: float) -> int:
    lease = _leases.get(name)
    return lease.next_size(now) if lease and lease.limit == limit else 1


def _ask(asked: Sequence[tuple[str, int, int]]) -> list[Any]:
    numbers = [number for _, limit, wanted in asked for number in (_interval(limit), limit, wanted)]
    answer: list[Any] = _script()(keys=[f"limit:{name}" for name, _, _ in asked], args=numbers)
    return answer


def _settle(name: str, limit: int, wanted: int, state: list[int], now: float) -> Taken:
    """Keep what Redis gave, less the one request it was asked for."""
    owed, due, room, given = state
    reset = -(-due // 1_000_000)
    if not given:
        free = wanted == 0 or room > 0
        wait = 0.0 if free else max(0, owed - (limit - 1) * _interval(limit)) / 1e6
        return Taken(allowed=free, limit=limit, remaining=room, reset=reset, wait=wait)
    lease = _Lease(limit=limit, size=given, left=[None] * (given - 1), since=now, beyond=room, reset=reset)
    other = _leases.get(name)
    if other and other.lives(limit, now):  # another thread was at it as well
        lease.size += len(other.left)
        # One list from here on, for who still spends of the other.
        other.left += lease.left
        lease.left = other.left
        lease.since = min(lease.since, other.since)
    if len(_leases) >= _MOST_LEASES:
        _leases.clear()
    _leases[name] = lease
    return lease.taken()
