"""What was sent, to whom and with what success, whatever the engine; and sending it again.

Everything that is sent at somebody's request is recorded in the audit trail. Errors are the SDK's: HttpError with 404
for what is unknown, HTTPValidationError for a value that is wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from svix.api import (
    EndpointListOptions,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByMsgOptions,
    MessageGetOptions,
    MessageListOptions,
    Svix,
)
from svix.exceptions import HttpError
from svix.models import (
    EndpointMessageOut,
    EndpointOut,
    EventExampleIn,
    MessageAttemptOut,
    MessageEndpointOut,
    MessageOut,
    MessageStatus,
    RecoverIn,
)

from accounts import audit
from accounts.audit import Actor
from accounts.models import AuditEntry, Organization
from webhooks.gateway import get_embedded, get_svix
from webhooks.models import EXPIRED, Delivery, Endpoint, Message, OutboxMessage

AT_ONCE = 250  # messages that an engine lists at once
# Endpoints that a list of messages asks about. Who has more looks at one of them.
MOST_ASKED = 10
ATTEMPTS_SHOWN = 50
RECOVERY = timedelta(days=14)
_INSTANT = timedelta(milliseconds=1)

STATES = {
    MessageStatus.SUCCESS: "delivered",
    MessageStatus.PENDING: "waiting",
    MessageStatus.FAIL: "failed",
    MessageStatus.SENDING: "retrying",
    MessageStatus.CANCELED: "cancelled",
}
# Of a message for several endpoints the first of these is told.
_WORST_FIRST = ["failed", "retrying", "waiting", "cancelled", "delivered"]


class Disabled(Exception):
    """The endpoint is disabled: nothing is sent to it."""


class Expired(Exception):
    """The message's content has been erased: it cannot be sent again."""


@dataclass(frozen=True)
class Filters:
    """Which messages to list; None lists all. `state` is about one endpoint, so it needs that."""

    event_type: str | None = None
    endpoint: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Line:
    """A message, and what became of it with the endpoints that it was for: `state` is that of the worst.

    It is `unwanted` when no present endpoint wanted it, and empty when too many would have to be asked.
    """

    message: MessageOut | EndpointMessageOut
    state: str
    receivers: int
    in_state: int


@dataclass(frozen=True)
class Page:
    """A part of a list; `older` and `newer` are places that lead on, empty at either end."""

    lines: list[Line]
    older: str
    newer: str


@dataclass(frozen=True)
class Told:
    """A message with all that is known of it.

    `message` is None while it waits in the outbox, or when it was refused; `written` is what the outbox knows of it,
    None for a test and for what it has forgotten. `destinations` are endpoints; a message for the URL of a job has
    `direct` instead.
    """

    message: MessageOut | None
    written: OutboxMessage | None
    destinations: list[MessageEndpointOut]
    direct: Delivery | None
    attempts: list[MessageAttemptOut]
    has_more_attempts: bool

    @property
    def url(self) -> str:
        """Where a message goes whose job named a URL; empty for one to endpoints."""
        if self.direct:
            return self.direct.url
        return self.written.url if self.written else ""

    @property
    def direct_state(self) -> str:
        """What became of it at the URL of its job; empty for a message to endpoints."""
        return STATES[MessageStatus(self.direct.status)] if self.direct else ""


@dataclass(frozen=True)
class Missed:
    """A part of what an endpoint missed, oldest first. `place` leads on, and is empty at the end."""

    messages: list[MessageOut]
    place: str


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────


def endpoints_of(organization: Organization) -> list[EndpointOut]:
    """The organization's endpoints, newest first; none if it never had one."""
    try:
        return get_svix().endpoint.list(organization.uid, EndpointListOptions(limit=AT_ONCE)).data
    except HttpError as error:
        if error.status_code == 404:
            return []
        raise


def listing(
    *,
    organization: Organization,
    filters: Filters,
    endpoints: Sequence[EndpointOut],
    place: str = "",
    limit: int,
) -> Page:
    """Messages, newest first, at most 250. `endpoints` are the organization's."""
    shared: dict[str, Any] = {
        "limit": limit,
        "iterator": place or None,
        "event_types": [filters.event_type] if filters.event_type else None,
        "after": _utc(filters.since),
        # An engine that is told only since when lists the oldest first.
        "before": _utc(filters.until or (timezone.now() + timedelta(minutes=1) if filters.since else None)),
    }
    svix = get_svix()
    lines: list[Line]
    if filters.endpoint:
        status = next((status for status, state in STATES.items() if state == filters.state), None)
        attempted = svix.message_attempt.list_attempted_messages(
            organization.uid,
            filters.endpoint,
            MessageAttemptListAttemptedMessagesOptions(**shared, status=status),
        )
        lines = [Line(message, STATES[message.status], 1, 1) for message in attempted.data]
        return _page(lines, attempted, place)
    try:
        found = svix.message.list(organization.uid, MessageListOptions(**shared))
    except HttpError as error:
        if error.status_code == 404:  # no endpoint ever, and so no message
            return Page([], "", "")
        raise
    lines = _with_states(organization, found.data, endpoints, shared["event_types"])
    return _page(lines, found, place)


