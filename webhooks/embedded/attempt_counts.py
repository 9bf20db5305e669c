"""How many attempts an endpoint had in a time, and how they went, without reading a million of them for each page.

Hours that are over are counted once. What lies before the first whole hour, and after the last that was counted, is
read from the attempts themselves, so that the numbers are exact at any time. An attempt that is recorded late, as after
an outage of the database, has its hour counted anew.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Count, Max, Q, Sum
from django.utils import timezone

from webhooks.models import Attempt, Endpoint, EndpointHour, Status

HOUR = timedelta(hours=1)
# From its end until an hour is counted. What is recorded nearly so long after it happened may come too late for that.
SETTLED = timedelta(minutes=10)
LATE = SETTLED / 2


class Counts(NamedTuple):
    arrived: int
    failed: int


@transaction.atomic
def fold(*, now: datetime) -> int:
    """Count the hours that are over and not yet counted. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_ONE_AT_A_TIME)
        cursor.execute(
            _FOLD,
            {"until": _floor(now - SETTLED), "succeeded": Status.SUCCESS, "failed": Status.FAIL},
        )
        return int(cursor.rowcount)


def uncount(attempts: Iterable[tuple[int | None, datetime]]) -> None:
    """Have hours counted anew for attempts, of these endpoints and moments, that are recorded late.

    Belongs into the transaction that records them.
    """
    long_ago = timezone.now() - LATE
    late = [(endpoint_id, moment) for endpoint_id, moment in attempts if endpoint_id and moment < long_ago]
    if not late:
        return
    with connection.cursor() as cursor:
        cursor.execute(_ONE_AT_A_TIME)
    for endpoint_id in {endpoint_id for endpoint_id, _ in late}:
        first = min(moment for of, moment in late if of == endpoint_id)
        # And those behind it, for the counting goes on from the last hour.
        EndpointHour.objects.filter(endpoint=endpoint_id, hour__gte=_floor(first)).delete()


def of(endpoint: Endpoint, *, since: datetime, until: datetime) -> Counts:
    hours = EndpointHour.objects.filter(endpoint=endpoint)
    last = hours.aggregate(last=Max("hour"))["last"]
    begin = _ceil(since)
    end = min(_floor(until), last + HOUR) if last else begin
    if begin >= end:
        return _read(endpoint, since, until)
    whole = hours.filter(hour__gte=begin, hour__lt=end).aggregate(
        arrived=Sum("arrived", default=0), failed=Sum("failed", default=0)
    )
    before, after = _read(endpoint, since, begin), _read(endpoint, end, until)
    return Counts(
        whole["arrived"] + before.arrived + after.arrived, whole["failed"] + before.failed + after.failed
    )


def last_arrival(endpoint: Endpoint) -> datetime | None:
    """When it last took a message: looked for among what is not counted yet, and else in the last hour with any."""
    arrived = Attempt.objects.filter(endpoint=endpoint, status=Status.SUCCESS).order_by("-timestamp", "-pk")
    hours = EndpointHour.objects.filter(endpoint=endpoint).order_by("-hour")
    last = hours.values_list("hour", flat=True).first()
    if last is None:
        return arrived.values_list("timestamp", flat=True).first()
    since = arrived.filter(timestamp__gte=last + HOUR)
    if found := since.values_list("timestamp", flat=True).first():
        return found
    hour = hours.filter(arrived__gt=0).values_list("hour", flat=True).first()
    if hour is None:
        return None
    within = arrived.filter(timestamp__gte=hour, timestamp__lt=hour + HOUR)
    return within.values_list("timestamp", flat=True).first() or hour  # whose attempts are no longer kept


def _read(endpoint: Endpoint, since: datetime, until: datetime) -> Counts:
    if since >= until:
        return Counts(0, 0)
    attempts = Attempt.objects.filter(endpoint=endpoint, timestamp__gte=since, timestamp__lt=until)
    found = attempts.aggregate(
        arrived=Count("pk", filter=Q(status=Status.SUCCESS)), failed=Count("pk", filter=Q(status=Status.FAIL))
    )
    return Counts(found["arrived"], found["failed"])


def _floor(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _ceil(moment: datetime) -> datetime:
    floor = _floor(moment)
    return floor if floor == moment else floor + HOUR


# Held by who counts and by who says that it was too early, lest neither sees what the other writes.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('webhooks.attempt_counts'))"

# An endpoint at a time, along the index of its attempts. Counted twice at once, an hour comes to the same.
_FOLD = """
    INSERT INTO webhooks_endpointhour (endpoint_id, hour, arrived, failed)
    SELECT endpoint.id, counted.hour, counted.arrived, counted.failed
    FROM webhooks_endpoint AS endpoint
    CROSS JOIN LATERAL (
        SELECT coalesce(max(hour) + interval '1 hour', '-infinity') AS until
        FROM webhooks_endpointhour WHERE endpoint_id = endpoint.id
    ) AS before
    CROSS JOIN LATERAL (
        SELECT date_trunc('hour', timestamp, 'UTC') AS hour,
            count(*) FILTER (WHERE status = %(succeeded)s) AS arrived,
            count(*) FILTER (WHERE status = %(failed)s) AS failed
        FROM webhooks_attempt
        WHERE endpoint_id = endpoint.id AND timestamp >= before.until AND timestamp < %(until)s
        GROUP BY 1
    ) AS counted
    ORDER BY 1, 2
    ON CONFLICT (endpoint_id, hour) DO NOTHING
"""
