"""Writing entitlements. Billing calls this; verify and ingest read and bump the row."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import F, Q

from accounts.models import Organization
from usage.models import Entitlement


@transaction.atomic
def write(
    organization: Organization,
    *,
    plan: str,
    may_call: bool = True,
    reason: str = "",
    requests_per_minute: int,
    credit_price: Decimal,
    credits_ceiling: Decimal | None,
    overage_allowed: bool,
    retention_days: int,
) -> bool:
    """Set what an organization may do now. Says whether that is anything else than before.

    `credits_ceiling` is compared with all that it has used so far; None for no limit.
    """
    wanted = {
        "plan": plan,
        "may_call": may_call,
        "reason": reason,
        "requests_per_minute": requests_per_minute,
        "credit_price": credit_price,
        "credits_ceiling": credits_ceiling,
        "overage_allowed": overage_allowed,
        "retention_days": retention_days,
    }
    # The organization first, as everybody does who changes what verify knows.
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    entitlement, is_new = Entitlement.objects.get_or_create(organization=organization, defaults=wanted)
    different = [name for name, value in wanted.items() if getattr(entitlement, name) != value]
    if different and not is_new:
        # Only these: meanwhile ingest goes on to bump what was used.
        Entitlement.objects.filter(pk=organization.pk).update(**{name: wanted[name] for name in different})
    if different or is_new:
        organization.bump_access()
    return bool(different or is_new)


def allowed(*, now: datetime) -> Q:
    """Who may call now: whoever is not refused."""
    may = Q()
    for condition in refused(now=now).values():
        may &= ~condition
    return may


def refused(*, now: datetime) -> dict[str, Q]:
    """Who may not call now, by why, as `Entitlement.refusal` says it of one."""
    suspended = Q(may_call=False)
    capped = Q(spend_cap_reached_until__gt=now)
    spent = Q(credits_ceiling__isnull=False, credits_used__gte=F("credits_ceiling"), overage_allowed=False)
    return {
        "suspended": suspended,
        "capped": ~suspended & capped,
        "out_of_credits": ~suspended & spent & (Q(spend_cap_reached_until=None) | ~capped),
    }
