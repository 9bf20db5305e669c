"""What the views of the API share."""

import re
from contextlib import suppress
from datetime import date
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import cursors
from accounts.access import Standing
from accounts.cursors import BadCursor, Cursor
from accounts.models import Organization, User

ORG_ID = OpenApiParameter(
    "orgId",
    str,
    description="The organization asked about, for a personal key whose owner belongs to several. "
    "By default the key's own.",
)


class Conflict(APIException):
    """What is asked for does not go together with what there is by now. `detail` may name the field."""

    status_code = 409
    default_code = "conflict"
    default_detail = "This conflicts with how things are by now."


class OrganizationRequest(Request):
    """The request of an API view with a `permission`, once it has been let through."""

    organization: Organization
    standing: Standing


def read_query(
    query: "type[serializers.Serializer[Any]]", request: Request, *, and_no_others: bool = False
) -> dict[str, Any]:
    """The parameters in the address, checked by a serializer. Raises ValidationError naming the first bad one.

    `and_no_others` refuses those that nobody knows: a misspelt filter would pass for all there is.
    """
    asked = query(data=request.query_params)
    known = {*asked.fields, ORG_ID.name}
    if and_no_others and (unknown := request.query_params.keys() - known):
        there_are = f"There is no such parameter. There are: {', '.join(sorted(known, key=str.lower))}."
        raise serializers.ValidationError({min(unknown): there_are})
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data)


def read_body(
    body: "type[serializers.Serializer[Any]]", request: Request, *, partial: bool = False
) -> dict[str, Any]:
    """The fields in the body, checked likewise; `partial`: those that are left out stay out.

    A field that nobody knows is refused: a misspelt limit would be no limit.
    """
    asked = body(data=request.data, partial=partial)
    if isinstance(request.data, dict) and (unknown := request.data.keys() - asked.fields.keys()):
        raise serializers.ValidationError({min(unknown): "There is no such field here."})
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


@extend_schema_field(OpenApiTypes.DATE)
class DayField(serializers.Field[date, str, str, Any]):
    """A day as yyyy-mm-dd, and nothing else that ISO 8601 allows."""

    def to_internal_value(self, data: str) -> date:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", data):
            with suppress(ValueError):
                return date.fromisoformat(data)
        raise serializers.ValidationError("Use a day in the form yyyy-mm-dd.")

    def to_representation(self, value: date) -> str:
        return value.isoformat()


class PageQuery(serializers.Serializer[Any]):
    """Which part of a list."""

    cursor = CursorField(required=False, help_text="The `next_cursor` of the answer before.")
    limit = serializers.IntegerField(default=100, min_value=1, max_value=500)


def page_of(
    rows: QuerySet[Any], asked: dict[str, Any], line: "type[serializers.ModelSerializer[Any]]"
) -> Response:
    """Answer a part of a list, newest first. `asked` is a PageQuery's; rows have `created_at`."""
    shown, older = cursors.page(rows, limit=asked["limit"], older_than=asked.get("cursor"))
    return Response({"data": line(shown, many=True).data, "next_cursor": str(older) if older else None})


def page_schema(name: str, line: "type[serializers.Serializer[Any]]") -> Any:
    """How `page_of` answers."""
    return inline_serializer(
        name, {"data": line(many=True), "next_cursor": serializers.CharField(allow_null=True)}
    )


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
