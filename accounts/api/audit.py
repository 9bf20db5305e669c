"""The audit trail, as the API tells it."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit_trail
from accounts.api.base import ORG_ID, DayField, OrganizationRequest, PageQuery, page_schema, read_query
from accounts.audit import Action
from accounts.audit_sentences import GROUPS
from accounts.audit_trail import Filters
from accounts.permissions import Permission


class AuditQuery(PageQuery):
    action = serializers.CharField(
        required=False,
        help_text="An action such as `api_key.revoked`, or a group of them: "
        f"{', '.join(f'`{group}.*`' for group in GROUPS)}.",
    )
    actor = serializers.CharField(
        required=False, help_text="The id of a person or of an API key, or a part of the name."
    )
    target = serializers.CharField(required=False, help_text="The id of what was changed.")
    since = DayField(required=False, help_text="First day, as yyyy-mm-dd in the organization's time zone.")
    until = DayField(required=False, help_text="Last day, which counts as well.")

    def validate_action(self, action: str) -> str:
        if action not in Action.values and action.removesuffix(".*") not in GROUPS:
            raise serializers.ValidationError("There is no such action, and no such group of them.")
        return action

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("since") and attrs.get("until") and attrs["since"] > attrs["until"]:
            raise serializers.ValidationError(
                {"since": f"{attrs['since']} is after the day until which is asked, {attrs['until']}."}
            )
        return attrs


class AuditActor(serializers.Serializer[Any]):
    id = serializers.CharField(
        source="actor_id",
        allow_null=True,
        help_text="Null for an organization's key, support and the system.",
    )
    name = serializers.CharField(source="actor")


class AuditTarget(serializers.Serializer[Any]):
    type = serializers.CharField(source="target_type")
    id = serializers.CharField(source="target_id")
    name = serializers.CharField(source="target")


class AuditLine(serializers.Serializer[Any]):
    """An entry of the audit trail. Its names are those of the moment it was written."""

    id = serializers.CharField()
    created_at = serializers.DateTimeField()
    action = serializers.CharField()
    actor = AuditActor(source="*")
    api_key_id = serializers.CharField(allow_null=True, help_text="The key it was done with; null for none.")
    target = AuditTarget(source="*")
    ip = serializers.CharField(allow_null=True)
    before = serializers.DictField(help_text="What changed, as it was.")
    after = serializers.DictField(help_text="What changed, as it became.")


class Audit(APIView):
    permission = Permission.AUDIT_VIEW

    @extend_schema(
        operation_id="list_audit_entries",
        summary="List audit entries",
        description="Who changed what in the organization, newest first. Entries are never changed or deleted.",
        tags=["audit"],
        parameters=[AuditQuery, ORG_ID],
        responses=page_schema("AuditList", AuditLine),
        examples=[
            OpenApiExample(
                "A page",
                value={
                    "data": [
                        {
                            "id": "aud_AAZLUe9xAAAAAAAAAAAAKg",
                            "created_at": "2026-06-18T09:30:00.000000Z",
                            "action": "api_key.updated",
                            "actor": {"id": "usr_5kPzHx9RwGm7bUq1sVdE", "name": "olivia@example.com"},
                            "api_key_id": None,
                            "target": {
                                "type": "apikey",
                                "id": "key_2nXw8rTfZ0aYcQ5LbKdM",
                                "name": "checkout (ch_production_3kTq…x9Rw)",
                            },
                            "ip": "203.0.113.7",
                            "before": {"requests_per_minute": None},
                            "after": {"requests_per_minute": 60},
                        }
                    ],
                    "next_cursor": "AAZLUe9xAAAAAAAAAAAAKg",
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: OrganizationRequest) -> Response:
        asked = read_query(AuditQuery, request)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        page = audit_trail.page(
            request.organization, filters=Filters(**asked), limit=limit, older_than=cursor
        )
        return Response(
            {
                "data": AuditLine(page.lines, many=True).data,
                "next_cursor": str(page.older) if page.older else None,
            }
        )
