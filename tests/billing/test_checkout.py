"""Checkout and what was bought there, against the simulator over HTTP."""

from decimal import Decimal

from accounts.models import Organization
from billing import checkout, plans
from billing.models import CreditGrant
from tests.billing.conftest import agrees
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import buy, subscribe
from usage.models import Entitlement


def test_a_pack_is_granted_when_it_is_paid(catalogued: SimulatorProcess, organization: Organization) -> None:
    session = buy(catalogued, organization)

    grant = CreditGrant.objects.get(organization=organization, key=f"pack:{session}")
    assert (grant.kind, grant.amount) == (CreditGrant.Kind.PURCHASED, Decimal(1_000))
    assert grant.expires_at is None
    agrees(organization)


def test_coming_back_twice_grants_once(catalogued: SimulatorProcess, organization: Organization) -> None:
    session = buy(catalogued, organization)

    checkout.returned(organization=organization, session_id=session)

    assert CreditGrant.objects.filter(organization=organization, kind=CreditGrant.Kind.PURCHASED).count() == 1


def test_pro_starts_with_its_credits(catalogued: SimulatorProcess, organization: Organization) -> None:
    account = subscribe(catalogued, organization)

    assert (account.plan.slug, account.interval, account.subscription_status) == ("pro", "month", "active")
    assert account.card == "Visa •••• 4242"
    assert account.period_start and account.period_end and account.renews_at == account.period_end
    assert CreditGrant.objects.get(organization=organization, kind="included").amount == 100_000
    assert Entitlement.objects.get(organization=organization).overage_allowed
    agrees(organization)


def test_a_year_is_metered_by_month(catalogued: SimulatorProcess, organization: Organization) -> None:
    account = subscribe(catalogued, organization, interval="year")

    assert account.interval == "year"
    assert account.period_start and account.period_end and account.renews_at
    assert (account.period_end - account.period_start).days in range(28, 32)
    assert (account.renews_at - account.period_start).days in {365, 366}


def test_adding_a_card_lets_overage_be_billed(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")

    assert (account.plan.slug, account.interval, account.subscription_status) == (
        "pay_as_you_go",
        "",
        "active",
    )
    assert Entitlement.objects.get(organization=organization).overage_allowed
