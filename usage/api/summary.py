"""The dashboard for programs: a period in totals, beside the one before, and as a series."""

from datetime import UTC
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.base import ORG_ID, DayField, OrganizationRequest, read_query
from accounts.models import ApiKey
from accounts.permissions import Permission
from usage import forecast, periods, reports, summary
from usage.models import Product
from usage.periods import Granularity, Span
from usage.reports import Totals
from usage.summary import Group, JobTotals, Summary


class UsageSummaryQuery(serializers.Serializer[Any]):
    """What the address of the usage page says, in the same words."""

    period = serializers.ChoiceField(
        list(periods.NAMES),
        required=False,
        allow_blank=True,
        help_text="Last days, today included; or `range`, with `from` and `to`. The last 30 days by default.",
    )
    to = DayField(required=False, help_text="Last day of a range, which counts as well; today.")
    by = serializers.ChoiceField(
        Granularity.choices,
        required=False,
        allow_blank=True,
        help_text="What a step of the series is. Hours for up to 2 days, days for up to 366.",
    )
    group = serializers.ChoiceField(
        Group.choices,
        default=Group.PRODUCT,
        allow_blank=True,
        help_text="What the series is told apart by. `region` and `status` count finished jobs.",
    )
    api_key = serializers.CharField(required=False, allow_blank=True, help_text="Only the key with this id.")
    environment = serializers.ChoiceField(
        ApiKey.Environment.choices, required=False, allow_blank=True, help_text="Only keys of it."
    )
    product = serializers.ChoiceField(
        Product.choices, required=False, allow_blank=True, help_text="For jobs, the endpoint called."
    )
    file_type = serializers.CharField(
        required=False, allow_blank=True, help_text="Narrows what was used; jobs are not kept by file type."
    )
    region = serializers.CharField(
        required=False, allow_blank=True, help_text="Narrows jobs; what was used is not kept by region."
    )


# A word of the language, which cannot name a field of a class.
UsageSummaryQuery._declared_fields["from"] = DayField(
    required=False, help_text="First day of a range, as yyyy-mm-dd in the organization's time zone."
)


class Figures(serializers.Serializer[Any]):
    requests = serializers.IntegerField()
    pages = serializers.IntegerField()
    credits = serializers.FloatField()
    cost = serializers.FloatField(help_text="Credits at list price, in dollars.")
    jobs = serializers.IntegerField(help_text="Finished jobs.")
    success_rate = serializers.FloatField(
        allow_null=True, help_text="Completed jobs in percent of those completed or failed."
    )
    duration_p50 = serializers.FloatField(allow_null=True, help_text="Seconds, from a histogram.")
    duration_p95 = serializers.FloatField(allow_null=True)


class Step(serializers.Serializer[Any]):
    start = serializers.CharField(help_text="The first day of the step; for hours, the moment in UTC.")
    group = serializers.CharField()
    requests = serializers.IntegerField(required=False)
    pages = serializers.IntegerField(required=False)
    credits = serializers.FloatField(required=False)
    cost = serializers.FloatField(required=False)
    jobs = serializers.IntegerField(required=False, help_text="By region or status: this alone.")


class ForecastAnswer(serializers.Serializer[Any]):
    """What the organization's month will come to, whatever is filtered."""

    month = serializers.DateField(help_text="Its first day.")
    credits_so_far = serializers.FloatField()
    cost_so_far = serializers.FloatField()
    credits = serializers.FloatField()
    cost = serializers.FloatField()
    days = serializers.IntegerField(
        help_text="For the time left, as much a day is added as in so many last full days on average."
    )


class UsageSummaryAnswer(serializers.Serializer[Any]):
    organization_id = serializers.CharField()
    time_zone = serializers.CharField(help_text="In which days are cut.")
    to = serializers.DateField()
    by = serializers.ChoiceField(Granularity.choices)
    group = serializers.ChoiceField(Group.choices)
    before_from = serializers.DateField(help_text="First day of the period compared with.")
    before_to = serializers.DateField()
    totals = Figures()
    before = Figures()
    series = Step(many=True)
    forecast = ForecastAnswer(allow_null=True)


