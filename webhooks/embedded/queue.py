"""The queue of deliveries: messages taken in, deliveries claimed, outcomes recorded.

Each is short and commits by itself; sending, in `delivery`, happens between claiming and recording. A claim is a
lease: what a dead worker had claimed falls due again when it ends, so every message is delivered at least once.
"""

import json
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.fernet import InvalidToken
from django.contrib.postgres.functions import TransactionNow
from django.db import connection, transaction
from django.utils import timezone

from webhooks.embedded import health
from webhooks.models import Application, Attempt, Delivery, Endpoint, Message, Status

logger = logging.getLogger(__name__)

# How many deliveries one worker has under way to one endpoint (or to all URLs that one organization's jobs named).
AT_ONCE_IN_LANE = 8
LEASE = 60.0  # seconds; longer than a delivery's timeout, with room for a slow database
# Seconds to wait after each failed attempt, give or take a fifth; after the last of them it is given up.
SCHEDULE = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
JITTER = 0.2
SHORTEST_WAIT_AFTER_TIMEOUT = 60
# Seconds by which a delivery to an endpoint with a throttle rate is claimed ahead of its moment.
AHEAD = 0.25
GONE = 410


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
    delay: float  # seconds to wait before sending


@dataclass(frozen=True)
class Reply:
    """What a receiver answered; without an answer the code is 0, and `response` says why."""

    status_code: int
    response: str
    retry_after: float | None = None  # seconds
    wish: str = ""  # its header `webhook-delivery`
    timed_out: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of one try."""

    claimed: Claimed
    timestamp: datetime
    duration_ms: int
    reply: Reply

    @property
    def succeeded(self) -> bool:
        return 200 <= self.reply.status_code < 300

    @property
    def wants_no_more(self) -> bool:
        """Whether the receiver asks not to be sent anything any more."""
        return self.reply.status_code == GONE or self.reply.wish == "disable"

    @property
    def wants_it_no_more(self) -> bool:
        """Whether the receiver asks not to be sent this message again."""
        return self.wants_no_more or self.reply.wish == "abort-message"


@transaction.atomic
def claim(limit: int, under_way: Counter[int] | None = None) -> list[Claimed]:
    """Lease up to `limit` due deliveries, each for whoever asked first, and return them.

    `under_way` counts what the caller is sending already in each lane. Lanes are visited in a random order, so
    that the backlog of one never stands before the others. What no longer has a receiver or content is canceled.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "limit": limit,
                "in_lane": AT_ONCE_IN_LANE,
                "under_way": json.dumps(under_way or {}),
                "lease": LEASE,
                "ahead": AHEAD,
                "sending": Status.SENDING,
            },
        )
        before = {pk: (due_at, status) for pk, due_at, status in cursor.fetchall()}
    if not before:
        return []
    deliveries = list(
        Delivery.objects.filter(pk__in=before).select_related("organization", "message", "endpoint")
    )
    canceled = [delivery for delivery in deliveries if delivery.message.expunged_at or not delivery.receives]
    for delivery in canceled:
        _, status = before[delivery.pk]
        # What came of one that was only asked for again stays true.
        delivery.status = status if status in (Status.SUCCESS, Status.FAIL) else Status.CANCELED
        delivery.next_attempt_at = None
    Delivery.objects.bulk_update(canceled, ["status", "next_attempt_at"])
    deliveries = [delivery for delivery in deliveries if delivery.next_attempt_at]
    delays = _throttled(deliveries, before)
    now = timezone.now()
    # By lane, for which they are the same: decrypting them takes time.
    kept: dict[int, tuple[list[str], dict[str, str]]] = {}
    direct = [delivery.organization_id for delivery in deliveries if delivery.endpoint is None]
    signers: dict[int, Application | Endpoint] = {
        -application.organization_id: application
        for application in Application.objects.filter(organization_id__in=direct)
    }
    signers |= {delivery.lane: delivery.endpoint for delivery in deliveries if delivery.endpoint}
    for lane, signer in signers.items():
        try:
            if isinstance(signer, Endpoint):
                kept[lane] = signer.signing_secrets(now), signer.headers
            else:
                kept[lane] = [signer.secret], {}
        except InvalidToken:  # it waits for its key; nobody else does
            logger.error("What %s signs with was written with none of ENCRYPTION_KEYS", signer.uid)
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
            delay=delays[delivery.pk],
        )
        for delivery in deliveries
        if delivery.next_attempt_at and delivery.lane in kept and delivery.pk in delays
    ]


def is_anything_due() -> bool:
    """Whether a delivery waits for nothing but a free place, or for the next moment its endpoint's rate allows."""
    return Delivery.objects.filter(next_attempt_at__lte=TransactionNow()).exists()


