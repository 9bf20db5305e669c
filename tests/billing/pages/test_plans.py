"""Plans beside each other: what an owner can do about each, what it costs, and what becomes of it at Stripe."""

import re
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Organization
from billing import access, invoices, metering, offers, plans
from billing.models import BillingAccount, Plan
from billing.offers import Action
from tests.billing.conftest import Use, settle
from tests.billing.pages.conftest import Page
from tests.billing.simulator_process import FAILS_LATER, SimulatorProcess
from tests.billing.stripe_at_hand import account_of, came_back, subscribe


def act(by: Client, organization: Organization, path: str, **form: str) -> str:
    response: Any = by.post(f"/o/{organization.uid}/billing/{path}", form, follow=True)
    return " ".join(response.content.decode().split())


def actions(organization: Organization, asked: str = "month", **fields: Any) -> dict[str, str]:
    BillingAccount.objects.filter(pk=organization.pk).update(**fields)
    return {each.plan.slug: each.action for each in offers.comparison(account_of(organization), asked)}


def test_the_comparison_is_made_of_the_plans(page: Page) -> None:
    Plan.objects.filter(slug="pro").update(support_text="A person of your own")

    text = page("plans/")

    for said in (
        "$0.01 a credit",
        "$799 a month",
        "100,000 a month included",
        "Up to 10 requests a minute",
        "A person of your own",
        "Zero data retention",
        "SOC 2, HIPAA, signed BAA",
        "Contact sales",
    ):
        assert said in text


def test_a_year_has_its_own_price(page: Page) -> None:
    assert "$7,990 a year" in page("plans/?interval=year")


def test_a_plan_that_is_not_offered_is_shown_to_who_is_on_it(page: Page) -> None:
    Plan.objects.exclude(slug="pro").update(is_offered=False)

    text = page("plans/")

    assert "Pay-as-you-go" in text
    assert "Enterprise" not in text


def test_without_a_subscription_plans_are_chosen_and_a_card_is_added(organization: Organization) -> None:
    assert actions(organization) == {"pay_as_you_go": "add_card", "pro": "choose", "enterprise": "contact"}


def test_on_metered_usage_pro_is_an_upgrade(organization: Organization) -> None:
    found = actions(organization, stripe_subscription="sub_1", subscription_status="active")

    assert found == {"pay_as_you_go": "", "pro": "upgrade", "enterprise": "contact"}


@pytest.mark.parametrize(
    ("held", "asked", "action"),
    [
        ("month", "year", Action.UPGRADE),
        ("year", "month", Action.DOWNGRADE),
        ("year", "year", Action.NONE),
    ],
)
def test_years_are_an_upgrade_and_months_a_downgrade(
    organization: Organization, held: str, asked: str, action: Action
) -> None:
    found = actions(
        organization,
        asked,
        plan=plans.named("pro"),
        interval=held,
        stripe_subscription="sub_1",
        subscription_status="active",
    )

    assert found["pro"] == action
    assert found["pay_as_you_go"] == Action.DOWNGRADE


def test_who_owes_pays_first(organization: Organization) -> None:
    found = actions(organization, stripe_subscription="sub_1", subscription_status="past_due")

    assert found["pro"] == Action.PAY


def test_who_cancelled_chooses_again(organization: Organization) -> None:
    found = actions(organization, subscription_status="canceled", cancelled_at=timezone.now())

    assert (found["pay_as_you_go"], found["pro"]) == (Action.CHOOSE, Action.CHOOSE)


def test_a_plan_that_was_cancelled_is_nobodys(page: Page) -> None:
    BillingAccount.objects.update(subscription_status="canceled", cancelled_at=timezone.now())

    text = page("plans/")

    assert "Your plan" not in text
    assert "Northwind was on Pay-as-you-go." in text


def test_who_is_invoiced_by_hand_writes(organization: Organization, pro: BillingAccount) -> None:
    assert actions(organization) == {"pay_as_you_go": "contact", "pro": "", "enterprise": "contact"}


