"""The API of endpoints, and of what they can hear of."""

from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from svix.models import EndpointOut, EndpointPatch

from accounts.access import AnyCustomer, actor_of
from accounts.api.base import ORG_ID, OrganizationRequest, page_schema, read_body, read_query
from accounts.permissions import Permission
from webhooks import configure_link, endpoints
from webhooks.api.errors import SvixView
from webhooks.api.messages import PlaceQuery
from webhooks.endpoints import HeaderChanges
from webhooks.events import EVENT_TYPES

_ENDPOINT: dict[str, Any] = {
    "id": "ep_2nXw8rTfZ0aYcQ5LbKdM",
    "url": "https://example.com/webhooks",
    "description": "Production",
    "event_types": ["job.completed", "job.failed"],
    "channels": None,
    "throttle_rate": None,
    "disabled": False,
    "created_at": "2026-06-18T09:30:00.000000Z",
    "updated_at": "2026-06-18T09:30:00.000000Z",
}
_WITH_HEADERS = _ENDPOINT | {"headers": {"X-Source": "billing"}, "sensitive_headers": ["Authorization"]}


# ── What is answered ─────────────────────────────────────────────────────────────────────────────────────────


class EndpointLine(serializers.Serializer[Any]):
    id = serializers.CharField()
    url = serializers.CharField()
    description = serializers.CharField()
    event_types = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="Null for all, also those yet to come."
    )
    channels = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="Null for all messages, with channels or without.",
    )
    throttle_rate = serializers.IntegerField(
        allow_null=True, help_text="Messages a second at most; null for no limit."
    )
    disabled = serializers.BooleanField(
        help_text="Paused, or turned off because its deliveries failed for days."
    )
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class EndpointAnswer(EndpointLine):
    headers = serializers.DictField(
        child=serializers.CharField(),
        help_text="Sent with each message: all that are set, also after a change that named only some of them.",
    )
    sensitive_headers = serializers.ListField(
        child=serializers.CharField(),
        help_text="Names of headers that are sent too, and whose values are not told: to who may not manage "
        "endpoints, none are.",
    )


class SecretAnswer(serializers.Serializer[Any]):
    secret = serializers.CharField()


class EventTypeLine(serializers.Serializer[Any]):
    name = serializers.CharField()
    description = serializers.CharField()
    schema = serializers.DictField(help_text="The JSON Schema of the payload's `data`.")
    example = serializers.DictField(help_text="Such data.")


# ── What is asked ────────────────────────────────────────────────────────────────────────────────────────────


class EndpointChange(serializers.Serializer[Any]):
    url = serializers.CharField(
        max_length=2_000, help_text="Where messages are POSTed: a public http or https URL."
    )
    description = serializers.CharField(required=False, allow_blank=True, max_length=300)
    event_types = serializers.ListField(
        child=serializers.CharField(max_length=256),
        required=False,
        allow_null=True,
        allow_empty=False,
        max_length=200,
        help_text="Null for all.",
    )
    channels = serializers.ListField(
        child=serializers.CharField(max_length=128),
        required=False,
        allow_null=True,
        allow_empty=False,
        max_length=10,
        help_text="Null for all.",
    )
    throttle_rate = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=65_535, help_text="Messages a second at most."
    )
    disabled = serializers.BooleanField(required=False)
    headers = serializers.DictField(
        child=serializers.CharField(allow_blank=True, allow_null=True, max_length=4_096),
        required=False,
        help_text="Values by name, sent with each message. A change merges: a header that is named is set or replaced, "
        'one whose value is null is removed, and all others stay. So `{"X-Source": "jobs", "X-Old": null}` sets '
        "`X-Source`, removes `X-Old`, and leaves an `Authorization` as it is; `{}` changes nothing. When an endpoint "
        "is added, null stands for no header.",
    )


