"""Erasing the contents of messages that are delivered or given up. That they were sent, and what came of it, stays.

Contents are also the URL that a job named, and what receivers answered, for they may well repeat what they were sent.
"""

from datetime import datetime
from typing import Any

from django.db import connection

from webhooks.models import EXPIRED

BATCH = 1_000
# What stands for a URL that is gone. It is none, so nothing could be sent to it.
_NOWHERE = "(erased)"

_OLDEST = """
WITH RECURSIVE first (organization_id, created_at) AS (
    (
        SELECT organization_id, created_at FROM webhooks_message
        WHERE expunged_at IS NULL
        ORDER BY organization_id, created_at LIMIT 1
    )
    UNION ALL
    SELECT message.organization_id, message.created_at
    FROM first CROSS JOIN LATERAL (
        SELECT organization_id, created_at FROM webhooks_message
        WHERE expunged_at IS NULL AND organization_id > first.organization_id
        ORDER BY organization_id, created_at LIMIT 1
    ) AS message
)
SELECT organization_id, created_at FROM first
UNION ALL
SELECT organization_id, min(created_at) FROM webhooks_outboxmessage
WHERE refused_at IS NOT NULL AND payload <> %(expired)s
GROUP BY organization_id
"""

_EXPUNGE = """
WITH due AS (
    SELECT message.id, message.event_id FROM webhooks_message AS message
    WHERE message.organization_id = %(organization)s AND message.created_at < %(before)s
        AND message.expunged_at IS NULL
        AND NOT EXISTS (
            SELECT FROM webhooks_delivery AS delivery
            WHERE delivery.message_id = message.id AND delivery.next_attempt_at IS NOT NULL
        )
    ORDER BY message.created_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
attempts AS (
    UPDATE webhooks_attempt AS attempt
    SET response = '', url = CASE WHEN endpoint_id IS NULL THEN %(nowhere)s ELSE url END
    FROM due WHERE attempt.message_id = due.id
),
deliveries AS (
    UPDATE webhooks_delivery AS delivery SET url = %(nowhere)s
    FROM due WHERE delivery.message_id = due.id AND delivery.url <> ''
),
outbox AS (
    UPDATE webhooks_outboxmessage AS written SET url = %(nowhere)s
    FROM due
    WHERE written.uid = due.event_id AND written.organization_id = %(organization)s AND written.url <> ''
)
UPDATE webhooks_message AS message SET payload = %(expired)s, expunged_at = now()
FROM due WHERE message.id = due.id
"""

_EXPUNGE_REFUSED = """
UPDATE webhooks_outboxmessage SET payload = %(expired)s, url = CASE WHEN url = '' THEN '' ELSE %(nowhere)s END
WHERE organization_id = %(organization)s AND created_at < %(before)s AND refused_at IS NOT NULL
    AND payload <> %(expired)s
"""


def oldest() -> dict[int, datetime]:
    """When the oldest message that still has its content was written, by the organization's id."""
    found: dict[int, datetime] = {}
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST, {"expired": EXPIRED})
        for organization_id, created_at in cursor.fetchall():
            found[organization_id] = min(created_at, found.get(organization_id, created_at))
    return found


def expunge(organization_id: int, *, before: datetime) -> int:
    """Erase what an organization's messages of before then held, in short transactions; returns of how many.

    What is still to be delivered is left, and so are messages that a Svix server took over: it has its own retention.
    """
    values: dict[str, Any] = {
        "organization": organization_id,
        "before": before,
        "limit": BATCH,
        "expired": EXPIRED,
        "nowhere": _NOWHERE,
    }
    expunged = 0
    with connection.cursor() as cursor:
        cursor.execute(_EXPUNGE_REFUSED, values)
        while True:
            cursor.execute(_EXPUNGE, values)
            found = int(cursor.rowcount)
            expunged += found
            if found < BATCH:
                return expunged
