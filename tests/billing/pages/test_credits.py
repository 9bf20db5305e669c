"""Buying credits, once and by themselves."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Organization
from billing.models import AutoTopUp, BillingAccount, CreditGrant, CreditPack
from tests.billing.conftest import Use
from tests.billing.pages.conftest import Page
from tests.billing.pages.rows import top_up
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import buy

FORM = {"threshold": "500", "pack": "1000", "monthly_limit": "50"}


def act(by: Client, organization: Organization, path: str, **form: str) -> Any:
    return by.post(f"/o/{organization.uid}/billing/{path}", form, follow=True)


def test_packs_are_shown_with_what_one_credit_costs(page: Page) -> None:
    text = page("credits/")

    assert "1,000 credits" in text
    assert "$950" in text
    assert "$0.0095 each; they do not expire" in text


def test_a_pack_that_is_not_offered_is_not_there(by_owner: Client, organization: Organization) -> None:
    CreditPack.objects.filter(slug="1000").update(is_offered=False)

    assert act(by_owner, organization, "credits/1000/buy/").status_code == 404


def test_a_pack_is_bought_by_checkout_and_its_credits_are_there(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization, page: Page
) -> None:
    response = by_owner.post(f"/o/{organization.uid}/billing/credits/1000/buy/")
    back = catalogued.complete_checkout(response["Location"])

    text = page(back.split("/billing/")[1])
    again = page(back.split("/billing/")[1])

    assert "<strong>1,100</strong>" in text
    assert "<strong>1,100</strong>" in again
    assert CreditGrant.objects.filter(kind="purchased").count() == 1


def test_a_checkout_of_another_organization_is_not_there(
    catalogued: SimulatorProcess, page: Page, other_organization: Organization
) -> None:
    session = buy(catalogued, other_organization)

    page(f"checkout/done/?session_id={session}", status=404)


def test_coming_back_while_stripe_is_away_says_not_to_pay_again(page: Page) -> None:
    BillingAccount.objects.update(stripe_customer="cus_1")

    assert "must not pay again" in page("checkout/done/?session_id=cs_1")


def test_who_leaves_checkout_is_told_that_nothing_was_charged(page: Page) -> None:
    assert "Nothing was charged" in page("checkout/left/")


def test_who_may_not_call_for_what_is_due_buys_nothing(page: Page) -> None:
    BillingAccount.objects.update(subscription_status="canceled", cancelled_at=timezone.now())

    assert "/buy/" not in page("credits/")


def test_a_top_up_is_set_and_switched_off(by_owner: Client, organization: Organization) -> None:
    BillingAccount.objects.update(stripe_customer="cus_1", card="Visa •••• 4242")

    act(by_owner, organization, "top-up/", **FORM)
    wish = AutoTopUp.objects.get()
    act(by_owner, organization, "top-up/remove/")

    assert (wish.threshold, wish.pack.slug, wish.monthly_limit) == (500, "1000", 50)
    assert not AutoTopUp.objects.exists()


def test_saving_a_stopped_top_up_resumes_it(by_owner: Client, organization: Organization, page: Page) -> None:
    BillingAccount.objects.update(stripe_customer="cus_1", card="Visa •••• 4242")
    top_up(organization, stopped_at=timezone.now(), stopped_reason="The card was declined.")

    shown = page("top-up/")
    act(by_owner, organization, "top-up/", **FORM)

    assert "<strong>It has stopped</strong>" in shown
    assert "The card was declined." in shown
    assert "Save and resume" in shown
    assert AutoTopUp.objects.get().stopped_at is None


def test_without_a_card_nothing_is_set(by_owner: Client, organization: Organization) -> None:
    response = act(by_owner, organization, "top-up/", **FORM)

    assert response.status_code == 400
    assert "There is no card on file" in response.content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", "0"),
        ("threshold", ""),
        ("pack", "none"),
        ("monthly_limit", "5"),
        ("monthly_limit", "x"),
        ("monthly_limit", "99999999999"),
    ],
)
def test_a_top_up_that_makes_no_sense_is_refused_by_field(
    by_owner: Client, organization: Organization, field: str, value: str
) -> None:
    BillingAccount.objects.update(stripe_customer="cus_1", card="Visa •••• 4242")

    response = act(by_owner, organization, "top-up/", **FORM | {field: value})

    assert response.status_code == 400
    assert field in response.context["form"].errors
    assert not AutoTopUp.objects.exists()


def test_what_was_used_without_credits_is_said_before_buying(page: Page, rates: None, use: Use) -> None:
    use(350)

    for path in ("credits/", "plans/"):
        text = page(path)
        assert "<strong>250 credits were used beyond what there was</strong>" in text
        assert "at most $2.50" in text
