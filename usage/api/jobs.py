"""The API of the request log, and of a job."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    inline_serializer,
)
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.base import ORG_ID, OrganizationRequest, PageQuery, read_query
from accounts.permissions import Permission
from usage import charges, reports
from usage.api.records import DaysQuery
from usage.models import CreditRate, Job, JobStatus, JobType, UsageRecord
from usage.reports import Filters

_JOB: dict[str, Any] = {
    "job_id": "0b7c0a52-4c1c-4f5e-9a3c-0f6f5f0f9d55",
    "type": "Parse",
    "status": "Completed",
    "created_at": "2026-06-18T09:30:00.000000Z",
    "duration": 3.42,
    "num_pages": 12,
    "total_pages": 12,
    "raw_config": '{"table_output_format": "html"}',
    "source": "invoices/2026-06.pdf",
    "bucket": None,
}


class JobsQuery(PageQuery, DaysQuery):
    exclude_configs = serializers.BooleanField(
        default=False, help_text="Leave `raw_config` empty, for a smaller answer."
    )
    api_key = serializers.CharField(required=False, help_text="Only jobs of the key with this id.")
    region = serializers.CharField(required=False, help_text="Only jobs that ran in this region.")
    status = serializers.ChoiceField(JobStatus.choices, required=False)
    type = serializers.ChoiceField(JobType.choices, required=False)
    file_type = serializers.CharField(required=False, help_text="Only jobs on files of this type.")
    job_id = serializers.CharField(
        required=False,
        help_text="Only jobs whose ids begin so; the answer then is one page, of the first thousand that do.",
    )


class JobLine(serializers.ModelSerializer[Job]):
    """A job as the list shows it."""

    raw_config = serializers.SerializerMethodField(
        help_text="The configuration as a JSON string; empty when none was reported, it was left out, or erased."
    )
    source = serializers.JSONField(  # type: ignore[assignment]
        help_text="What was processed, as it was reported."
    )
    bucket = serializers.SerializerMethodField(help_text="Always null: results are kept by the API itself.")

    class Meta:
        model = Job
        fields = list(_JOB)

    def get_raw_config(self, job: Job) -> str:
        text: str = self.context["configurations"].get(job.config_sha256, "")
        return text

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_bucket(self, job: Job) -> None:
        return None


class Rate(serializers.ModelSerializer[CreditRate]):
    """A line of the price book. Cells and charts are charged by the `quantity`, begun units whole."""

    class Meta:
        model = CreditRate
        fields = [
            "product",
            "feature",
            "credits_per_unit",
            "unit",
            "minimum_credits",
            "batch_factor",
            "effective_from",
        ]


class UsageItem(serializers.ModelSerializer[UsageRecord]):
    """A metered fact of a job. A correction is an item of its own, which names the one it corrects.

    One that takes another back has its numbers below 0; one that stands in for another has them as they should be.
    """

    rate = serializers.SerializerMethodField(
        help_text="The price that applied; null when there was none. What failed is not charged."
    )

    class Meta:
        model = UsageRecord
        fields = [
            "idempotency_key",
            "product",
            "feature",
            "file_type",
            "pages",
            "quantity",
            "priority",
            "credits",
            "cost",
            "rate",
            "corrects",
            "reason",
            "timestamp",
            "attributes",
        ]

    @extend_schema_field(Rate(allow_null=True))
    def get_rate(self, record: UsageRecord) -> Any:
        rate = self.context["rates"].get(record.rate_id)
        return Rate(rate).data if rate else None


class JobDetail(JobLine):
    """A job with everything that is known of it."""

    api_key_id = serializers.SerializerMethodField(help_text="Null when the key is gone with its owner.")
    metadata = serializers.JSONField(help_text="As it was reported.")
    error = serializers.JSONField(help_text="Why the job failed, as it was reported.")
    erased = serializers.SerializerMethodField(
        help_text="What of its configuration, source, webhook, metadata and error was erased under the organization's "
        "data retention, or never stored."
    )
    erased_at = serializers.DateTimeField(help_text="When it was; null where nothing was.")
    usage = serializers.SerializerMethodField(help_text="What was metered, in the order it came.")

    class Meta(JobLine.Meta):
        fields = [
            *JobLine.Meta.fields,
            "api_key_id",
            "region",
            "credits",
            "metadata",
            "error",
            "erased",
            "erased_at",
            "usage",
        ]

    @extend_schema_field(serializers.ListField(child=serializers.ChoiceField(Job.DETAILS)))
    def get_erased(self, job: Job) -> list[str]:
        return job.erased or []

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_api_key_id(self, job: Job) -> str | None:
        key = reports.key_of(job)
        return key.uid if key else None

    @extend_schema_field(UsageItem(many=True))
    def get_usage(self, job: Job) -> Any:
        records = reports.records(job)
        return UsageItem(records, many=True, context={"rates": charges.rates(records)}).data


class Jobs(APIView):
    permission = Permission.JOBS_VIEW

    @extend_schema(
        operation_id="list_jobs",
        summary="List jobs",
        description="The request log, newest first. Hand `next_cursor` back as `cursor` until it is null: with a "
        "filter, a page may hold fewer jobs than asked for, or none, though older ones follow.",
        tags=["jobs"],
        parameters=[JobsQuery, ORG_ID],
        responses=inline_serializer(
            "JobList",
            {"jobs": JobLine(many=True), "next_cursor": serializers.CharField(allow_null=True)},
        ),
        examples=[
            OpenApiExample(
                "A page", value={"jobs": [_JOB], "next_cursor": "AAZLUe9xAAAAAAAAAAAAKg"}, response_only=True
            )
        ],
    )
    def get(self, request: OrganizationRequest) -> Response:
        asked = read_query(JobsQuery, request)
        names = ("api_key", "region", "type", "status", "file_type", "since", "until", "job_id")
        filters = Filters(**{name: asked.get(name) for name in names})
        if filters.job_id:
            page = reports.search(request.organization, filters=filters, limit=asked["limit"])
        else:
            page = reports.log(
                request.organization, limit=asked["limit"], older_than=asked.get("cursor"), filters=filters
            )
        configurations = (
            {} if asked["exclude_configs"] else reports.configurations(request.organization, page.jobs)
        )
        jobs = JobLine(page.jobs, many=True, context={"configurations": configurations}).data
        return Response({"jobs": jobs, "next_cursor": str(page.older) if page.older else None})


class JobById(APIView):
    permission = Permission.JOBS_VIEW

    @extend_schema(
        operation_id="get_job",
        summary="Get a job",
        description="One job with its configuration, what it cost and how that came about.",
        tags=["jobs"],
        parameters=[
            OpenApiParameter("job_id", str, OpenApiParameter.PATH, description="As the API named it."),
            ORG_ID,
        ],
        responses=JobDetail,
        examples=[
            OpenApiExample(
                "A job",
                value={
                    **_JOB,
                    "api_key_id": "key_2nXw8rTfZ0aYcQ5LbKdM",
                    "region": "eu",
                    "credits": 12.0,
                    "metadata": {"customer": "4711"},
                    "error": None,
                    "erased": [],
                    "erased_at": None,
                    "usage": [
                        {
                            "idempotency_key": "0b7c0a52:1",
                            "product": "parse",
                            "feature": "standard",
                            "file_type": "pdf",
                            "pages": 12,
                            "quantity": None,
                            "priority": "standard",
                            "credits": 12.0,
                            "cost": 0.12,
                            "rate": {
                                "product": "parse",
                                "feature": "standard",
                                "credits_per_unit": 1.0,
                                "unit": "page",
                                "minimum_credits": 0.0,
                                "batch_factor": 0.8,
                                "effective_from": "2026-01-01T00:00:00.000000Z",
                            },
                            "corrects": "",
                            "reason": "",
                            "timestamp": "2026-06-18T09:30:03.000000Z",
                            "attributes": None,
                        }
                    ],
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: OrganizationRequest, job_id: str) -> Response:
        job = reports.job(request.organization, job_id)
        if job is None:
            raise Http404("There is no job with this id.")
        context = {"configurations": reports.configurations(request.organization, [job])}
        return Response(JobDetail(job, context=context).data)
