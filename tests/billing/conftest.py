"""Usage of a customer by the number of credits, and whether the ledger adds up."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.db.models import Sum
from django.utils import timezone

from accounts.models import ApiKey, Organization
from billing import plans, settlement
from billing.models import BillingAccount, CreditEntry, CreditGrant, SettledDay
from tests.billing.simulator_process import own_simulator, simulator
from tests.billing.stripe_at_hand import at_stripe, catalogued, own_stripe, with_events
from tests.usage.conftest import data_plane, item, job, post_jobs, rates
from usage.models import Entitlement, UsageDay

__all__ = [
    "at_stripe",
    "catalogued",
    "data_plane",
    "job",
    "own_simulator",
    "own_stripe",
    "post_jobs",
    "rates",
    "simulator",
    "with_events",
]

Use = Callable[..., str]
_numbers = count(1)


@pytest.fixture
def account(organization: Organization) -> BillingAccount:
    return BillingAccount.objects.select_related("plan", "organization").get(organization=organization)


@pytest.fixture
def pro(organization: Organization) -> BillingAccount:
    """An organization whose Pro plan staff invoice by hand."""
    plans.put_on(organization, plans.named(plans.PRO), actor=None)
    return BillingAccount.objects.select_related("plan", "organization").get(organization=organization)


@pytest.fixture
def use(post_jobs: Callable[..., Any], organization_key: tuple[ApiKey, str]) -> Use:
    """Report a job of that many credits, which ended some days ago; returns its id."""

    def report(credits: int, *, days_ago: float = 0, key: ApiKey | None = None, **fields: Any) -> str:
        name = f"used-{next(_numbers)}"
        moment = (datetime.now(UTC) - timedelta(days=days_ago, seconds=1)).isoformat()
        post_jobs(
            {
                "job_id": name,
                "api_key_id": (key or organization_key[0]).uid,
                "type": "Parse",
                "status": "Completed",
                "created_at": moment,
                "num_pages": credits,
                "usage": [item(f"{name}:1", pages=credits, timestamp=moment)],
            }
            | fields
        )
        return name

    return report


def settle(organization: Organization, *, now: datetime | None = None) -> None:
    settlement.settle_changed(now=now or timezone.now())
    agrees(organization)


def agrees(organization: Organization) -> None:
    """Check that the ledger, the account, the days and what verify reads tell the same."""
    account = BillingAccount.objects.select_related("plan").get(organization=organization)
    entries = CreditEntry.objects.filter(organization=organization)
    grants = CreditGrant.objects.filter(organization=organization)
    days = SettledDay.objects.filter(organization_id=organization.pk)
    entitlement = Entitlement.objects.get(organization=organization)
    used = UsageDay.objects.filter(organization_id=organization.pk)
    settled = _sum(days, "credits")
    assert account.balance == _sum(entries, "amount") == _sum(grants, "remaining")
    assert account.settled == settled
    assert settled == account.uncovered + _sum(entries, "overage") + _taken(organization)
    newest = entries.order_by("-id").first()
    assert newest is None or newest.balance == account.balance
    for grant in grants:
        assert grant.remaining == _sum(grant.entries.all(), "amount")
    if settled == _sum(used, "credits"):
        assert entitlement.credits_used == settled
    if not account.plan.is_unlimited:
        assert entitlement.credits_ceiling == account.settled - account.uncovered + account.balance


def _taken(organization: Organization) -> Decimal:
    kinds = [CreditEntry.Kind.USAGE, CreditEntry.Kind.RETURN]
    return -_sum(CreditEntry.objects.filter(organization=organization, kind__in=kinds), "amount")


def _sum(rows: Any, name: str) -> Decimal:
    return rows.aggregate(sum=Sum(name))["sum"] or Decimal(0)


def ledger(organization: Organization) -> list[tuple[str, Decimal, Decimal]]:
    """Each line's kind, amount and overage, from the first on."""
    entries = CreditEntry.objects.filter(organization=organization).order_by("id")
    return list(entries.values_list("kind", "amount", "overage"))
