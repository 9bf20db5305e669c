"""The usage export: credits and requests of each day and group, as JSON or CSV."""

import hashlib
import json
from datetime import timedelta
from typing import Any

from django.http import HttpResponseBase
from django.utils.cache import get_conditional_response
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import spreadsheets
from accounts.api.base import ORG_ID, DayField, OrganizationRequest, read_query
from accounts.permissions import Permission
from usage import reports
from usage.reports import Dimension


def _any_of(help_text: str) -> serializers.ListField:
    return serializers.ListField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False),
        required=False,
        help_text=f"{help_text} Repeatable: any of the values. A value that never occurred gives no rows.",
    )


class UsageExportQuery(serializers.Serializer[Any]):
    startDate = DayField(
        required=False, help_text="First day, as yyyy-mm-dd in the organization's time zone; 30 days ago."
    )
    endDate = DayField(required=False, help_text="Last day, which counts as well; today.")
    groupBy = serializers.ChoiceField(
        Dimension.choices,
        default=Dimension.PRODUCT,
        error_messages={"invalid_choice": f"One of: {', '.join(Dimension.values)}."},
    )
    product = _any_of("Only these products.")
    feature = _any_of("Only these features.")
    apiKey = _any_of("Only the keys with these ids.")
    fileType = _any_of("Only these file types.")
    format = serializers.ChoiceField(["json", "csv"], default="json", help_text="csv answers with a file.")


class UsageExportRow(serializers.Serializer[Any]):
    date = serializers.DateField()
    group = serializers.CharField(
        help_text="A product, feature or file type, or the id of a key, as `groupBy` says."
    )
    credits = serializers.FloatField(help_text="All credits used.")
    requestCount = serializers.IntegerField(help_text="API requests made.")


class UsageExportAnswer(serializers.Serializer[Any]):
    orgId = serializers.CharField()
    startDate = serializers.DateField()
    endDate = serializers.DateField()
    groupBy = serializers.ChoiceField(Dimension.choices)
    data = UsageExportRow(many=True)  # type: ignore[assignment]


class UsageExport(APIView):
    permission = Permission.USAGE_VIEW

    @extend_schema(
        operation_id="export_usage",
        summary="Export usage",
        description="The numbers of the usage dashboard: credits and requests of each day and group. "
        "Days without usage are absent. Hand the `ETag` of an answer back in `If-None-Match`: as long as nothing of it "
        "has changed, the answer is 304 and empty.",
        tags=["usage"],
        parameters=[
            UsageExportQuery,
            ORG_ID,
            OpenApiParameter(
                "If-None-Match", str, OpenApiParameter.HEADER, description="The `ETag` of an earlier answer."
            ),
        ],
        responses={
            (200, "application/json"): UsageExportAnswer,
            (200, "text/csv"): OpenApiTypes.STR,
            304: OpenApiResponse(description="Nothing has changed."),
        },
        examples=[
            OpenApiExample(
                "Two days by product",
                value={
                    "orgId": "org_7bUq1sVdE3kPzHx9RwGm",
                    "startDate": "2026-06-17",
                    "endDate": "2026-06-18",
                    "groupBy": "product",
                    "data": [
                        {"date": "2026-06-17", "group": "parse", "credits": 212.0, "requestCount": 40},
                        {"date": "2026-06-18", "group": "extract", "credits": 36.5, "requestCount": 9},
                    ],
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: OrganizationRequest) -> HttpResponseBase:
        asked = read_query(UsageExportQuery, request, and_no_others=True)
        organization = request.organization
        today = reports.today(organization)
        start = asked.get("startDate", today - timedelta(days=30))
        end = asked.get("endDate", today)
        if start > end:
            raise serializers.ValidationError({"startDate": f"{start} is after the endDate {end}."})
        group_by = Dimension(asked["groupBy"])
        filters = {
            "products": asked.get("product", ()),
            "features": asked.get("feature", ()),
            "api_keys": asked.get("apiKey", ()),
            "file_types": asked.get("fileType", ()),
        }
        # Read before the rows: should they be newer than it, the next call brings them again and no more.
        version = reports.export_version(
            organization, start=start, end=end, group_by=group_by, api_keys=filters["api_keys"]
        )
        parameters = json.dumps([organization.uid, str(start), str(end), group_by, filters, asked["format"]])
        tag = f'W/"{hashlib.sha256(f"{version} {parameters}".encode()).hexdigest()[:32]}"'
        response: HttpResponseBase | None = get_conditional_response(request._request, etag=tag)
        if response is None:
            rows = reports.export(organization, start=start, end=end, group_by=group_by, **filters)
            if asked["format"] == "csv":
                name = f"usage-{organization.uid}-{start}-{end}.csv"
                response = spreadsheets.download(
                    name,
                    spreadsheets.lines(
                        ["date", "group", "credits", "requestCount"],
                        ((row.date, row.group, row.credits, row.requests) for row in rows),
                    ),
                )
            else:
                response = Response(
                    {
                        "orgId": organization.uid,
                        "startDate": start,
                        "endDate": end,
                        "groupBy": asked["groupBy"],
                        "data": [
                            {
                                "date": row.date,
                                "group": row.group,
                                "credits": row.credits,
                                "requestCount": row.requests,
                            }
                            for row in rows
                        ],
                    }
                )
        response.headers["ETag"] = tag
        response.headers["Cache-Control"] = "private, no-cache"
        return response
