"""The queue of deliveries: messages taken in, deliveries claimed, outcomes recorded.

Each is short and commits by itself; sending, in `delivery`, happens between claiming and recording. A claim is a
lease: what a dead worker had claimed falls due again when it ends, so every message is delivered at least once.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from webhooks.models import Application, Attempt, Delivery, Message, Status

# How many deliveries one worker has under way to one endpoint (or to all URLs that one organization's jobs named).
AT_ONCE_IN_LANE = 8
LEASE = 60.0  # seconds; longer than a delivery's timeout, with room for a slow database
# Seconds to wait after each failed attempt, give or take a fifth; after the last of them it is given up.
SCHEDULE = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
JITTER = 0.2
SHORTEST_WAIT_AFTER_TIMEOUT = 60


class AlreadyTaken(Exception):
    """The organization has a message with this event id."""


def take_in(
    *,
    organization_id: int,
    event_id: str | None,
    event_type: str,
    payload: str,
    channels: list[str] | None,
    url: str = "",
) -> Message:
    """Write a message and queue it for the endpoints that match its type and channels, or for `url` alone.

    A message without channels never matches an endpoint that listens to some (Svix's rule). Raises AlreadyTaken.
    """
    message = Message(
        organization_id=organization_id,
        event_id=event_id,
        event_type=event_type,
        payload=payload,
        channels=channels,
    )
    parameters: dict[str, Any] = {
        "uid": message.uid,
        "organization": organization_id,
        "event_id": event_id,
        "event_type": event_type,
        "payload": payload,
        "channels": channels,
        "created_at": message.created_at,
        "url": url,
        "pending": Status.PENDING,
    }
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_IN, parameters)
        row = cursor.fetchone()
    if row is None:
        raise AlreadyTaken(event_id)
    message.pk = row[0]
    message._state.adding = False
    return message


def take_in_direct(
    *, organization_id: int, name: str, event_id: str, event_type: str, payload: str, url: str
) -> Message:
    """Take in a message for a URL that a job named, signed by the organization's own secret, made if missing.

    Raises AlreadyTaken.
    """
    Application.objects.get_or_create(organization_id=organization_id, defaults={"name": name})
    return take_in(
        organization_id=organization_id,
        event_id=event_id,
        event_type=event_type,
        payload=payload,
        channels=None,
        url=url,
    )


@dataclass(frozen=True)
class Claimed:
    """A delivery that is ours until `lease`, with all that sending it takes."""

    delivery_id: int
    lane: int
    lease: datetime
    url: str
    secrets: list[str]  # each signs, the newest first
    headers: dict[str, str]
    message_uid: str
    payload: str
    is_manual: bool


@dataclass(frozen=True)
class Outcome:
    """What came of one try."""

    claimed: Claimed
    timestamp: datetime
    duration_ms: int
    status_code: int
    response: str
    timed_out: bool = False

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def failed_when_asked_for(self) -> bool:
        return self.claimed.is_manual and not self.succeeded


def claim(limit: int, under_way: Counter[int] | None = None) -> list[Claimed]:
    """Lease up to `limit` due deliveries, each for whoever asked first, and return them.

    `under_way` counts what the caller is sending already in each lane. Lanes are visited in a random order, so
    that the backlog of one never stands before the others. What no longer has a receiver is canceled.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "limit": limit,
                "in_lane": AT_ONCE_IN_LANE,
                "under_way": json.dumps(under_way or {}),
                "lease": LEASE,
                "sending": Status.SENDING,
            },
        )
        ids = [row[0] for row in cursor.fetchall()]
    if not ids:
        return []
    deliveries = Delivery.objects.filter(pk__in=ids).select_related("organization", "message", "endpoint")
    orphans = [delivery.pk for delivery in deliveries if not delivery.receives]
    if orphans:
        Delivery.objects.filter(pk__in=orphans).update(status=Status.CANCELED, next_attempt_at=None)
    now = timezone.now()
    # By lane, for which they are the same: decrypting them takes time.
    kept: dict[int, tuple[list[str], dict[str, str]]] = {}
    direct = [delivery.organization_id for delivery in deliveries if delivery.endpoint is None]
    for application in Application.objects.filter(organization_id__in=direct):
        kept[-application.organization_id] = [application.secret], {}
    for delivery in deliveries:
        if delivery.endpoint and delivery.lane not in kept:
            kept[delivery.lane] = delivery.endpoint.signing_secrets(now), delivery.endpoint.headers
    return [
        Claimed(
            delivery_id=delivery.pk,
            lane=delivery.lane,
            lease=delivery.next_attempt_at,
            url=delivery.target_url,
            secrets=kept[delivery.lane][0],
            headers=kept[delivery.lane][1],
            message_uid=delivery.message.uid,
            payload=delivery.message.payload,
            is_manual=delivery.is_manual,
        )
        for delivery in deliveries
        if delivery.receives and delivery.next_attempt_at and delivery.lane in kept
    ]


