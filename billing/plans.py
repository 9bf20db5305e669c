"""The plans on offer, and what each entitles to."""

from dataclasses import dataclass
from decimal import Decimal

from accounts.models import Organization
from usage import entitlements


@dataclass(frozen=True)
class Plan:
    """`credits` are granted at the start; None means nothing limits them. Prices are in dollars."""

    slug: str
    name: str
    requests_per_minute: int
    credits: Decimal | None
    overage_allowed: bool
    retention_days: int
    credit_price: Decimal = Decimal("0.01")


PAY_AS_YOU_GO = Plan("pay_as_you_go", "Pay-as-you-go", 10, Decimal(100), False, 90)
PRO = Plan("pro", "Pro", 100, Decimal(100_000), True, 0)
ENTERPRISE = Plan("enterprise", "Enterprise", 6_000, None, True, 0)
PLANS = {plan.slug: plan for plan in (PAY_AS_YOU_GO, PRO, ENTERPRISE)}


def put_on(organization: Organization, plan: Plan) -> None:
    """Give an organization what the plan entitles to, with the plan's credits on top of what it has used."""
    entitlements.write(
        organization,
        plan=plan.slug,
        requests_per_minute=plan.requests_per_minute,
        credit_price=plan.credit_price,
        credits=plan.credits,
        overage_allowed=plan.overage_allowed,
        retention_days=plan.retention_days,
    )
