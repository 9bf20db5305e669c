"""Whoever may not call the API, or soon will not, is told why on every page, with the way out."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Organization, User
from billing import access
from billing.models import BillingAccount, Subscription
from tests.billing.pages.conftest import browser
from tests.billing.pages.rows import invoice
from usage.models import Entitlement

PATHS = [
    "usage/",
    "jobs/",
    "pipelines/",
    "webhooks/",
    "api-keys/",
    "team/",
    "audit/",
    "settings/",
    "billing/",
]


def read(client: Client, organization: Organization, path: str = "team/") -> str:
    return " ".join(client.get(f"/o/{organization.uid}/{path}").content.decode().split())


def owe(organization: Organization, *, days: int, **fields: Any) -> None:
    since = timezone.now() - timedelta(days=days)
    BillingAccount.objects.filter(pk=organization.pk).update(
        **{"subscription_status": Subscription.PAST_DUE, "past_due_since": since} | fields
    )
    access.recompute(organization)


@pytest.mark.parametrize("path", PATHS)
def test_a_suspended_organization_is_told_why_on_each_page(
    by_owner: Client, organization: Organization, path: str
) -> None:
    access.agree(organization=organization, reason="Under review.", actor=None, is_suspended=True)

    text = read(by_owner, organization, path)

    assert "may not call the API now.</strong> Under review." in text
    assert "mailto:support@" in text


def test_nobody_is_told_while_calls_are_let_through(by_owner: Client, organization: Organization) -> None:
    text = read(by_owner, organization)

    assert "may not call" not in text
    assert "No credits are left" not in text


def test_a_payment_that_is_due_says_until_when_calls_go_on(
    by_owner: Client, organization: Organization
) -> None:
    owe(organization, days=2)

    text = read(by_owner, organization)

    ends = timezone.now() + timedelta(days=5)
    assert "<strong>A payment has failed.</strong>" in text
    assert f"{ends:%Y-%m-%dT}" in text
    assert f'<a href="/o/{organization.uid}/billing/">Pay, or use another card</a>' in text


def test_on_the_overview_what_is_due_is_paid_at_stripe(by_owner: Client, organization: Organization) -> None:
    owe(organization, days=2, stripe_customer="cus_1")
    invoice(organization, status="open", hosted_url="https://invoice.example.com/1")

    text = read(by_owner, organization, "billing/")

    assert 'href="https://invoice.example.com/1" rel="noopener">Pay, or use another card</a>' in text


def test_on_the_overview_the_portal_takes_another_card_where_no_invoice_is_known(
    by_owner: Client, organization: Organization
) -> None:
    owe(organization, days=8, stripe_customer="cus_1")

    text = read(by_owner, organization, "billing/")

    assert 'type="submit" form="portal">pay, or use another card</button>' in text
    assert '<form id="portal"' in text


def test_a_reason_ends_before_the_next_sentence(by_owner: Client, organization: Organization) -> None:
    access.agree(organization=organization, reason="Under review", actor=None, is_suspended=True)

    assert "Under review. Requests with its API keys are refused." in read(by_owner, organization)


def test_after_the_grace_the_way_out_is_to_pay(by_owner: Client, organization: Organization) -> None:
    owe(organization, days=8)

    text = read(by_owner, organization)

    assert "A payment has failed for more than 7 days." in text
    assert f'<a href="/o/{organization.uid}/billing/">pay, or use another card</a>' in text


def test_a_cancelled_organization_is_led_to_the_plans(by_owner: Client, organization: Organization) -> None:
    BillingAccount.objects.update(subscription_status="canceled", cancelled_at=timezone.now())
    access.recompute(organization)

    text = read(by_owner, organization)

    assert "Its subscription was cancelled." in text
    assert f'<a href="/o/{organization.uid}/billing/plans/">choose a plan</a>' in text


def test_a_suspension_by_staff_is_not_undone_by_paying(by_owner: Client, organization: Organization) -> None:
    owe(organization, days=8)
    access.agree(organization=organization, reason="Under review.", actor=None, is_suspended=True)

    text = read(by_owner, organization)

    assert "Under review." in text
    assert "pay, or use another card" not in text


def test_who_is_out_of_credits_is_led_to_buying_some(by_owner: Client, organization: Organization) -> None:
    Entitlement.objects.update(credits_used=F("credits_ceiling"))

    assert f'<a href="/o/{organization.uid}/billing/credits/">Buy credits</a>' in read(by_owner, organization)


def test_who_may_not_buy_is_told_who_can(organization: Organization, member: User) -> None:
    Entitlement.objects.update(credits_used=F("credits_ceiling") + Decimal(1))

    text = read(browser(member), organization)

    assert "The owner of Northwind can buy more." in text
    assert "/billing/" not in text


def test_without_payments_the_way_out_is_to_write(
    by_owner: Client, organization: Organization, settings: Settings
) -> None:
    settings.DEMO, settings.STRIPE_IS_SIMULATED = False, True
    Entitlement.objects.update(credits_used=F("credits_ceiling"))

    text = read(by_owner, organization)

    assert f"mailto:{settings.SALES_EMAIL}" in text
    assert "Buy credits" not in text


def test_the_banner_costs_one_question(
    by_owner: Client, organization: Organization, django_assert_max_num_queries: Any
) -> None:
    owe(organization, days=2)
    read(by_owner, organization)

    with django_assert_max_num_queries(12) as asked:
        read(by_owner, organization)

    assert sum("billing_billingaccount" in each["sql"] for each in asked.captured_queries) == 1
    assert sum("usage_entitlement" in each["sql"] for each in asked.captured_queries) == 1
