"""The queue of deliveries: messages taken in, deliveries claimed, outcomes recorded.

Each is short and commits by itself; sending, in `delivery`, happens between claiming and recording. A claim is a
lease: what a dead worker had claimed falls due again when it ends, so every message is delivered at least once.
"""

import logging
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
from cryptography.fernet import InvalidToken
from django.contrib.postgres.functions import TransactionNow
from django.db import connection, transaction
from django.utils import timezone

from accounts import prepared
from accounts.ids import new_uid
from webhooks.embedded import attempt_counts, health
from webhooks.models import Application, Attempt, Delivery, Endpoint, Message, Status

logger = logging.getLogger(__name__)

# How many deliveries are under way at once to one endpoint (or to one of the sixteen parts of the hosts that an
# organization's jobs named), counted over all workers; to one of which nothing is known there is one.
AT_ONCE_IN_LANE = 16
LEASE = 60.0  # seconds; longer than a delivery's timeout, with room for a slow database
# Seconds to wait after each failed attempt, give or take a fifth; after the last of them it is given up.
SCHEDULE = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
JITTER = 0.2
SHORTEST_WAIT_AFTER_TIMEOUT = 60
# Seconds by which a delivery to an endpoint with a throttle rate is claimed ahead of its moment.
AHEAD = 0.25
GONE = 410

_encode = msgspec.json.Encoder().encode


class AlreadyTaken(Exception):
    """The organization has a message with this event id."""


@dataclass(frozen=True)
class Incoming:
    """A message to be taken in: for the endpoints that match its type and channels, or for `url` alone.

    A message without channels never matches an endpoint that listens to some (Svix's rule).
    """

    organization_id: int
    event_id: str | None
    event_type: str
    payload: str
    channels: list[str] | None
    url: str = ""
    uid: str = field(default_factory=partial(new_uid, "msg"))
    created_at: datetime = field(default_factory=timezone.now)


def take_in_many(messages: Sequence[Incoming]) -> dict[str, int]:
    """Write messages in this order and queue them for their receivers, and return the new rows' ids by their uid.

    Those whose event id their organization has already are left out.
    """
    return dict(prepared.fetch(_TAKE_IN, [_encode(messages).decode(), Status.PENDING]))


# The index leads from one lane to the next.
_OLDEST_DUE = """
WITH RECURSIVE first (lane, due_at) AS (
    (
        SELECT lane, next_attempt_at FROM webhooks_delivery
        WHERE next_attempt_at IS NOT NULL ORDER BY lane, next_attempt_at LIMIT 1
    )
    UNION ALL
    SELECT next.* FROM first CROSS JOIN LATERAL (
        SELECT lane, next_attempt_at FROM webhooks_delivery
        WHERE next_attempt_at IS NOT NULL AND lane > first.lane ORDER BY lane, next_attempt_at LIMIT 1
    ) AS next
)
SELECT MIN(due_at) FILTER (WHERE due_at <= now()) FROM (SELECT * FROM first LIMIT 10000) AS looked_at
"""


def oldest_due() -> datetime | None:
    """Since when the delivery is due that has been due longest."""
    [(moment,)] = prepared.fetch(_OLDEST_DUE, [])
    return moment  # type: ignore[no-any-return]


def take_in(
    *,
    organization_id: int,
    event_id: str | None,
    event_type: str,
    payload: str,
    channels: list[str] | None,
    url: str = "",
) -> Message:
    """Take in one message. Raises AlreadyTaken."""
    incoming = Incoming(organization_id, event_id, event_type, payload, channels, url)
    with transaction.atomic(savepoint=False):
        taken = take_in_many([incoming])
    if not taken:
        raise AlreadyTaken(event_id)
    message = Message(
        pk=taken[incoming.uid],
        uid=incoming.uid,
        organization_id=organization_id,
        event_id=event_id,
        event_type=event_type,
        payload=payload,
        channels=channels,
        created_at=incoming.created_at,
    )
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
    attempts: int  # made before
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
    """What came of one try. Recorded twice, as after a commit that was not answered, it is one attempt."""

    claimed: Claimed
    timestamp: datetime
    duration_ms: int
    reply: Reply
    uid: str = field(default_factory=partial(new_uid, "atmpt"))

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

    @property
    def number(self) -> int:
        """Which of its delivery's attempts it is, from 1."""
        return self.claimed.attempts + 1

    @property
    def is_notable(self) -> bool:
        """Whether the endpoint's health, or somebody who is told of it, may be concerned."""
        return not self.succeeded or self.wants_no_more or self.number > health.FAILING_AFTER

    @property
    def depends_on_earlier(self) -> bool:
        """Whether earlier tries matter: those of one asked for again, or that arrives after many failures."""
        return self.number > health.FAILING_AFTER if self.succeeded else self.claimed.is_manual


