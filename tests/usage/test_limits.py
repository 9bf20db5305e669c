"""Limits that processes and threads share: never more than the limit, small ones exact, big ones with few questions."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import redis
from django.conf import settings

from tests.usage.counts import unlimited
from usage import limits

# Takes as often as it is told; prints how many were let through.
TAKER = """
import sys
import django
django.setup()
from usage import limits
print("ready", flush=True)
name, limit, times = sys.stdin.readline().split()
print(sum(limits.take(name, limit=int(limit)).allowed for _ in range(int(times))))
"""


def take_at_once(name: str, *, limit: int, processes: int, times: int) -> int:
    """How many of the requests of several processes are let through together."""
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER],
            env={**os.environ, "REDIS_URL": settings.REDIS_URL, "DJANGO_SETTINGS_MODULE": "config.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for taker in takers:
        assert taker.stdout and taker.stdout.readline() == "ready\n"
    for taker in takers:
        assert taker.stdin
        taker.stdin.write(f"{name} {limit} {times}\n")
        taker.stdin.flush()
    return sum(int(taker.communicate(timeout=120)[0]) for taker in takers)


@pytest.fixture
def frozen_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still in Redis: nothing is earned back or forgotten, and what is let through can be counted."""
    still = limits._GCRA.replace("redis.call('TIME')", "{1790000000, 0}")
    still = re.sub(r", 'PX', math.ceil\(.*\) \+ 1\)", ")", still)
    assert "TIME" not in still and "PX" not in still
    monkeypatch.setattr(limits, "_GCRA", still)
    limits._script.cache_clear()


@pytest.fixture(autouse=True)
def own_script() -> None:
    limits._script.cache_clear()


def test_a_small_limit_is_exact_between_processes() -> None:
    # Slower than one a minute is earned back: 10 are let through at once, and the next one is 6 seconds away.
    assert take_at_once("small", limit=10, processes=3, times=10) == 10


@pytest.mark.usefixtures("frozen_redis")
@pytest.mark.parametrize("limit", [1, 7, 10, 199])
def test_a_small_limit_is_exact_between_threads(limit: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: limits.take("small", limit=limit).allowed, range(limit + 50)))

    assert sum(taken) == limit


@pytest.mark.usefixtures("frozen_redis")
@pytest.mark.parametrize("limit", [200, 999, 5_000])
def test_a_big_limit_never_lets_more_through_however_many_threads_share_leases(limit: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: limits.take("big", limit=limit).allowed, range(limit + 500)))

    assert limit * 0.5 < sum(taken) <= limit


@pytest.mark.usefixtures("frozen_redis")
def test_leases_of_several_processes_add_up_to_no_more_than_the_limit() -> None:
    """What one process has leased, another one does not get."""
    limit, allowed = 1_000, 0
    processes: list[dict[str, limits._Lease]] = [{}, {}, {}]
    for turn in range(3 * 1_000):
        own = processes[turn % 3]
        limits._leases.clear()
        limits._leases.update(own)
        allowed += limits.take("shared", limit=limit).allowed
        own |= limits._leases

    assert allowed <= limit
    assert allowed > limit * 0.5


def test_a_busy_process_asks_redis_seldom(questions: list[object]) -> None:
    taken = [limits.take("busy", limit=100_000).allowed for _ in range(10_000)]

    assert all(taken)
    assert len(questions) < 200


def test_a_first_request_leases_no_more_than_itself(clean_redis: redis.Redis) -> None:
    first = limits.take("calm", limit=10_000)
    limits.forget()
    look = limits.take("calm", limit=10_000, cost=0)

    assert first.remaining == 9_999
    assert look.remaining >= 9_999


def test_what_dies_unspent_makes_the_next_lease_smaller() -> None:
    lease = limits._Lease(limit=10_000, size=80, left=[None] * 70, since=0.0, beyond=0, reset=0)

    assert lease.next_size(now=2.0) == 2
    assert not lease.lives(10_000, now=1.0)
    assert lease.lives(10_000, now=0.9)


def test_a_lease_grows_to_twice_the_last_and_a_hundredth_of_the_limit() -> None:
    assert limits._Lease(10_000, size=8, left=[], since=0.0, beyond=0, reset=0).next_size(now=0.001) == 16
    assert limits._Lease(10_000, size=80, left=[], since=0.0, beyond=0, reset=0).next_size(now=0.001) == 100
    assert limits._Lease(199, size=1, left=[], since=0.0, beyond=0, reset=0).next_size(now=0.001) == 1


def test_another_limit_under_the_same_name_does_not_spend_the_old_lease() -> None:
    for _ in range(50):
        limits.take("changed", limit=10_000)

    assert limits.take("changed", limit=0).allowed is False
    assert limits.take("changed", limit=10).limit == 10


def test_what_remains_counts_down_by_one() -> None:
    remaining = [limits.take("told", limit=1_000_000).remaining for _ in range(200)]

    # A little is earned back meanwhile, and is seen with the next lease.
    assert remaining[0] == 999_999
    assert all(after >= before - 1 for before, after in pairwise(remaining))


@pytest.mark.usefixtures("frozen_redis")
def test_of_two_limits_both_are_taken_or_none() -> None:
    names = [("organization", 5), ("key", 3)]

    answers = [[taken.allowed for taken in limits.take_all(names)] for _ in range(5)]

    assert answers == [[True, True]] * 3 + [[True, False]] * 2
    assert [taken.remaining for taken in limits.take_all(names, cost=0)] == [2, 0]


@pytest.mark.usefixtures("frozen_redis")
def test_what_is_leased_of_one_limit_is_given_back_when_the_other_refuses() -> None:
    names = [("organization", 10_000), ("key", 20)]
    for _ in range(20):
        assert all(taken.allowed for taken in limits.take_all(names))

    for _ in range(30):
        limits.take_all(names)

    assert limits.take("organization", limit=10_000, cost=0).remaining == 10_000 - 20


def test_a_closed_limit_takes_nothing_from_the_other() -> None:
    [open_one, closed] = limits.take_all([("organization", 10), ("key", 0)])

    assert (open_one.allowed, open_one.remaining, closed.allowed) == (True, 10, False)


def test_a_clock_of_redis_that_was_set_back_shuts_nobody_out_for_longer_than_a_minute(
    clean_redis: redis.Redis,
) -> None:
    in_an_hour = (int(time.time()) + 3_600) * 1_000_000
    clean_redis.set("limit:ahead", in_an_hour)

    taken = limits.take("ahead", limit=100)

    assert not taken.allowed
    assert taken.reset <= time.time() + 61


@pytest.mark.usefixtures("redis_down")
def test_with_redis_down_all_are_let_through_and_counted() -> None:
    before = unlimited()

    taken = [limits.take("any", limit=1).allowed for _ in range(5)]

    assert all(taken)
    assert unlimited() == before + 5
