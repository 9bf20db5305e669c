"""The first page of billing: the plan, the credits and the payments of an organization at a glance."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from accounts.access import MemberRequest, actor_of, member_page
from accounts.models import Organization
from accounts.permissions import Permission
from billing import causes, checkout, invoices, offers, summary
from billing.views.pages import account_of, address, lead_to_stripe, shared
from usage import charts, forecast, reports
from usage.charts import Chart, Series

DAYS = 30
INVOICES = 3


@member_page(Permission.BILLING_VIEW)
@require_safe
def overview(request: MemberRequest) -> HttpResponse:
    organization, now = request.organization, timezone.now()
    account = account_of(request)
    found = summary.of(request.calls, now=now)  # type: ignore[attr-defined]
    used = dict(_used(organization))
    context: dict[str, Any] = {
        **shared(request, account),
        "found": found,
        "features": offers.features(account.plan, account.interval, found.terms),
        "next": offers.following(account),
        "chart": _chart(organization, used) if any(used.values()) else None,
        "days": DAYS,
        "forecast": forecast.of_month(organization, now=now),
        "invoices": invoices.of(organization)[:INVOICES],
        "cap": getattr(account.organization, "spend_cap", None),
        "top_up": getattr(account.organization, "auto_top_up", None),
    }
    return render(request, "billing/overview.html", context)


@member_page(Permission.BILLING_VIEW)
@require_safe
def next_invoice(request: MemberRequest) -> HttpResponse:
    """What the next invoice will be as things stand: a fragment, for Stripe may take its time to say."""
    upcoming = invoices.upcoming(request.organization)
    return render(request, "billing/next_invoice.html", {"upcoming": upcoming})


@member_page(Permission.BILLING_MANAGE)
@require_POST
def portal(request: MemberRequest) -> HttpResponse:
    """Lead to Stripe's portal: payment methods, billing address, tax id, invoices."""
    return lead_to_stripe(
        request,
        lambda: checkout.portal(
            organization=request.organization,
            actor=actor_of(request),
            return_url=address(request.organization, "overview"),
        ),
        back="billing:overview",
    )


def _used(organization: Organization) -> list[tuple[Any, Decimal]]:
    """The credits of each of the last days, those without usage as well."""
    today = reports.today(organization)
    start = today - timedelta(days=DAYS - 1)
    used = dict(reports.credits_by_day(organization, start=start, end=today))
    days = [start + timedelta(days=number) for number in range(DAYS)]
    return [(day, used.get(day, Decimal(0))) for day in days]


def _chart(organization: Organization, used: dict[Any, Decimal]) -> Chart:
    slots = [charts.day(day, causes.usage_of(organization, day)) for day in used]
    return charts.stacked_bars(slots, [Series("Credits", list(used.values()))], unit="credits")
