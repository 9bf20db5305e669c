"""The API of webhook messages and of the attempts to deliver them."""

import json
from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.response import Response
from svix.models import MessageAttemptOut, MessageAttemptTriggerType, MessageEndpointOut, MessageOut

from accounts.access import actor_of
from accounts.api.base import ORG_ID, Conflict, OrganizationRequest, page_schema, read_body, read_query
from accounts.permissions import Permission
from webhooks import deliveries, events, outbox
from webhooks.api.errors import SvixView
from webhooks.deliveries import STATES, Filters, Line, Told
from webhooks.gateway import get_svix
from webhooks.message_forms import LONGEST_PAYLOAD, as_payload
from webhooks.models import OutboxMessage

_IS_DISABLED = "The endpoint is disabled: enable it first."
_STATES = [*STATES.values(), "refused", "unwanted", "unknown"]

_MESSAGE: dict[str, Any] = {
    "id": "msg_2nXw8rTfZ0aYcQ5LbKdM",
    "event_id": "evt_f5a2c7e9b0d14c6d8e3f7a1b2c4d6e8f",
    "type": "job.completed",
    "timestamp": "2026-06-18T09:30:00.000000Z",
    "channels": None,
    "status": "delivered",
}
_ATTEMPT: dict[str, Any] = {
    "id": "atmpt_7bUq1sVdE3kPzHx9RwGm",
    "message_id": "msg_2nXw8rTfZ0aYcQ5LbKdM",
    "endpoint_id": "ep_4kQm9sTfZ0aYcQ5LbKdM",
    "url": "https://example.com/webhooks",
    "status": "failed",
    "status_code": 500,
    "response": "Internal Server Error",
    "duration_ms": 182,
    "trigger": "scheduled",
    "timestamp": "2026-06-18T09:30:00.512000Z",
}


# ── What is asked ────────────────────────────────────────────────────────────────────────────────────────────


class PlaceQuery(serializers.Serializer[Any]):
    """Which part of a list of the engine's."""

    cursor = serializers.RegexField(
        r"^[a-zA-Z0-9_]{1,256}$", required=False, help_text="The `next_cursor` of the answer before."
    )
    limit = serializers.IntegerField(default=100, min_value=1, max_value=500)


