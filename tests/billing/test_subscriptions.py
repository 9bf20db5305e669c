"""Changing, keeping and ending subscriptions, against the simulator over HTTP."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
import stripe
from django.utils import timezone

from accounts import organizations
from accounts.audit import Action, Actor
from accounts.models import AuditEntry, Notification, Organization, User
from billing import access, catalogue, checkout, plans, subscriptions
from billing.models import BillingAccount, CreditGrant, MeterReport, Plan
from tests.billing.conftest import agrees
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import CANCEL, SUCCESS, account_of, came_back, subscribe, subscriptions_of
from usage.models import Entitlement

Use = Callable[..., str]


def change(organization: Organization, plan: str = plans.PRO, interval: str = "month") -> None:
    subscriptions.change(organization=organization, plan=plans.named(plan), interval=interval, actor=None)


def preview(organization: Organization, plan: str, interval: str) -> subscriptions.Preview:
    return subscriptions.preview(organization=organization, plan=plans.named(plan), interval=interval)


def entitlement(organization: Organization) -> Entitlement:
    return Entitlement.objects.get(organization=organization)


def paid(process: SimulatorProcess, organization: Organization) -> list[int]:
    """What an organization's invoices took, in cents, the oldest first."""
    customer = account_of(organization).stripe_customer
    found = process.client.v1.invoices.list({"customer": customer, "limit": 100}).data
    return [invoice.amount_paid for invoice in found[::-1]]


def end_period(process: SimulatorProcess, organization: Organization) -> BillingAccount:
    """Let the paid time pass, and what Stripe does then, and read it."""
    ends = account_of(organization).renews_at
    assert ends
    process.advance(to=int(ends.timestamp()) + 2 * 3_600)
    return subscriptions.sync(organization)


# ── Upwards ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_upgrade_is_paid_at_once_and_brings_its_credits(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    before = subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")
    catalogued.advance(10 * 86_400)

    change(organization)

    account = account_of(organization)
    assert (account.plan.slug, account.interval) == ("pro", "month")
    assert before.period_end and account.period_end and account.period_end == account.renews_at
    assert account.period_end > before.period_end + timedelta(days=8)  # a month from now
    assert CreditGrant.objects.get(organization=organization, kind="included").amount == 100_000
    assert paid(catalogued, organization)[-1] == 79_900
    assert entitlement(organization).requests_per_minute == 100
    agrees(organization)


def test_what_was_used_before_an_upgrade_is_on_its_invoice(
    catalogued: SimulatorProcess, organization: Organization, use: Use
) -> None:
    subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")
    use(350)
    catalogued.advance(5)

    change(organization)

    assert paid(catalogued, organization)[-1] == 79_900 + 250  # of 350 credits, 100 were free
    assert not MeterReport.objects.filter(organization=organization, state="waiting").exists()


