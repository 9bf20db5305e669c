"""Finding the alerts whose usage has reached their thresholds, and telling people, each once a period.

One statement over all organizations that changed inserts the firings. The unique constraint decides who was first, so
it may run in several processes at once and over the same changes again. Telling is a second step: `alert_notices`.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

from django.db import connection
from django.db.models.functions import Greatest
from django.utils import timezone

from accounts.models import Organization
from usage import alert_periods, spending
from usage.models import AlertMark

# How far before the mark changes are looked at again. It must be longer than a record may lie in the future: such a
# record changes a day that is not yet anybody's today.
OVERLAP = timedelta(minutes=10)

# The periods that alerts are looked at in: `wanted` (organization_id, kind, start, next).
_OF_ALL: LiteralString = f"""
WITH wanted AS MATERIALIZED (
    SELECT o.id AS organization_id, p.* FROM accounts_organization o JOIN {alert_periods.DAYS}
    CROSS JOIN LATERAL {alert_periods.periods_of("z.today")}
    WHERE o.deleted_at IS NULL)
"""
_OF_ONE: LiteralString = _OF_ALL.replace("WHERE", "WHERE o.id = %(organization)s AND")
# Of what changed, whichever period that lies in: late usage may be of one that was over long ago.
_OF_CHANGED: LiteralString = f"""
WITH changed AS MATERIALIZED (SELECT organization_id, day FROM usage_usageday WHERE changed_at >= %(since)s),
wanted AS MATERIALIZED (
    SELECT DISTINCT o.id AS organization_id, p.* FROM changed c
    JOIN accounts_organization o ON o.id = c.organization_id JOIN {alert_periods.DAYS}
    CROSS JOIN LATERAL {alert_periods.periods_of("c.day")}
    WHERE o.deleted_at IS NULL AND p.start <= z.today)
"""


def _sum_of_days(metric: LiteralString) -> LiteralString:
    return f"""(SELECT SUM(d.{metric}) FROM usage_usageday d
                WHERE d.organization_id = a.organization_id AND d.day >= w.start AND d.day < w.next)"""


# What each alert has counted in its period, by an index for each: its cost follows from how many are looked at.
# OFFSET 0: so that PostgreSQL adds up once, not once for each mention.
_MEASURED: LiteralString = f"""
SELECT a.id AS alert_id, a.organization_id, a.metric, a.period, w.start, a.threshold,
       COALESCE(k.uid, a.product) AS scope, used.value
FROM wanted w
JOIN usage_usagealert a ON a.organization_id = w.organization_id AND a.period = w.kind
LEFT JOIN accounts_apikey k ON k.id = a.api_key_id
CROSS JOIN LATERAL (
    SELECT COALESCE(CASE
        WHEN a.api_key_id IS NULL AND a.product = '' THEN
            CASE a.metric
            WHEN 'pages' THEN {_sum_of_days("pages")}
            WHEN 'credits' THEN {_sum_of_days("credits")}
            ELSE {_sum_of_days("cost")} END
        ELSE (
            SELECT SUM(CASE a.metric WHEN 'pages' THEN d.pages WHEN 'credits' THEN d.credits ELSE d.cost END)
            FROM usage_dailyusage d
            WHERE d.organization_id = a.organization_id AND d.day >= w.start AND d.day < w.next
                AND (a.api_key_id IS NULL OR d.api_key_id = a.api_key_id)
                AND (a.product = '' OR d.product = a.product))
        END, 0) AS value
    OFFSET 0
) used
"""

# Nobody is told of a period that was over before the alert was made, changed or turned on. In the order of the alerts,
# so that two who insert the same never wait for each other both.
_FIRE: LiteralString = f"""
INSERT INTO usage_triggeredalert (
    uid, alert_id, organization_id, metric, period, period_start, scope, value, threshold, fired_at, notified)
