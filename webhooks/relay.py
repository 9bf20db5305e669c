"""Handing the outbox over to the engine, in order for each organization.

A claimed row's `next_attempt_at` is the end of its lease. The row that stands first decides for its organization:
while it is leased or waits, the rest wait, and an organization in trouble holds up nobody else.
"""

import json
import logging
import time
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from django.db import DataError, IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from pydantic_core import PydanticSerializationError
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import ApplicationIn, MessageIn

from accounts import prepared
from webhooks.embedded import queue
from webhooks.embedded.calls import Refusal, check_channels
from webhooks.embedded.messages import MOST_CHANNELS
from webhooks.embedded.queue import Incoming
from webhooks.gateway import Unreachable, get_svix, is_embedded
from webhooks.models import EXPIRED, OutboxMessage

logger = logging.getLogger(__name__)

AT_A_TIME = 200
OF_ONE_ORGANIZATION = 50
LEASE = 60.0  # seconds
LONGEST_ROUND = 20.0  # seconds; a slow engine must not outlast the lease
# What is longer, or has more brackets, may be too large or nested too deep for the engine: it is asked.
PLAIN_LENGTH = 1_000_000
PLAIN_BRACKETS = 100
# Answers that another try would not change.
FINAL = {400, 413, 422}


class Refused(Exception):
    """The engine will never take this message."""


def hand_over() -> int:
    """Hand over the messages that are due, and return how many there were.

    One that is refused for good is marked and passed by. One that fails waits, longer each time, and those behind
    it with it; when the engine cannot be reached, everybody waits.
    """
    done, is_all = _hand_over_plain() if is_embedded() else (0, False)
    return done if is_all else done + _hand_over_one_by_one()


def _hand_over_plain() -> tuple[int, bool]:
    """Give the embedded engine at once what it is sure to take. Returns how many, and whether that was all.

    All or nothing in one transaction, so there is no lease. An organization of whose messages one may be refused is
    left alone, for its order's sake.
    """
    try:
        with transaction.atomic():
            rows = [_Waiting(*row) for row in prepared.fetch(_WAITING, [OF_ONE_ORGANIZATION, AT_A_TIME])]
            odd = {row.organization_id for row in rows if not _is_plain(row)}
            plain = [row for row in rows if row.organization_id not in odd]
            if plain:
                queue.take_in_many([row.incoming() for row in plain])
                prepared.fetch(_MARK, [EXPIRED, [row.id for row in plain]])
    except (DataError, IntegrityError) as error:
        logger.warning("Which message cannot be taken in will be seen one by one: %s", error)
        return 0, False
    return len(plain), not odd


class _Waiting(NamedTuple):
    id: int
    uid: str
    organization_id: int
    event_type: str
    payload: str
    channels: list[str] | None
    url: str
    deleted_at: datetime | None  # of the organization, as what follows
    has_application: bool

    def incoming(self) -> Incoming:
        return Incoming(
            self.organization_id, self.uid, self.event_type, self.payload, self.channels or None, self.url
        )


def _is_plain(row: _Waiting) -> bool:
    """Whether the engine has no reason to refuse this message, nor anything to make for it."""
    if row.deleted_at or not row.has_application or len(row.payload) > PLAIN_LENGTH:
        return False
    if row.payload.count("{") + row.payload.count("[") > PLAIN_BRACKETS:
        return False
    try:
        if row.channels:
            check_channels(row.channels, most=MOST_CHANNELS)
    except Refusal:
        return False
    return True


def _hand_over_one_by_one() -> int:
    claimed = _claim()
    deadline = time.monotonic() + LONGEST_ROUND
    handed_over, released = [], []
    unreachable_until = None
    for _, messages in groupby(claimed, key=lambda message: message.organization_id):
        is_blocked = False
        for message in messages:
            if is_blocked or unreachable_until or time.monotonic() > deadline:
                released.append(message.pk)
                continue
            try:
                _hand_over(message)
            except Refused as error:
                message.refuse(str(error))
                logger.error("Message %s is refused: %s", message, error)
            except (HttpError, IntegrityError) as error:
                message.postpone(str(error))
                is_blocked = True
                logger.warning("Message %s waits: %s", message, error)
                if isinstance(error, Unreachable):
                    unreachable_until = message.next_attempt_at
            else:
                handed_over.append(message.pk)
    OutboxMessage.objects.filter(pk__in=handed_over).update(
        handed_over_at=timezone.now(), attempts=F("attempts") + 1, last_error="", payload=EXPIRED
    )
    OutboxMessage.objects.filter(pk__in=released).update(next_attempt_at=unreachable_until or timezone.now())
    return len(claimed)