def test_a_preview_costs_what_the_change_then_costs(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    subscribe(catalogued, organization)
    catalogued.advance(10 * 86_400)
    shown = preview(organization, plans.PRO, "year")

    subscriptions.change(
        organization=organization,
        plan=plans.named(plans.PRO),
        interval="year",
        actor=None,
        proration_date=shown.proration_date,
    )

    assert shown.now
    assert 0 < shown.due < 7_990
    assert sum(line.amount for line in shown.lines) == shown.due
    assert paid(catalogued, organization)[-1] == shown.due * 100
    assert shown.next_amount == 7_990
    account = account_of(organization)
    assert account.interval == "year"
    assert account.renews_at and account.period_end and account.renews_at > account.period_end


def test_a_declined_upgrade_changes_nothing(catalogued: SimulatorProcess, organization: Organization) -> None:
    account = subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")
    catalogued.fail_payments(account.stripe_customer)

    with pytest.raises(subscriptions.PaymentFailed, match="declined"):
        change(organization)

    assert subscriptions.sync(organization).plan.slug == "pay_as_you_go"
    assert not CreditGrant.objects.filter(organization=organization, kind="included").exists()


def test_the_same_plan_is_no_change(catalogued: SimulatorProcess, organization: Organization) -> None:
    subscribe(catalogued, organization)

    with pytest.raises(subscriptions.NothingToChange):
        change(organization)


def test_without_a_subscription_nothing_is_changed(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    with pytest.raises(subscriptions.NotSubscribed):
        change(organization)


def test_enterprise_is_not_sold_here(catalogued: SimulatorProcess, organization: Organization) -> None:
    subscribe(catalogued, organization)

    with pytest.raises(subscriptions.NotOffered):
        change(organization, plans.ENTERPRISE)


# ── Downwards ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_downgrade_waits_for_the_end_of_what_is_paid(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    before = subscribe(catalogued, organization)
    shown = preview(organization, plans.PAY_AS_YOU_GO, "")

    change(organization, plans.PAY_AS_YOU_GO, "")

    account = account_of(organization)
    assert (shown.now, shown.at, shown.due) == (False, before.renews_at, 0)
    assert (account.plan.slug, account.ends_at) == ("pro", before.renews_at)
    assert account.next_plan and account.next_plan.slug == "pay_as_you_go"
    assert entitlement(organization).may_call


def test_after_a_downgrade_the_card_goes_on_paying_for_usage(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    before = subscribe(catalogued, organization)
    change(organization, plans.PAY_AS_YOU_GO, "")

    account = end_period(catalogued, organization)

    assert (account.plan.slug, account.subscription_status) == ("pay_as_you_go", "active")
    assert account.stripe_subscription != before.stripe_subscription
    assert (account.next_plan, account.ends_at, account.cancelled_at) == (None, None, None)
    assert entitlement(organization).may_call
    assert entitlement(organization).retention_days == 90


def test_from_a_year_to_months(catalogued: SimulatorProcess, organization: Organization) -> None:
    subscribe(catalogued, organization, interval="year")
    change(organization, plans.PRO, "month")

    account = end_period(catalogued, organization)

    assert (account.plan.slug, account.interval, account.subscription_status) == ("pro", "month", "active")
    assert len(subscriptions_of(catalogued, organization)) == 2


def test_a_downgrade_without_a_card_leads_to_prepaid(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization)
    change(organization, plans.PRO, "year")
    change(organization, plans.PRO, "month")
    for method in catalogued.client.v1.payment_methods.list(
        {"customer": account.stripe_customer, "type": "card"}
    ).data:
        catalogued.client.v1.payment_methods.detach(method.id)

    account = end_period(catalogued, organization)

    assert (account.plan.slug, account.subscription_status) == ("pay_as_you_go", "")
    assert (account.next_plan, account.cancelled_at) == (None, None)
    assert entitlement(organization).may_call
    assert not entitlement(organization).overage_allowed


def test_a_downgrade_to_what_is_not_sold_any_more_leads_to_prepaid(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    subscribe(catalogued, organization, interval="year")
    change(organization, plans.PRO, "month")
    price = catalogue.price_of("pro_monthly")
    assert price
    catalogued.client.v1.prices.update(price.id, {"active": False})

    account = end_period(catalogued, organization)

    catalogued.client.v1.prices.update(price.id, {"active": True})
    assert (account.plan.slug, account.subscription_status) == ("pay_as_you_go", "")
    assert account.next_plan is None


def test_what_staff_decide_comes_before_what_was_to_follow(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    subscribe(catalogued, organization)
    BillingAccount.objects.filter(pk=organization.pk).update(
        subscription_status="", next_plan=plans.named(plans.PRO), next_interval="month"
    )

    plans.put_on(organization, plans.named(plans.ENTERPRISE), actor=None)

    account = account_of(organization)
    assert (account.next_plan, account.next_interval, account.renews_at) == (None, "", None)
    assert subscriptions.catch_up() == 0


def test_a_downgrade_can_be_taken_back(catalogued: SimulatorProcess, organization: Organization) -> None:
    subscribe(catalogued, organization)
    change(organization, plans.PAY_AS_YOU_GO, "")

    subscriptions.keep(organization=organization, actor=None)

    account = account_of(organization)
    assert (account.ends_at, account.next_plan) == (None, None)
    assert end_period(catalogued, organization).subscription_status == "active"


def test_nothing_to_keep(catalogued: SimulatorProcess, organization: Organization) -> None:
    subscribe(catalogued, organization)

    with pytest.raises(subscriptions.NothingToChange):
        subscriptions.keep(organization=organization, actor=None)


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_new_month_brings_new_credits(catalogued: SimulatorProcess, organization: Organization) -> None:
    subscribe(catalogued, organization)

    end_period(catalogued, organization)

    grants = CreditGrant.objects.filter(organization=organization, kind="included").order_by("id")
    assert [grant.remaining for grant in grants] == [0, 100_000]
    agrees(organization)


def test_a_failed_payment_has_grace_from_when_it_is_heard_of(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization)
    catalogued.fail_payments(account.stripe_customer)
    account = end_period(catalogued, organization)
    heard = account.past_due_since
    subscriptions.sync(organization, now=timezone.now() + timedelta(days=1))

    account = account_of(organization)
    assert heard and (account.subscription_status, account.past_due_since) == ("past_due", heard)
    assert not access.refusal(account, now=heard + timedelta(days=6))
    assert access.refusal(account, now=heard + timedelta(days=7))


def test_a_payment_that_comes_ends_the_grace(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization)
    catalogued.fail_payments(account.stripe_customer)
    end_period(catalogued, organization)
    catalogued.set_card(account.stripe_customer)
    [owed] = catalogued.client.v1.invoices.list({"customer": account.stripe_customer, "status": "open"}).data
    catalogued.client.v1.invoices.pay(owed.id)

    account = subscriptions.sync(organization)

    assert (account.subscription_status, account.past_due_since) == ("active", None)
    assert entitlement(organization).may_call


def test_who_never_pays_loses_access_but_not_their_data(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")
    change(organization)
    catalogued.fail_payments(account.stripe_customer)
    end_period(catalogued, organization)
    catalogued.advance(40 * 86_400)

    account = subscriptions.sync(organization)

    assert (account.subscription_status, account.cancelled_at) == ("canceled", None)
    assert Notification.objects.filter(title__contains="calls are refused, as a payment has failed").exists()
    assert entitlement(organization).reason == "A payment has failed."


@pytest.mark.parametrize("later", [1, 2 * 3_600])
def test_a_month_that_was_never_paid_leaves_no_credits(
    catalogued: SimulatorProcess, organization: Organization, later: int
) -> None:
    account = subscribe(catalogued, organization)
    catalogued.fail_payments(account.stripe_customer)
    renewed(catalogued, account)
    catalogued.advance(later)  # its invoice is a draft first, and open two hours later
    subscriptions.cancel(organization=organization, actor=None)

    subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")

    assert entitlement(organization).credits_remaining == 100
    agrees(organization)


def test_a_year_that_is_to_end_brings_its_months_until_then(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization, interval="year")
    change(organization, plans.PRO, "month")

    renewed = [plans.renew_due(now=account.anchor + timedelta(days=days)) for days in (32, 33, 62, 370)]

    assert renewed == [1, 0, 1, 0]


def renewed(process: SimulatorProcess, account: BillingAccount) -> None:
    """Let the next month begin, which grants its credits before its invoice is charged."""
    assert account.renews_at
    process.advance(to=int(account.renews_at.timestamp()) + 1)
    subscriptions.sync(account.organization)
    grants = CreditGrant.objects.filter(organization=account.organization, kind="included")
    assert grants.count() == 2


def test_who_asked_for_an_end_gets_no_credits_after_it(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization)
    change(organization, plans.PAY_AS_YOU_GO, "")
    assert account.renews_at

    plans.renew_due(now=account.renews_at + timedelta(seconds=1))  # Stripe has not told of the end yet

    assert CreditGrant.objects.filter(organization=organization, kind="included").count() == 1


def test_who_cancelled_gets_no_credits_after_it(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization)
    BillingAccount.objects.filter(pk=organization.pk).update(cancelled_at=timezone.now())
    assert account.renews_at

    plans.renew_due(now=account.renews_at + timedelta(seconds=1))  # Stripe does not know of the end yet

    assert CreditGrant.objects.filter(organization=organization, kind="included").count() == 1


# ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_who_cancels_may_not_call_and_pays_what_was_used(
    catalogued: SimulatorProcess, organization: Organization, owner: User, use: Use
) -> None:
    subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")
    use(150)
    catalogued.advance(5)

    subscriptions.cancel(organization=organization, actor=Actor(owner))

    account = account_of(organization)
    assert (account.subscription_status, bool(account.cancelled_at)) == ("canceled", True)
    assert paid(catalogued, organization)[-1] == 50
    may = entitlement(organization)
    assert (may.may_call, may.reason, may.retention_days) == (False, access.CANCELLED, 0)
    entry = AuditEntry.objects.get(organization=organization, action=Action.SUBSCRIPTION_CANCELLED)
    assert entry.actor == owner


def test_cancelling_is_heard_of_here_first(
    own_stripe: SimulatorProcess, db: None, organization: Organization
) -> None:
    catalogue.sync()
    subscribe(own_stripe, organization)
    own_stripe.stop()

    subscriptions.cancel(organization=organization, actor=None)
    assert not entitlement(organization).may_call
    own_stripe.start()
    subscriptions.sync(organization)
    assert not entitlement(organization).may_call

    subscriptions.catch_up()
    assert account_of(organization).subscription_status == "canceled"
    assert [each.status for each in subscriptions_of(own_stripe, organization)] == ["canceled"]


def test_included_credits_end_with_the_subscription_and_bought_ones_stay(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    subscribe(catalogued, organization)

    subscriptions.cancel(organization=organization, actor=None)

    assert account_of(organization).balance == 100
    subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")
    assert entitlement(organization).credits_remaining == 100
    agrees(organization)


def test_cancelled_in_the_portal(catalogued: SimulatorProcess, organization: Organization) -> None:
    account = subscribe(catalogued, organization)
    change(organization, plans.PAY_AS_YOU_GO, "")
    catalogued.client.v1.subscriptions.cancel(account.stripe_subscription)

    account = subscriptions.sync(organization)

    assert account.cancelled_at
    assert account.next_plan is None
    assert entitlement(organization).reason == access.CANCELLED


def test_who_has_cancelled_can_come_back(catalogued: SimulatorProcess, organization: Organization) -> None:
    subscribe(catalogued, organization)
    subscriptions.cancel(organization=organization, actor=None)

    account = subscribe(catalogued, organization)

    assert (account.subscription_status, account.cancelled_at) == ("active", None)
    assert entitlement(organization).may_call
    assert CreditGrant.objects.open().filter(organization=organization, kind="included").count() == 1


def test_a_renewal_that_stripe_charged_before_it_heard_of_the_end_is_given_back(
    catalogued: SimulatorProcess, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = subscribe(catalogued, organization)
    assert account.renews_at

    def away(*_: object, **__: object) -> None:
        raise stripe.APIConnectionError("No route")  # type: ignore[no-untyped-call]

    with monkeypatch.context() as patch:
        patch.setattr(subscriptions, "finish_cancelling", away)
        subscriptions.cancel(organization=organization, actor=None)
    catalogued.advance(to=int(account.renews_at.timestamp()) + 2 * 3_600)
    subscriptions.sync(organization)

    subscriptions.catch_up()

    charges = catalogued.client.v1.charges.list({"customer": account.stripe_customer}).data
    assert [(charge.amount, charge.amount_refunded) for charge in charges] == [(79_900, 79_900), (79_900, 0)]
    assert account_of(organization).subscription_status == "canceled"


def test_nobody_cancels_twice(catalogued: SimulatorProcess, organization: Organization) -> None:
    subscribe(catalogued, organization)
    subscriptions.cancel(organization=organization, actor=None)

    with pytest.raises(subscriptions.NotSubscribed):
        subscriptions.cancel(organization=organization, actor=None)


def test_a_deleted_organization_pays_no_longer_and_comes_back_prepaid(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    subscribe(catalogued, organization)
    organizations.delete(organization=organization, actor=None)

    subscriptions.catch_up()
    organizations.restore(organization=organization, actor=None)
    subscriptions.sync(organization)

    account = account_of(organization)
    assert [each.status for each in subscriptions_of(catalogued, organization)] == ["canceled"]
    assert (account.plan.slug, account.subscription_status) == ("pay_as_you_go", "")
    assert entitlement(organization).may_call


def test_a_customer_that_was_deleted_at_stripe_is_made_anew(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    before = subscribe(catalogued, organization)
    catalogued.client.v1.customers.delete(before.stripe_customer)

    account = subscriptions.sync(organization)

    assert (account.stripe_customer, account.subscription_status) == ("", "canceled")
    assert subscribe(catalogued, organization).stripe_customer not in {"", before.stripe_customer}


# ── One subscription ─────────────────────────────────────────────────────────────────────────────────────────
def test_of_two_tabs_one_is_closed(catalogued: SimulatorProcess, organization: Organization) -> None:
    urls = [
        checkout.subscribe(
            organization=organization,
            plan=plans.named(plans.PRO),
            interval="month",
            actor=None,
            success_url=SUCCESS,
            cancel_url=CANCEL,
        )
        for _ in range(2)
    ]
    came_back(catalogued, organization, urls[1])

    response = catalogued.post(urls[0], card="4242 4242 4242 4242", email="buyer@example.com")

    assert response.status_code != 303
    assert len(subscriptions_of(catalogued, organization)) == 1


def test_a_second_subscription_is_ended_and_given_back(
    catalogued: SimulatorProcess, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout, "_close_open", lambda customer: None)  # as if both began at once
    urls = [
        checkout.subscribe(
            organization=organization,
            plan=plans.named(plans.PRO),
            interval="month",
            actor=None,
            success_url=SUCCESS,
            cancel_url=CANCEL,
        )
        for _ in range(2)
    ]

    for url in urls:
        came_back(catalogued, organization, url)

    first, second = subscriptions_of(catalogued, organization)
    assert (first.status, second.status) == ("active", "canceled")
    assert account_of(organization).stripe_subscription == first.id
    customer = account_of(organization).stripe_customer
    charges = catalogued.client.v1.charges.list({"customer": customer}).data
    assert sorted(charge.amount_refunded for charge in charges) == [0, 79_900]
    assert CreditGrant.objects.filter(organization=organization, kind="included").count() == 1


def test_who_is_subscribed_is_not_sent_to_checkout(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    subscribe(catalogued, organization)

    with pytest.raises(checkout.AlreadySubscribed):
        subscribe(catalogued, organization)


def test_a_subscription_that_nothing_was_heard_of_counts_too(
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
    catalogued.complete_checkout(url)

    with pytest.raises(checkout.AlreadySubscribed):
        subscribe(catalogued, organization)


def test_a_subscription_whose_end_nothing_was_heard_of_is_in_nobodys_way(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    account = subscribe(catalogued, organization)
    catalogued.client.v1.subscriptions.cancel(account.stripe_subscription)

    account = subscribe(catalogued, organization)

    assert account.subscription_status == "active"
    assert len(subscriptions_of(catalogued, organization)) == 2


# ── Prices ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_who_pays_an_archived_price_stays_on_the_plan(
    own_stripe: SimulatorProcess, db: None, organization: Organization
) -> None:
    catalogue.sync()
    subscribe(own_stripe, organization)
    Plan.objects.filter(slug=plans.PRO).update(monthly_price=899)
    catalogue.sync()

    account = subscriptions.sync(organization)

    assert (account.plan.slug, account.interval) == ("pro", "month")
    price = catalogue.price_of("pro_monthly")
    assert price and price.unit_amount == 89_900


# ── When Stripe is down ──────────────────────────────────────────────────────────────────────────────────────
def test_without_stripe_nothing_changes(
    own_stripe: SimulatorProcess, db: None, organization: Organization
) -> None:
    catalogue.sync()
    subscribe(own_stripe, organization, plans.PAY_AS_YOU_GO, "")
    before = BillingAccount.objects.values().get(pk=organization.pk)
    own_stripe.stop()

    with pytest.raises(stripe.APIConnectionError):
        change(organization)
    with pytest.raises(stripe.APIConnectionError):
        subscriptions.sync(organization)

    after = BillingAccount.objects.values().get(pk=organization.pk)
    assert after | {"readings": 0} == before | {"readings": 0}
    own_stripe.start()


# ── Prices ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_who_subscribed_keeps_the_price_of_a_credit_that_stripe_bills(
    catalogued: SimulatorProcess, organization: Organization
) -> None:
    subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")

    Plan.objects.filter(slug=plans.PAY_AS_YOU_GO).update(credit_price="0.02")
    access.recompute_all(plans.named(plans.PAY_AS_YOU_GO))

    assert entitlement(organization).credit_price == Decimal("0.01")