SELECT 'trg_' || replace(gen_random_uuid()::text, '-', ''), alert_id, organization_id, metric, period, start, scope,
       value, threshold, %(now)s, '{{}}'
FROM (
    {_MEASURED}
    WHERE a.is_enabled AND a.in_force_from < w.next AND used.value >= a.threshold
) due
ORDER BY alert_id, start
ON CONFLICT DO NOTHING RETURNING id
"""

# A change becomes visible when its transaction ends, and carries a time since its beginning: all that was changed
# before the oldest transaction that has written anything began can be seen now. Asked before anything is looked at.
_ALL_SEEN_UNTIL: LiteralString = """
SELECT LEAST(clock_timestamp(), MIN(xact_start)) FROM pg_stat_activity
WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
"""

_BEHIND: LiteralString = """
SELECT CASE WHEN newest >= looked_until THEN looked_until END
FROM (SELECT MAX(changed_at) AS newest, MIN(changed_at) AS oldest FROM usage_usageday) AS change
CROSS JOIN LATERAL (
    SELECT COALESCE((SELECT looked_until FROM usage_alertmark WHERE id = 1), change.oldest) AS looked_until
) AS mark
"""


# ── Firing ───────────────────────────────────────────────────────────────────────────────────────────────────


def evaluate(*, now: datetime | None = None) -> int:
    """Fire what the changes since the last run have brought over a threshold, and settle the caps of the same.

    Returns how many firings are new. The mark moves last: a run that is cut short is followed by one that looks again.
    """
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_ALL_SEEN_UNTIL)
        [seen_until] = cursor.fetchone()
    mark = AlertMark.objects.filter(pk=1).first()
    if mark is None:
        fired = evaluate_all(now=now)
        AlertMark.objects.get_or_create(pk=1, defaults={"looked_until": seen_until})
        return fired
    # A clock that was put back leaves the mark ahead of what changes now.
    since = min(mark.looked_until, seen_until) - OVERLAP
    try:
        fired = _fire(_OF_CHANGED + _FIRE, now=now, since=since)
    finally:
        spending.settle_changed(since=since, now=now)
    AlertMark.objects.filter(pk=1).update(looked_until=Greatest("looked_until", seen_until))
    return fired


def behind_since() -> datetime | None:
    """Since when changes of usage have not been looked at for alerts and caps; None while the newest has been."""
    with connection.cursor() as cursor:
        cursor.execute(_BEHIND)
        [moment] = cursor.fetchone()
    return moment  # type: ignore[no-any-return]


def evaluate_all(*, now: datetime | None = None) -> int:
    """Fire and settle whatever is due in the current periods, changed or not. Returns how many firings are new."""
    now = now or timezone.now()
    try:
        return _fire(_OF_ALL + _FIRE, now=now)
    finally:
        spending.settle_changed(since=None, now=now)


def evaluate_organization(organization: Organization, *, now: datetime | None = None) -> int:
    """The same for one organization, whose alerts have just been changed."""
    now = now or timezone.now()
    return _fire(_OF_ONE + _FIRE, now=now, organization=organization.pk)


def _fire(query: LiteralString, *, now: datetime, **values: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, {**values, "now": now, "days": alert_periods.days(now=now)})
        return len(cursor.fetchall())


@dataclass(frozen=True)
class Standing:
    """Where an alert stands in its current period."""

    period_start: date
    value: Decimal


def standings(organization: Organization, *, now: datetime | None = None) -> dict[int, Standing]:
    """What each alert of the organization, enabled or not, has counted in its current period; by the alerts' ids."""
    now = now or timezone.now()
    values: dict[str, Any] = {
        "now": now,
        "organization": organization.pk,
        "days": alert_periods.days(now=now),
    }
    with connection.cursor() as cursor:
        cursor.execute(_OF_ONE + _MEASURED, values)
        return {row[0]: Standing(row[4], row[7]) for row in cursor.fetchall()}