class SecretRotation(serializers.Serializer[Any]):
    grace_seconds = serializers.IntegerField(
        default=24 * 3600,
        min_value=0,
        max_value=int(endpoints.LONGEST_GRACE.total_seconds()),
        help_text="For how long the old secret signs beside the new one.",
    )


# ── Endpoints ────────────────────────────────────────────────────────────────────────────────────────────────

_ONE = OpenApiExample("The endpoint", value=_WITH_HEADERS, response_only=True)


class Endpoints(SvixView):
    permission = Permission.WEBHOOKS_VIEW
    permission_to_change = Permission.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="list_webhook_endpoints",
        summary="List webhook endpoints",
        description="Newest first.",
        tags=["webhooks"],
        parameters=[PlaceQuery, ORG_ID],
        responses=page_schema("EndpointList", EndpointLine),
        examples=[
            OpenApiExample("A page", value={"data": [_ENDPOINT], "next_cursor": None}, response_only=True)
        ],
    )
    def get(self, request: OrganizationRequest) -> Response:
        asked = read_query(PlaceQuery, request)
        page = endpoints.page(
            organization=request.organization, cursor=asked.get("cursor", ""), limit=asked["limit"]
        )
        lines = EndpointLine(page.endpoints, many=True).data
        return Response({"data": lines, "next_cursor": page.cursor or None})

    @extend_schema(
        operation_id="create_webhook_endpoint",
        summary="Add a webhook endpoint",
        description="It hears of what happens from now on. Its secret is answered by `GET …/secret`.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        request=EndpointChange,
        responses={201: EndpointAnswer},
        examples=[
            OpenApiExample(
                "To hear of jobs",
                value={"url": _ENDPOINT["url"], "event_types": _ENDPOINT["event_types"]},
                request_only=True,
            ),
            _ONE,
        ],
    )
    def post(self, request: OrganizationRequest) -> Response:
        asked = read_body(EndpointChange, request)
        headers = {name: value for name, value in asked.pop("headers", {}).items() if value is not None}
        made = endpoints.create(
            organization=request.organization, headers=headers, actor=actor_of(request), **asked
        )
        return _answer(request, made.endpoint, status=201)


class EndpointById(SvixView):
    permission = Permission.WEBHOOKS_VIEW
    permission_to_change = Permission.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="get_webhook_endpoint",
        summary="Get a webhook endpoint",
        tags=["webhooks"],
        parameters=[ORG_ID],
        responses=EndpointAnswer,
        examples=[_ONE],
    )
    def get(self, request: OrganizationRequest, endpoint_id: str) -> Response:
        return _answer(request, endpoints.get(organization=request.organization, endpoint_id=endpoint_id))

    @extend_schema(
        operation_id="update_webhook_endpoint",
        summary="Change a webhook endpoint",
        description="Fields that are left out stay as they are; `disabled` pauses and resumes it. `headers` are merged "
        "with those there are, and null removes one; every other field is replaced.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        request=EndpointChange(partial=True),
        responses=EndpointAnswer,
        examples=[
            OpenApiExample("Pause it", value={"disabled": True}, request_only=True),
            OpenApiExample(
                "Set one header and remove another",
                value={"headers": {"X-Source": "jobs", "X-Old": None}},
                request_only=True,
            ),
            OpenApiExample("The endpoint", value=_WITH_HEADERS | {"disabled": True}, response_only=True),
        ],
    )
    def patch(self, request: OrganizationRequest, endpoint_id: str) -> Response:
        asked = read_body(EndpointChange, request, partial=True)
        headers = asked.pop("headers", {})
        changed = endpoints.update(
            organization=request.organization,
            endpoint_id=endpoint_id,
            changes=EndpointPatch(**asked),
            headers=HeaderChanges(
                {name: value for name, value in headers.items() if value is not None},
                [name for name, value in headers.items() if value is None],
            ),
            actor=actor_of(request),
        )
        return _answer(request, changed)

    @extend_schema(
        operation_id="delete_webhook_endpoint",
        summary="Delete a webhook endpoint",
        description="What was still to be sent to it is not sent any more.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest, endpoint_id: str) -> Response:
        endpoints.delete(organization=request.organization, endpoint_id=endpoint_id, actor=actor_of(request))
        return Response(status=204)


class EndpointSecret(SvixView):
    permission = Permission.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="get_webhook_secret",
        summary="Get the secret of a webhook endpoint",
        description="That messages to it are signed with. That it was asked for is in the audit trail.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        responses=SecretAnswer,
        examples=[
            OpenApiExample(
                "The secret", value={"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}, response_only=True
            )
        ],
    )
    def get(self, request: OrganizationRequest, endpoint_id: str) -> Response:
        secret = endpoints.reveal_secret(
            organization=request.organization, endpoint_id=endpoint_id, actor=actor_of(request)
        )
        return Response({"secret": secret}, headers={"Cache-Control": "no-store"})


class EndpointRotateSecret(SvixView):
    permission = Permission.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="rotate_webhook_secret",
        summary="Rotate the secret of a webhook endpoint",
        description="Answers the endpoint; `GET …/secret` answers the new secret. Messages carry the signatures of "
        "both until the grace period is over.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        request=SecretRotation,
        responses=EndpointAnswer,
        examples=[OpenApiExample("Within an hour", value={"grace_seconds": 3600}, request_only=True), _ONE],
    )
    def post(self, request: OrganizationRequest, endpoint_id: str) -> Response:
        asked = read_body(SecretRotation, request)
        endpoints.rotate_secret(
            organization=request.organization,
            endpoint_id=endpoint_id,
            grace=timedelta(seconds=asked["grace_seconds"]),
            actor=actor_of(request),
        )
        return _answer(request, endpoints.get(organization=request.organization, endpoint_id=endpoint_id))


