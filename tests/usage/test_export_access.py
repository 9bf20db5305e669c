"""Whose usage the export tells, and to whom."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts import keys, team
from accounts.audit import Actor
from accounts.models import ApiKey, Membership, Organization, User
from accounts.permissions import Role, Scope

URL = "/api/v1/usage/export"


def with_key(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def both(
    personal_key: tuple[ApiKey, str], other_organization: Organization, owner: User, outsider: User
) -> Client:
    """A personal key whose owner is also a member of the other organization."""
    team.add_member(organization=other_organization, user=owner, role=Role.VIEWER, actor=Actor(outsider))
    return with_key(personal_key[1])


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer nonsense", "Basic b2xpdmlh", "Token x", "\x7f"])
def test_no_key_and_bad_keys_get_one_answer(header: str) -> None:
    response = Client(headers={"Authorization": header} if header else {}).get(URL)

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert response.json() == {
        "error": {
            "type": "authentication",
            "code": "invalid_api_key",
            "message": "Missing or invalid API key.",
        }
    }


@pytest.mark.parametrize("end", ["revoked_at", "disabled_at", "expires_at"])
def test_key_that_ended_gets_the_same_answer(organization_key: tuple[ApiKey, str], end: str) -> None:
    key, secret = organization_key
    setattr(key, end, timezone.now() - timedelta(seconds=1))
    key.save()

    response = with_key(secret).get(URL)

    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"


def test_default_is_the_home_of_a_personal_key(both: Client, organization: Organization) -> None:
    assert both.get(URL).json()["orgId"] == organization.uid


def test_org_id_names_another_organization_of_the_owner(
    both: Client, other_organization: Organization
) -> None:
    response = both.get(URL, {"orgId": other_organization.uid})

    assert response.json()["orgId"] == other_organization.uid


def test_org_id_is_needed_once_the_owner_left_the_home(
    both: Client, owner: User, organization: Organization
) -> None:
    Membership.objects.filter(user=owner, organization=organization).delete()

    response = both.get(URL)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "orgId"


@pytest.mark.parametrize("kind", ["organization_key", "personal_key"])
@pytest.mark.parametrize("foreign", [True, False], ids=["foreign", "unknown"])
def test_organization_one_is_no_member_of_is_refused(
    kind: str, foreign: bool, other_organization: Organization, request: pytest.FixtureRequest
) -> None:
    _, secret = request.getfixturevalue(kind)

    response = with_key(secret).get(URL, {"orgId": other_organization.uid if foreign else "org_nobody"})

    assert response.status_code == 403
    assert response.json()["error"]["type"] == "permission"


def test_org_id_that_no_database_can_hold_is_refused(personal_key: tuple[ApiKey, str]) -> None:
    response = with_key(personal_key[1]).get(URL, {"orgId": "org_\0"})

    assert response.status_code == 400


def test_key_without_the_usage_scope_is_refused(organization: Organization, owner: User) -> None:
    _, secret = keys.create_organization_key(
        organization=organization, name="jobs only", actor=Actor(owner), scopes=[Scope.JOBS]
    )

    response = with_key(secret).get(URL)

    assert response.status_code == 403
    assert response.json()["error"]["code"] == "permission_denied"


def test_service_key_speaks_for_no_organization(service_key: tuple[ApiKey, str]) -> None:
    assert with_key(service_key[1]).get(URL).status_code == 403


def test_session_of_a_member_is_enough(viewer: User, organization: Organization, client: Client) -> None:
    client.force_login(viewer)

    assert client.get(URL).json()["orgId"] == organization.uid


def test_other_methods_are_refused(organization_key: tuple[ApiKey, str]) -> None:
    response = with_key(organization_key[1]).post(URL)

    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"
