"""The demo's past: for each of the last days, the jobs of every customer, made from a fixed seed.

The same end and the same keys give the same jobs with the same ids, so that making it twice adds nothing.
"""

import math
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta

from config.demo import jobs
from config.demo.cast import KEYS, PRODUCTION, Customer, Key
from usage.reports_in import JobReport

SEED = "countinghouse"
DAYS = 60
SPIKE = 4.5
# Monday to Sunday.
WEEK = (0.96, 1.06, 1.08, 1.04, 0.9, 0.24, 0.18)
# UTC hour at which the working day begins in each region.
MORNING = {"us": 13, "eu": 7, "ap": 0}


def of_day(
    customer: Customer, keys: Mapping[str, str], *, until: datetime, days_ago: int, days: int = DAYS
) -> Iterator[JobReport]:
    """The jobs of a customer on one day, in the order they were created and all finished before `until`.

    `keys` are the ids of the customer's keys by name. Volume grows over the `days` of the history.
    """
    rng = random.Random(f"{SEED} {customer.name} {days_ago}")
    midnight = datetime.combine((until - timedelta(days=days_ago)).date(), time(), UTC)
    growth = 1 - 0.45 * days_ago / days
    volume = customer.jobs_a_day * WEEK[midnight.weekday()] * growth * rng.uniform(0.9, 1.1)
    is_spike = days_ago == customer.spike
    moments = sorted(_moment(rng, customer, midnight) for _ in range(round(volume)))
    if is_spike:
        # A backlog handed in over a few hours of the night.
        extra = round(customer.jobs_a_day * (SPIKE - 1))
        moments += sorted(midnight + timedelta(hours=rng.triangular(1, 6, 2)) for _ in range(extra))
    for number, moment in enumerate(moments):
        if moment >= until:
            continue
        batch = is_spike and number >= round(volume)
        key = PRODUCTION if batch else _key(rng, until - moment)
        report = jobs.job(rng, customer.work, api_key_id=keys[key.name], created_at=moment, batch=batch)
        if moment + timedelta(seconds=report.duration or 0) < until:
            yield report


def _moment(rng: random.Random, customer: Customer, midnight: datetime) -> datetime:
    """Some time of the day: most often in the working hours of one of the customer's regions."""
    if rng.random() < 0.12:
        return midnight + timedelta(seconds=rng.uniform(0, 86_400))
    regions = customer.work.regions
    morning = MORNING[rng.choices(list(regions), list(regions.values()))[0]]
    # Two humps, before and after lunch.
    hour = rng.gauss(2.6, 1.1) if rng.random() < 0.55 else rng.gauss(6.6, 1.3)
    return midnight + timedelta(hours=math.fmod(morning + hour + 24, 24))


def _key(rng: random.Random, age: timedelta) -> Key:
    """A key that was alive then."""
    alive = [key for key in KEYS if age > timedelta(days=key.revoked or key.expires or 0)]
    return rng.choices(alive, [key.share for key in alive])[0]
