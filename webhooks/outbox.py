"""Writing messages to the outbox, in the transaction of the fact they tell. `relay` takes them from there.

A message is written only where somebody may want it: for organizations that have or had an endpoint, and for
jobs that name a URL of their own.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from django.utils import timezone

from accounts import prepared
from accounts.models import Organization
from webhooks import events
from webhooks.models import Application, Message, OutboxMessage, Status

_INSERT = """
INSERT INTO webhooks_outboxmessage (
    uid, organization_id, event_type, payload, channels, url, next_attempt_at, attempts, last_error, created_at
)
SELECT COALESCE(uid, 'evt_' || replace(gen_random_uuid()::text, '-', '')),
       organization_id, event_type, payload, channels, url, now(), 0, '', now()
FROM json_to_recordset(%s::json) AS draft (
    position int, organization_id bigint, event_type text, payload text, channels text[], url text, uid text
)
ORDER BY position
ON CONFLICT (uid) DO NOTHING
"""
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Draft:
    """A message to be, about what happened at `timestamp`.

    With a `url` it goes there alone; otherwise to the endpoints that match its type and channels. Whoever wants to
    ask for it later chooses its `uid`, for which there is one message only.
    """

    organization_id: int
    event_type: str
    data: dict[str, Any]
    timestamp: datetime
    channels: list[str] | None = None
    url: str | None = None
    uid: str | None = None


def uid_about(*subject: str | int) -> str:
    """The uid of the one message about a subject, by which it is found again without being written down."""
    named = "\0".join(map(str, subject)).encode()
    return "evt_" + hashlib.blake2b(named, digest_size=16).hexdigest()


def uid_of_job(organization_id: int, job_id: str) -> str:
    """The uid of the message that tells of a job's end, which comes but once."""
    return uid_about("job", organization_id, job_id)


def subscribed(organization_ids: Iterable[int]) -> set[int]:
    """Return those of the organizations that have or had an endpoint, and are not deleted."""
    applications = Application.objects.subscribed().filter(
        organization_id__in=organization_ids, organization__deleted_at=None
    )
    return set(applications.values_list("organization_id", flat=True))


def send_many(drafts: Sequence[Draft]) -> int:
    """Write the drafts as they are, in order and in one statement, and return how many there were.

    Who calls has asked `subscribed` and opened the transaction. `channels` and `url` may not hold a NUL
    character, which PostgreSQL cannot store; `data` may.
    """
    if not drafts:
        return 0
    rows = [
        {
            "position": position,
            "organization_id": draft.organization_id,
            "event_type": draft.event_type,
            "payload": events.payload(draft.event_type, draft.timestamp, draft.data),
            "channels": draft.channels,
            "url": draft.url or "",
            "uid": draft.uid,
        }
        for position, draft in enumerate(drafts)
    ]
    prepared.fetch(_INSERT, [_encode(rows).decode()])
    return len(rows)


def send(
    *,
    organization: Organization,
    event_type: str,
    data: dict[str, Any],
    channels: list[str] | None = None,
    url: str | None = None,
    uid: str | None = None,
) -> bool:
    """Write one message about what happens now. Says whether it did: without endpoint or URL it does not."""
    if not url and not subscribed([organization.pk]):
        return False
    draft = Draft(organization.pk, event_type, data, timezone.now(), channels, url, uid)
    return send_many([draft]) == 1


# The first that waits of each organization is its oldest; the index leads from one organization to the next.
_OLDEST_WAITING = """
WITH RECURSIVE first (organization_id, created_at) AS (
    (
        SELECT organization_id, created_at FROM webhooks_outboxmessage
        WHERE handed_over_at IS NULL AND refused_at IS NULL
        ORDER BY organization_id, id LIMIT 1
    )
    UNION ALL
    SELECT next.* FROM first CROSS JOIN LATERAL (
        SELECT organization_id, created_at FROM webhooks_outboxmessage
        WHERE handed_over_at IS NULL AND refused_at IS NULL AND organization_id > first.organization_id
        ORDER BY organization_id, id LIMIT 1
    ) AS next
)
SELECT MIN(created_at) FROM (SELECT * FROM first LIMIT 10000) AS looked_at
"""


def oldest_waiting() -> datetime | None:
    """When the message was written that has waited longest to be handed over."""
    [(moment,)] = prepared.fetch(_OLDEST_WAITING, [])
    return moment  # type: ignore[no-any-return]


def fates(uids: Iterable[str]) -> dict[str, str]:
    """What became of messages, by their ids: `waiting`, `refused`, `handed over`; an id that is unknown is left out.

    Of a message that the embedded engine took it says more: `delivered` when every endpoint that wanted it has it,
    `failed` when one of them does not, and `unwanted` when there was none.
    """
    messages = list(OutboxMessage.objects.filter(uid__in=uids))
    found = {
        message.uid: "refused"
        if message.refused_at
        else ("handed over" if message.handed_over_at else "waiting")
        for message in messages
    }
    organizations = {message.organization_id for message in messages}
    taken = Message.objects.filter(organization_id__in=organizations, event_id__in=found)
    for message in taken.prefetch_related("deliveries"):
        statuses = {delivery.status for delivery in message.deliveries.all()}
        if not statuses:
            found[str(message.event_id)] = "unwanted"
        elif Status.FAIL in statuses:
            found[str(message.event_id)] = "failed"
        elif statuses == {Status.SUCCESS}:
            found[str(message.event_id)] = "delivered"
    return found
