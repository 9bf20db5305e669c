"""What the migration makes of organizations that were there before there was a ledger."""

from importlib import import_module

import pytest
from django.db import connection

from accounts.models import Organization
from billing import access, settlement
from billing.models import BillingAccount, CreditEntry, CreditGrant, EntitlementOverride, SettledDay
from tests.billing.conftest import Use
from usage.models import Entitlement

pytestmark = pytest.mark.django_db


def migrate(organization: Organization, **entitlement: object) -> BillingAccount:
    """Forget all that billing knows, as it was before, and run the migration."""
    for model in (CreditEntry, CreditGrant, SettledDay, BillingAccount):
        model.objects.all().delete()
    Entitlement.objects.filter(organization=organization).update(**entitlement)
    with connection.cursor() as cursor:
        cursor.execute(import_module("billing.migrations.0002_plans_and_packs").ACCOUNTS)
    return BillingAccount.objects.get(organization=organization)


def test_credits_that_were_left_are_granted(organization: Organization, use: Use) -> None:
    use(30)

    account = migrate(organization)

    assert (account.balance, account.settled, account.uncovered) == (70, 30, 0)
    assert CreditGrant.objects.get().remaining == 70
    assert Entitlement.objects.get().credits_ceiling == settlement.ceiling(account)
    assert settlement.settle_changed() == 0


def test_what_was_used_beyond_the_credits_waits_for_new_ones(organization: Organization, use: Use) -> None:
    use(130, days_ago=1)

    account = migrate(organization)

    assert (account.balance, account.settled, account.uncovered) == (0, 130, 30)
    assert SettledDay.objects.get().uncovered == 30
    assert Entitlement.objects.get().credits_ceiling == settlement.ceiling(account)


def test_a_plan_that_costs_something_is_invoiced_by_hand_and_terms_stay(organization: Organization) -> None:
    account = migrate(
        organization, plan="pro", requests_per_minute=250, retention_days=30, overage_allowed=True
    )

    assert (account.plan.slug, account.is_invoiced) == ("pro", True)
    assert EntitlementOverride.objects.get().requests_per_minute == 250
    assert not access.recompute(organization)
