"""Deleting what was sent and is long past: messages with all tries to deliver them, and what only served them.

In short transactions, along the primary keys, which grow with time. What is still to be delivered stays.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from webhooks import replays
from webhooks.embedded import idempotency
from webhooks.models import (
    Attempt,
    Delivery,
    Endpoint,
    EndpointHour,
    Message,
    OperationalEvent,
    OutboxMessage,
)

BATCH = 1_000
# For so long the outbox knows what it has handed over; afterwards the engine does.
HANDED_OVER_KEPT = timedelta(days=7)
# For so long a server's operational webhook is known again. It tries each for little more than a day.
HEEDED_KEPT = timedelta(days=30)


def prune(*, now: datetime) -> dict[str, int]:
    """Delete what is past its time, and return how much of what."""
    before = now - timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    return {
        "messages": _along(Message._meta.db_table, before, _delete_messages),
        "outbox messages": _along(
            OutboxMessage._meta.db_table,
            max(before, now - HANDED_OVER_KEPT),
            lambda ids: _delete_from_outbox(ids, now=now, before=before),
        ),
        "endpoints": _delete_endpoints(before),
        "hours": EndpointHour.objects.filter(hour__lt=before).delete()[0],
        "replays": replays.prune(before=before),
        "answers": idempotency.prune(),
        "operational events": OperationalEvent.objects.filter(created_at__lt=now - HEEDED_KEPT).delete()[0],
    }


def _along(table: str, before: datetime, delete: Callable[[list[int]], int]) -> int:
    """Have a table's rows of before then deleted, a batch at a time; returns how many were."""
    deleted = last = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, created_at < %s FROM {table} WHERE id > %s ORDER BY id LIMIT %s",
                [before, last, BATCH],
            )
            rows = cursor.fetchall()
        old = [pk for pk, is_old in rows if is_old]
        if not old:
            return deleted
        deleted += delete(old)
        last = rows[-1][0]


@transaction.atomic
def _delete_messages(ids: list[int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_DELIVERED, [ids])
        done = [row[0] for row in cursor.fetchall()]
        for table in ("webhooks_attempt", "webhooks_delivery"):
            cursor.execute(f"DELETE FROM {table} WHERE message_id = ANY (%s)", [done])
        cursor.execute("DELETE FROM webhooks_message WHERE id = ANY (%s)", [done])
        return int(cursor.rowcount)


def _delete_from_outbox(ids: list[int], *, now: datetime, before: datetime) -> int:
    """Delete what was handed over days ago, and what was refused as long ago as messages are kept."""
    rows = OutboxMessage.objects.filter(pk__in=ids)
    handed_over, _ = rows.filter(handed_over_at__lt=now - HANDED_OVER_KEPT).delete()
    refused, _ = rows.filter(refused_at__lt=before).delete()
    return handed_over + refused


def _delete_endpoints(before: datetime) -> int:
    """Delete endpoints that were deleted by their owners, once no attempt or delivery speaks of them any more."""
    of_endpoint = {"endpoint": OuterRef("pk")}
    gone = Endpoint.objects.filter(
        ~Exists(Attempt.objects.filter(**of_endpoint)),
        ~Exists(Delivery.objects.filter(**of_endpoint)),
        deleted_at__lt=before,
    )
    deleted, _ = gone.delete()
    return deleted


# Locked, so that nobody has one sent again meanwhile.
_DELIVERED = """
    SELECT id FROM webhooks_message AS message
    WHERE id = ANY (%s) AND NOT EXISTS (
        SELECT FROM webhooks_delivery
        WHERE message_id = message.id AND next_attempt_at IS NOT NULL
    )
    ORDER BY id
    FOR UPDATE
"""
