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
from billing import causes, checkout, hosted, invoices, offers, summary
from billing.views.pages import account_of, address, lead_to_stripe, shared
from usage import charts, forecast, reports
from usage.charts import Chart, Series

DAYS = 30
INVOICES = 3


@member_page(Permission.BILLING_VIEW, for_support=True)
@require_safe
def overview(request: MemberRequest) -> HttpResponse:
    organization, now = request.organization, timezone.now()
    account = account_of(request)
    found = summary.of(request.calls, now=now)  # type: ignore[attr-defined]
    used = dict(_used(organization))
    common = shared(request, account)
    can_manage = common["may_manage"] and common["can_pay"] and not account.is_invoiced
    may_pay = can_manage and request.calls.owes and not request.looking  # type: ignore[attr-defined]
    context: dict[str, Any] = {
        **common,
        "has_portal": can_manage and account.stripe_customer,
        "pay_url": _pay_url(organization) if may_pay else "",
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
    account = account_of(request)
    next = offers.following(account)
    context = {
        "account": account,
        "upcoming": invoices.upcoming(request.organization),
        "next": next,
        "next_price": next.plan.price(next.interval) if next and next.plan else None,
        "period": summary.of(request.calls).period if next else None,  # type: ignore[attr-defined]
    }
    return render(request, "billing/next_invoice.html", context)


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


def _pay_url(organization: Organization) -> str:
    """Where the oldest invoice that is still open is paid, at Stripe; empty where there is none."""
    due = invoices.of(organization).filter(status="open").last()
    return hosted.link(due.hosted_url) if due else ""


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