def _claim() -> list[OutboxMessage]:
    # One claim at a time: two at once would not see each other's leases, and break an organization's order.
    with transaction.atomic():
        prepared.fetch("SELECT 1 FROM pg_advisory_xact_lock(hashtext('webhooks.relay'))", [])
        ids = [row[0] for row in prepared.fetch(_CLAIM, [OF_ONE_ORGANIZATION, AT_A_TIME, LEASE])]
    rows = OutboxMessage.objects.filter(pk__in=ids)
    messages = list(rows.select_related("organization").order_by("organization_id", "id"))
    if len(messages) < len(ids):  # written while their organization was being deleted
        rows.exclude(pk__in=[message.pk for message in messages]).delete()
    return messages


def _hand_over(message: OutboxMessage) -> None:
    """Give one message to the engine, or to the queue when it is for a URL of its own. Raises Refused."""
    organization = message.organization
    if organization.deleted_at:
        raise Refused("The organization has been deleted.")
    try:
        if message.url:
            queue.take_in_direct(
                organization_id=organization.pk,
                name=organization.name,
                event_id=message.uid,
                event_type=message.event_type,
                payload=message.payload,
                url=message.url,
            )
        else:
            get_svix().message.create(
                organization.uid,
                MessageIn(
                    event_type=message.event_type,
                    event_id=message.uid,
                    payload=json.loads(message.payload),
                    channels=message.channels or None,
                    application=ApplicationIn(uid=organization.uid, name=organization.name),
                ),
            )
    except queue.AlreadyTaken:
        return
    except HttpError as error:
        if error.status_code == 409:  # it was there already: the worker before this one died in between
            return
        if error.status_code in FINAL:
            raise Refused(str(error)) from error
        raise
    except (HTTPValidationError, PydanticSerializationError, DataError) as error:
        raise Refused(str(error)) from error


_DUE = """
    WITH RECURSIVE organization (id) AS (
        (
            SELECT organization_id FROM webhooks_outboxmessage
            WHERE handed_over_at IS NULL AND refused_at IS NULL
            ORDER BY organization_id LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT organization_id FROM webhooks_outboxmessage
            WHERE handed_over_at IS NULL AND refused_at IS NULL AND organization_id > organization.id
            ORDER BY organization_id LIMIT 1
        )
        FROM organization WHERE organization.id IS NOT NULL
    ), due AS (
        SELECT message.id
        FROM (SELECT id FROM organization WHERE id IS NOT NULL ORDER BY random()) AS organization
        CROSS JOIN LATERAL (
            SELECT next_attempt_at <= now() AS is_due FROM webhooks_outboxmessage
            WHERE organization_id = organization.id AND handed_over_at IS NULL AND refused_at IS NULL
            ORDER BY id LIMIT 1
        ) AS first
        CROSS JOIN LATERAL (
            SELECT id FROM webhooks_outboxmessage
            WHERE organization_id = organization.id AND handed_over_at IS NULL AND refused_at IS NULL
            ORDER BY id LIMIT %s
        ) AS message
        WHERE first.is_due
        LIMIT %s
    )
"""

_CLAIM = f"""
    {_DUE}
    UPDATE webhooks_outboxmessage
    SET next_attempt_at = now() + make_interval(secs => %s)
    FROM due
    WHERE webhooks_outboxmessage.id = due.id
    RETURNING webhooks_outboxmessage.id
"""

# Nothing while another worker is about it. What that one has just handed over may be among it: taken in, it is known.
_WAITING = f"""
    {_DUE}
    SELECT message.id, message.uid, message.organization_id, message.event_type, message.payload,
           message.channels, message.url, organization.deleted_at, application.id IS NOT NULL
    FROM due
    JOIN webhooks_outboxmessage AS message USING (id)
    LEFT JOIN accounts_organization AS organization ON organization.id = message.organization_id
    LEFT JOIN webhooks_application AS application ON application.organization_id = organization.id
    WHERE (SELECT pg_try_advisory_xact_lock(hashtext('webhooks.relay')))
    ORDER BY message.organization_id, message.id
"""

_MARK = """
    UPDATE webhooks_outboxmessage
    SET handed_over_at = now(), attempts = attempts + 1, last_error = '', payload = %s
    WHERE id = ANY (%s) AND handed_over_at IS NULL
"""
