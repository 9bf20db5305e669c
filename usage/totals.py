"""What all organizations together use: counted in the background, for adding up their days takes too long for a page.

A day is each organization's own, so a day of all of them begins in the east and ends some 26 hours later in the west.
Of days that run a reading is kept every few minutes: so today can be compared with the same weekday at the same time.
Counting recomputes and never adds, so that late usage and corrections need no case of their own.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from heapq import nlargest, nsmallest

from django.core.cache import cache
from django.db import connection, transaction
from django.utils import timezone

from accounts import time_zones
from usage import today
from usage.models import JobStatus, UsageTotal
from usage.today import Figure

SLOT = timedelta(minutes=5)
# How far back days are counted again, as their usage may come late.
RECOUNTED = timedelta(days=38)
WEEK = timedelta(days=7)
# Readings of the same weekday are needed for so long; of older days only the last is kept.
COMPARED = timedelta(days=9)
# A reading that is older than this is not what was known at a time.
GAP = timedelta(minutes=15)
# From the first place where a day begins to the last, with room for clocks and for records that lie ahead.
_EAST, _WEST = timedelta(hours=14), timedelta(hours=12)
_AHEAD = timedelta(hours=1)

_MOVERS_KEPT = 3 * 3600  # seconds; they are found every hour
_MOVERS_KEY = "usage.movers_by_now"
MOVERS = 5
# Up to which part of a day there is too little of it to compare.
_JUST_BEGUN = 1 / 8
_AT_A_TIME = 2_000

# All of a day was written after it began somewhere, which is what the index knows.
_COUNT = """
INSERT INTO usage_usagetotal AS t (
    day, slot, counted_at, organizations, requests, pages, credits, cost, jobs, failed)
SELECT day, %(slot)s, %(now)s, COALESCE(organizations, 0), COALESCE(requests, 0), COALESCE(pages, 0),
       COALESCE(credits, 0), COALESCE(cost, 0), COALESCE(jobs, 0), COALESCE(failed, 0)
FROM (
    SELECT day, COUNT(*) FILTER (WHERE requests > 0) AS organizations, SUM(requests)::bigint AS requests,
           SUM(pages)::bigint AS pages, SUM(credits) AS credits, SUM(cost) AS cost
    FROM usage_usageday
    WHERE changed_at >= %(since)s AND day BETWEEN %(first)s AND %(last)s
    GROUP BY day) u
FULL JOIN (
    SELECT day, SUM(jobs)::bigint AS jobs, (SUM(jobs) FILTER (WHERE status = %(failed)s))::bigint AS failed
    FROM usage_jobmargin
    WHERE day BETWEEN %(first)s AND %(last)s
    GROUP BY day) j USING (day)
ORDER BY day
ON CONFLICT (day, slot) DO UPDATE SET
    counted_at = excluded.counted_at, organizations = excluded.organizations, requests = excluded.requests,
    pages = excluded.pages, credits = excluded.credits, cost = excluded.cost, jobs = excluded.jobs,
    failed = excluded.failed
WHERE t.counted_at <= excluded.counted_at
"""

_PRUNE = """
DELETE FROM usage_usagetotal t WHERE day < %s AND EXISTS (
    SELECT FROM usage_usagetotal later WHERE later.day = t.day AND later.slot > t.slot)
"""

# Each organization's days of credits, as far back as its page looks. Each was written after it began somewhere.
_CREDITS = """
SELECT u.organization_id, o.time_zone, o.next_time_zone, o.next_time_zone_at,
       array_agg(u.day), array_agg(u.credits::float)
FROM usage_usageday u JOIN accounts_organization o ON o.id = u.organization_id
WHERE u.changed_at >= %s AND u.day >= %s AND o.deleted_at IS NULL
GROUP BY u.organization_id, o.id
"""


# ── Counting ─────────────────────────────────────────────────────────────────────────────────────────────────
def count(*, now: datetime | None = None) -> int:
    """Count the days that are somebody's today. Returns how many there are."""
    now = now or timezone.now()
    if not UsageTotal.objects.exists():
        return recount(now=now)
    return _count((now - _WEST).date(), (now + _EAST).date(), now)


