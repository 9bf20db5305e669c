"""The usage of a period, in numbers and charts."""

from collections.abc import Sequence
from datetime import UTC, date
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.access import MemberRequest, member_page
from accounts.models import ApiKey
from accounts.permissions import Permission
from accounts.views.api_keys import variable
from usage import charts, forecast, periods, pipeline_calls, reports, summary
from usage.charts import Chart, Series, Slot
from usage.models import Feature, JobStatus, JobType, Product
from usage.periods import Granularity, Span
from usage.summary import TYPE_OF, Asked, Group, JobTotals, Summary
from usage.templatetags.jobs import dollars, duration
from usage.views.request_log import entries

LATEST = 5
LOOK_BACK = 2_000  # for these few: the log itself looks further
PERCENT = [0.0, 25.0, 50.0, 75.0, 100.0]
# What the form calls its parameters.
LABELS = {
    "period": "Period",
    "from": "From",
    "to": "To",
    "by": "Steps",
    "group": "Group by",
    "api_key": "API key",
    "environment": "Environment",
    "product": "Product",
    "file_type": "File type",
    "region": "Region of jobs",
}
KINDS = {Granularity.HOUR: "Hour", Granularity.DAY: "Day", Granularity.MONTH: "Month"}


@member_page(Permission.USAGE_VIEW, for_support=True)
@require_safe
def dashboard(request: MemberRequest) -> HttpResponse:
    """The usage that the address asks for. What makes no sense is told, and left out of what is shown instead."""
    organization = request.organization
    may_view_jobs = request.may(Permission.JOBS_VIEW)
    now = timezone.now()
    today = reports.today(organization, now=now)
    keys = reports.keys(organization)
    asked, problem, typed = _read(request.GET.dict(), keys, today)
    found = summary.summarize(organization, asked, keys=keys, with_choices=True, now=now)
    of_log = _of_log(asked) | {"api_key": asked.api_key}
    filters = reports.Filters(since=asked.period.start, until=asked.period.end, **of_log)
    latest = (
        reports.log(organization, limit=LATEST, filters=filters, look_back=LOOK_BACK).jobs
        if may_view_jobs
        else []
    )
    is_filtered = bool(asked.only or asked.region)
    comparison, changes = _compared(found, asked, today=today, first=reports.first_day(organization))
    whole_usage = "all regions" if asked.leaves_usage_whole else ""
    whole_jobs = "all file types" if asked.leaves_jobs_whole else ""
    # Of everything, and so beside everything only.
    expected = None if is_filtered else forecast.of_month(organization, now=now)
    if not (request.GET or expected or latest or found.totals.requests or reports.has_usage(organization)):
        return _first_request(request, [key for key in keys if key.state == "active"])
    context = {
        "asked": asked,
        "is_filtered": is_filtered,
        "problem": problem,
        "days": typed
        or {"period": asked.period.name, "from": str(asked.period.start), "to": str(asked.period.end)},
        "keys": keys,
        "choices": _choices(found),
        "found": found,
        "shown": _said(asked.period.start, asked.period.end),
        "comparison": comparison,
        "changes": changes,
        "forecast": expected,
        "whole_usage": whole_usage,
        "whole_jobs": whole_jobs,
        "usage_charts": [
            (id, _noted(title, whole_jobs if id == "jobs" else whole_usage), chart)
            for id, title, chart in _usage_charts(request, asked, found, keys, with_links=may_view_jobs)
        ],
        "small_charts": [
            (id, _noted(title, whole_jobs if id in {"success", "durations"} else whole_usage), chart)
            for id, title, chart in _small_charts(asked, found)
        ],
        "entries": entries(latest, keys),
        "may_view_jobs": may_view_jobs,
        "log": _log_address(request, asked) if may_view_jobs else "",
        "export": _export_address(organization.uid, asked),
        "export_note": ", ".join(filter(None, ["" if asked.group.dimension else "by product", whole_usage])),
    }
    # htmx shows an answer only if it is a good one.
    status = 400 if problem and not request.headers.get("HX-Request") else 200
    return render(request, "usage/dashboard.html", context, status=status)


