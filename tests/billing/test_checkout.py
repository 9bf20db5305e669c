"""Checkout and what was bought there, against the simulator over HTTP."""

from datetime import timedelta
from decimal import Decimal

import pytest
import stripe
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts import organizations
from accounts.models import Organization
from billing import catalogue, checkout, customers, plans, refunds, subscriptions, tasks
from billing.models import BillingAccount, CreditGrant, CreditPack
from tests.billing.conftest import agrees
from tests.billing.simulator_process import SimulatorProcess, session_id
from tests.billing.stripe_at_hand import (
    CANCEL,
    SUCCESS,
    account_of,
    buy,
    came_back,
    subscribe,
    subscriptions_of,
)
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


def test_the_card_of_a_pack_stays_on_file(catalogued: SimulatorProcess, organization: Organization) -> None:
    buy(catalogued, organization)

    account = account_of(organization)
    assert account.card == "Visa •••• 4242"
    assert customers.card_to_charge(account)


def test_the_card_of_a_pack_replaces_none(catalogued: SimulatorProcess, organization: Organization) -> None:
    own = catalogued.set_card(customers.ensure(organization))

    buy(catalogued, organization)

    assert customers.card_to_charge(account_of(organization)) == own


def test_a_pack_whose_money_went_back_before_it_was_heard_of_brings_nothing(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    url = checkout.buy(
        organization=organization,
        pack=CreditPack.objects.get(slug="1000"),
        actor=None,
        success_url=SUCCESS,
        cancel_url=CANCEL,
    )
    session = session_id(catalogued.complete_checkout(url))
    customer = account_of(organization).stripe_customer
    [charge] = catalogued.client.v1.charges.list({"customer": customer}).data
    catalogued.client.v1.refunds.create({"charge": charge.id})
    refunds.apply(charge.id)

    checkout.apply(session)

    assert Entitlement.objects.get(organization=organization).credits_remaining == 100
    agrees(organization)


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


@pytest.mark.parametrize(
    ("bank_account", "granted"), [("000123456789", [Decimal(1_000)]), ("000111111116", [])]
)
def test_a_bank_that_takes_its_time_is_waited_for(
    catalogued: SimulatorProcess, organization: Organization, bank_account: str, granted: list[Decimal]
) -> None:
    session = _by_bank(catalogued, organization)
    catalogued.complete_checkout(session.url or "", bank_account)
    at_once = checkout.returned(organization=organization, session_id=session.id)
    before = _bought(organization)

    catalogued.advance(4 * 86_400)
    checkout.apply(session.id)

    assert (at_once, before) == ("unpaid", [])
    assert _bought(organization) == granted


def _by_bank(process: SimulatorProcess, organization: Organization) -> stripe.checkout.Session:
    price = catalogue.price_of("pack_1000")
    assert price
    return process.client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customers.ensure(organization),
            "line_items": [{"price": price.id, "quantity": 1}],
            "payment_method_types": ["card", "us_bank_account"],
            "metadata": {"credits": "1000"},
            "success_url": SUCCESS,
        }
    )


def _bought(organization: Organization) -> list[Decimal]:
    grants = CreditGrant.objects.filter(organization=organization, kind=CreditGrant.Kind.PURCHASED)
    return list(grants.values_list("amount", flat=True))


def test_what_was_not_paid_is_open(catalogued: SimulatorProcess, organization: Organization) -> None:
    session = _by_bank(catalogued, organization)

    assert checkout.returned(organization=organization, session_id=session.id) == "open"
    assert _bought(organization) == []


def test_a_pack_expires_as_it_was_sold(catalogued: SimulatorProcess, organization: Organization) -> None:
    pack = CreditPack.objects.get(slug="1000")
    pack.valid_days = 30
    pack.save()
    session = buy(catalogued, organization)

    grant = CreditGrant.objects.get(organization=organization, key=f"pack:{session}")
    assert grant.expires_at == grant.created_at + timedelta(days=30)


@pytest.mark.parametrize("session_id", ["cs_test_unknown", "", "cs_/../x"])
def test_an_unknown_session_is_not_there(
    catalogued: SimulatorProcess, organization: Organization, session_id: str
) -> None:
    with pytest.raises(checkout.Unknown):
        checkout.returned(organization=organization, session_id=session_id)


