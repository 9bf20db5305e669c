"""The usage of the last days, in numbers and charts."""

from decimal import Decimal

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import MemberRequest, member_page
from accounts.permissions import Permission
from usage import charts, reports
from usage.models import Product
from usage.reports import Totals
from usage.views.request_log import entries

PERIODS = (7, 10, 30)
DEFAULT_PERIOD = 30
LATEST = 5


@member_page(Permission.USAGE_VIEW)
@require_safe
def dashboard(request: MemberRequest) -> HttpResponse:
    """Requests by endpoint and credits by day, for all keys or one. What the address asks beyond that is ignored."""
    organization = request.organization
    keys = reports.keys(organization)
    days = next((days for days in PERIODS if str(days) == request.GET.get("days")), DEFAULT_PERIOD)
    api_key = next((key for key in keys if key.uid == request.GET.get("api_key")), None)
    usage = reports.dashboard(organization, days=days, api_key=api_key)
    # A product keeps its colour, whichever others are shown beside it.
    products = [
        (number, product.label, usage.requests[product])
        for number, product in enumerate(Product, start=1)
        if product in usage.requests
    ]
    may_view_jobs = request.may(Permission.JOBS_VIEW)
    latest = (
        reports.log(
            organization, limit=LATEST, filters=reports.Filters(api_key=api_key.uid if api_key else None)
        ).jobs
        if may_view_jobs
        else []
    )
    return render(
        request,
        "usage/dashboard.html",
        {
            "keys": keys,
            "api_key": api_key,
            "periods": PERIODS,
            "days": days,
            "totals": usage.totals,
            "changes": _changes(usage.totals, usage.before),
            "requests_chart": charts.stacked_bars(usage.days, products, unit="requests"),
            "credits_chart": charts.line(usage.days, usage.credits, unit="credits"),
            "entries": entries(latest, keys),
            "may_view_jobs": may_view_jobs,
            "may_create_keys": request.may(Permission.API_KEYS_MANAGE),
            "is_new": not latest and not reports.has_usage(organization),
            "base_url": settings.BASE_URL,
        },
    )


def _changes(now: Totals, before: Totals) -> dict[str, str]:
    """How each total compares with the one of as many days before, in words."""
    return {name: _change(value, getattr(before, name)) for name, value in vars(now).items()}


def _change(now: Decimal | int, before: Decimal | int) -> str:
    if before <= 0:
        return "none in the days before" if now > 0 else ""
    percent = round((now - before) * 100 / before)
    if percent > 999:
        return "over ten times the days before"
    if percent == 0:
        return "as in the days before"
    return f"{abs(percent)} % {'above' if percent > 0 else 'below'} the days before"
