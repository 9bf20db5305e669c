"""How far behind the work is: what waits in the database and in the queue, and for how long.

Each reading goes through an index that what waits has to itself, or stops counting at `MOST`; none may take longer than
`PATIENCE`. So it can be asked every few seconds.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, LiteralString

from django.db import Error, connection, transaction
from django.utils import timezone

from accounts import volatile
from config.celery import app
from usage import firings, margins
from webhooks import outbox
from webhooks.embedded import queue

logger = logging.getLogger(__name__)

MOST = 10_000  # rows counted, or looked at, of what waits
PATIENCE = 2_000  # milliseconds

# By name, what each number says. All are of the moment, and seconds are 0 where nothing waits.
MEANINGS = {
    "rollup_lag_seconds": "Since the oldest change of a day's totals that is not folded into its margins yet.",
    "alert_lag_seconds": "Since when changes of usage have not been looked at for alerts and caps.",
    "settlement_lag_seconds": "Since the oldest change of a day, of the last 24 hours, that the ledger lacks.",
    "unsettled_credits": "Credits by which days changed in the last 24 hours differ from the ledger.",
    "outbox_waiting": f"Messages not handed to the webhook engine yet; counted up to {MOST}.",
    "outbox_oldest_seconds": "Since the oldest of them was written.",
    "deliveries_oldest_due_seconds": "Since the delivery of a webhook that has been due longest was due.",
    "endpoints_failing": "Endpoints, not turned off, that have failed since their last success.",
    "stripe_changes_waiting": f"Objects of Stripe's that events told of and are not applied; up to {MOST}.",
    "stripe_changes_oldest_seconds": "Since the first event about the one that has waited longest.",
    "mail_waiting": f"Notices that are to be mailed and are not; counted up to {MOST}.",
    "mail_oldest_seconds": "Since the oldest of them was written.",
    "queue_length": "Tasks in the queue that no worker has taken.",
}

# What an app says of its own.
_MOMENTS: dict[str, Callable[[], datetime | None]] = {
    "rollup_lag_seconds": margins.oldest_unfolded,
    "alert_lag_seconds": firings.behind_since,
    "outbox_oldest_seconds": outbox.oldest_waiting,
    "deliveries_oldest_due_seconds": queue.oldest_due,
}

# Each column is named as above, and a moment stands for the seconds since then.
_QUERIES: tuple[LiteralString, ...] = (
    """
    SELECT MIN(u.changed_at) AS settlement_lag_seconds,
           COALESCE(SUM(ABS(u.credits - COALESCE(s.credits, 0))), 0) AS unsettled_credits
    FROM usage_usageday u
    JOIN billing_billingaccount a ON a.organization_id = u.organization_id
    LEFT JOIN billing_settledday s ON s.organization_id = u.organization_id AND s.day = u.day
    WHERE u.changed_at >= now() - interval '1 day' AND u.credits <> COALESCE(s.credits, 0)
    """,
    """
    SELECT COUNT(*) AS outbox_waiting FROM (
        SELECT FROM webhooks_outboxmessage WHERE handed_over_at IS NULL AND refused_at IS NULL LIMIT %(most)s
    ) AS waiting
    """,
    """
    SELECT COUNT(*) AS endpoints_failing FROM webhooks_endpoint
    WHERE failing_since IS NOT NULL AND NOT disabled AND deleted_at IS NULL
    """,
    """
    SELECT COUNT(*) AS stripe_changes_waiting, MIN(created_at) AS stripe_changes_oldest_seconds
    FROM (SELECT created_at FROM billing_stripechange LIMIT %(most)s) AS waiting
    """,
    """
    SELECT COUNT(*) AS mail_waiting, MIN(created_at) AS mail_oldest_seconds FROM (
        SELECT created_at FROM accounts_notification WHERE by_mail AND emailed_at IS NULL
        ORDER BY next_mail_at LIMIT %(most)s
    ) AS waiting
    """,
)


def in_database() -> dict[str, float] | None:
    """What the database tells, by name, without what it did not tell in time; None where it does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        logger.warning("What waits cannot be read: %s", error)
        return None
    found: dict[str, float] = {}
    questions = [
        *(partial(_ask, name, oldest) for name, oldest in _MOMENTS.items()),
        *(partial(_read, query) for query in _QUERIES),
    ]
    for question in questions:
        try:
            found.update(question())
        except Error as error:
            logger.warning("Some of what waits cannot be read: %s", error)
    return found


@transaction.atomic
def _ask(name: str, oldest: Callable[[], datetime | None]) -> dict[str, float]:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = %s", [PATIENCE])
    return {name: _number(oldest())}


@transaction.atomic
def _read(query: LiteralString) -> dict[str, float]:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = %s", [PATIENCE])
        cursor.execute(query, {"most": MOST})
        [row] = cursor.fetchall()
        return {
            column.name: _number(value) for column, value in zip(cursor.description or [], row, strict=True)
        }


def _number(value: Any) -> float:
    if isinstance(value, datetime):
        return max(0.0, (timezone.now() - value).total_seconds())
    return float(value or 0)


def in_queue() -> int | None:
    """How many tasks wait for a worker; None where Redis does not answer."""
    try:
        return int(volatile.ask(lambda: volatile.client().llen(app.conf.task_default_queue)))
    except volatile.Unavailable as error:
        logger.warning("The length of the queue cannot be read: %s", error)
        return None