def _throttled(deliveries: list[Delivery], before: dict[int, tuple[datetime, int]]) -> dict[int, float]:
    """Return the seconds after which each is to be sent, for its endpoint to get no more at a time than it takes.

    The endpoint's row tells the next free moment to all workers. What would wait for long is put back as it was.
    """
    delays = {delivery.pk: 0.0 for delivery in deliveries}
    lanes: dict[int, list[Delivery]] = defaultdict(list)
    for delivery in sorted(deliveries, key=lambda delivery: before[delivery.pk][0]):
        if delivery.endpoint and delivery.endpoint.throttle_rate:
            lanes[delivery.endpoint.pk].append(delivery)
    if not lanes:
        return delays
    released = []
    endpoints = list(Endpoint.objects.select_for_update(no_key=True).filter(pk__in=lanes).order_by("pk"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")  # the one clock of all workers
        [now] = cursor.fetchone()
    for endpoint in endpoints:
        if not endpoint.throttle_rate:  # lifted meanwhile
            continue
        slot = max(endpoint.next_slot_at or now, now)
        for delivery in lanes[endpoint.pk]:
            delay = (slot - now).total_seconds()
            if delay > AHEAD:
                del delays[delivery.pk]
                delivery.next_attempt_at, delivery.status = before[delivery.pk]
                released.append(delivery)
            else:
                delays[delivery.pk] = delay
                slot += timedelta(seconds=1 / endpoint.throttle_rate)
        Endpoint.objects.filter(pk=endpoint.pk).update(next_slot_at=slot)
    Delivery.objects.bulk_update(released, ["next_attempt_at", "status"])
    return delays


@transaction.atomic
def record(outcomes: Iterable[Outcome]) -> None:
    """Write an attempt for each outcome, settle the deliveries whose lease still holds, and tell of what follows.

    A delivery deleted meanwhile leaves nothing to write.
    """
    by_id = {outcome.claimed.delivery_id: outcome for outcome in outcomes}
    deliveries = list(Delivery.objects.select_for_update(of=("self",)).filter(pk__in=by_id).order_by("pk"))
    arrived = _arrived_before([delivery for delivery in deliveries if _may_have_arrived(delivery, by_id)])
    tries = [_tried(delivery, by_id[delivery.pk], delivery.pk in arrived) for delivery in deliveries]
    Attempt.objects.bulk_create([made.attempt for made in tries])
    settled = [made.settled for made in tries if made.settled]
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, [json.dumps(settled, default=datetime.isoformat)])
    health.note([made for made in tries if made.attempt.endpoint_id])


def wait_after(
    failures: int, *, timed_out: bool = False, retry_after: float | None = None
) -> timedelta | None:
    """Return how long to wait after so many failed attempts, or None to give up.

    A receiver may ask for up to twice the schedule's time, and for no less than it.
    """
    if failures > len(SCHEDULE):
        return None
    base = SCHEDULE[failures - 1]
    if retry_after is None:
        seconds = base * random.uniform(1 - JITTER, 1 + JITTER)
    else:
        seconds = min(max(retry_after, base), 2 * base)
    return timedelta(seconds=max(seconds, SHORTEST_WAIT_AFTER_TIMEOUT) if timed_out else seconds)


def _may_have_arrived(delivery: Delivery, by_id: dict[int, Outcome]) -> bool:
    """Whether its earlier tries matter: those of one asked for again, or that arrives after many failures."""
    outcome = by_id[delivery.pk]
    if outcome.succeeded:
        return delivery.attempts >= health.FAILING_AFTER
    return outcome.claimed.is_manual


def _arrived_before(deliveries: list[Delivery]) -> set[int]:
    """Those that arrived at an earlier try: that they were asked for again and failed does not undo it."""
    if not deliveries:
        return set()
    arrived = set(
        Attempt.objects.filter(
            message_id__in=[delivery.message_id for delivery in deliveries], status=Status.SUCCESS
        ).values_list("message_id", "endpoint_id")
    )
    return {delivery.pk for delivery in deliveries if (delivery.message_id, delivery.endpoint_id) in arrived}


def _tried(delivery: Delivery, outcome: Outcome, has_arrived: bool) -> health.Try:
    """Return what an outcome makes of its delivery. A try that was asked for is the last, whatever came of it."""
    reply, is_manual = outcome.reply, outcome.claimed.is_manual
    attempts = delivery.attempts + 1
    wait = None
    if not (outcome.succeeded or is_manual or outcome.wants_it_no_more):
        wait = wait_after(attempts, timed_out=reply.timed_out, retry_after=reply.retry_after)
    is_ours = delivery.next_attempt_at == outcome.claimed.lease
    unsuccessful = Status.SENDING if wait else Status.FAIL
    return health.Try(
        attempt=Attempt(
            organization_id=delivery.organization_id,
            message_id=delivery.message_id,
            endpoint_id=delivery.endpoint_id,
            url=outcome.claimed.url,
            status=Status.SUCCESS if outcome.succeeded else Status.FAIL,
            status_code=reply.status_code,
            response=reply.response,
            duration_ms=outcome.duration_ms,
            trigger=Attempt.Trigger.MANUAL if is_manual else Attempt.Trigger.SCHEDULED,
            timestamp=outcome.timestamp,
        ),
        settled={
            "id": delivery.pk,
            "attempts": attempts,
            "status": Status.SUCCESS if outcome.succeeded or has_arrived else unsuccessful,
            "next_attempt_at": timezone.now() + wait if wait else None,
        }
        if is_ours
        else None,
        number=attempts,
        is_exhausted=is_ours and not (outcome.succeeded or is_manual or wait or outcome.wants_it_no_more),
        has_arrived_before=has_arrived,
        wants_no_more=outcome.wants_no_more,
    )


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
        SELECT delivery.*
        FROM (
            SELECT id FROM lane
            WHERE id IS NOT NULL AND NOT EXISTS (
                SELECT FROM webhooks_endpoint
                WHERE webhooks_endpoint.id = lane.id
                  AND next_slot_at > clock_timestamp() + make_interval(secs => %(ahead)s)
            )
            ORDER BY random()
        ) AS lane
        CROSS JOIN LATERAL (
            SELECT id, next_attempt_at, status FROM webhooks_delivery
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
    RETURNING webhooks_delivery.id, due.next_attempt_at, due.status
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