def _first_request(request: MemberRequest, keys: Sequence[ApiKey]) -> HttpResponse:
    """Where nothing was used so far: how to begin."""
    return render(
        request,
        "usage/dashboard.html",
        {
            "is_new": True,
            "keys": keys,
            "may_create_keys": request.may(Permission.API_KEYS_MANAGE),
            "base_url": settings.BASE_URL,
            "variable": variable(),
            "first_request": pipeline_calls.curl({}, type=JobType.PARSE, variable=variable()),
        },
    )


def _read(query: dict[str, str], keys: Sequence[ApiKey], today: date) -> tuple[Asked, str, dict[str, str]]:
    """What is asked for, and what is wrong with it: what can be shown instead is without that.

    Days that make no sense are handed back as they were typed, to be put right.
    """
    problem = ""
    typed: dict[str, str] = {}
    while True:
        try:
            return summary.read(query, keys=keys, today=today), problem, typed
        except ValidationError as error:
            [(name, [message]), *_] = error.message_dict.items()
            problem = problem or f"{LABELS[name]}: {message}"
            # A day of a range says nothing without the other.
            gone = {"period", "from", "to"} if name in {"period", "from", "to"} else {name}
            if name in {"from", "to"}:
                typed = {
                    "period": periods.RANGE,
                    "from": query.get("from", ""),
                    "to": query.get("to", ""),
                }
            query = {name: value for name, value in query.items() if name not in gone}


def _choices(found: Summary) -> dict[str, Any]:
    return {
        "periods": periods.NAMES.items(),
        "granularities": [(value, f"By {label.lower()}") for value, label in Granularity.choices],
        "groups": [(group.value, group.label.replace("Api", "API")) for group in Group],
        "products": Product.choices,
        "environments": ApiKey.Environment.choices,
        "file_types": found.file_types,
        "regions": found.regions,
    }


def _said(start: Any, end: Any) -> str:
    """Days in words: 18 Jun 2026 · 19 May – 17 Jun 2026."""
    if start == end:
        return f"{start:%-d %b %Y}"
    return f"{start:%-d %b}{f' {start:%Y}' if start.year != end.year else ''} – {end:%-d %b %Y}"


# ── Charts ───────────────────────────────────────────────────────────────────────────────────────────────────
def _usage_charts(
    request: MemberRequest, asked: Asked, found: Summary, keys: Sequence[ApiKey], *, with_links: bool
) -> list[tuple[str, str, Chart]]:
    """The id, title and drawing of each chart of a number and what it is made of."""
    kind = KINDS[asked.period.by]
    slots = _slots(found.spans, asked, _log_address(request, asked) if with_links else "")
    drawn = [
        ("requests", "Requests by endpoint", _bars(slots, _of_products(found, "requests"), "requests", kind))
    ]
    name = asked.group.label.lower().replace("api", "API")
    if asked.group.dimension is None:
        job_slots = _slots(found.job_spans, asked, _log_address(request, asked) if with_links else "")
        series = charts.limited(
            [
                Series(_label(asked.group, value, keys), counts, query=_query(asked.group, value))
                for value, counts in found.job_groups.items()
            ]
        )
        by = "Day" if asked.period.by is Granularity.HOUR else kind
        drawn.append(("jobs", f"Finished jobs by {name}", _bars(job_slots, series, "jobs", by)))
        credits = charts.lines(
            slots,
            [Series("Credits", [total.credits for total in found.by_span])],
            write=charts.counted("credits"),
            footer=[charts.plain(sum(total.credits for total in found.by_span))],
            kind=kind,
        )
        return [*drawn, ("credits", "Credits", credits)]
    if asked.group is Group.PRODUCT:
        series = _of_products(found, "credits")
    else:
        drawn.append(
            (
                "group",
                f"Requests by {name}",
                _bars(slots, _of_groups(asked, found, keys, "requests"), "requests", kind),
            )
        )
        series = _of_groups(asked, found, keys, "credits")
    return [*drawn, ("credits", f"Credits by {name}", _bars(slots, series, "credits", kind))]


