"""Rows that Stripe's side would have led to."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from accounts.models import Organization
from billing.models import AutoTopUp, CreditPack, Invoice


def invoice(organization: Organization, number: int = 1, **fields: Any) -> Invoice:
    """An invoice of ten dollars, paid that many days ago."""
    values: dict[str, Any] = {
        "stripe_id": f"in_{number}",
        "number": f"A-{number}",
        "status": "paid",
        "total": Decimal(10),
        "amount_due": Decimal(0),
        "amount_paid": Decimal(10),
        "created_at": timezone.now() - timedelta(days=number),
    }
    return Invoice.objects.create(organization=organization, **values | fields)


def top_up(organization: Organization, **fields: Any) -> AutoTopUp:
    """The wish for a pack of 1,000 below 100 credits, for at most 50 dollars a month."""
    values: dict[str, Any] = {"threshold": Decimal(100), "monthly_limit": Decimal(50)}
    pack = CreditPack.objects.get(slug="1000")
    return AutoTopUp.objects.create(organization=organization, pack=pack, **values | fields)