class MessageQuery(PlaceQuery):
    type = serializers.ChoiceField(list(events.EVENT_TYPES), required=False)
    endpoint_id = serializers.CharField(
        required=False, max_length=256, help_text="Only what was for this endpoint."
    )
    status = serializers.ChoiceField(
        list(STATES.values()), required=False, help_text="What became of it there; needs `endpoint_id`."
    )
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    job_id = serializers.CharField(
        required=False, max_length=256, help_text="The message that tells of this job's end, alone."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("status") and not attrs.get("endpoint_id"):
            raise serializers.ValidationError(
                {"endpoint_id": "Each endpoint has a status of its own: name one."}
            )
        if attrs.get("since") and attrs.get("until") and attrs["since"] >= attrs["until"]:
            raise serializers.ValidationError({"since": "This is not before the time until which is asked."})
        return attrs


class ResendBody(serializers.Serializer[Any]):
    endpoint_id = serializers.CharField(
        max_length=256,
        required=False,
        allow_null=True,
        help_text="Absent or null only for a message that goes to the URL of its job.",
    )


class RecoverBody(serializers.Serializer[Any]):
    since = serializers.DateTimeField(help_text="At most 14 days ago.")
    until = serializers.DateTimeField(required=False, help_text="By default now.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        until = attrs.get("until") or timezone.now()
        if attrs["since"] >= until:
            raise serializers.ValidationError({"since": "This is not before the time until which is asked."})
        if until - attrs["since"] > deliveries.RECOVERY + timedelta(minutes=1):
            raise serializers.ValidationError({"since": f"At most {deliveries.RECOVERY.days} days."})
        return attrs


class TestBody(serializers.Serializer[Any]):
    type = serializers.ChoiceField(list(events.EVENT_TYPES))
    payload = serializers.JSONField(
        required=False, help_text="What to send; by default the type's example of the catalogue."
    )

    def validate_payload(self, payload: Any) -> dict[str, Any]:
        try:
            checked = as_payload(payload)
        except (ValueError, RecursionError) as error:
            raise serializers.ValidationError(f"This is not a payload: {error}.") from None
        if len(str(checked)) > LONGEST_PAYLOAD:
            raise serializers.ValidationError(f"At most {LONGEST_PAYLOAD:,} characters.")
        return checked


# ── What is answered ─────────────────────────────────────────────────────────────────────────────────────────


class MessageLine(serializers.Serializer[Any]):
    id = serializers.CharField()
    event_id = serializers.CharField(allow_null=True, help_text="Null for a test.")
    type = serializers.CharField(source="event_type")
    timestamp = serializers.DateTimeField()
    channels = serializers.ListField(child=serializers.CharField(), allow_null=True)
    status = serializers.ChoiceField(
        _STATES,
        help_text="What became of it: of several endpoints the worst. `unwanted` when none was to get it, "
        "`unknown` when it is told per endpoint only.",
    )


class ReceiverLine(serializers.Serializer[Any]):
    id = serializers.CharField()
    url = serializers.CharField()
    status = serializers.ChoiceField(list(STATES.values()))
    next_attempt_at = serializers.DateTimeField(allow_null=True)


class MessageDetail(MessageLine):
    payload = serializers.DictField(help_text='`{"expired": true}` once it has been erased.')
    endpoints = ReceiverLine(many=True)
    problem = serializers.CharField(allow_null=True, help_text="Why it waits in the outbox, or was refused.")


class AttemptLine(serializers.Serializer[Any]):
    id = serializers.CharField()
    message_id = serializers.CharField()
    endpoint_id = serializers.CharField(allow_null=True, help_text="Null for the URL of a job.")
    url = serializers.CharField()
    status = serializers.ChoiceField(list(STATES.values()))
    status_code = serializers.IntegerField(help_text="0 when there was no answer; `response` then says why.")
    response = serializers.CharField(help_text="Its first 20,000 bytes.")
    duration_ms = serializers.IntegerField()
    trigger = serializers.ChoiceField(["scheduled", "manual"])
    timestamp = serializers.DateTimeField()


def _line(line: Line) -> dict[str, Any]:
    message = line.message
    return {
        "id": message.id,
        "event_id": message.event_id,
        "event_type": message.event_type,
        "timestamp": message.timestamp,
        "channels": message.channels,
        "status": line.state or "unknown",
    }


def _receiver(endpoint: MessageEndpointOut) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "status": STATES[endpoint.status],
        "next_attempt_at": endpoint.next_attempt,
    }


def _attempt(attempt: MessageAttemptOut) -> dict[str, Any]:
    return {
        "id": attempt.id,
        "message_id": attempt.msg_id,
        "endpoint_id": attempt.endpoint_id or None,
        "url": attempt.url,
        "status": STATES[attempt.status],
        "status_code": attempt.response_status_code,
        "response": attempt.response,
        "duration_ms": attempt.response_duration_ms,
        "trigger": "manual" if attempt.trigger_type == MessageAttemptTriggerType.MANUAL else "scheduled",
        "timestamp": attempt.timestamp,
    }


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────


class Messages(SvixView):
    permission = Permission.WEBHOOKS_VIEW

    @extend_schema(
        operation_id="list_webhook_messages",
        summary="List webhook messages",
        description="What was sent to the organization's endpoints, newest first.",
        tags=["webhooks"],
        parameters=[MessageQuery, ORG_ID],
        responses=page_schema("WebhookMessageList", MessageLine),
        examples=[
            OpenApiExample("A page", value={"data": [_MESSAGE], "next_cursor": None}, response_only=True)
        ],
    )
    def get(self, request: OrganizationRequest) -> Response:
        asked = read_query(MessageQuery, request)
        lines, older = _asked_for(request, asked)
        return Response(
            {
                "data": MessageLine([_line(line) for line in lines], many=True).data,
                "next_cursor": older or None,
            }
        )


def _asked_for(request: OrganizationRequest, asked: dict[str, Any]) -> tuple[list[Line], str]:
    organization = request.organization
    endpoints = deliveries.endpoints_of(organization)
    if job_id := asked.get("job_id"):
        uid = outbox.uid_of_job(organization.pk, job_id)
        return deliveries.find(organization=organization, message_id=uid, endpoints=endpoints), ""
    filters = Filters(
        event_type=asked.get("type"),
        endpoint=asked.get("endpoint_id"),
        state=asked.get("status"),
        since=asked.get("since"),
        until=asked.get("until"),
    )
    lines: list[Line] = []
    place = asked.get("cursor", "")
    while True:  # an engine lists fewer at once than a caller may ask for
        page = deliveries.listing(
            organization=organization,
            filters=filters,
            endpoints=endpoints,
            place=place,
            limit=min(asked["limit"] - len(lines), deliveries.AT_ONCE),
        )
        lines += page.lines
        place = page.older
        if not place or len(lines) >= asked["limit"]:
            return lines, place


class MessageById(SvixView):
    permission = Permission.WEBHOOKS_VIEW

    @extend_schema(
        operation_id="get_webhook_message",
        summary="Get a webhook message",
        description="By its id, or by the `event_id` that it had before it was handed over. With its payload, and what "
        "became of it with each endpoint.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        responses=MessageDetail,
        examples=[
            OpenApiExample(
                "The message",
                value=_MESSAGE
                | {
                    "payload": {"type": "job.completed", "timestamp": _MESSAGE["timestamp"], "data": {}},
                    "endpoints": [
                        {
                            "id": "ep_4kQm9sTfZ0aYcQ5LbKdM",
                            "url": "https://example.com/webhooks",
                            "status": "delivered",
                            "next_attempt_at": None,
                        }
                    ],
                    "problem": None,
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: OrganizationRequest, message_id: str) -> Response:
        told = deliveries.get(organization=request.organization, message_id=message_id)
        fields = _in_outbox(told.written) if told.message is None else _handed_over(told, told.message)
        return Response(MessageDetail(fields).data)


def _in_outbox(written: OutboxMessage | None) -> dict[str, Any]:
    assert written
    return {
        "id": written.uid,
        "event_id": written.uid,
        "event_type": written.event_type,
        "timestamp": written.created_at,
        "channels": written.channels,
        "status": "refused" if written.refused_at else "waiting",
        "payload": json.loads(written.payload),
        "endpoints": [],
        "problem": written.last_error or None,
    }


def _handed_over(told: Told, message: MessageOut) -> dict[str, Any]:
    states = [STATES[endpoint.status] for endpoint in told.destinations]
    if told.direct:
        states = [told.direct_state]
    return _line(Line(message, deliveries.worst(states), 0, 0)) | {
        "payload": message.payload,
        "endpoints": [_receiver(endpoint) for endpoint in told.destinations],
        "problem": None,
    }


class MessageAttempts(SvixView):
    permission = Permission.WEBHOOKS_VIEW

    @extend_schema(
        operation_id="list_webhook_message_attempts",
        summary="List the attempts to deliver a message",
        description="Newest first, each with what was answered.",
        tags=["webhooks"],
        parameters=[PlaceQuery, ORG_ID],
        responses=page_schema("WebhookAttemptList", AttemptLine),
        examples=[
            OpenApiExample("A page", value={"data": [_ATTEMPT], "next_cursor": None}, response_only=True)
        ],
    )
    def get(self, request: OrganizationRequest, message_id: str) -> Response:
        asked = read_query(PlaceQuery, request)
        found: list[MessageAttemptOut] = []
        place = asked.get("cursor", "")
        while True:
            page, place = deliveries.attempts(
                organization=request.organization,
                message_id=message_id,
                place=place,
                limit=min(asked["limit"] - len(found), deliveries.AT_ONCE),
            )
            found += page
            if not place or len(found) >= asked["limit"]:
                break
        lines = AttemptLine([_attempt(attempt) for attempt in found], many=True).data
        return Response({"data": lines, "next_cursor": place or None})


class MessageResend(SvixView):
    permission = Permission.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="resend_webhook_message",
        summary="Send a message again",
        description="Once, now, to one endpoint, whatever that filters, or to the URL that its job named. 409 if the "
        "endpoint is disabled, or if the message's content has been erased.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        request=ResendBody,
        responses=inline_serializer(
            "WebhookResent",
            {
                "message_id": serializers.CharField(),
                "endpoint_id": serializers.CharField(allow_null=True, help_text="Null for the URL of a job."),
            },
        ),
    )
    def post(self, request: OrganizationRequest, message_id: str) -> Response:
        organization, actor = request.organization, actor_of(request)
        direct = deliveries.of_url(organization=organization, message_id=message_id)
        if direct is None:
            get_svix().message.get(organization.uid, message_id)  # or 404, whatever the body says
        endpoint_id: str = read_body(ResendBody, request).get("endpoint_id") or ""
        if direct and endpoint_id:
            raise serializers.ValidationError({"endpoint_id": "It goes to the URL of its job alone."})
        if not direct and not endpoint_id:
            raise serializers.ValidationError({"endpoint_id": "It goes to endpoints: name one."})
        try:
            if direct:
                deliveries.resend_to_url(organization=organization, delivery=direct, actor=actor)
            else:
                deliveries.resend(
                    organization=organization, message_id=message_id, endpoint_id=endpoint_id, actor=actor
                )
        except deliveries.Disabled as error:
            raise Conflict(_IS_DISABLED) from error
        except deliveries.Expired as error:
            raise Conflict("The message's content has been erased, so it cannot be sent again.") from error
        return Response({"message_id": message_id, "endpoint_id": endpoint_id or None})


# ── Endpoints ────────────────────────────────────────────────────────────────────────────────────────────────


class EndpointRecover(SvixView):
    permission = Permission.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="recover_webhook_endpoint",
        summary="Send what failed again",
        description="Every message with a failed attempt in this time that has not arrived since is sent to the "
        "endpoint once more, as is what was still to be sent when it was disabled. 409 if the endpoint is disabled.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        request=RecoverBody,
        responses=RecoverBody,
        examples=[
            OpenApiExample("Since a moment", value={"since": "2026-06-18T09:30:00Z"}, request_only=True)
        ],
    )
    def post(self, request: OrganizationRequest, endpoint_id: str) -> Response:
        get_svix().endpoint.get(request.organization.uid, endpoint_id)
        asked = read_body(RecoverBody, request)
        asked.setdefault("until", timezone.now())
        try:
            deliveries.recover(
                organization=request.organization, endpoint_id=endpoint_id, actor=actor_of(request), **asked
            )
        except deliveries.Disabled as error:
            raise Conflict(_IS_DISABLED) from error
        return Response(RecoverBody(asked).data)


class EndpointTest(SvixView):
    permission = Permission.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="test_webhook_endpoint",
        summary="Send a test to an endpoint",
        description="A message of any event type, whatever the endpoint filters. 409 if the endpoint is disabled.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        request=TestBody,
        responses={201: MessageLine},
        examples=[
            OpenApiExample("The example of a type", value={"type": "job.failed"}, request_only=True),
            OpenApiExample(
                "The test", value=_MESSAGE | {"event_id": None, "status": "waiting"}, response_only=True
            ),
        ],
    )
    def post(self, request: OrganizationRequest, endpoint_id: str) -> Response:
        get_svix().endpoint.get(request.organization.uid, endpoint_id)
        asked = read_body(TestBody, request)
        try:
            message = deliveries.send_example(
                organization=request.organization,
                endpoint_id=endpoint_id,
                event_type=asked["type"],
                payload=asked.get("payload"),
                actor=actor_of(request),
            )
        except deliveries.Disabled as error:
            raise Conflict(_IS_DISABLED) from error
        return Response(MessageLine(_line(Line(message, "waiting", 1, 1))).data, status=201)
