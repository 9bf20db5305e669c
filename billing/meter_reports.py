"""Writing whole credits of overage for Stripe's meter, in the transaction that settles them; `metering` sends them.

The meter counts whole credits, so a fraction waits for the next report. What is no longer billed is taken back as far
as it was reported in the same period, and otherwise reduces what is reported later: Stripe never counts below 0.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from django.db.models import Count, Sum

from billing.models import CreditEntry, MeterReport

if TYPE_CHECKING:
    from billing.settlement import Account


def write(accounts: "Sequence[Account]", now: datetime) -> None:
    """Write a report for each account whose overage has reached a whole credit, and refer its entries to it."""
    due = [account for account in accounts if account.is_metered and abs(account.overage_pending) >= 1]
    if not due:
        return
    hour = now.replace(minute=0, second=0, microsecond=0)
    organizations = [account.organization_id for account in due]
    of_hour = MeterReport.objects.filter(organization__in=organizations, hour=hour)
    sequences = dict(of_hour.values_list("organization_id").annotate(Count("id")).order_by())
    taking_back = [account for account in due if account.overage_pending < 0]
    reported = _reported(taking_back)
    reports, reporting = [], []
    for account in due:
        quantity = _whole(account.overage_pending)
        if quantity < 0:
            quantity = max(quantity, -reported.get(account.organization_id, 0))
        if not quantity:
            continue
        sequence = sequences.get(account.organization_id, 0)
        reports.append(_report(account, quantity, hour, sequence, now))
        reporting.append(account)
        account.overage_pending -= quantity
    for account, report in zip(reporting, MeterReport.objects.bulk_create(reports), strict=True):
        for entry in account.entries:
            if entry.kind == CreditEntry.Kind.OVERAGE:
                entry.meter_report_id = report.pk


def _whole(credits: Decimal) -> int:
    return int(credits.to_integral_value(ROUND_FLOOR if credits > 0 else ROUND_CEILING))


def _reported(accounts: "Sequence[Account]") -> dict[int, int]:
    """What these organizations' meters count in the period that runs, by our reports."""
    if not accounts:
        return {}
    starts = {account.organization_id: account.period_start for account in accounts}
    sums = (
        MeterReport.objects.filter(
            organization__in=starts, period_start__gte=min(filter(None, starts.values()))
        )
        .exclude(state=MeterReport.State.REFUSED)
        .values_list("organization_id", "period_start")
        .annotate(Sum("quantity"))
        .order_by()
    )
    return {organization: total for organization, start, total in sums if start == starts[organization]}


def _report(account: "Account", quantity: int, hour: datetime, sequence: int, now: datetime) -> MeterReport:
    assert account.period_start
    return MeterReport(
        organization_id=account.organization_id,
        hour=hour,
        sequence=sequence,
        quantity=quantity,
        identifier=f"cr:{account.organization_id}:{hour:%Y%m%d%H}:{sequence}",
        stripe_customer=account.stripe_customer,
        stripe_subscription=account.stripe_subscription,
        period_start=account.period_start,
        timestamp=moment(account.period_start, account.period_end, now),
        next_attempt_at=now,
    )


def moment(start: datetime, end: datetime | None, now: datetime) -> datetime:
    """The moment that Stripe is told, within a period: before a new one is known of, usage belongs to the old one.

    Stripe tells what it counted by minutes, so that none is in the minute in which the next period begins.
    """
    last = end.replace(second=0, microsecond=0) - timedelta(seconds=1) if end else now
    return max(start, min(now, last))
