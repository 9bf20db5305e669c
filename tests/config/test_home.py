"""Where `/` leads, and how one gets from organization to organization."""

import pytest
from django.test import Client

from accounts import organizations, team
from accounts.audit import Actor
from accounts.models import Organization, User
from accounts.permissions import Role


@pytest.fixture
def second(organization: Organization, outsider: User, owner: User) -> Organization:
    """An organization of somebody else in which the owner of the first is a viewer."""
    second = organizations.create(name="Zenith", owner=outsider)
    team.add_member(organization=second, user=owner, role=Role.VIEWER, actor=Actor(outsider))
    return second


def test_it_leads_to_the_sign_in(client: Client) -> None:
    response = client.get("/")

    assert response["Location"] == "/accounts/login/?next=/"


def test_it_leads_to_the_first_organization(client: Client, owner: User, organization: Organization) -> None:
    client.force_login(owner)

    response = client.get("/")

    assert response["Location"] == f"/o/{organization.uid}/usage/"


def test_it_leads_to_the_organization_last_looked_at(
    client: Client, owner: User, second: Organization
) -> None:
    client.force_login(owner)
    client.get(f"/o/{second.uid}/api-keys/")

    response = client.get("/")

    assert response["Location"] == f"/o/{second.uid}/usage/"


def test_an_organization_one_was_removed_from_is_forgotten(
    client: Client, owner: User, organization: Organization, second: Organization
) -> None:
    client.force_login(owner)
    client.get(f"/o/{second.uid}/api-keys/")
    second.memberships.filter(user=owner).delete()

    response = client.get("/")

    assert response["Location"] == f"/o/{organization.uid}/usage/"


def test_without_an_organization_it_says_so(client: Client, outsider: User) -> None:
    client.force_login(outsider)

    response = client.get("/")

    assert response.status_code == 200
    assert b"not a member of any organization yet" in response.content


def test_the_switcher_opens_the_same_section_elsewhere(
    client: Client, owner: User, organization: Organization, second: Organization
) -> None:
    client.force_login(owner)

    navigation = client.get(f"/o/{organization.uid}/api-keys/create/").context["navigation"]

    assert [(choice["url"], choice["role"], choice["current"]) for choice in navigation["organizations"]] == [
        (f"/o/{organization.uid}/api-keys/", "Owner", True),
        (f"/o/{second.uid}/api-keys/", "Viewer", False),
    ]
    assert [section["label"] for section in navigation["sections"] if section["current"]] == ["API keys"]