class _Row(NamedTuple):
    """What the claiming statement tells of a delivery."""

    delivery_id: int
    lane: int
    lease: datetime
    attempts: int
    is_manual: bool
    due_at: datetime  # before it was claimed, as `status`
    status: int
    message_uid: str
    payload: str
    receives: bool
    throttle_rate: int | None
    url: str
    signer: str  # its uid
    stored_secret: str
    old_secrets: str
    stored_headers: str


@transaction.atomic
def claim(
    limit: int,
    *,
    slow_limit: int = 0,
    places: Mapping[int, int] | None = None,
    are_new_slow: bool = False,
) -> list[Claimed]:
    """Lease due deliveries, each for whoever asked first, and return them.

    `places` says how many may be under way in a lane, over all workers: one where it says nothing, and without it as
    many as in any. Up to `slow_limit` of what is claimed is in lanes of which it says one, with `are_new_slow` also in
    those of which it says nothing, and up to `limit` in the others. Lanes are visited in a random order, so that the
    backlog of one never stands before the others. What no longer has a receiver or content is canceled.
    """
    with prepared.pipeline():  # one at a time, so that each counts what the others have under way
        prepared.fetch("SELECT pg_advisory_xact_lock(hashtext('webhooks.queue'))", [])
    rows = [
        _Row(*row)
        for row in prepared.fetch(
            _CLAIM,
            [
                AT_ONCE_IN_LANE,
                None if places is None else _encode(places).decode(),
                are_new_slow,
                AHEAD,
                limit,
                slow_limit,
                LEASE,
                Status.SENDING,
            ],
        )
    ]
    _cancel([row for row in rows if not row.receives])
    rows = [row for row in rows if row.receives]
    delays = _throttled(rows)
    now = timezone.now()
    signers: dict[str, tuple[list[str], dict[str, str]] | None] = {}
    claimed = []
    for row in rows:
        if row.signer not in signers:
            signers[row.signer] = _signer(row, now)
        signer, delay = signers[row.signer], delays.get(row.delivery_id, 0.0)
        if signer and delay is not None:
            claimed.append(
                Claimed(
                    delivery_id=row.delivery_id,
                    lane=row.lane,
                    lease=row.lease,
                    attempts=row.attempts,
                    url=row.url,
                    secrets=signer[0],
                    headers=signer[1],
                    message_uid=row.message_uid,
                    payload=row.payload,
                    is_manual=row.is_manual,
                    delay=delay,
                )
            )
    return claimed


def _cancel(rows: list[_Row]) -> None:
    # What came of one that was only asked for again stays true.
    kept = Status.SUCCESS, Status.FAIL
    _put_back(
        [row._replace(status=row.status if row.status in kept else Status.CANCELED) for row in rows],
        due=False,
    )


def _put_back(rows: list[_Row], *, due: bool) -> None:
    """Undo the claim of these, as due as they were or never any more."""
    deliveries = [
        Delivery(
            pk=row.delivery_id,
            status=row.status,
            next_attempt_at=row.due_at if due else None,
            is_under_way=False,
        )
        for row in rows
    ]
    Delivery.objects.bulk_update(deliveries, ["status", "next_attempt_at", "is_under_way"])


def _signer(row: _Row, now: datetime) -> tuple[list[str], dict[str, str]] | None:
    """The secrets that sign what is sent to a row's receiver, and the headers that go with it."""
    keeper = Endpoint(
        uid=row.signer,
        stored_secret=row.stored_secret,
        old_secrets=msgspec.json.decode(row.old_secrets),
        stored_headers=row.stored_headers,
    )
    try:
        return keeper.signing_secrets(now), keeper.headers
    except InvalidToken:  # it waits for its key; nobody else does
        logger.error("What %s signs with was written with none of ENCRYPTION_KEYS", row.signer)
        return None


def is_anything_due() -> bool:
    """Whether a delivery waits for nothing but a free place, or for the next moment its endpoint's rate allows."""
    return Delivery.objects.filter(next_attempt_at__lte=TransactionNow()).exists()


