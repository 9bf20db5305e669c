"""What a key is told about itself."""

from typing import Any, cast

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import AnyKey
from accounts.api.base import OrganizationName, Person
from accounts.authentication import ApiKeyAuthentication
from accounts.models import ApiKey, Membership


class KeyIdentity(serializers.ModelSerializer[ApiKey]):
    """A key, as it is told about itself."""

    id = serializers.CharField(source="uid")
    organization = serializers.SerializerMethodField(
        help_text="Whose key it is; the home of a personal key, unless its owner left; null for a service key."
    )
    user = Person(allow_null=True, help_text="Whose personal key it is; null for the other kinds.")

    @extend_schema_field(OrganizationName(allow_null=True))
    def get_organization(self, key: ApiKey) -> Any:
        left = key.user and not Membership.objects.of(key.user).filter(organization=key.organization).exists()
        return None if left or not key.organization else OrganizationName(key.organization).data

    class Meta:
        model = ApiKey
        fields = ["kind", "id", "name", "environment", "scopes", "organization", "user", "expires_at"]


class WhoAmI(APIView):
    authentication_classes = [ApiKeyAuthentication]
    permission_classes = [AnyKey]

    @extend_schema(
        operation_id="whoami",
        summary="Who am I?",
        description="What the key of this request is. Any valid key may ask, of whatever kind and scopes.",
        tags=["api-keys"],
        responses=KeyIdentity,
        examples=[
            OpenApiExample(
                "An organization key",
                value={
                    "kind": "organization",
                    "id": "key_2nXw8rTfZ0aYcQ5LbKdM",
                    "name": "checkout",
                    "environment": "production",
                    "scopes": ["jobs", "usage", "webhooks"],
                    "organization": {"id": "org_7bUq1sVdE3kPzHx9RwGm", "name": "Northwind"},
                    "user": None,
                    "expires_at": None,
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: Request) -> Response:
        return Response(KeyIdentity(cast(ApiKey, request.auth)).data)
