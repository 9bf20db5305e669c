"""What a month will come to, if it goes on as it went lately."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal

from django.utils import timezone

from accounts.models import Organization
from usage import reports

# Whole weeks, so that working days and weekends count as often as they come.
DAYS = 28


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
    """The forecast of the month it is in the organization's zone; None without a full day to go by."""
    now = now or timezone.now()
    zone = organization.zone_at(now)
    today = now.astimezone(zone).date()
    first = today.replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    rows = reports.day_totals(organization, start=min(first, today - timedelta(days=DAYS)), end=today)
    lately = [row for row in rows if today - timedelta(days=DAYS) <= row[0] < today]
    if not lately:
        return None
    days = (today - lately[0][0]).days
    end = datetime.combine(following, time(), tzinfo=zone)
    left = Decimal((end - now).total_seconds()) / 86_400 / days
    credits, cost = _sum(row for row in rows if row[0] >= first)
    lately_credits, lately_cost = _sum(lately)
    return Forecast(
        month=first,
        credits_so_far=credits,
        cost_so_far=cost,
        credits=(credits + lately_credits * left).quantize(Decimal("0.01"), ROUND_HALF_UP),
        cost=(cost + lately_cost * left).quantize(Decimal("0.01"), ROUND_HALF_UP),
        days=days,
    )


def _sum(rows: Iterable[tuple[date, Decimal, Decimal]]) -> tuple[Decimal, Decimal]:
    credits, cost = Decimal(0), Decimal(0)
    for _, of_credits, of_cost in rows:
        credits += of_credits
        cost += of_cost
    return credits, cost
