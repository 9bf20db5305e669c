"""Who may look at an organization's keys, and what its page shows."""

from datetime import UTC, datetime

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User


def address(organization: Organization) -> str:
    return f"/o/{organization.uid}/api-keys/"


def test_an_outsider_finds_nothing(client: Client, organization: Organization, outsider: User) -> None:
    client.force_login(outsider)

    response = client.get(address(organization))

    assert response.status_code == 404


def test_somebody_not_signed_in_is_led_to_the_sign_in(client: Client, organization: Organization) -> None:
    response = client.get(address(organization))

    assert response["Location"] == f"/accounts/login/?next={address(organization)}"


def test_a_viewer_sees_keys_but_no_way_to_change_them(
    client: Client, organization: Organization, viewer: User, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key
    client.force_login(viewer)

    page = client.get(address(organization)).content.decode()

    assert key.masked in page
    assert key.uid in page
    assert secret not in page
    assert "Create new API key" not in page
    assert "Revoke" not in page.replace("Revoked", "")


@pytest.mark.parametrize("path", ["create/", "{key}/revoke/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_viewer_may_not_change_keys(
    client: Client,
    organization: Organization,
    viewer: User,
    organization_key: tuple[ApiKey, str],
    path: str,
    method: str,
) -> None:
    client.force_login(viewer)

    response = getattr(client, method)(address(organization) + path.format(key=organization_key[0].uid))

    assert response.status_code == 403
    assert b"Your role does not allow this" in response.content
    assert ApiKey.objects.get().state == "active"


def test_keys_of_other_kinds_and_organizations_are_not_listed(
    client: Client,
    owner: User,
    organization: Organization,
    other_organization: Organization,
    personal_key: tuple[ApiKey, str],
) -> None:
    keys.create_organization_key(organization=other_organization, name="foreign", actor=None)
    client.force_login(owner)

    page = client.get(address(organization)).content.decode()

    assert "foreign" not in page
    assert personal_key[0].name not in page
    assert "No API key in use" in page


def test_ended_keys_are_listed_apart(client: Client, owner: User, organization: Organization) -> None:
    revoked, _ = keys.create_organization_key(organization=organization, name="old", actor=Actor(owner))
    keys.revoke(key=revoked, actor=Actor(owner))
    trial, _ = keys.create_organization_key(organization=organization, name="trial", actor=Actor(owner))
    ApiKey.objects.filter(pk=trial.pk).update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    client.force_login(owner)

    page = client.get(address(organization)).context

    assert page["keys"] == []
    assert [key.name for key in page["ended"]] == ["trial", "old"]


def test_many_keys_come_in_pages_with_few_queries(
    client: Client,
    owner: User,
    organization: Organization,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(60):
        keys.create_organization_key(organization=organization, name=f"key {number}", actor=Actor(owner))
    client.force_login(owner)

    with django_assert_max_num_queries(12):
        first = client.get(address(organization))
    second = client.get(address(organization) + first.context["older"])

    names = [key.name for page in (first, second) for key in page.context["keys"]]
    assert names == [f"key {number}" for number in reversed(range(60))]
    assert second.context["older"] == ""


def test_a_made_up_cursor_is_refused(client: Client, owner: User, organization: Organization) -> None:
    client.force_login(owner)

    response = client.get(address(organization), {"older_than": "made up"})

    assert response.status_code == 400


@pytest.mark.parametrize(
    "path", ["/o/%00/api-keys/", "/o/{uid}/api-keys/%00/revoke/", "/o/no%20thing/api-keys/"]
)
def test_an_address_that_no_id_can_have_is_not_found(
    client: Client, owner: User, organization: Organization, path: str
) -> None:
    client.force_login(owner)

    assert client.get(path.format(uid=organization.uid)).status_code == 404