def _noted(title: str, note: str) -> str:
    """A title that says what a filter left as it is."""
    return f"{title}, {note}" if note else title


def _bars(slots: Sequence[Slot], series: Sequence[Series], unit: str, kind: str) -> Chart:
    return charts.stacked_bars(slots, series, unit=unit, kind=kind)


def _small_charts(asked: Asked, found: Summary) -> list[tuple[str, str, Chart]]:
    """The id, title and drawing of each chart of one number over time."""
    kind = KINDS[asked.period.by]
    slots = _slots(found.spans, asked, "")
    totals, jobs = found.by_span, found.jobs_by_span
    costs = [total.cost for total in totals]
    pages = [total.pages for total in totals]
    of_usage = [
        (
            "cost",
            "Cost at list price in dollars",
            charts.lines(
                slots, [Series("Cost", costs)], write=_dollars, footer=[_dollars(sum(costs))], kind=kind
            ),
        ),
        (
            "pages",
            "Pages",
            charts.lines(
                slots,
                [Series("Pages", pages)],
                write=charts.counted("pages"),
                footer=[charts.plain(sum(pages))],
                kind=kind,
            ),
        ),
    ]
    if asked.period.by is Granularity.HOUR:
        # Jobs are not kept by hour, and a dot a day is no line.
        return of_usage
    return [
        *of_usage,
        (
            "success",
            "Success rate in percent",
            charts.lines(
                slots,
                [Series("Success rate", [each.success_rate for each in jobs])],
                write=_percent,
                footer=[_percent(found.jobs.success_rate)],
                ticks=PERCENT,
                kind=kind,
            ),
        ),
        (
            "durations",
            "Duration of jobs in seconds",
            charts.lines(
                slots,
                [
                    Series("p50", [each.p50 for each in jobs], 1),
                    Series("p95", [each.p95 for each in jobs], 2),
                ],
                write=_seconds,
                footer=[_seconds(found.jobs.p50), _seconds(found.jobs.p95)],
                kind=kind,
            ),
        ),
    ]


def _slots(spans: Sequence[Span], asked: Asked, log: str) -> list[Slot]:
    slots = []
    for span in spans:
        url = f"{log}{'&' if '?' in log else '?'}since={span.first}&until={span.last}" if log else ""
        if span.begin:
            begin = urlencode({"hour": span.begin.astimezone(UTC).isoformat()})
            slots.append(charts.hour(span.begin, url and f"{url}&{begin}"))
        elif asked.period.by is Granularity.MONTH:
            slots.append(charts.month(span.first, span.last, url))
        else:
            slots.append(charts.day(span.first, url))
    return slots


def _of_products(found: Summary, measure: str) -> list[Series]:
    """A product keeps its colour, whichever others are shown beside it."""
    return [
        Series(
            product.label,
            [getattr(total, measure) for total in found.products[product]],
            number,
            _query(Group.PRODUCT, product),
        )
        for number, product in enumerate(Product, start=1)
        if product in found.products
    ]


def _of_groups(asked: Asked, found: Summary, keys: Sequence[ApiKey], measure: str) -> list[Series]:
    return charts.limited(
        [
            Series(
                _label(asked.group, value, keys),
                [getattr(total, measure) for total in totals],
                query=_query(asked.group, value),
            )
            for value, totals in found.groups.items()
        ]
    )


def _label(group: Group, value: str, keys: Sequence[ApiKey]) -> str:
    match group:
        case Group.FEATURE:
            return str(Feature(value).label) if value in Feature.values else value
        case Group.API_KEY:
            key = next((key for key in keys if key.uid == value), None)
            return key.label if key else "Deleted keys"
        case Group.REGION:
            return value.upper() or "No region"
        case Group.STATUS:
            return str(JobStatus(value).label)
    return value


