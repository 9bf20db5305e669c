"""What a month will come to, if it goes on as it went lately."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from django.utils import timezone

from accounts.models import Organization
from usage import alert_periods, reports, spending
from usage.alert_periods import Kind, Period

# Whole weeks, so that working days and weekends count as often as they come.
DAYS = 28
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Forecast:
    """Credits and list cost of the organization's month: so far, and in the end.

    For the time that is left of the month, as much a day is added as in the last `days` full days on average: 28, or
    as many as there are since the first usage in them.
    """

    month: date
    credits_so_far: Decimal
    cost_so_far: Decimal
    credits: Decimal
    cost: Decimal
    days: int


def of_month(organization: Organization, *, now: datetime | None = None) -> Forecast | None:
    """The forecast of the month it is in the organization's zone; None without a full day to go by.

    What was spent is what caps and alerts go by.
    """
    now = now or timezone.now()
    month = alert_periods.current(organization, Kind.MONTHLY, now=now)
    today = now.astimezone(organization.zone_at(now)).date()
    earliest = today - timedelta(days=DAYS)
    credits = dict(reports.credits_by_day(organization, start=min(month.start, earliest), end=month.last))
    used = [day for day in credits if earliest <= day < today]
    if not used:
        return None
    lately = Period(min(used), today, now)
    days = (lately.next - lately.start).days
    left = Decimal((month.end - now).total_seconds()) / 86_400 / days
    credits_so_far, credits_lately = (
        sum((credits[day] for day in credits if period.start <= day < period.next), Decimal(0))
        for period in (month, lately)
    )
    cost_so_far, cost_lately = spending.spend_each(organization, [month, lately])
    return Forecast(
        month=month.start,
        credits_so_far=credits_so_far,
        cost_so_far=cost_so_far,
        credits=(credits_so_far + credits_lately * left).quantize(CENT, ROUND_HALF_UP),
        cost=(cost_so_far + cost_lately * left).quantize(CENT, ROUND_HALF_UP),
        days=days,
    )
