"""What the embedded engine tells of the deliveries of messages, and of each attempt; and sending one again."""

from typing import Any

from django.db import models, transaction
from svix.models import (
    EmptyResponse,
    EndpointMessageOut,
    ListResponseEndpointMessageOut,
    ListResponseMessageAttemptOut,
    ListResponseMessageEndpointOut,
    MessageAttemptOut,
    MessageAttemptTriggerType,
    MessageEndpointOut,
    MessageStatus,
    MessageStatusText,
)

from webhooks.embedded import endpoints, messages
from webhooks.embedded.calls import Answer, Call, Row, bad_request, check_name, not_found, page
from webhooks.models import Attempt, Delivery, Endpoint, Status

FEW = 500
_CODE_CLASSES = (0, 100, 200, 300, 400, 500)


def list_by_endpoint(call: Call) -> Answer:
    """The attempts to one endpoint, newest first."""
    return _list(call, Attempt.objects.filter(endpoint=endpoints.find(call)))


def list_by_message(call: Call) -> Answer:
    """The attempts to deliver one message, newest first."""
    message = messages.find(call)
    attempts = Attempt.objects.filter(message=message)
    if (name := call.query.get("endpoint_id")) is not None:
        check_name("endpoint_id", name, where="query")
        endpoint = endpoints.named(name, message.organization_id).first()
        if endpoint is None:
            raise not_found()
        attempts = attempts.filter(endpoint=endpoint)
    return _list(call, attempts)


def _list(call: Call, everything: models.QuerySet[Attempt]) -> Answer:
    rows = everything
    if (status := call.number("status", *Status.values)) is not None:
        rows = rows.filter(status=status)
    if (code := call.number("status_code_class", *_CODE_CLASSES)) is not None:
        rows = rows.filter(status_code__gte=code, status_code__lt=code + 100)
        if code != 200:
            rows = rows.filter(status=Status.FAIL)  # which is what they are, and what has an index
    rows = _of_messages(call, rows)
    with_content = call.flag("with_content", default=True)
    with_message = call.flag("with_msg", default=False)
    rows = rows.select_related("endpoint", "message").defer("message__payload")
    found = page(
        rows if with_content else rows.defer("response", "message__payload"),
        call,
        among=everything,
        moment="timestamp",
    )
    data = [_out(row, with_content=with_content, with_message=with_message) for row in found.rows]
    return Answer(200, ListResponseMessageAttemptOut(data=data, **found.around))


def get(call: Call) -> Answer:
    attempts = Attempt.objects.filter(message=messages.find(call), uid=call.names["attempt"])
    attempt = attempts.select_related("endpoint", "message").first()
    if attempt is None:
        raise not_found()
    return Answer(200, _out(attempt, with_content=True, with_message=False))


def list_attempted_messages(call: Call) -> Answer:
    """The messages for one endpoint with what became of each, newest first."""
    endpoint = endpoints.find(call)
    everything = Delivery.objects.filter(endpoint=endpoint)
    rows: models.QuerySet[Delivery] = everything
    if (status := call.number("status", *Status.values)) is not None:
        rows = rows.filter(status=status)
        if status in (Status.PENDING, Status.SENDING):
            rows = _waiting(rows, endpoint)
    with_content = call.flag("with_content", default=True)
    rows = _of_messages(call, rows).select_related("message")
    found = page(
        rows if with_content else rows.defer("message__payload"), call, among=everything, name="message__uid"
    )
    data = [
        EndpointMessageOut(
            **messages.fields(row.message, with_content=with_content),
            **_state(row),
        )
        for row in found.rows
    ]
    return Answer(200, ListResponseEndpointMessageOut(data=data, **found.around))


def _waiting(rows: models.QuerySet[Delivery], endpoint: Endpoint) -> models.QuerySet[Delivery]:
    """What waits among an endpoint's deliveries.

    Mostly it is few, and named here: looked for in the order of the list, it would be looked for among all of them
    wherever much waits for others.
    """
    waiting = rows.filter(lane=endpoint.pk, next_attempt_at__isnull=False)
    queue = Delivery.objects.filter(lane=endpoint.pk, next_attempt_at__isnull=False)
    few = list(queue.order_by("next_attempt_at").values_list("pk", flat=True)[: FEW + 1])
    return waiting if len(few) > FEW else rows.filter(pk__in=few)


def list_attempted_destinations(call: Call) -> Answer:
    """The endpoints that a message went to or goes to, also deleted ones."""
    deliveries = Delivery.objects.filter(message=messages.find(call), endpoint__isnull=False)
    found = page(
        deliveries.select_related("endpoint"), call, among=deliveries, name="endpoint__uid", ascending=True
    )
    data = [
        MessageEndpointOut(
            **endpoints.out(row.endpoint).model_dump(exclude={"metadata"}),
            **_state(row),
        )
        for row in found.rows
        if row.endpoint
    ]
    return Answer(200, ListResponseMessageEndpointOut(data=data, **found.around))


@transaction.atomic
def resend(call: Call) -> Answer:
    """Send a message once more now, whatever the endpoint filters; not while it is disabled."""
    message = messages.find(call)
    if message.expunged_at:
        raise bad_request("missing_payload", "The payload has been erased and cannot be sent again")
    endpoint = endpoints.find(call)
    if not endpoint.disabled:
        Delivery.objects.send_now(message, endpoint, is_manual=True)
    return Answer(202, EmptyResponse())


def _of_messages(call: Call, rows: models.QuerySet[Row]) -> models.QuerySet[Row]:
    if types := call.event_types():
        rows = rows.filter(message__event_type__in=types)
    if channel := call.channel():
        rows = rows.filter(message__channels__contains=[channel])
    return rows


def _state(delivery: Delivery) -> dict[str, Any]:
    status = MessageStatus(delivery.status)
    waits = status == MessageStatus.SENDING and delivery.attempts
    return {
        "status": status,
        "status_text": MessageStatusText[status.name],
        "next_attempt": delivery.next_attempt_at if waits else None,
    }


def _out(attempt: Attempt, *, with_content: bool, with_message: bool) -> MessageAttemptOut:
    status = MessageStatus(attempt.status)
    return MessageAttemptOut(
        id=attempt.uid,
        msg_id=attempt.message.uid,
        endpoint_id=attempt.endpoint.uid if attempt.endpoint else "",
        url=attempt.url,
        response=attempt.response if with_content else "{}",
        response_status_code=attempt.status_code,
        response_duration_ms=attempt.duration_ms,
        status=status,
        status_text=MessageStatusText[status.name],
        trigger_type=MessageAttemptTriggerType(attempt.trigger),
        timestamp=attempt.timestamp,
        msg=messages.out(attempt.message, with_content=False) if with_message else None,
    )