def recount(*, now: datetime | None = None) -> int:
    """Count all days again that a page shows, for what came late; and find who moved. Returns how many days."""
    now = now or timezone.now()
    counted = _count((now - RECOUNTED).date(), (now + _EAST).date(), now)
    with connection.cursor() as cursor:
        cursor.execute(_PRUNE, [(now - COMPARED).date()])
    find_movers(now=now)
    return counted


def _count(first: date, last: date, now: datetime) -> int:
    slot = datetime.fromtimestamp(now.timestamp() // SLOT.total_seconds() * SLOT.total_seconds(), UTC)
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT,
            {
                "slot": slot,
                "now": now,
                "first": first,
                "last": last,
                "since": _begins(first),
                "failed": JobStatus.FAILED,
            },
        )
        return int(cursor.rowcount)


def _begins(day: date) -> datetime:
    """Before anything of a day can have been written."""
    return datetime.combine(day, time(), UTC) - _EAST - _AHEAD


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────
def of_days(*, start: date, end: date, now: datetime | None = None) -> dict[date, UsageTotal]:
    """The last reading of each of these days of which there is one.

    Not one from ahead of now, before the clock was put back: it would stand above all newer ones for as long.
    """
    until = (now or timezone.now()) + SLOT
    known = UsageTotal.objects.filter(day__range=(start, end), counted_at__lte=until)
    found = known.order_by("day", "-slot").distinct("day")
    return {total.day: total for total in found}


def as_of(day: date, moment: datetime) -> UsageTotal | None:
    """What was known of a day at a moment; None where nobody counted then."""
    known = UsageTotal.objects.filter(day=day, counted_at__lte=moment, counted_at__gt=moment - GAP)
    return known.order_by("-slot").first()


# ── Movers ───────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Mover:
    """An organization whose credits of a day differ from what is usual by then, as its own page tells it.

    The day is today so far, or yesterday where today has just begun.
    """

    organization_id: int
    is_yesterday: bool
    credits: Figure

    @property
    def difference(self) -> float:
        return self.credits.today - (self.credits.usual_by_now or 0.0)


@dataclass(frozen=True)
class Movers:
    found_at: datetime
    up: list[Mover]
    down: list[Mover]


def find_movers(*, now: datetime) -> Movers:
    """Find whose credits differ most from their usual, each in one direction, and keep it for `movers`."""
    first = (now - _WEST).date() - timedelta(days=today.DAYS)
    up: list[Mover] = []
    down: list[Mover] = []
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(_CREDITS, [_begins(first), first])
        while rows := cursor.fetchmany(_AT_A_TIME):
            moved = [mover for row in rows if (mover := _mover(*row, now=now))]
            up = nlargest(MOVERS, (*up, *(each for each in moved if each.difference > 0)), key=_difference)
            down = nsmallest(
                MOVERS, (*down, *(each for each in moved if each.difference < 0)), key=_difference
            )
    found = Movers(now, up, down)
    cache.set(_MOVERS_KEY, found, _MOVERS_KEPT)
    return found


def _mover(
    organization_id: int,
    time_zone: str,
    next_time_zone: str,
    next_time_zone_at: datetime | None,
    days: list[date],
    credits: list[float],
    *,
    now: datetime,
) -> Mover | None:
    """None where there is nothing to go by."""
    zone = time_zones.in_force(time_zone, next_time_zone, next_time_zone_at, now=now)
    day = now.astimezone(zone).date()
    over = today.share(day, zone, now=now)
    is_yesterday = over < _JUST_BEGUN
    if is_yesterday:
        day, over = day - timedelta(days=1), 1.0
    start = day - timedelta(days=today.DAYS - 1)
    used = {each: amount for each, amount in zip(days, credits, strict=True) if start <= each <= day}
    compared = today.compared(day, first=min(used, default=day))
    figure = today.figure("credits", used, day, compared=compared, share=over)
    return None if figure.usual is None else Mover(organization_id, is_yesterday, figure)


def _difference(mover: Mover) -> float:
    return mover.difference


def movers() -> Movers | None:
    """Those that were found last; None where nobody looked within the last hours."""
    found: Movers | None = cache.get(_MOVERS_KEY)
    return found