def find(*, organization: Organization, message_id: str, endpoints: Sequence[EndpointOut]) -> list[Line]:
    """The one message with this id or event id, as a list; an unknown one is an empty list."""
    try:
        _, message = _find(organization, message_id)
    except HttpError as error:
        if error.status_code == 404:
            return []
        raise
    return _with_states(organization, [message], endpoints, [message.event_type])


def _page(lines: list[Line], answer: Any, place: str) -> Page:
    is_backwards = place.startswith("-")
    has_older = bool(lines) and (is_backwards or not answer.done)
    has_newer = bool(lines and place) and not (is_backwards and answer.done)
    return Page(
        lines,
        (answer.iterator or "") if has_older else "",
        (answer.prev_iterator or "") if has_newer else "",
    )


def _with_states(
    organization: Organization,
    messages: Sequence[MessageOut],
    endpoints: Sequence[EndpointOut],
    event_types: list[str] | None,
) -> list[Line]:
    """What became of messages: each endpoint is asked once for the time they span, however many they are."""
    if not messages:
        return []
    states: dict[str, list[str]] = {message.id: [] for message in messages}
    are_known = len(endpoints) <= MOST_ASKED
    for endpoint in endpoints if are_known else []:
        try:
            attempted = _attempted(organization, endpoint, messages, event_types)
        except HttpError as error:
            if error.status_code == 404:  # deleted meanwhile
                continue
            raise
        for message_id, state in attempted.items():
            if message_id in states:
                states[message_id].append(state)
    direct = _for_urls(organization, messages)
    return [
        _line(message, states[message.id], direct.get(message.event_id or "", ""), are_known)
        for message in messages
    ]


def _line(message: MessageOut, states: list[str], of_url: str, are_known: bool) -> Line:
    if of_url:
        return Line(message, of_url, 1, 1)
    if not states:
        return Line(message, "unwanted" if are_known else "", 0, 0)
    state = worst(states)
    return Line(message, state, len(states), states.count(state))


def worst(states: Sequence[str]) -> str:
    """What is told of a message with these states at its endpoints."""
    return next((state for state in _WORST_FIRST if state in states), "unwanted")


def _for_urls(organization: Organization, messages: Iterable[MessageOut]) -> dict[str, str]:
    """Those that go to a URL which their job named, by event id, and what became of them: always sent from here."""
    ids = [message.event_id for message in messages if message.event_id]
    rows = Delivery.objects.filter(message__organization=organization, message__event_id__in=ids)
    found = rows.exclude(url="").values_list("message__event_id", "status")
    return {str(event_id): STATES[MessageStatus(status)] for event_id, status in found}


def get(*, organization: Organization, message_id: str) -> Told:
    """All about one message, by its id or its event id, also if the engine has it not yet."""
    written = OutboxMessage.objects.filter(organization=organization, uid=message_id).first()
    if written and not written.handed_over_at:
        return Told(None, written, [], None, [], has_more_attempts=False)
    svix, message = _find(organization, message_id, with_content=True)
    if written is None and message.event_id:
        written = OutboxMessage.objects.filter(organization=organization, uid=message.event_id).first()
    destinations = svix.message_attempt.list_attempted_destinations(organization.uid, message.id).data
    attempts = svix.message_attempt.list_by_msg(
        organization.uid, message.id, MessageAttemptListByMsgOptions(limit=ATTEMPTS_SHOWN, with_content=True)
    )
    direct = of_url(organization=organization, message_id=message.id)
    return Told(message, written, destinations, direct, attempts.data, has_more_attempts=not attempts.done)


def of_url(*, organization: Organization, message_id: str) -> Delivery | None:
    """The delivery of a message to the URL of its job, by the message's id or event id; None for all others."""
    by_name = (
        {"message__uid": message_id} if message_id.startswith("msg_") else {"message__event_id": message_id}
    )
    found = Delivery.objects.to_urls().filter(message__organization=organization, **by_name)
    return found.select_related("message").defer("message__payload").first()


def attempts(
    *, organization: Organization, message_id: str, place: str = "", limit: int
) -> tuple[list[MessageAttemptOut], str]:
    """The attempts to deliver a message, newest first, and where the older ones begin."""
    svix, message = _find(organization, message_id)
    options = MessageAttemptListByMsgOptions(limit=limit, iterator=place or None, with_content=True)
    answer = svix.message_attempt.list_by_msg(organization.uid, message.id, options)
    return answer.data, "" if answer.done else answer.iterator or ""


