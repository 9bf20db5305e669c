"""What was metered, record by record."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.base import ORG_ID, DayField, OrganizationRequest, PageQuery, page_schema, read_query
from accounts.permissions import Permission
from usage import columns, exports, reports
from usage.exports import Export, TooMany
from usage.models import Feature, Product, UsageRecord
from usage.reports import RecordFilters

_RECORD: dict[str, Any] = {
    "idempotency_key": "0b7c0a52:1",
    "job_id": "0b7c0a52-4c1c-4f5e-9a3c-0f6f5f0f9d55",
    "timestamp": "2026-06-18T09:30:03.000000Z",
    "day": "2026-06-18",
    "api_key": "checkout",
    "api_key_id": "key_2nXw8rTfZ0aYcQ5LbKdM",
    "product": "parse",
    "feature": "standard",
    "file_type": "pdf",
    "region": "eu",
    "priority": "standard",
    "requests": 1,
    "pages": 12,
    "quantity": None,
    "credits": 12.0,
    "cost": 0.12,
    "unrated": False,
    "corrects": "",
    "reason": "",
}


def check_days(attrs: dict[str, Any]) -> dict[str, Any]:
    """Refuse days that end before they begin."""
    since, until = attrs.get("since"), attrs.get("until")
    if since and until and since > until:
        raise serializers.ValidationError({"since": f"{since} is after the last day, {until}."})
    return attrs


class DaysQuery(serializers.Serializer[Any]):
    """Which days; they are the organization's."""

    since = DayField(required=False, help_text="First day, as yyyy-mm-dd in the organization's time zone.")
    until = DayField(required=False, help_text="Last day, which counts as well.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return check_days(attrs)


class RecordsQuery(PageQuery, DaysQuery):
    api_key = serializers.CharField(required=False, help_text="Only records of the key with this id.")
    product = serializers.ChoiceField(Product.choices, required=False)
    feature = serializers.ChoiceField(Feature.choices, required=False)
    file_type = serializers.CharField(required=False)
    region = serializers.CharField(required=False)
    job_id = serializers.CharField(required=False, help_text="Only records of this job.")
    format = serializers.ChoiceField(
        ["json", "csv"],
        default="json",
        help_text="As CSV, all that match come at once, packed by gzip if the request accepts it; this needs the "
        "permission to export.",
    )
    gzip = serializers.ChoiceField(
        ["1", "true", "0", "false"], required=False, help_text="The CSV as a .csv.gz file."
    )


class Record(serializers.ModelSerializer[UsageRecord]):
    """A metered fact. A correction is a record of its own, with negative credits; `corrects` names the original."""

    api_key = serializers.SerializerMethodField(help_text="The key's name; empty when it is gone.")
    api_key_id = serializers.SerializerMethodField(help_text="Null when the key is gone with its owner.")

    class Meta:
        model = UsageRecord
        fields = [column.name for column in columns.RECORDS]

    def get_api_key(self, record: UsageRecord) -> str:
        key = self.context["keys"].get(record.api_key_id)
        return key.name if key else ""

    def get_api_key_id(self, record: UsageRecord) -> str | None:
        key = self.context["keys"].get(record.api_key_id)
        return key.uid if key else None


class Records(APIView):
    permission = Permission.USAGE_VIEW

    @extend_schema(
        operation_id="list_usage_records",
        summary="List usage records",
        description="What was metered, newest first. Hand `next_cursor` back as `cursor` until it is null: with a "
        "filter, a page may hold fewer records than asked for, or none, though older ones follow.",
        tags=["usage"],
        parameters=[RecordsQuery, ORG_ID],
        responses={
            (200, "application/json"): page_schema("UsageRecordList", Record),
            (200, "text/csv"): OpenApiTypes.STR,
        },
        examples=[
            OpenApiExample(
                "A page",
                value={"data": [_RECORD], "next_cursor": "AAZLUe9xAAAAAAAAAAAAKg"},
                response_only=True,
                media_type="application/json",
            )
        ],
    )
    def get(self, request: OrganizationRequest) -> HttpResponseBase:
        asked = read_query(RecordsQuery, request, and_no_others=True)
        as_csv = asked.pop("format") == "csv"
        asked.pop("gzip", None)  # `exports.download` reads it
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        filters = RecordFilters(**asked)
        if as_csv:
            return download(request, filters)
        page = reports.record_log(request.organization, limit=limit, filters=filters, older_than=cursor)
        keys = {key.pk: key for key in reports.keys(request.organization)}
        return Response(
            {
                "data": Record(page.records, many=True, context={"keys": keys}).data,
                "next_cursor": str(page.older) if page.older else None,
            }
        )


def download(request: OrganizationRequest, filters: RecordFilters) -> HttpResponseBase:
    """The records as CSV. 403 without the permission to export, 429 while too many others are read."""
    if Permission.EXPORTS_CREATE not in request.standing.granted:
        raise PermissionDenied(f"This needs the permission {Permission.EXPORTS_CREATE}.")
    try:
        return exports.download(request._request, Export(request.organization, filters))
    except TooMany:
        raise Throttled(
            detail="Other exports are being read: wait for one of them to end.", wait=10
        ) from None
