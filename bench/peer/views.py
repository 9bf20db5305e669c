from collections import defaultdict
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import ApiKey
from bench.peer.models import PeerDay, PeerJob, PeerRecord
from usage.models import CreditRate, Feature, JobStatus, JobType, Product


class UsageSerializer(serializers.Serializer[Any]):
    idempotency_key = serializers.CharField(max_length=255)
    product = serializers.ChoiceField(Product.choices)
    feature = serializers.ChoiceField(Feature.choices)
    file_type = serializers.CharField(max_length=32)
    pages = serializers.IntegerField(min_value=0)
    timestamp = serializers.DateTimeField()


class JobSerializer(serializers.Serializer[Any]):
    job_id = serializers.CharField(max_length=128)
    api_key_id = serializers.CharField(max_length=40)
    type = serializers.ChoiceField(JobType.choices)
    status = serializers.ChoiceField(JobStatus.choices)
    created_at = serializers.DateTimeField()
    duration = serializers.FloatField(required=False)
    num_pages = serializers.IntegerField(required=False)
    region = serializers.CharField(max_length=32, required=False)
    config = serializers.JSONField(required=False)
    metadata = serializers.JSONField(required=False)
    usage = UsageSerializer(many=True)


class ReportJobs(APIView):
    authentication_classes = []
    permission_classes = []
    throttle_classes = []

    def post(self, request: Request) -> Response:
        body: Any = request.data
        reports = JobSerializer(data=body["jobs"], many=True)
        reports.is_valid(raise_exception=True)
        jobs = reports.validated_data
        organizations = dict(
            ApiKey.objects.filter(uid__in={job["api_key_id"] for job in jobs}).values_list(
                "uid", "organization_id"
            )
        )
        rates = {
            (rate.product, rate.feature): rate.credits_per_unit
            for rate in CreditRate.objects.order_by("effective_from")
        }
        with transaction.atomic():
            known = set(
                PeerRecord.objects.filter(
                    organization_id__in=set(organizations.values()),
                    idempotency_key__in=[item["idempotency_key"] for job in jobs for item in job["usage"]],
                ).values_list("organization_id", "idempotency_key")
            )
            records = [
                PeerRecord(
                    organization_id=organizations[job["api_key_id"]],
                    job_id=job["job_id"],
                    api_key_id=job["api_key_id"],
                    credits=item["pages"] * rates.get((item["product"], item["feature"]), Decimal(0)),
                    **item,
                )
                for job in jobs
                for item in job["usage"]
                if (organizations[job["api_key_id"]], item["idempotency_key"]) not in known
            ]
            PeerJob.objects.bulk_create(
                [
                    PeerJob(
                        organization_id=organizations[job["api_key_id"]],
                        **{name: value for name, value in job.items() if name != "usage"},
                    )
                    for job in jobs
                ],
                ignore_conflicts=True,
            )
            PeerRecord.objects.bulk_create(records)
            roll_up(records)
        return Response({"accepted": len(records), "duplicates": len(known)})


def roll_up(records: list[PeerRecord]) -> None:
    totals: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, Decimal(0)])
    for record in records:
        key = (
            record.organization_id,
            record.timestamp.date(),
            record.api_key_id,
            record.product,
            record.feature,
            record.file_type,
        )
        total = totals[key]
        total[0] += 1
        total[1] += record.pages
        total[2] += record.credits
    names = ("organization_id", "day", "api_key_id", "product", "feature", "file_type")
    for key, (requests, pages, credits) in totals.items():
        place = dict(zip(names, key, strict=True))
        found = PeerDay.objects.filter(**place).update(
            requests=F("requests") + requests, pages=F("pages") + pages, credits=F("credits") + credits
        )
        if not found:
            PeerDay.objects.create(**place, requests=requests, pages=pages, credits=credits)


def ready(request: HttpRequest) -> HttpResponse:
    return HttpResponse("peer")
