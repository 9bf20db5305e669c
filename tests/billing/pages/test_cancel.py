"""Cancelling: what follows is said, the name is asked for, and verify refuses at once."""

from typing import Any

from django.test import Client

from accounts.models import ApiKey, Organization
from tests.billing.conftest import Use
from tests.billing.pages.conftest import Page
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import account_of, buy, subscribe
from usage.models import Entitlement


def act(by: Client, organization: Organization, **form: str) -> Any:
    return by.post(f"/o/{organization.uid}/billing/cancel/", form, follow=True)


def test_it_says_what_follows(
    catalogued: SimulatorProcess, page: Page, organization: Organization, rates: None, use: Use
) -> None:
    buy(catalogued, organization)
    subscribe(catalogued, organization)
    use(102_000)

    text = page("cancel/")

    assert "API access is revoked immediately." in text
    assert "Your data is deleted under the zero data retention policy" in text
    assert "<strong>$9.00</strong>" in text
    assert "What was paid for this month is not paid back." in text


def test_it_is_done_once_the_name_is_typed(
    catalogued: SimulatorProcess,
    by_owner: Client,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
) -> None:
    subscribe(catalogued, organization)

    response = act(by_owner, organization, name="Northwind")

    assert "The subscription is cancelled" in response.content.decode()
    assert not Entitlement.objects.get(organization=organization).may_call
    assert account_of(organization).cancelled_at


def test_another_name_changes_nothing(
    catalogued: SimulatorProcess, by_owner: Client, organization: Organization
) -> None:
    subscribe(catalogued, organization)

    response = act(by_owner, organization, name="Southwind")

    assert response.status_code == 400
    assert account_of(organization).cancelled_at is None


def test_without_a_subscription_there_is_nothing_to_cancel(
    by_owner: Client, organization: Organization
) -> None:
    response = by_owner.get(f"/o/{organization.uid}/billing/cancel/", follow=True)

    assert "There is no subscription to cancel." in response.content.decode()
