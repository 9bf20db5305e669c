"""Messages of the embedded engine, and the attempts to deliver them."""

import json
import re

from django.db.models import Q
from svix.models import (
    ListResponseMessageAttemptOut,
    MessageAttemptOut,
    MessageAttemptTriggerType,
    MessageIn,
    MessageOut,
    MessageStatus,
    MessageStatusText,
)

from webhooks.embedded import applications, queue
from webhooks.embedded.calls import Answer, Call, Refusal, check_channels, conflict, invalid, not_found, page
from webhooks.models import Application, Attempt, Message

MOST_CHANNELS = 5
_NAME = re.compile(r"[a-zA-Z0-9\-_.]{1,256}")


def create(call: Call) -> Answer:
    """Take a message in for the endpoints that want it; with `application` the application is made if missing."""
    wanted = MessageIn.model_validate_json(call.body)
    if not _NAME.fullmatch(wanted.event_type):
        raise invalid("eventType", "1 to 256 letters, digits, - _ .")
    if wanted.event_id is not None and not _NAME.fullmatch(wanted.event_id):
        raise invalid("eventId", "1 to 256 letters, digits, - _ .")
    if wanted.channels is not None:
        check_channels(wanted.channels, most=MOST_CHANNELS)
    try:
        message = queue.take_in(
            organization_id=_application(call, wanted).organization_id,
            event_id=wanted.event_id,
            event_type=wanted.event_type,
            payload=json.dumps(wanted.payload, separators=(",", ":"), ensure_ascii=False),
            channels=wanted.channels,
        )
    except queue.AlreadyTaken as error:
        raise conflict("A message with this event id already exists") from error
    return Answer(202, _out(message, call))


def _application(call: Call, wanted: MessageIn) -> Application:
    try:
        return applications.find(call)
    except Refusal:
        if wanted.application is None:
            raise
    if wanted.application.uid != call.names["app"]:
        raise invalid("application", "Its uid is not the one in the path")
    return applications.open_for(wanted.application)[0]


def get(call: Call) -> Answer:
    return Answer(200, _out(_find(call), call))


def list_attempts(call: Call) -> Answer:
    """The attempts of a message, newest first."""
    message = _find(call)
    attempts = Attempt.objects.filter(organization_id=message.organization_id, message=message)
    rows, done = page(attempts.select_related("endpoint", "message"), call)
    iterator = rows[-1].uid if rows else None
    data = [_attempt_out(row) for row in rows]
    return Answer(200, ListResponseMessageAttemptOut(data=data, iterator=iterator, done=done))


def _find(call: Call) -> Message:
    name = call.names["message"]
    message = (
        Message.objects.filter(organization_id=applications.find(call).organization_id)
        .filter(Q(uid=name) | Q(event_id=name))
        .first()
    )
    if message is None:
        raise not_found()
    return message


def _out(message: Message, call: Call) -> MessageOut:
    with_content = call.query.get("with_content", "true") == "true"
    return MessageOut(
        id=message.uid,
        event_id=message.event_id,
        event_type=message.event_type,
        payload=json.loads(message.payload) if with_content else {},
        channels=message.channels,
        timestamp=message.created_at,
    )


def _attempt_out(attempt: Attempt) -> MessageAttemptOut:
    status = MessageStatus(attempt.status)
    return MessageAttemptOut(
        id=attempt.uid,
        msg_id=attempt.message.uid,
        endpoint_id=attempt.endpoint.uid if attempt.endpoint else "",
        url=attempt.url,
        response=attempt.response,
        response_status_code=attempt.status_code,
        response_duration_ms=attempt.duration_ms,
        status=status,
        status_text=MessageStatusText[status.name],
        trigger_type=MessageAttemptTriggerType(attempt.trigger),
        timestamp=attempt.timestamp,
    )