def _answer(request: OrganizationRequest, endpoint: EndpointOut, *, status: int = 200) -> Response:
    headers = endpoints.headers(
        organization=request.organization,
        endpoint_id=endpoint.id,
        with_values=Permission.WEBHOOKS_MANAGE in request.standing.granted,
    )
    shown = EndpointAnswer(
        endpoint.model_dump() | {"headers": headers.headers, "sensitive_headers": headers.sensitive}
    )
    return Response(shown.data, status=status)


# ── What can be heard of ─────────────────────────────────────────────────────────────────────────────────────


class EventTypes(APIView):
    permission_classes = [AnyCustomer]

    @extend_schema(
        operation_id="list_event_types",
        summary="List the event types of webhooks",
        description="All of them, with the schema and an example of their data.",
        tags=["webhooks"],
        responses=page_schema("EventTypeList", EventTypeLine),
    )
    def get(self, request: Request) -> Response:
        lines = EventTypeLine(list(EVENT_TYPES.values()), many=True).data
        return Response({"data": lines, "next_cursor": None})


# ── The pages, for a program's user ──────────────────────────────────────────────────────────────────────────


class WhateverIsAccepted(BaseContentNegotiation):
    """Takes no notice of what the client says it accepts."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class ConfigureWebhook(APIView):
    permission = Permission.WEBHOOKS_VIEW
    content_negotiation_class = WhateverIsAccepted

    @extend_schema(
        operation_id="configure_webhook",
        summary="Link to the webhook pages",
        description="A URL to open in a browser: it leads whoever is signed in to the organization's webhook pages, "
        "and is good for ten minutes. It is the whole body, as plain text, whatever the call accepts.",
        tags=["webhooks"],
        parameters=[ORG_ID],
        request=None,
        responses={
            (200, "text/plain"): OpenApiResponse(
                OpenApiTypes.URI,
                examples=[OpenApiExample("The link", value="https://example.com/webhooks/configure/…/")],
            )
        },
    )
    def post(self, request: OrganizationRequest) -> HttpResponse:
        link = configure_link.link(request.organization)
        return HttpResponse(
            link, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"}
        )