def test_an_admin_sees_the_plans_without_buttons(page: Page, by_admin: Client) -> None:
    text = page("plans/", by=by_admin)

    assert "Choose Pro" not in text
    assert "The owner can change the plan." in text


def test_a_first_plan_says_what_it_costs_and_changes_before_it_leads_to_checkout(page: Page) -> None:
    text = page("plans/pro/month/subscribe/")

    assert "Choose Pro, paid by month?" in text
    assert 'Each month after that</th> <td class="number">$799.00' in text
    assert '<del class="muted">Up to 10 requests a minute</del>' in text
    assert "Go to payment of $799.00" in text


def test_adding_a_card_says_that_nothing_is_due_now(page: Page) -> None:
    text = page("plans/pay_as_you_go/month/subscribe/")

    assert "Add a card to Pay-as-you-go?" in text
    assert 'Now</th> <td class="number">$0.00' in text
    assert "$0.01 a credit, billed monthly" in text


def test_what_cannot_be_chosen_is_not_offered_to_be_confirmed(
    by_owner: Client, organization: Organization
) -> None:
    BillingAccount.objects.update(stripe_subscription="sub_1", subscription_status="active")

    response = by_owner.get(f"/o/{organization.uid}/billing/plans/pro/month/subscribe/")

    assert response.status_code == 302


@pytest.mark.parametrize(("days", "said"), [(0, "all of it is erased"), (30, "kept for 30 days only")])
def test_less_retention_warns_that_data_is_erased(page: Page, days: int, said: str) -> None:
    Plan.objects.filter(slug="pay_as_you_go").update(retention_days=90)
    Plan.objects.filter(slug="pro").update(retention_days=days)

    text = page("plans/pro/month/subscribe/")

    assert "is erased, and does not come back" in text
    assert said in text


def test_as_much_retention_warns_of_nothing(page: Page, organization: Organization) -> None:
    Plan.objects.filter(slug="pay_as_you_go").update(retention_days=90)
    Plan.objects.filter(slug="pro").update(retention_days=0)
    access.agree(organization=organization, reason="Pilot", actor=None, retention_days=90)

    assert "does not come back" not in page("plans/pro/month/subscribe/")


def test_choosing_a_plan_leads_through_checkout_and_back(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization, page: Page
) -> None:
    response = by_owner.post(f"/o/{organization.uid}/billing/plans/pro/month/subscribe/")
    back = catalogued.complete_checkout(response["Location"])

    text = page(back.split("/billing/")[1])

    assert "Thank you" in text
    assert "<dt>Plan</dt> <dd> Pro </dd>" in text
    assert "<strong>100,100</strong>" in text


def test_a_card_is_added_by_checkout_as_well(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization
) -> None:
    response = by_owner.post(f"/o/{organization.uid}/billing/plans/pay_as_you_go/month/subscribe/")
    came_back(catalogued, organization, response["Location"])

    assert account_of(organization).bills_overage


def test_who_added_a_card_reads_that_nothing_was_charged_and_what_follows(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization, page: Page
) -> None:
    response = by_owner.post(f"/o/{organization.uid}/billing/plans/pay_as_you_go/month/subscribe/")
    back = catalogued.complete_checkout(response["Location"])

    text = page(back.split("/billing/")[1])

    assert "Your card is on file" in text
    assert "Nothing was charged." in text
    assert "$0.01 a credit, charged to the card each month" in text
    assert "It is paid" not in text


def test_a_second_subscription_is_not_begun(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization
) -> None:
    subscribe(catalogued, organization)

    assert "There is a subscription already." in act(by_owner, organization, "plans/pro/month/subscribe/")


def test_an_upgrade_shows_what_it_costs_and_costs_that(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization, page: Page
) -> None:
    subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")

    shown = page("plans/pro/month/")
    moment = re.search(r'name="proration_date" value="(\d+)"', shown)
    form = {"proration_date": moment[1]} if moment else {}
    done = act(by_owner, organization, "plans/pro/month/", **form)

    assert "Pay $799.00 and change" in shown
    assert '<del class="muted">Up to 10 requests a minute</del>' in shown
    assert "You are on Pro, paid by month." in done
    assert account_of(organization).plan.slug == "pro"