def _find(
    organization: Organization, message_id: str, *, with_content: bool = False
) -> tuple[Svix, MessageOut]:
    """A message, and the engine that has it: what goes to a job's URL is always sent from here."""
    options = MessageGetOptions(with_content=with_content)
    server, embedded = get_svix(), get_embedded()
    try:
        return server, server.message.get(organization.uid, message_id, options)
    except HttpError as error:
        if error.status_code != 404 or server is embedded:
            raise
        return embedded, embedded.message.get(organization.uid, message_id, options)


def waiting(organization: Organization) -> QuerySet[OutboxMessage]:
    """What the engine has not taken yet. The first holds up the rest, for their order is kept."""
    written = OutboxMessage.objects.filter(organization=organization, handed_over_at=None, refused_at=None)
    return written.defer("payload").order_by("id")


def refused(organization: Organization) -> QuerySet[OutboxMessage]:
    """What the engine will never take, as long as its content is kept, newest first."""
    written = OutboxMessage.objects.filter(organization=organization, refused_at__isnull=False)
    return written.exclude(payload=EXPIRED).defer("payload").order_by("-created_at")


def missed(
    *, organization: Organization, endpoint: EndpointOut, since: datetime, until: datetime, place: str = ""
) -> Missed:
    """A part of what the endpoint would have got in this time and never did, oldest first.

    That is also what was on its way when the endpoint was turned off. Tests and messages for URLs of jobs are left
    out: they were never for this endpoint.
    """
    # Told only since when, or to go on backwards, an engine lists the oldest first.
    page = get_svix().message.list(
        organization.uid,
        MessageListOptions(
            limit=AT_ONCE,
            iterator=place or None,
            after=None if place else _utc(since - _INSTANT),
            event_types=endpoint.event_types,
        ),
    )
    within = [message for message in reversed(page.data) if since <= message.timestamp < until]
    got = _attempted(organization, endpoint, within, endpoint.event_types) if within else {}
    direct = _for_urls(organization, within)
    found = [
        message
        for message in within
        if got.get(message.id, "cancelled") == "cancelled"
        and message.event_id  # which tests have none of
        and message.event_id not in direct
        and _is_heard(endpoint, message)
    ]
    is_last = page.done or not page.data or page.data[0].timestamp >= until
    return Missed(found, "" if is_last else page.prev_iterator or "")


