"""Margins: a day's totals by each dimension alone, folded from the cube once the day has been quiet for a while.

Folding recomputes a day and never adds to it, so that late usage and corrections need no case of their own. Nobody
waits for it: a day that is not folded, or has changed since, is read from the cube (`usage.reports`).
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts import prepared
from usage import statements
from usage.models import UsageDay

# A day at work changes again at once, and what is folded of it is wasted.
QUIET = timedelta(seconds=60)
BATCH = 100

# Locks of the database have numbers; this one is ours alone.
_LOCK = 0x6D61726769
_ONE_AT_A_TIME = "SELECT pg_try_advisory_xact_lock(%s)"

# What is known of the days' changes and their totals come from one look at the tables, so they belong together.
_FOLD = """
WITH due AS MATERIALIZED (
    SELECT organization_id, day, changed_at FROM usage_usageday
    WHERE (folded_at IS NULL OR folded_at < changed_at) AND changed_at < %s
    ORDER BY changed_at LIMIT %s),
folded AS (
    INSERT INTO usage_usagemargin AS t (organization_id, dimension, day, value, requests, pages, credits, cost)
    SELECT c.organization_id, m.dimension, c.day, m.value,
        SUM(c.requests), SUM(c.pages), SUM(c.credits), SUM(c.cost)
    FROM due JOIN usage_dailyusage c ON c.organization_id = due.organization_id AND c.day = due.day
    CROSS JOIN LATERAL (VALUES
        ('product', c.product), ('feature', c.feature), ('api_key', c.api_key_id::text), ('file_type', c.file_type)
    ) AS m (dimension, value)
    GROUP BY 1, 2, 3, 4
    ON CONFLICT (organization_id, dimension, day, value) DO UPDATE SET
        requests = excluded.requests, pages = excluded.pages, credits = excluded.credits, cost = excluded.cost)
SELECT organization_id, day, changed_at FROM due
"""

# A day that is just being written to is passed over: it is about to change. One that has changed since stays dirty,
# for it is marked as folded up to the change that was seen.
_MARK = """
WITH free AS (
    SELECT d.organization_id, d.day, x.changed_at
    FROM json_to_recordset(%s::json) AS x (organization_id bigint, day date, changed_at timestamptz)
    JOIN usage_usageday d ON d.organization_id = x.organization_id AND d.day = x.day
    FOR NO KEY UPDATE OF d SKIP LOCKED)
UPDATE usage_usageday d SET folded_at = free.changed_at
FROM free WHERE d.organization_id = free.organization_id AND d.day = free.day
RETURNING d.day
"""


def fold(*, now: datetime | None = None) -> int:
    """Fold every day that changed since it was last folded, if ever, and has been quiet. Returns how many it folded.

    Does nothing while another worker is folding.
    """
    before = (now or timezone.now()) - QUIET
    total = 0
    while folded := _fold_some(before):
        total += folded
    return total


def oldest_unfolded() -> datetime | None:
    """When the day last changed that has waited longest to be folded."""
    dirty = UsageDay.objects.filter(Q(folded_at=None) | Q(folded_at__lt=F("changed_at")))
    return dirty.order_by("changed_at").values_list("changed_at", flat=True).first()


@transaction.atomic
def _fold_some(before: datetime) -> int:
    # Two at once could overwrite newer totals with older ones.
    [(alone,)] = prepared.fetch(_ONE_AT_A_TIME, [_LOCK])
    if not alone:
        return 0
    due = prepared.fetch(_FOLD, [before, BATCH])
    days = [{"organization_id": row[0], "day": row[1], "changed_at": row[2]} for row in due]
    return len(statements.run(_MARK, days)) if days else 0