def _throttled(rows: list[_Row]) -> dict[int, float | None]:
    """Return the seconds after which each is to be sent, for its endpoint to get no more at a time than it takes.

    The endpoint's row tells the next free moment to all workers. What would wait for long is put back as it was, and
    has None. Those to endpoints without a rate are left out.
    """
    lanes: dict[int, list[_Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.due_at):
        if row.throttle_rate:
            lanes[row.lane].append(row)
    if not lanes:
        return {}
    delays: dict[int, float | None] = {}
    too_early = []
    endpoints = list(Endpoint.objects.select_for_update(no_key=True).filter(pk__in=lanes).order_by("pk"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")  # the one clock of all workers
        [now] = cursor.fetchone()
    for endpoint in endpoints:
        if not endpoint.throttle_rate:  # lifted meanwhile
            continue
        slot = max(endpoint.next_slot_at or now, now)
        for row in lanes[endpoint.pk]:
            delay = (slot - now).total_seconds()
            if delay > AHEAD:
                delays[row.delivery_id] = None
                too_early.append(row)
            else:
                delays[row.delivery_id] = delay
                slot += timedelta(seconds=1 / endpoint.throttle_rate)
        Endpoint.objects.filter(pk=endpoint.pk).update(next_slot_at=slot)
    _put_back(too_early, due=True)
    return delays


@transaction.atomic
def record(outcomes: Iterable[Outcome]) -> None:
    """Write an attempt for each outcome, settle the deliveries whose lease still holds, and tell of what follows.

    A delivery deleted meanwhile leaves nothing to write.
    """
    outcomes = list(outcomes)
    arrived = _arrived_before(outcomes)
    made = [
        _made(position, outcome, outcome.claimed.delivery_id in arrived)
        for position, outcome in enumerate(outcomes)
    ]
    rows = [_Recorded(*row) for row in prepared.fetch(_RECORD, [_encode(made).decode()])]
    # Of endpoints that fare well, and of messages that arrive early, there is nothing to tell.
    notable = {row.endpoint_id for row in rows if row.is_ailing or outcomes[row.position].is_notable}
    tries = [
        _tried(row, outcomes[row.position], made[row.position], row.delivery_id in arrived)
        for row in rows
        if row.endpoint_id and row.endpoint_id in notable
    ]
    if tries:
        health.note(tries)
    attempt_counts.uncount((row.endpoint_id, outcomes[row.position].timestamp) for row in rows)


class _Recorded(NamedTuple):
    """What the recording statement tells of an outcome's delivery."""

    position: int
    delivery_id: int
    organization_id: int
    message_id: int
    endpoint_id: int | None
    is_ours: bool  # the lease still held
    is_ailing: bool  # the endpoint has failed since its last success


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


def _arrived_before(outcomes: list[Outcome]) -> set[int]:
    """Those that arrived at an earlier try: that they were asked for again and failed does not undo it."""
    concerned = {outcome.claimed.delivery_id for outcome in outcomes if outcome.depends_on_earlier}
    if not concerned:
        return set()
    # All of them are locked, though only some are looked at: so whoever locks several does it in the order of ids.
    ids = [outcome.claimed.delivery_id for outcome in outcomes]
    locked = list(Delivery.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk"))
    deliveries = [delivery for delivery in locked if delivery.pk in concerned]
    arrived = set(
        Attempt.objects.filter(
            message_id__in=[delivery.message_id for delivery in deliveries], status=Status.SUCCESS
        ).values_list("message_id", "endpoint_id")
    )
    return {delivery.pk for delivery in deliveries if (delivery.message_id, delivery.endpoint_id) in arrived}


def _made(position: int, outcome: Outcome, has_arrived: bool) -> dict[str, Any]:
    """The row of an attempt, and what it makes of its delivery.

    A try that was asked for is the last, whatever came of it.
    """
    claimed, reply = outcome.claimed, outcome.reply
    wait = None
    if not (outcome.succeeded or claimed.is_manual or outcome.wants_it_no_more):
        wait = wait_after(outcome.number, timed_out=reply.timed_out, retry_after=reply.retry_after)
    unsuccessful = Status.SENDING if wait else Status.FAIL
    return {
        "position": position,
        "id": claimed.delivery_id,
        "lease": claimed.lease,
        "uid": outcome.uid,
        "url": claimed.url,
        "status": Status.SUCCESS if outcome.succeeded else Status.FAIL,
        "status_code": reply.status_code,
        "response": reply.response,
        "duration_ms": outcome.duration_ms,
        "trigger": Attempt.Trigger.MANUAL if claimed.is_manual else Attempt.Trigger.SCHEDULED,
        "timestamp": outcome.timestamp,
        "becomes": Status.SUCCESS if outcome.succeeded or has_arrived else unsuccessful,
        "next_attempt_at": timezone.now() + wait if wait else None,
    }


def _tried(row: _Recorded, outcome: Outcome, made: dict[str, Any], has_arrived: bool) -> health.Try:
    is_over = made["next_attempt_at"] is None
    return health.Try(
        attempt=Attempt(
            organization_id=row.organization_id,
            message_id=row.message_id,
            endpoint_id=row.endpoint_id,
            **{
                name: made[name]
                for name in ("uid", "url", "status", "status_code", "response", "duration_ms")
            },
            trigger=made["trigger"],
            timestamp=outcome.timestamp,
        ),
        settled=made if row.is_ours else None,
        number=outcome.number,
        is_exhausted=row.is_ours
        and is_over
        and not (outcome.succeeded or outcome.claimed.is_manual or outcome.wants_it_no_more),
        has_arrived_before=has_arrived,
        wants_no_more=outcome.wants_no_more,
    )


_TAKE_IN = """
    WITH incoming AS MATERIALIZED (
        SELECT row_number() OVER () AS position, *
        FROM json_to_recordset(%s::json) AS incoming (
            uid text, organization_id bigint, event_id text, event_type text, payload text, channels text[],
            url text, created_at timestamptz
        )
    ), message AS (
        INSERT INTO webhooks_message (
            uid, organization_id, event_id, event_type, payload, channels, created_at
        )
        SELECT uid, organization_id, event_id, event_type, payload, channels, created_at
        FROM incoming
        ORDER BY position
        ON CONFLICT (organization_id, event_id) DO NOTHING
        RETURNING id, uid, organization_id, event_type, channels, created_at
    ), direct AS MATERIALIZED (
        SELECT uid, url FROM incoming WHERE url <> ''
    ), receiver AS (
        SELECT message.*, endpoint.id AS endpoint_id, '' AS url, endpoint.id AS lane
        FROM message
        JOIN webhooks_endpoint AS endpoint
          ON endpoint.organization_id = message.organization_id
         AND endpoint.deleted_at IS NULL
         AND NOT endpoint.disabled
         AND (endpoint.event_types IS NULL OR message.event_type = ANY (endpoint.event_types))
         AND (endpoint.channels IS NULL OR endpoint.channels && message.channels)
        WHERE NOT EXISTS (SELECT FROM direct WHERE direct.uid = message.uid)
        UNION ALL
        SELECT message.*, NULL, direct.url,
               -(message.organization_id * 16 + (hashtext(lower(split_part(direct.url, '/', 3))) & 15))
        FROM message JOIN direct USING (uid)
    ), delivery AS (
        INSERT INTO webhooks_delivery (
            organization_id, message_id, endpoint_id, url, lane, status, attempts, next_attempt_at, created_at
        )
        SELECT organization_id, id, endpoint_id, url, lane, %s, 0, now(), created_at
        FROM receiver
        ORDER BY id, endpoint_id
    )
    SELECT uid, id FROM message
"""

_CLAIM = """
    WITH RECURSIVE waiting (lane) AS (
        (SELECT lane FROM webhooks_delivery WHERE next_attempt_at IS NOT NULL ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT (
            SELECT lane FROM webhooks_delivery
            WHERE next_attempt_at IS NOT NULL AND lane > waiting.lane
            ORDER BY lane LIMIT 1
        )
        FROM waiting WHERE waiting.lane IS NOT NULL
    ), known AS MATERIALIZED (
        SELECT places, CASE WHEN places IS NULL THEN %s ELSE 1 END AS otherwise
        FROM (SELECT %s::jsonb AS places) AS given
    ), lane AS MATERIALIZED (
        SELECT waiting.lane AS id,
               coalesce((known.places ->> waiting.lane::text)::integer, known.otherwise) AS places,
               coalesce((known.places ->> waiting.lane::text)::integer = 1, %s) AS is_slow,
               (
                   SELECT count(*) FROM webhooks_delivery
                   WHERE lane = waiting.lane AND is_under_way AND next_attempt_at > now()
               ) AS under_way
        FROM waiting
        CROSS JOIN known
        WHERE waiting.lane IS NOT NULL AND NOT EXISTS (
            SELECT FROM webhooks_endpoint
            WHERE webhooks_endpoint.id = waiting.lane
              AND next_slot_at > clock_timestamp() + make_interval(secs => %s)
        )
        ORDER BY random()
    ), due AS MATERIALIZED (
        SELECT due.*
        FROM (VALUES (FALSE, %s), (TRUE, %s)) AS kind (is_slow, places)
        CROSS JOIN LATERAL (
            SELECT delivery.*
            FROM lane
            CROSS JOIN LATERAL (
                SELECT id, next_attempt_at, status FROM webhooks_delivery
                WHERE webhooks_delivery.lane = lane.id AND next_attempt_at <= now()
                ORDER BY next_attempt_at
                LIMIT greatest(0, lane.places - lane.under_way)
                FOR UPDATE SKIP LOCKED
            ) AS delivery
            WHERE lane.is_slow = kind.is_slow
            LIMIT kind.places
        ) AS due
    ), claimed AS (
        UPDATE webhooks_delivery AS delivery
        SET next_attempt_at = now() + make_interval(secs => %s), status = %s, is_under_way = TRUE
        FROM due
        WHERE delivery.id = due.id
        RETURNING delivery.*, due.next_attempt_at AS due_at, due.status AS status_before
    )
    SELECT claimed.id, claimed.lane, claimed.next_attempt_at, claimed.attempts, claimed.is_manual,
           claimed.due_at, claimed.status_before, message.uid, message.payload,
           message.expunged_at IS NULL AND organization.deleted_at IS NULL
               AND (endpoint.id IS NULL OR NOT endpoint.disabled AND endpoint.deleted_at IS NULL),
           endpoint.throttle_rate,
           coalesce(endpoint.url, claimed.url),
           coalesce(endpoint.uid, application.uid),
           coalesce(endpoint.stored_secret, application.stored_secret),
           coalesce(endpoint.old_secrets::text, '[]'),
           coalesce(endpoint.stored_headers, '')
    FROM claimed
    JOIN webhooks_message AS message ON message.id = claimed.message_id
    JOIN accounts_organization AS organization ON organization.id = claimed.organization_id
    LEFT JOIN webhooks_endpoint AS endpoint ON endpoint.id = claimed.endpoint_id
    LEFT JOIN webhooks_application AS application
      ON claimed.endpoint_id IS NULL AND application.organization_id = claimed.organization_id
    ORDER BY claimed.due_at, claimed.id
"""

_RECORD = """
    WITH made AS MATERIALIZED (
        SELECT *
        FROM json_to_recordset(%s::json) AS made (
            position integer, id bigint, lease timestamptz, uid text, url text, status smallint, status_code integer,
            response text, duration_ms integer, trigger smallint, timestamp timestamptz,
            becomes smallint, next_attempt_at timestamptz
        )
    ), held AS MATERIALIZED (
        SELECT made.*, delivery.organization_id, delivery.message_id, delivery.endpoint_id, delivery.attempts,
               delivery.next_attempt_at IS NOT DISTINCT FROM made.lease AS is_ours
        FROM made JOIN webhooks_delivery AS delivery USING (id)
        ORDER BY delivery.id, made.position
        FOR UPDATE OF delivery
    ), attempt AS (
        INSERT INTO webhooks_attempt (
            uid, organization_id, message_id, endpoint_id, url, status, status_code, response, duration_ms,
            trigger, timestamp
        )
        SELECT uid, organization_id, message_id, endpoint_id, url, status, status_code, response, duration_ms,
               trigger, timestamp
        FROM held
        ORDER BY id, position
        ON CONFLICT (uid) DO NOTHING
    ), settled AS (
        UPDATE webhooks_delivery AS delivery
        SET attempts = held.attempts + 1, status = held.becomes, next_attempt_at = held.next_attempt_at,
            is_manual = FALSE, is_under_way = FALSE
        FROM held
        WHERE delivery.id = held.id AND held.is_ours
    )
    SELECT held.position, held.id, held.organization_id, held.message_id, held.endpoint_id, held.is_ours,
           endpoint.failing_since IS NOT NULL OR endpoint.exhausted_since IS NOT NULL
    FROM held LEFT JOIN webhooks_endpoint AS endpoint ON endpoint.id = held.endpoint_id
"""
