"""Messages of the embedded engine."""

import json
from typing import Any

from django.db import transaction
from django.utils import timezone
from svix.models import EventExampleIn, ListResponseMessageOut, MessageIn, MessageOut

from webhooks.embedded import applications, endpoints, event_types, queue
from webhooks.embedded.calls import (
    Answer,
    Call,
    Refusal,
    bad_request,
    check_channels,
    check_name,
    conflict,
    invalid,
    not_found,
    page,
)
from webhooks.models import EXPIRED, Delivery, Message, Status

MOST_CHANNELS = 5
# What this engine takes of a message; anything else is refused rather than dropped.
_FIELDS = {"event_id", "event_type", "payload", "channels", "application"}
PING = "svix.ping"
_PING_PAYLOAD = {"success": True}


def create(call: Call) -> Answer:
    """Take a message in for the endpoints that want it; with `application` the application is made if missing."""
    wanted = MessageIn.model_validate_json(call.body)
    for name in wanted.model_fields_set - _FIELDS:
        if getattr(wanted, name) is not None:
            raise invalid(name, "The embedded engine does not take this field")
    check_name("eventType", wanted.event_type)
    if wanted.event_id is not None:
        check_name("eventId", wanted.event_id, not_like="msg_")
    if wanted.channels is not None:
        check_channels(wanted.channels, most=MOST_CHANNELS)
    try:
        message = queue.take_in(
            organization_id=_organization_of(call, wanted),
            event_id=wanted.event_id,
            event_type=wanted.event_type,
            payload=_as_text(wanted.payload),
            channels=wanted.channels,
        )
    except queue.AlreadyTaken as error:
        raise conflict("A message with this event id already exists") from error
    return Answer(202, out(message, with_content=_with_content(call)))


def _organization_of(call: Call, wanted: MessageIn) -> int:
    try:
        return applications.organization_of(call)
    except Refusal:
        if wanted.application is None:
            raise
    if wanted.application.uid != call.names["app"]:
        raise invalid("application", "Its uid is not the one in the path")
    return applications.open_for(wanted.application)[0].organization_id


def list_(call: Call) -> Answer:
    """Newest first."""
    with_content = _with_content(call)
    everything = Message.objects.filter(organization_id=applications.organization_of(call))
    rows = everything if with_content else everything.defer("payload")
    if types := call.event_types():
        rows = rows.filter(event_type__in=types)
    if channel := call.channel():
        rows = rows.filter(channels__contains=[channel])
    found = page(rows, call, among=everything)
    data = [out(row, with_content=with_content) for row in found.rows]
    return Answer(200, ListResponseMessageOut(data=data, **found.around))


def get(call: Call) -> Answer:
    return Answer(200, out(find(call), with_content=_with_content(call)))


@transaction.atomic
def expunge(call: Call) -> Answer:
    """Erase the payload. What was still to be sent of it is not sent any more."""
    message = find(call)
    Message.objects.filter(pk=message.pk, expunged_at=None).update(
        payload=EXPIRED, expunged_at=timezone.now()
    )
    waiting = Delivery.objects.select_for_update().filter(message=message, next_attempt_at__isnull=False)
    # In the order of ids, as whoever else locks several deliveries.
    ids = list(waiting.order_by("pk").values_list("pk", flat=True))
    Delivery.objects.filter(pk__in=ids).update(status=Status.CANCELED, next_attempt_at=None)
    return Answer(204)


@transaction.atomic
def send_example(call: Call) -> Answer:
    """Send what a type's messages look like, or the payload that is given, to one endpoint, whatever it filters."""
    wanted = EventExampleIn.model_validate_json(call.body)
    check_name("eventType", wanted.event_type)
    endpoint = endpoints.find(call)
    payload = wanted.payload
    if payload is None:
        payload = _PING_PAYLOAD if wanted.event_type == PING else event_types.example(wanted.event_type)
    if payload is None:
        raise bad_request("invalid_scheme", "The event type has no example")
    message = Message.objects.create(
        organization=endpoint.organization, event_type=wanted.event_type, payload=_as_text(payload)
    )
    if not endpoint.disabled:
        Delivery.objects.send_now(message, endpoint, is_manual=False)
    return Answer(200, out(message, with_content=False))


def find(call: Call) -> Message:
    """Return the message in the path, by its id or its event id."""
    name = call.names["message"]
    by_name = {"uid": name} if name.startswith("msg_") else {"event_id": name}
    message = Message.objects.filter(organization_id=applications.organization_of(call), **by_name).first()
    if message is None:
        raise not_found()
    return message


def out(message: Message, *, with_content: bool) -> MessageOut:
    return MessageOut(**fields(message, with_content=with_content))


def fields(message: Message, *, with_content: bool) -> dict[str, Any]:
    return {
        "id": message.uid,
        "event_id": message.event_id,
        "event_type": message.event_type,
        "payload": json.loads(message.payload) if with_content else {},
        "channels": message.channels,
        "timestamp": message.created_at,
    }


def _as_text(payload: dict[str, Any]) -> str:
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False)


def _with_content(call: Call) -> bool:
    return call.flag("with_content", default=True)
