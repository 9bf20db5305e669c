"""What the views of the API share."""

from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from accounts.access import Standing
from accounts.cursors import BadCursor, Cursor
from accounts.models import Organization, User

Query = TypeVar("Query", bound="serializers.Serializer[Any]")


class OrganizationRequest(Request):
    """The request of an API view with a `permission`, once it has been let through."""

    organization: Organization
    standing: Standing


def read_query(query: type[Query], request: Request) -> dict[str, Any]:
    """The parameters in the address, checked by a serializer. Raises ValidationError naming the first bad one."""
    asked = query(data=request.query_params)
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data)


@extend_schema_field(OpenApiTypes.STR)
class CursorField(serializers.Field[Cursor, str, str, Any]):
    """A `next_cursor` handed back."""

    def to_internal_value(self, data: str) -> Cursor:
        try:
            return Cursor.parse(data)
        except BadCursor:
            raise serializers.ValidationError("Use the next_cursor of an earlier answer.") from None

    def to_representation(self, value: Cursor) -> str:
        return str(value)


class OrganizationName(serializers.ModelSerializer[Organization]):
    id = serializers.CharField(source="uid")

    class Meta:
        model = Organization
        fields = ["id", "name"]


class Person(serializers.ModelSerializer[User]):
    id = serializers.CharField(source="uid")

    class Meta:
        model = User
        fields = ["id", "name", "email"]
