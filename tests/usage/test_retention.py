"""How long job details are kept: never longer than the plan allows."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts import keys, organizations
from accounts.audit import Actor
from accounts.models import AuditEntry, Organization, User
from usage import retention
from usage.models import Entitlement


@pytest.fixture
def path(organization: Organization) -> str:
    return f"/o/{organization.uid}/settings/data/"


def choose(organization: Organization, days: int | None) -> None:
    organizations.update(organization=organization, changes={"retention_days": days}, actor=None)


@pytest.mark.parametrize(
    ("chosen", "allowed", "kept"),
    [(None, 90, 90), (30, 90, 30), (0, 90, 0), (90, 30, 30), (None, 0, 0), (30, 0, 0)],
)
def test_the_shorter_of_plan_and_choice_counts(
    organization: Organization, chosen: int | None, allowed: int, kept: int
) -> None:
    Entitlement.objects.update(retention_days=allowed)
    organization.retention_days = chosen

    assert retention.retention_days(organization) == kept


def test_a_choice_within_the_plan_is_kept(client: Client, owner: User, path: str) -> None:
    client.force_login(owner)

    page = client.post(path, {"retention_days": "30", "confirmed": "yes"}, follow=True).content.decode()

    assert Organization.objects.get().retention_days == 30
    assert "<strong>30 days</strong>" in page
    assert "up to 90 days" in page


@pytest.mark.parametrize(
    ("days", "said"),
    [("30", "The details of 60 days go for good"), ("0", "The details of 90 days go for good")],
)
def test_who_chooses_less_is_first_told_what_goes(
    client: Client, owner: User, path: str, days: str, said: str
) -> None:
    client.force_login(owner)

    page = client.post(path, {"retention_days": days}).content.decode()

    assert said in page
    assert f'name="retention_days" value="{days}"' in page
    assert Organization.objects.get().retention_days is None


def test_who_chooses_more_is_not_asked(
    client: Client, owner: User, organization: Organization, path: str
) -> None:
    choose(organization, 30)
    client.force_login(owner)

    client.post(path, {"retention_days": "60"})

    assert Organization.objects.get().retention_days == 60


def test_an_empty_choice_is_the_plans(
    client: Client, owner: User, organization: Organization, path: str
) -> None:
    choose(organization, 30)
    client.force_login(owner)

    client.post(path, {"retention_days": ""})

    assert Organization.objects.get().retention_days is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("91", "for 90 days at most"),
        ("-1", "greater than or equal to 0"),
        ("ever", "whole number"),
        ("9" * 30, ""),
    ],
)
def test_what_the_plan_does_not_allow_is_refused(
    client: Client, owner: User, path: str, value: str, message: str
) -> None:
    client.force_login(owner)

    response = client.post(path, {"retention_days": value})

    assert response.status_code == 400
    assert message in str(response.context["form"].errors["retention_days"])
    assert Organization.objects.get().retention_days is None
    assert not AuditEntry.objects.filter(action="organization.updated").exists()


def test_a_member_sees_and_may_not_change(client: Client, member: User, path: str) -> None:
    client.force_login(member)

    assert "90 days" in client.get(path).content.decode()
    assert client.post(path, {"retention_days": "1"}).status_code == 403


def test_a_plan_without_retention_offers_no_choice(client: Client, owner: User, path: str) -> None:
    Entitlement.objects.update(retention_days=0)
    client.force_login(owner)

    page = client.get(path).content.decode()

    assert "zero data retention" in page
    assert "Save" not in page


def test_the_api_names_the_field(client: Client, owner: User, organization: Organization) -> None:
    _, secret = keys.create_organization_key(
        organization=organization, name="k", scopes=["team"], actor=Actor(owner)
    )

    response = client.patch(
        f"/api/v1/organizations/{organization.uid}",
        {"retention_days": 91, "name": "Changed"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )

    body: dict[str, Any] = response.json()
    assert response.status_code == 400
    assert body["error"]["param"] == "retention_days"
    assert Organization.objects.get().name == "Northwind"


def test_other_changes_go_through_where_the_plan_allows_less_by_now(organization: Organization) -> None:
    choose(organization, 90)
    Entitlement.objects.update(retention_days=30)

    organizations.update(organization=organization, changes={"name": "Southwind"}, actor=None)

    with pytest.raises(ValidationError):
        choose(organization, 89)
    assert Organization.objects.get().name == "Southwind"