@pytest.mark.parametrize("moment", ["²", "-1", "999999999999", "1", ""])
def test_a_moment_that_no_preview_was_made_for_is_not_taken(
    moment: str, catalogued: SimulatorProcess, by_owner: Client, organization: Organization
) -> None:
    subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "")

    done = act(by_owner, organization, "plans/pro/month/", proration_date=moment)

    assert "You are on Pro, paid by month." in done


def test_an_upgrade_is_charged_with_what_was_used_so_far(
    at_present: SimulatorProcess,
    by_owner: Client,
    organization: Organization,
    page: Page,
    rates: None,
    use: Use,
) -> None:
    subscribe(at_present, organization, plans.PAY_AS_YOU_GO, "")
    use(250)

    before = page("plans/pro/month/")
    settle(organization)
    metering.flush(organization)
    # Stripe counts what was reported before the second of the change.
    at_present.advance(60)
    after = page("plans/pro/month/")
    act(by_owner, organization, "plans/pro/month/")

    for shown in (before, after):
        assert 'What was used beyond credits so far</td> <td class="number">$1.50</td>' in shown
        assert "Pay $800.50 and change" in shown
    invoices.record_all(account_of(organization).stripe_customer)
    newest = invoices.of(organization).first()
    assert newest and newest.total == Decimal("800.50")


def test_a_downgrade_says_when_and_what_is_lost_and_can_be_undone(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization, page: Page
) -> None:
    account = subscribe(catalogued, organization)
    Plan.objects.filter(slug="pro").update(retention_days=90)
    Plan.objects.filter(slug="pay_as_you_go").update(retention_days=0)

    shown = page("plans/pay_as_you_go/month/")
    done = act(by_owner, organization, "plans/pay_as_you_go/month/")
    asked = account_of(organization)
    due = page("next-invoice/")
    kept = act(by_owner, organization, "plans/keep/")

    assert account.renews_at and f"{account.renews_at:%Y-%m-%d}" in shown
    assert "Included credits that are left on that day lapse" in shown
    assert "is erased within minutes after the change, on" in shown
    assert "from the end of what is paid" in done
    assert "<strong>Pay-as-you-go from" in done
    assert (asked.plan.slug, asked.next_plan and asked.next_plan.slug) == ("pro", "pay_as_you_go")
    assert "Pro is paid until" in due
    assert "what is used beyond credits until then, <strong>$0.00</strong> so far" in due
    assert "You stay on your plan." in kept
    assert account_of(organization).ends_at is None


def test_a_declined_upgrade_changes_nothing(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization
) -> None:
    subscribe(catalogued, organization, plans.PAY_AS_YOU_GO, "", card=FAILS_LATER)

    text = act(by_owner, organization, "plans/pro/month/")

    assert "Nothing was changed." in text
    assert account_of(organization).plan.slug == "pay_as_you_go"


def test_while_stripe_is_away_nothing_is_changed(by_owner: Client, organization: Organization) -> None:
    BillingAccount.objects.update(
        stripe_customer="cus_1", stripe_subscription="sub_1", subscription_status="active"
    )

    text = act(by_owner, organization, "plans/pro/month/")

    assert "Stripe cannot be reached" in text


@pytest.mark.parametrize("path", ["plans/none/month/", "plans/pro/week/", "plans/enterprise/month/"])
def test_what_is_not_on_offer_is_not_there(page: Page, path: str) -> None:
    page(path, status=404)


def test_what_is_agreed_is_no_more_than_the_plan_says(organization: Organization) -> None:
    plan = plans.named("pro")
    plan.credits_text, plan.included_credits = "", Decimal(5_000)

    assert offers.features(plan)[offers.CREDITS] == "5,000 a month included"
