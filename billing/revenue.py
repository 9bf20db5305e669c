"""What came in, of all organizations: for the back office. What is invoiced by hand is not known here."""

from datetime import UTC, date, datetime, time
from decimal import Decimal

from django.db.models import Sum
from django.db.models.functions import TruncDate

from billing.models import Invoice


def paid_by_day(*, start: date) -> dict[date, Decimal]:
    """Dollars of the invoices that were paid on each day (UTC) since then: plans, overage, and packs of credits.

    What was given back later is not taken off.
    """
    paid = Invoice.objects.filter(paid_at__gte=datetime.combine(start, time(), UTC), amount_paid__gt=0)
    by_day = paid.annotate(day=TruncDate("paid_at", tzinfo=UTC)).values("day").order_by("day")
    return dict(by_day.annotate(sum=Sum("amount_paid")).values_list("day", "sum"))