# ── Addresses ────────────────────────────────────────────────────────────────────────────────────────────────
def _of_log(asked: Asked) -> dict[str, Any]:
    """The filters of the request log that match these."""
    chosen = {
        "api_key": asked.api_key.uid if asked.api_key else "",
        "environment": asked.environment,
        "type": TYPE_OF[asked.product] if asked.product else "",
        "file_type": asked.file_type,
        "region": asked.region,
    }
    return {name: value for name, value in chosen.items() if value}


def _log_address(request: MemberRequest, asked: Asked) -> str:
    address = reverse("usage:jobs", args=[request.organization.uid])
    filters = urlencode(_of_log(asked))
    return f"{address}?{filters}" if filters else address


def _query(group: Group, value: str) -> str:
    """What narrows the request log to this value, if it can be narrowed to it."""
    match group:
        case Group.PRODUCT:
            return f"&type={TYPE_OF[value]}"
        case Group.API_KEY if value != reports.DELETED_KEY:
            return f"&{urlencode({'api_key': value})}"
        case Group.FILE_TYPE | Group.REGION | Group.STATUS if value:
            return f"&{urlencode({group.value: value})}"
    return ""


def _export_address(organization_uid: str, asked: Asked) -> str:
    query = QueryDict(mutable=True)
    query["orgId"] = organization_uid
    query["startDate"], query["endDate"] = str(asked.period.start), str(asked.period.end)
    query["groupBy"] = asked.group.value if asked.group.dimension else Group.PRODUCT.value
    if asked.product:
        query["product"] = asked.product
    if asked.file_type:
        query["fileType"] = asked.file_type
    if asked.keys is not None:
        # An environment without keys is none to leave out.
        query.setlist("apiKey", [key.uid for key in asked.keys] or [""])
    query["format"] = "csv"
    return f"{reverse('usage-export')}?{query.urlencode()}"


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────
def _dollars(value: charts.Number) -> str:
    return dollars(Decimal(value))


def _percent(value: charts.Number | None) -> str:
    return "–" if value is None else f"{charts.plain(round(float(value), 1))} %"


def _seconds(value: charts.Number | None) -> str:
    return duration(None if value is None else float(value))


def _compared(found: Summary, asked: Asked, *, today: date, first: date | None) -> tuple[str, dict[str, str]]:
    """What the totals are compared with, and how each compares, in words; `first` is the first day with usage."""
    whole = found.compared
    if whole is None:
        if asked.period.start > today:
            return "these days are still to come", {}
        return "so far today; whole days only are compared", _of_each("so far today")
    if first is None or whole.before_start < first:
        began = f": usage began on {_said(first, first)}" if first else ""
        return f"not compared with the days before{began}", _of_each("no data before")
    before = _said(whole.before_start, whole.before_end)
    changes = {
        name: _change(value, getattr(whole.before, name)) for name, value in vars(whole.totals).items()
    } | _job_changes(whole.jobs, whole.jobs_before)
    if whole.end < asked.period.end:
        return f"compared by whole days: {_said(whole.start, whole.end)} with {before}", changes
    return f"compared with {before}", changes


def _of_each(words: str) -> dict[str, str]:
    return dict.fromkeys(["requests", "pages", "credits", "cost", "success_rate", "p50"], words)


def _job_changes(now: JobTotals, before: JobTotals) -> dict[str, str]:
    changes = {"p50": _change(now.p50 or 0, before.p50 or 0, "longer", "shorter"), "success_rate": ""}
    if now.success_rate is not None and before.success_rate is not None:
        points = round(now.success_rate - before.success_rate, 1)
        direction = "more" if points > 0 else "less"
        changes["success_rate"] = f"{abs(points):g} points {direction} than before" if points else "as before"
    return changes


def _change(now: Any, before: Any, more: str = "more", less: str = "less") -> str:
    if before <= 0:
        return "none before" if now > 0 else ""
    percent = round((float(now) - float(before)) * 100 / float(before))
    if percent > 999:
        return "over ten times as much as before"
    if percent == 0:
        return "as before"
    return f"{abs(percent)} % {more if percent > 0 else less} than before"
