"""The first page of billing: plan, credits, payments, and who may do what about them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Organization, User
from billing import access, calls, credits, plans, summary
from billing.models import BillingAccount, CreditGrant
from tests.billing.conftest import Use, settle
from tests.billing.pages.conftest import Page, browser
from tests.billing.pages.rows import invoice, top_up
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import subscribe


def test_a_new_organization_sees_its_plan_and_free_credits(page: Page) -> None:
    text = page()

    assert '<h2 id="plan">Pay-as-you-go</h2>' in text
    assert "Prepaid" in text
    assert "<dt>Credits left</dt> <dd> 100<small> then requests are refused" in text
    assert "None on file" in text
    assert "No invoices yet" in text


def test_what_is_left_is_right_before_it_is_settled(page: Page, rates: None, use: Use) -> None:
    use(30)

    assert "<dt>Credits left</dt> <dd> 70<small>" in page()


def test_included_credits_say_what_is_left_and_when_they_reset(
    page: Page, rates: None, pro: BillingAccount, use: Use
) -> None:
    use(250)

    text = page()

    _, resets = plans.month_of(pro.anchor, timezone.now())
    assert "<dt>Included this month</dt> <dd> 99,750<small>of 100,000 left" in text
    assert f"{resets:%Y-%m-%d}" in text


def test_included_credits_reset_by_a_clock_that_is_ahead(organization: Organization) -> None:
    ahead = timezone.now() + timedelta(days=100)
    plans.put_on(organization, plans.named(plans.PRO), actor=None)
    BillingAccount.objects.update(
        is_invoiced=False,
        stripe_subscription="sub_1",
        subscription_status="active",
        anchor=ahead,
        period_start=ahead,
    )
    found = calls.of(organization)
    assert found

    resets = summary.of(found).resets_at

    assert resets == plans.month_of(ahead, ahead)[1]


def test_overage_is_told_in_credits_and_dollars(
    page: Page, rates: None, pro: BillingAccount, organization: Organization, use: Use
) -> None:
    use(100_100)
    settle(organization)
    use(50)

    assert "<dt>Overage so far</dt> <dd> $0.50<small>50 credits since" in page()


def test_a_chart_shows_the_credits_of_each_day(page: Page, rates: None, use: Use) -> None:
    use(7)

    text = page()

    assert "Credits by day" in text
    assert "7 credits" in text
    assert "/usage/?period=range" in text


def test_what_staff_agreed_is_told_as_such(page: Page, organization: Organization) -> None:
    access.agree(organization=organization, reason="Pilot", actor=None, requests_per_minute=500)

    assert "Up to 500 requests a minute, as agreed" in page()


def test_an_admin_looks_but_has_no_buttons(page: Page, by_admin: Client) -> None:
    text = page(by=by_admin)

    assert "Compare plans" in text
    assert "Buy credits</a>" not in text
    assert "/top-up/" not in text


@pytest.mark.parametrize("name", ["member", "viewer"])
def test_others_see_neither_the_page_nor_its_place_in_the_menu(
    request: pytest.FixtureRequest, organization: Organization, name: str
) -> None:
    client = browser(request.getfixturevalue(name))

    assert client.get(f"/o/{organization.uid}/billing/").status_code == 403
    assert "/billing/" not in client.get(f"/o/{organization.uid}/usage/").content.decode()


def test_owner_and_admin_find_it_in_the_menu(organization: Organization, owner: User, admin: User) -> None:
    for user in (owner, admin):
        text = browser(user).get(f"/o/{organization.uid}/usage/").content.decode()
        assert f"/o/{organization.uid}/billing/" in text


def test_without_payments_there_is_whom_to_write_to(page: Page, settings: Settings) -> None:
    settings.DEMO, settings.STRIPE_IS_SIMULATED = False, True

    text = page()

    assert "Payments are not set up here." in text
    assert f"mailto:{settings.SUPPORT_EMAIL}" in text
    assert "Buy credits</a>" not in text


def test_the_demo_says_that_no_money_moves(page: Page, settings: Settings) -> None:
    settings.DEMO, settings.STRIPE_IS_SIMULATED = True, True

    assert "Simulated, no money moves" in page()


def test_a_top_up_that_stopped_is_told(page: Page, organization: Organization) -> None:
    top_up(organization, stopped_at=timezone.now(), stopped_reason="The card was declined.")

    assert "Stopped" in page()
    assert "The card was declined." in page("credits/")


def test_a_subscriber_sees_renewal_card_and_next_invoice(
    catalogued: SimulatorProcess, page: Page, organization: Organization
) -> None:
    account = subscribe(catalogued, organization)

    text, fragment = page(), page("next-invoice/")

    assert account.renews_at and f"{account.renews_at:%Y-%m-%d}" in text
    assert "Visa •••• 4242" in text
    assert "Open the billing portal" in text
    assert "<strong>$799.00</strong> on" in fragment


def test_while_stripe_is_away_the_next_invoice_says_so_kindly(page: Page, organization: Organization) -> None:
    BillingAccount.objects.update(
        stripe_customer="cus_1", stripe_subscription="sub_1", subscription_status="active"
    )

    assert "Nothing is wrong with your account" in page("next-invoice/")


def test_the_portal_is_opened_at_stripe(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization
) -> None:
    subscribe(catalogued, organization)

    response = by_owner.post(f"/o/{organization.uid}/billing/portal/")

    assert response.status_code == 302
    assert response["Location"].startswith(catalogued.url)


def test_while_stripe_is_away_the_portal_leads_back(by_owner: Client, organization: Organization) -> None:
    BillingAccount.objects.update(stripe_customer="cus_1")

    response = by_owner.post(f"/o/{organization.uid}/billing/portal/", follow=True)

    assert "Stripe cannot be reached" in response.content.decode()


def test_it_takes_twelve_questions_however_much_there_is(
    by_owner: Client,
    organization: Organization,
    rates: None,
    pro: BillingAccount,
    use: Use,
    questions: list[Any],
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(6):
        use(10, days_ago=number)
        credits.grant(
            organization,
            kind=CreditGrant.Kind.PROMOTIONAL,
            amount=Decimal(10),
            key=str(number),
            reason="Thanks",
        )
        invoice(organization, number)
    by_owner.get(f"/o/{organization.uid}/billing/")
    questions.clear()

    with django_assert_max_num_queries(12) as asked:
        by_owner.get(f"/o/{organization.uid}/billing/")

    assert len(asked) + len(questions) <= 12