def failures(
    *,
    organization: Organization,
    endpoint_id: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[int, bool]:
    """How many messages an endpoint did not take, lately or in this time, and whether there are more than counted."""
    now = timezone.now()
    options = MessageAttemptListAttemptedMessagesOptions(
        limit=AT_ONCE,
        status=MessageStatus.FAIL,
        after=_utc(since or now - RECOVERY),
        before=_utc(until or now + timedelta(minutes=1)),
    )
    answer = get_svix().message_attempt.list_attempted_messages(organization.uid, endpoint_id, options)
    return len(answer.data), not answer.done


def last_disabled(*, organization: Organization, endpoint_id: str) -> datetime | None:
    """When the endpoint was last disabled, as far as the audit trail tells."""
    entries = AuditEntry.objects.filter(
        organization=organization,
        action=audit.Action.ENDPOINT_UPDATED,
        target_uid=endpoint_id,
        after__disabled=True,
    )
    return entries.order_by("-created_at").values_list("created_at", flat=True).first()


# ── Sending again ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SentAgain:
    """The URLs that a message is sent to again, and those whose endpoints are disabled."""

    urls: list[str]
    disabled: list[str]


def resend_where_due(
    *, organization: Organization, message_id: str, actor: Actor | None, reason: str = ""
) -> SentAgain:
    """Send a message once more now to each endpoint that has not taken it; if all have, to all.

    What went to the URL of a job goes there again. Raises Expired.
    """
    told = get(organization=organization, message_id=message_id)
    if told.direct:
        resend_to_url(organization=organization, delivery=told.direct, actor=actor, reason=reason)
        return SentAgain([told.direct.url], [])
    behind = [there for there in told.destinations if there.status != MessageStatus.SUCCESS]
    sent = SentAgain([], [])
    for there in behind or told.destinations:
        try:
            resend(
                organization=organization,
                message_id=message_id,
                endpoint_id=there.id,
                actor=actor,
                reason=reason,
            )
        except Disabled:
            sent.disabled.append(there.url)
        else:
            sent.urls.append(there.url)
    return sent


def resend(
    *, organization: Organization, message_id: str, endpoint_id: str, actor: Actor | None, reason: str = ""
) -> None:
    """Send a message once more now, whatever the endpoint filters. Raises Disabled, Expired."""
    svix = get_svix()
    endpoint = enabled(organization, endpoint_id)
    message = svix.message.get(organization.uid, message_id)
    try:
        svix.message_attempt.resend(organization.uid, message.id, endpoint.id)
    except HttpError as error:
        if error.status_code == 400 and error.code == "missing_payload":
            raise Expired from error
        raise
    audit.record(
        audit.Action.MESSAGE_RESENT,
        actor=actor,
        organization=organization,
        target=Message(uid=message.id),
        after={"event_type": message.event_type, "endpoint": endpoint.id, "url": endpoint.url}
        | audit.with_reason(reason),
    )


def resend_to_url(
    *, organization: Organization, delivery: Delivery, actor: Actor | None, reason: str = ""
) -> None:
    """Send a message once more now to the URL of its job. Raises Expired."""
    with transaction.atomic():
        found = Message.objects.select_for_update().defer("payload").filter(pk=delivery.message_id)
        message = found.first()  # None if it was pruned just now
        # The URL goes with the content, which a deletion of the content alone leaves behind.
        if (
            message is None
            or message.expunged_at
            or not Delivery.objects.to_urls().filter(message=message).send_again()
        ):
            raise Expired
        audit.record(
            audit.Action.MESSAGE_RESENT,
            actor=actor,
            organization=organization,
            target=message,
            after={"event_type": message.event_type, "url": delivery.url} | audit.with_reason(reason),
        )


def recover(
    *,
    organization: Organization,
    endpoint_id: str,
    since: datetime,
    until: datetime | None = None,
    actor: Actor | None,
    reason: str = "",
) -> None:
    """Send everything again that failed within at most 14 days and has not succeeded since. Raises Disabled."""
    endpoint = enabled(organization, endpoint_id)
    wanted = RecoverIn(since=since.astimezone(UTC), until=_utc(until))
    get_svix().endpoint.recover(organization.uid, endpoint.id, wanted)
    audit.record(
        audit.Action.ENDPOINT_RECOVERED,
        actor=actor,
        organization=organization,
        target=Endpoint(uid=endpoint.id, url=endpoint.url),
        after={"since": since} | ({"until": until} if until else {}) | audit.with_reason(reason),
    )


def send_example(
    *,
    organization: Organization,
    endpoint_id: str,
    event_type: str,
    payload: dict[str, Any] | None = None,
    actor: Actor | None,
    reason: str = "",
) -> MessageOut:
    """Send a test message to one endpoint, whatever it filters: the type's own example if no payload is given.

    Raises Disabled.
    """
    endpoint = enabled(organization, endpoint_id)
    wanted = EventExampleIn(event_type=event_type, payload=payload)
    message = get_svix().endpoint.send_example(organization.uid, endpoint.id, wanted)
    audit.record(
        audit.Action.ENDPOINT_TESTED,
        actor=actor,
        organization=organization,
        target=Endpoint(uid=endpoint.id, url=endpoint.url),
        after={"event_type": event_type, "message": message.id} | audit.with_reason(reason),
    )
    return message


def enabled(organization: Organization, endpoint_id: str) -> EndpointOut:
    """Return the endpoint. Raises Disabled."""
    endpoint = get_svix().endpoint.get(organization.uid, endpoint_id)
    if endpoint.disabled:  # an engine would take the request and do nothing
        raise Disabled
    return endpoint


def _is_heard(endpoint: EndpointOut, message: MessageOut) -> bool:
    """Svix's rule: an endpoint with channels gets what names one of them, and nothing that names none."""
    return not endpoint.channels or bool(set(endpoint.channels) & set(message.channels or []))


def _attempted(
    organization: Organization,
    endpoint: EndpointOut,
    messages: Sequence[MessageOut],
    event_types: list[str] | None,
) -> dict[str, str]:
    """The states of those messages that were for this endpoint, asked for by the time that they span.

    `event_types` are those that the messages were listed by: what else was sent meanwhile may be far more.
    """
    moments = [message.timestamp for message in messages]
    options = MessageAttemptListAttemptedMessagesOptions(
        limit=AT_ONCE,
        after=_utc(min(moments) - _INSTANT),
        before=_utc(max(moments) + _INSTANT),
        event_types=event_types,
    )
    answer = get_svix().message_attempt.list_attempted_messages(organization.uid, endpoint.id, options)
    return {message.id: STATES[message.status] for message in answer.data}


def _utc(moment: datetime | None) -> datetime | None:
    """As the SDK needs it: a time without a zone, or in another, would be misread."""
    return moment.astimezone(UTC) if moment else None