def test_a_foreign_session_is_not_there(
    catalogued: SimulatorProcess, organization: Organization, other_organization: Organization
) -> None:
    session = buy(catalogued, other_organization)
    customers.ensure(organization)

    with pytest.raises(checkout.Unknown):
        checkout.returned(organization=organization, session_id=session)


def test_who_may_not_call_is_sold_no_credits(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    subscribe(catalogued, organization)
    subscriptions.cancel(organization=organization, actor=None)

    with pytest.raises(checkout.NotOffered):
        buy(catalogued, organization)


def test_a_pack_that_is_not_offered_is_not_sold(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    CreditPack.objects.update(is_offered=False)

    with pytest.raises(checkout.NotOffered):
        buy(catalogued, organization)


def test_who_is_invoiced_by_hand_does_not_subscribe(
    catalogued: SimulatorProcess, organization: Organization, pro: BillingAccount
) -> None:
    with pytest.raises(checkout.NotOffered):
        subscribe(catalogued, organization)


def test_a_checkout_that_was_left_open_bills_nobody_who_is_invoiced_by_hand(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    url = checkout.subscribe(
        organization=organization,
        plan=plans.named(plans.PRO),
        interval="month",
        actor=None,
        success_url=SUCCESS,
        cancel_url=CANCEL,
    )
    plans.put_on(organization, plans.named(plans.ENTERPRISE), actor=None)

    came_back(catalogued, organization, url)

    [subscription] = subscriptions_of(catalogued, organization)
    assert subscription.status == "canceled"
    account = account_of(organization)
    assert (account.plan.slug, account.subscription_status) == ("enterprise", "")


def test_the_portal_opens_for_customers(catalogued: SimulatorProcess, organization: Organization) -> None:
    buy(catalogued, organization)

    url = checkout.portal(organization=organization, actor=None, return_url=CANCEL)

    assert catalogued.http.get(url).status_code == 200


def test_who_never_bought_has_no_portal(catalogued: SimulatorProcess, organization: Organization) -> None:
    with pytest.raises(checkout.NoCustomer):
        checkout.portal(organization=organization, actor=None, return_url=CANCEL)


def test_an_organization_is_one_customer(catalogued: SimulatorProcess, organization: Organization) -> None:
    first = customers.ensure(organization)
    BillingAccount.objects.filter(pk=organization.pk).update(stripe_customer="")  # as if it crashed before

    assert customers.ensure(organization) == first
    customer = catalogued.client.v1.customers.retrieve(first)
    assert customer.name == "Northwind"
    assert customer.metadata and customer.metadata["organization"] == organization.uid


def test_invoices_go_by_the_new_name(catalogued: SimulatorProcess, organization: Organization) -> None:
    customer = customers.ensure(organization)
    organization.name, organization.billing_email = "Northwind Ltd", "bills@example.com"

    customers.tell(organization)

    found = catalogued.client.v1.customers.retrieve(customer)
    assert (found.name, found.email) == ("Northwind Ltd", "bills@example.com")


def test_a_name_that_stripe_was_not_told_of_is_told_with_the_next_reading(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    customer = customers.ensure(organization)
    organizations.update(organization=organization, actor=None, changes={"name": "Northwind Ltd"})

    subscriptions.sync(organization)

    assert catalogued.client.v1.customers.retrieve(customer).name == "Northwind Ltd"


def test_the_name_that_a_customer_has_chosen_at_stripe_stays(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    customer = customers.ensure(organization)
    catalogued.client.v1.customers.update(customer, {"name": "Northwind Holding"})

    subscriptions.sync(organization)

    assert catalogued.client.v1.customers.retrieve(customer).name == "Northwind Holding"


def test_another_name_is_told_to_stripe(
    organization: Organization,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[int] = []
    monkeypatch.setattr(tasks.tell_stripe_of_customer, "delay", told.append)

    with django_capture_on_commit_callbacks(execute=True):
        organizations.update(organization=organization, actor=None, changes={"name": "Northwind Ltd"})
        organizations.update(organization=organization, actor=None, changes={"default_region": "eu"})

    assert told == [organization.pk]
