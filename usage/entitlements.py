"""Writing entitlements. Billing calls this; verify and ingest read and bump the row."""

from decimal import Decimal

from django.db import transaction

from accounts.models import Organization
from usage.models import Entitlement


@transaction.atomic
def write(
    organization: Organization,
    *,
    plan: str,
    requests_per_minute: int,
    credit_price: Decimal,
    credits: Decimal | None,
    overage_allowed: bool,
    retention_days: int,
) -> Entitlement:
    """Set what an organization may do now. `credits` is the balance from here on; None for no limit."""
    Organization.objects.select_for_update().get(pk=organization.pk)
    entitlement = Entitlement.objects.select_for_update().filter(organization=organization).first()
    used = entitlement.credits_used if entitlement else Decimal(0)
    entitlement, _ = Entitlement.objects.update_or_create(
        organization=organization,
        defaults={
            "plan": plan,
            "requests_per_minute": requests_per_minute,
            "credit_price": credit_price,
            "credits_ceiling": None if credits is None else used + credits,
            "overage_allowed": overage_allowed,
            "retention_days": retention_days,
        },
    )
    organization.bump_access()
    return entitlement
