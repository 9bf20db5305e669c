"""What a Svix server tells of itself: its operational webhooks, verified, taken in once, and told on to members.

The embedded engine tells the same to `operational` directly. Of what a server tells, the signed event says only that
something happened to an endpoint; the rest is asked for.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.dateparse import parse_datetime
from standardwebhooks.webhooks import EmptyWebhookSecretError
from svix.api import (
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    Svix,
)
from svix.exceptions import HttpError
from svix.models import EndpointOut, MessageAttemptOut, MessageStatus
from svix.webhooks import Webhook, WebhookVerificationError

from accounts import audit
from accounts.models import Organization
from webhooks import endpoints, operational
from webhooks.gateway import get_svix
from webhooks.models import Endpoint, OperationalEvent
from webhooks.trouble import Trouble

# Seconds for each question to the server, which itself waits fifteen for our answer.
PATIENCE = 2.0
LATEST = 100
_DISABLED = "endpoint.disabled"
_CREATED = "endpoint.created"


class Forged(Exception):
    """Nothing that the server signed, or signed long ago."""


class Unreadable(Exception):
    """It is signed, and is not an event."""


def take(body: bytes, headers: Mapping[str, str]) -> None:
    """Do what an operational webhook asks for, once however often it comes. Raises Forged, Unreadable.

    What concerns nobody here is passed over. The SDK's errors mean that the server could not be asked: nothing is
    kept then, and it tries again.
    """
    event_id = _verified(body, headers)
    event_type, data = _read(body)
    if event_type != _CREATED and event_type not in operational.TOLD:
        return
    if OperationalEvent.objects.filter(event_id=event_id).exists():
        return
    organization = Organization.objects.filter(uid=_text(data, "appUid"), deleted_at=None).first()
    if organization is None or data.get("trigger") == "manual":  # who did it knows
        return
    try:
        found = _ask(organization, event_type, data)
    except HttpError as error:
        if error.status_code != 404:
            raise
        return  # deleted meanwhile
    with transaction.atomic():
        _, is_new = OperationalEvent.objects.get_or_create(event_id=event_id)
        if is_new:
            _act(organization, event_type, *found)


def _verified(body: bytes, headers: Mapping[str, str]) -> str:
    """The event's id, which is part of what is signed."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        Webhook(settings.SVIX_OPERATIONAL_SECRET).verify(body, lower)
    except (
        WebhookVerificationError,
        EmptyWebhookSecretError,
        ValueError,
    ) as error:  # also what is no base64 or no text
        raise Forged from error
    return lower.get("svix-id") or lower["webhook-id"]


def _read(body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    if not isinstance(event, dict) or not isinstance(event.get("data"), dict):
        raise Unreadable
    return _text(event, "type"), event["data"]


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) and "\0" not in value else ""


def _ask(organization: Organization, event_type: str, data: dict[str, Any]) -> tuple[EndpointOut, Trouble]:
    """Ask the server about the endpoint, before any transaction. An endpoint just made has no trouble yet."""
    svix = get_svix(patience=PATIENCE)
    endpoint = svix.endpoint.get(organization.uid, _text(data, "endpointId"))
    since = _moment(_text(data, "failSince")) if event_type == _DISABLED else None
    failed: list[MessageAttemptOut] = []
    types: set[str] = set()
    if event_type in operational.TOLD:
        since = since or _failing_since(svix, organization, endpoint)
        failed = _failures(svix, organization, endpoint, since)
        types = _failing_types(svix, organization, endpoint, since)
    return endpoint, Trouble(
        endpoint_id=endpoint.id,
        url=endpoint.url,
        description=endpoint.description,
        event_types=sorted(types),
        since=since,
        first_error=_error(failed[0]) if failed else "",
        last_error=_error(failed[-1]) if failed else "",
        exhausted_since=None,
        disabled_at=None,
        reason=_reason(since) if event_type == _DISABLED else "",
    )


def _moment(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
    except ValueError:  # well-formed, and no day of the calendar
        return None
    return moment if moment and moment.tzinfo else None


def _act(organization: Organization, event_type: str, endpoint: EndpointOut, trouble: Trouble) -> None:
    if event_type == _CREATED:
        # Made at Svix, where the operator and the members can do so too: from now on messages are written for it.
        endpoints.subscribe(organization)
        return
    if event_type == _DISABLED:
        audit.record(
            audit.Action.ENDPOINT_UPDATED,
            actor=None,
            organization=organization,
            target=Endpoint(uid=endpoint.id, url=endpoint.url),
            before={"disabled": False},
            after={"disabled": True, "reason": trouble.reason},
        )
    operational.tell(organization, event_type, trouble, is_disabled=bool(endpoint.disabled))


def _failing_since(svix: Svix, organization: Organization, endpoint: EndpointOut) -> datetime | None:
    """The first failure with no success since. A server keeps no such moment, and it has to stay the same."""
    newest = MessageAttemptListByEndpointOptions(status=MessageStatus.SUCCESS, limit=1)
    arrived = svix.message_attempt.list_by_endpoint(organization.uid, endpoint.id, newest).data
    # Told only after when, a server lists the first since then.
    after = arrived[0].timestamp if arrived else endpoint.created_at
    first = MessageAttemptListByEndpointOptions(
        status=MessageStatus.FAIL, limit=1, after=after.astimezone(UTC)
    )
    failed = svix.message_attempt.list_by_endpoint(organization.uid, endpoint.id, first).data
    return failed[0].timestamp if failed else None


def _failures(
    svix: Svix, organization: Organization, endpoint: EndpointOut, since: datetime | None
) -> list[MessageAttemptOut]:
    """The first and the last failed attempt since then."""
    newest = MessageAttemptListByEndpointOptions(status=MessageStatus.FAIL, limit=1, with_content=True)
    found = svix.message_attempt.list_by_endpoint(organization.uid, endpoint.id, newest).data
    if since is None:
        return found
    first = MessageAttemptListByEndpointOptions(
        status=MessageStatus.FAIL,
        limit=1,
        with_content=True,
        after=since.astimezone(UTC) - operational.INSTANT,
    )
    return [*svix.message_attempt.list_by_endpoint(organization.uid, endpoint.id, first).data, *found]


def _failing_types(
    svix: Svix, organization: Organization, endpoint: EndpointOut, since: datetime | None
) -> set[str]:
    """The types of messages that are tried again, and of those given up since then."""
    types: set[str] = set()
    for status in (MessageStatus.SENDING, MessageStatus.FAIL):
        asked = MessageAttemptListAttemptedMessagesOptions(status=status, limit=LATEST)
        found = svix.message_attempt.list_attempted_messages(organization.uid, endpoint.id, asked).data
        types |= {
            message.event_type
            for message in found
            if status == MessageStatus.SENDING or since is None or message.timestamp >= since
        }
    return types


def _error(attempt: MessageAttemptOut) -> str:
    return operational.error(attempt.response_status_code, attempt.response)


def _reason(since: datetime | None) -> str:
    return operational.reason(since) if since else "Svix turned it off, for its messages kept failing."