UsageSummaryAnswer._declared_fields["from"] = serializers.DateField()


_FIGURES: dict[str, Any] = {
    "requests": 49,
    "pages": 212,
    "credits": 248.5,
    "cost": 2.485,
    "jobs": 48,
    "success_rate": 97.9,
    "duration_p50": 2.1,
    "duration_p95": 11.4,
}


class UsageSummary(APIView):
    permission = Permission.USAGE_VIEW

    @extend_schema(
        operation_id="summarize_usage",
        summary="Summarize usage",
        description="What the usage page shows: totals of a period, the same of the period before, and a series. "
        "Steps without usage are absent.",
        tags=["usage"],
        parameters=[UsageSummaryQuery, ORG_ID],
        responses=UsageSummaryAnswer,
        examples=[
            OpenApiExample(
                "Two days by product",
                value={
                    "organization_id": "org_7bUq1sVdE3kPzHx9RwGm",
                    "time_zone": "UTC",
                    "from": "2026-06-17",
                    "to": "2026-06-18",
                    "by": "day",
                    "group": "product",
                    "before_from": "2026-06-15",
                    "before_to": "2026-06-16",
                    "totals": _FIGURES,
                    "before": _FIGURES,
                    "series": [
                        {
                            "start": "2026-06-17",
                            "group": "parse",
                            "requests": 40,
                            "pages": 190,
                            "credits": 212.0,
                            "cost": 2.12,
                        },
                        {
                            "start": "2026-06-18",
                            "group": "extract",
                            "requests": 9,
                            "pages": 22,
                            "credits": 36.5,
                            "cost": 0.365,
                        },
                    ],
                    "forecast": {
                        "month": "2026-06-01",
                        "credits_so_far": 2210.5,
                        "cost_so_far": 22.105,
                        "credits": 3705.25,
                        "cost": 37.05,
                        "days": 28,
                    },
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: OrganizationRequest) -> Response:
        checked = read_query(UsageSummaryQuery, request, and_no_others=True)
        organization, now = request.organization, timezone.now()
        keys = reports.keys(organization)
        query = {name: str(value) for name, value in checked.items()}
        asked = summary.read(query, keys=keys, today=reports.today(organization, now=now))
        found = summary.summarize(organization, asked, keys=keys, now=now)
        expected = forecast.of_month(organization, now=now)
        period = asked.period
        return Response(
            {
                "organization_id": organization.uid,
                "time_zone": str(organization.zone_at(now)),
                "from": period.start,
                "to": period.end,
                "by": period.by,
                "group": asked.group,
                "before_from": period.before_start,
                "before_to": period.before_end,
                "totals": _figures(found.totals, found.jobs),
                "before": _figures(found.before, found.jobs_before),
                "series": _series(found),
                "forecast": vars(expected) if expected else None,
            }
        )


def _figures(totals: Totals, jobs: JobTotals) -> dict[str, Any]:
    return {
        **vars(totals),
        "jobs": jobs.jobs,
        "success_rate": jobs.success_rate,
        "duration_p50": jobs.p50,
        "duration_p95": jobs.p95,
    }


def _series(found: Summary) -> list[dict[str, Any]]:
    steps = [
        {"start": _start(span), "group": group, **vars(totals[place])}
        for place, span in enumerate(found.spans)
        for group, totals in found.groups.items()
        if any(vars(totals[place]).values())
    ]
    return steps + [
        {"start": _start(span), "group": group, "jobs": counts[place]}
        for place, span in enumerate(found.job_spans)
        for group, counts in found.job_groups.items()
        if counts[place]
    ]


def _start(span: Span) -> str:
    if span.begin:
        return span.begin.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return span.first.isoformat()