@transaction.atomic
def record(outcomes: Iterable[Outcome]) -> None:
    """Write an attempt for each outcome, and settle the deliveries whose lease still holds.

    A delivery deleted meanwhile leaves nothing to write.
    """
    by_id = {outcome.claimed.delivery_id: outcome for outcome in outcomes}
    deliveries = list(Delivery.objects.select_for_update(of=("self",)).filter(pk__in=by_id).order_by("pk"))
    succeeded = _succeeded_before(
        [delivery for delivery in deliveries if by_id[delivery.pk].failed_when_asked_for]
    )
    attempts, settled = [], []
    for delivery in deliveries:
        outcome = by_id[delivery.pk]
        attempts.append(
            Attempt(
                organization_id=delivery.organization_id,
                message_id=delivery.message_id,
                endpoint_id=delivery.endpoint_id,
                url=outcome.claimed.url,
                status=Status.SUCCESS if outcome.succeeded else Status.FAIL,
                status_code=outcome.status_code,
                response=outcome.response,
                duration_ms=outcome.duration_ms,
                trigger=Attempt.Trigger.MANUAL if outcome.claimed.is_manual else Attempt.Trigger.SCHEDULED,
                timestamp=outcome.timestamp,
            )
        )
        if delivery.next_attempt_at == outcome.claimed.lease:
            settled.append(_settled(delivery, outcome, has_succeeded=delivery.pk in succeeded))
    Attempt.objects.bulk_create(attempts)
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, [json.dumps(settled, default=datetime.isoformat)])


def wait_after(failures: int, *, timed_out: bool = False) -> timedelta | None:
    """Return how long to wait after so many failed attempts, or None to give up."""
    if failures > len(SCHEDULE):
        return None
    seconds = SCHEDULE[failures - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return timedelta(seconds=max(seconds, SHORTEST_WAIT_AFTER_TIMEOUT) if timed_out else seconds)


def _succeeded_before(deliveries: list[Delivery]) -> set[int]:
    """Those that arrived at an earlier try: that they were asked for again and failed does not undo it."""
    if not deliveries:
        return set()
    arrived = set(
        Attempt.objects.filter(
            message_id__in=[delivery.message_id for delivery in deliveries], status=Status.SUCCESS
        ).values_list("message_id", "endpoint_id")
    )
    return {delivery.pk for delivery in deliveries if (delivery.message_id, delivery.endpoint_id) in arrived}


def _settled(delivery: Delivery, outcome: Outcome, *, has_succeeded: bool) -> dict[str, Any]:
    """Return what an outcome makes of its delivery. A try that was asked for is the last, whatever came of it."""
    attempts = delivery.attempts + 1
    wait = None
    if not outcome.succeeded and not outcome.claimed.is_manual:
        wait = wait_after(attempts, timed_out=outcome.timed_out)
    unsuccessful = Status.SENDING if wait else Status.FAIL
    return {
        "id": delivery.pk,
        "attempts": attempts,
        "status": Status.SUCCESS if outcome.succeeded or has_succeeded else unsuccessful,
        "next_attempt_at": timezone.now() + wait if wait else None,
    }


_TAKE_IN = """
    WITH message AS (
        INSERT INTO webhooks_message (
            uid, organization_id, event_id, event_type, payload, channels, created_at
        )
        VALUES (
            %(uid)s, %(organization)s, %(event_id)s, %(event_type)s, %(payload)s, %(channels)s::text[],
            %(created_at)s
        )
        ON CONFLICT (organization_id, event_id) DO NOTHING
        RETURNING id
    ), receiver AS (
        SELECT id AS endpoint_id, '' AS url, id AS lane
        FROM webhooks_endpoint
        WHERE %(url)s = ''
          AND organization_id = %(organization)s
          AND deleted_at IS NULL
          AND NOT disabled
          AND (event_types IS NULL OR %(event_type)s = ANY (event_types))
          AND (channels IS NULL OR channels && %(channels)s::text[])
        UNION ALL
        SELECT NULL, %(url)s, -%(organization)s::bigint
        WHERE %(url)s <> ''
    ), delivery AS (
        INSERT INTO webhooks_delivery (
            organization_id, message_id, endpoint_id, url, lane, status, attempts, next_attempt_at, created_at
        )
        SELECT %(organization)s, message.id, receiver.endpoint_id, receiver.url, receiver.lane, %(pending)s, 0,
               now(), %(created_at)s
        FROM message CROSS JOIN receiver
    )
    SELECT id FROM message
"""

_CLAIM = """
    WITH RECURSIVE lane (id) AS (
        (SELECT lane FROM webhooks_delivery WHERE next_attempt_at IS NOT NULL ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT (
            SELECT lane FROM webhooks_delivery
            WHERE next_attempt_at IS NOT NULL AND lane > lane.id
            ORDER BY lane LIMIT 1
        )
        FROM lane WHERE lane.id IS NOT NULL
    ), due AS (
        SELECT delivery.id
        FROM (SELECT id FROM lane WHERE id IS NOT NULL ORDER BY random()) AS lane
        CROSS JOIN LATERAL (
            SELECT id FROM webhooks_delivery
            WHERE webhooks_delivery.lane = lane.id AND next_attempt_at <= now()
            ORDER BY next_attempt_at
            LIMIT greatest(0, %(in_lane)s - coalesce((%(under_way)s::jsonb ->> lane.id::text)::int, 0))
            FOR UPDATE SKIP LOCKED
        ) AS delivery
        LIMIT %(limit)s
    )
    UPDATE webhooks_delivery
    SET next_attempt_at = now() + make_interval(secs => %(lease)s), status = %(sending)s
    FROM due
    WHERE webhooks_delivery.id = due.id
    RETURNING webhooks_delivery.id
"""

_SETTLE = """
    UPDATE webhooks_delivery AS delivery
    SET attempts = settled.attempts, status = settled.status, next_attempt_at = settled.next_attempt_at,
        is_manual = FALSE
    FROM json_to_recordset(%s::json) AS settled (
        id bigint, attempts integer, status smallint, next_attempt_at timestamptz
    )
    WHERE delivery.id = settled.id
"""
