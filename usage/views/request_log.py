"""The request log, and the page of a job."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts import cursors
from accounts.access import MemberRequest, member_page
from accounts.cursors import Cursor
from accounts.models import ApiKey
from accounts.permissions import Permission
from usage import charges, configurations, ingest, reports
from usage.filter_forms import LogForm
from usage.models import Job, JobStatus, JobType, UsageRecord
from usage.reports import Filters, LogPage
from webhooks import attempts

PAGE = 50
LABELS = {
    "api_key": "API key",
    "region": "region",
    "type": "endpoint",
    "status": "status",
    "environment": "environment",
}
RECORDS_SHOWN = 200


@dataclass(frozen=True)
class Entry:
    """A line of the request log."""

    job: Job
    api_key: ApiKey | None


def entries(jobs: Iterable[Job], keys: Iterable[ApiKey]) -> list[Entry]:
    known = {key.pk: key for key in keys}
    return [Entry(job, known.get(job.api_key_id)) for job in jobs]


@member_page(Permission.JOBS_VIEW, for_support=True)
@require_safe
def listing(request: MemberRequest) -> HttpResponse:
    """Jobs, newest first, a page at a time. A choice that names nothing known is told, and left out."""
    organization = request.organization
    keys = reports.keys(organization)
    regions = reports.regions(organization)
    form = LogForm(request.GET)
    is_valid = form.is_valid()
    choices: dict[str, Iterable[str]] = {
        "api_key": [key.uid for key in keys],
        "region": regions,
        "type": JobType.values,
        "status": JobStatus.values,
        "environment": ApiKey.Environment.values,
    }
    chosen: dict[str, Any] = {name: _chosen(request.GET, name, known) for name, known in choices.items()}
    unknown = [LABELS[name] for name, value in chosen.items() if request.GET.get(name) and not value]
    filters = Filters(**chosen, **form.chosen("since", "until", "file_type", "job_id", "hour"))
    older_than = cursors.in_address(request.GET)
    newer_than = cursors.in_address(request.GET, "newer_than")
    day = form.cleaned_data.get("day")
    if day and day < date.max and not (older_than or newer_than):
        older_than = Cursor(reports.midnight(day + timedelta(days=1), organization), 0)
    if not is_valid:
        page = LogPage([], None, None)
    elif filters.job_id:
        page = reports.search(organization, filters=filters, limit=PAGE)
    else:
        page = reports.log(
            organization, limit=PAGE, filters=filters, older_than=older_than, newer_than=newer_than
        )
    is_newest = page.newer is None and older_than is None
    return render(
        request,
        "usage/request_log.html",
        {
            "form": form,
            "unknown": unknown,
            "entries": entries(page.jobs, keys),
            "keys": keys,
            "regions": regions,
            "types": JobType.choices,
            "statuses": JobStatus.choices,
            "environments": ApiKey.Environment.choices,
            "filters": filters,
            "is_filtered": filters != Filters(),
            "is_narrow": any(form.chosen("since", "until", "file_type", "day").values()) or form.errors,
            "is_newest": is_newest,
            "is_live": is_newest and is_valid and request.GET.get("live") == "on",
            "may_export": request.may(Permission.EXPORTS_CREATE),
            "looked_until": page.looked_until,
            "looked_at": reports.LOOK_BACK,
            "whole_day": _address(replace(filters, hour=None)),
            "newest": _address(filters),
            "live": _address(filters, live="on"),
            "older": _address(filters, older_than=page.older) if page.older else "",
            "newer": _address(filters, newer_than=page.newer) if page.newer else "",
        },
        # htmx shows an answer only if it is a good one.
        status=200 if (is_valid and not unknown) or request.headers.get("HX-Request") else 400,
    )


def _chosen(query: QueryDict, name: str, known: Iterable[str]) -> str | None:
    return next((value for value in known if value == query.get(name)), None)


def _address(filters: Filters, **place: Cursor | str) -> str:
    """The same page with these filters, at another place."""
    return "?" + urlencode({name: value for name, value in vars(filters).items() if value} | place)


@dataclass(frozen=True)
class Moment:
    """Something that happened to a job."""

    time: datetime
    text: str
    state: str = ""
    credits: Decimal | None = None


@member_page(Permission.JOBS_VIEW, for_support=True)
@require_safe
def job(request: MemberRequest, job_id: str) -> HttpResponse:
    """A job: when it ran, what it cost and why, and the exact configuration it ran with."""
    found = reports.job(request.organization, job_id)
    if found is None:
        raise Http404
    text = reports.configurations(request.organization, [found]).get(found.config_sha256, "")
    is_large = configurations.is_too_large(text)
    configuration = json.loads(text) if text and not is_large else None
    records = reports.records(found)
    shown = records[:RECORDS_SHOWN]
    api_key = reports.key_of(found)
    return render(
        request,
        "usage/job.html",
        {
            "job": found,
            "api_key": api_key,
            "may_open_key": api_key is not None and _may_open(request, api_key),
            "is_corrected": any(record.corrects for record in records),
            "timeline": _timeline(found, shown),
            "charges": charges.explained(found, shown),
            "records_left_out": max(len(records) - RECORDS_SHOWN, 0),
            "configuration": _pretty(configuration),
            "configuration_is_large": is_large,
            "steps": configurations.steps(configuration or {}),
            "may_preview": configuration is not None and request.may(Permission.PIPELINES_MANAGE),
            "source": _pretty(found.source),
            "error": _pretty(found.error),
            "metadata": _pretty(found.metadata),
            "may_see_webhooks": request.may(Permission.WEBHOOKS_VIEW),
            "sent": attempts.sent(request.organization, ingest.end_message(request.organization.pk, job_id))
            if request.may(Permission.WEBHOOKS_VIEW)
            else None,
        },
    )


def _may_open(request: MemberRequest, key: ApiKey) -> bool:
    """Whether the reader may see the key's page: nobody else may see one's personal keys."""
    if key.kind == ApiKey.Kind.PERSONAL:
        return key.user_id == request.user.pk and not request.looking
    return request.may(Permission.API_KEYS_VIEW)


def _pretty(value: Any) -> str:
    """JSON for people; a text stands for itself, and nothing for nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _timeline(job: Job, records: Sequence[UsageRecord]) -> list[Moment]:
    """What happened to a job, as far as it is known: usage that came after its last report, and corrections, too."""
    moments = [Moment(job.created_at, "Requested")]
    if job.is_terminal and job.duration is not None:
        ended = job.created_at + timedelta(seconds=job.duration)
        moments.append(Moment(ended, job.get_status_display(), job.status))
    reported = (
        "Last report received" if job.is_terminal else f"Reported as {job.get_status_display().lower()}"
    )
    came = reports.arrivals(records)
    later: dict[tuple[datetime, str], Decimal] = {}
    for record in records:
        at = came.get(record.idempotency_key)
        if at is None or (at <= job.updated_at and not record.corrects):
            continue
        text = f"Usage corrected: {record.reason}" if record.corrects else "Late usage received"
        later[at, text] = later.get((at, text), Decimal(0)) + record.credits
    changes = [Moment(at, text, credits=credits) for (at, text), credits in later.items()]
    known = sorted([Moment(job.updated_at, reported), *changes], key=lambda moment: moment.time)
    return [*moments, *known]
