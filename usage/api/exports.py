"""Large exports, made in the background."""

from contextlib import suppress
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers, status
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import actor_of
from accounts.api.base import (
    ORG_ID,
    Conflict,
    OrganizationRequest,
    PageQuery,
    page_of,
    page_schema,
    read_query,
)
from accounts.models import ApiKey
from accounts.permissions import Permission
from usage import export_files
from usage.api.records import DaysQuery
from usage.export_files import AlreadyFinished, NotFinished, TooManyUnfinished
from usage.models import Feature, JobStatus, JobType, Product, UsageExportFile
from usage.reports import Filters, RecordFilters
from usage.tasks import begin_exports

_EXPORT: dict[str, Any] = {
    "id": "exp_9RwGm7bUq1sVdE3kPzHx",
    "kind": "records",
    "filters": {"since": "2026-01-01", "until": "2026-06-30"},
    "gzip": True,
    "state": "running",
    "rows": 1_200_000,
    "rows_expected": 5_000_000,
    "size": 0,
    "problem": "",
    "created_at": "2026-07-01T08:00:00.000000Z",
    "finished_at": None,
    "expires_at": None,
}


class NewExport(DaysQuery):
    kind = serializers.ChoiceField(["jobs", "records"], help_text="The request log, or what was metered.")
    gzip = serializers.BooleanField(default=False)
    api_key = serializers.CharField(required=False, max_length=64, help_text="Only of the key with this id.")
    region = serializers.CharField(required=False, max_length=32)
    file_type = serializers.CharField(required=False, max_length=32)
    job_id = serializers.CharField(
        required=False, max_length=128, help_text="How the ids of jobs begin; for records, a whole id."
    )
    type = serializers.ChoiceField(JobType.choices, required=False, help_text="Of jobs.")
    status = serializers.ChoiceField(JobStatus.choices, required=False, help_text="Of jobs.")
    environment = serializers.ChoiceField(ApiKey.Environment.choices, required=False, help_text="Of jobs.")
    product = serializers.ChoiceField(Product.choices, required=False, help_text="Of records.")
    feature = serializers.ChoiceField(Feature.choices, required=False, help_text="Of records.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        kind = attrs.get("kind")
        for name in ("product", "feature") if kind == "jobs" else ("type", "status", "environment"):
            if name in attrs:
                raise serializers.ValidationError({name: f"Exports of {kind} cannot be narrowed by it."})
        return super().validate(attrs)


class ExportLine(serializers.ModelSerializer[UsageExportFile]):
    id = serializers.CharField(source="uid")
    gzip = serializers.BooleanField(source="is_gzipped")
    filters = serializers.DictField(child=serializers.CharField(), help_text="Those that were set.")
    rows_expected = serializers.IntegerField(allow_null=True, help_text="Null until they are counted.")
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text="Until when the file can be fetched; then it is deleted."
    )

    class Meta:
        model = UsageExportFile
        fields = list(_EXPORT)


class Exports(APIView):
    permission = Permission.EXPORTS_CREATE

    @extend_schema(
        operation_id="list_usage_exports",
        summary="List exports",
        description="Exports made in the background, newest first.",
        tags=["usage"],
        parameters=[PageQuery, ORG_ID],
        responses=page_schema("UsageExportList", ExportLine),
        examples=[
            OpenApiExample("A page", value={"data": [_EXPORT], "next_cursor": None}, response_only=True)
        ],
    )
    def get(self, request: OrganizationRequest) -> Response:
        return page_of(export_files.of(request.organization), read_query(PageQuery, request), ExportLine)

    @extend_schema(
        operation_id="create_usage_export",
        summary="Make an export",
        description="Have a CSV file made in the background. Ask for the export until its `state` is `done`, then "
        "fetch its file. The log of jobs also needs the permission to read it.",
        tags=["usage"],
        parameters=[ORG_ID],
        request=NewExport,
        responses={201: ExportLine},
        examples=[
            OpenApiExample(
                "Half a year of records",
                value={"kind": "records", "since": "2026-01-01", "until": "2026-06-30", "gzip": True},
                request_only=True,
            ),
            OpenApiExample("An export", value=_EXPORT, response_only=True, status_codes=["201"]),
        ],
    )
    def post(self, request: OrganizationRequest) -> Response:
        asked = NewExport(data=request.data)
        asked.is_valid(raise_exception=True)
        values = dict(asked.validated_data)
        kind, is_gzipped = values.pop("kind"), values.pop("gzip")
        _check_kind(request, kind)
        try:
            made = export_files.create(
                organization=request.organization,
                filters=Filters(**values) if kind == "jobs" else RecordFilters(**values),
                is_gzipped=is_gzipped,
                actor=actor_of(request),
            )
        except TooManyUnfinished:
            message = (
                f"{export_files.UNFINISHED} exports are not finished: wait for one of them, or delete it."
            )
            raise Conflict(message) from None
        begin_exports()
        return Response(ExportLine(made).data, status=status.HTTP_201_CREATED)


class ExportById(APIView):
    permission = Permission.EXPORTS_CREATE

    @extend_schema(
        operation_id="get_usage_export",
        summary="Get an export",
        tags=["usage"],
        parameters=[ORG_ID],
        responses=ExportLine,
        examples=[OpenApiExample("An export", value=_EXPORT, response_only=True)],
    )
    def get(self, request: OrganizationRequest, export_uid: str) -> Response:
        return Response(ExportLine(_find(request, export_uid)).data)

    @extend_schema(
        operation_id="delete_usage_export",
        summary="Delete an export",
        description="Delete an export and its file; one that is being made is stopped.",
        tags=["usage"],
        parameters=[ORG_ID],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest, export_uid: str) -> Response:
        export = _find(request, export_uid)
        with suppress(AlreadyFinished):
            export_files.cancel(export=export, actor=actor_of(request))
        try:
            export_files.delete(export=export, actor=actor_of(request))
        except NotFinished:
            raise Conflict("Meanwhile it began anew: try again.") from None
        return Response(status=status.HTTP_204_NO_CONTENT)


class ExportFile(APIView):
    permission = Permission.EXPORTS_CREATE

    @extend_schema(
        operation_id="get_usage_export_file",
        summary="Get the file of an export",
        description="The CSV of a finished export. 409 until it is done, and after it has expired. Where files are "
        "kept in a bucket, the answer leads there (302).",
        tags=["usage"],
        parameters=[ORG_ID],
        responses={(200, "text/csv"): OpenApiTypes.BINARY, 302: None},
    )
    def get(self, request: OrganizationRequest, export_uid: str) -> HttpResponseBase:
        export = _find(request, export_uid)
        _check_kind(request, export.kind)
        if not export_files.is_there(export):
            raise Conflict(f"The export has no file now: it is {export_files.state(export)}.")
        return export_files.answer(export)


def _check_kind(request: OrganizationRequest, kind: str) -> None:
    """A key that may not read the log may not export it either."""
    if kind == "jobs" and Permission.JOBS_VIEW not in request.standing.granted:
        raise PermissionDenied(f"This needs the permission {Permission.JOBS_VIEW}.")


def _find(request: OrganizationRequest, uid: str) -> UsageExportFile:
    found = export_files.of(request.organization).filter(uid=uid).select_related("organization").first()
    if found is None:
        raise Http404("There is no export with this id.")
    return found
