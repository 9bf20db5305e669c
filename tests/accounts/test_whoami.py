"""`GET /api/v1/api-keys/whoami`."""

from datetime import UTC, datetime

import pytest
from django.test import Client

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User

URL = "/api/v1/api-keys/whoami"


def ask(secret: str) -> dict[str, object]:
    response = Client(headers={"Authorization": f"Bearer {secret}"}).get(URL)
    assert response.status_code == 200
    answer: dict[str, object] = response.json()
    return answer


def test_organization_key(organization: Organization, owner: User) -> None:
    key, secret = keys.create_organization_key(
        organization=organization,
        name="checkout",
        actor=Actor(owner),
        environment="staging",
        scopes=["usage"],
    )
    ApiKey.objects.update(expires_at=datetime(2126, 1, 2, 3, 4, 5, 678, UTC))

    assert ask(secret) == {
        "kind": "organization",
        "id": key.uid,
        "name": "checkout",
        "environment": "staging",
        "scopes": ["usage"],
        "organization": {"id": organization.uid, "name": "Northwind"},
        "user": None,
        "expires_at": "2126-01-02T03:04:05.000678Z",
    }


def test_personal_key_names_its_owner_and_home(
    personal_key: tuple[ApiKey, str], organization: Organization, owner: User
) -> None:
    answer = ask(personal_key[1])

    assert answer["kind"] == "personal"
    assert answer["user"] == {"id": owner.uid, "name": "Olivia", "email": "olivia@example.com"}
    assert answer["organization"] == {"id": organization.uid, "name": "Northwind"}
    assert answer["expires_at"] is None


def test_service_key_has_no_organization(service_key: tuple[ApiKey, str]) -> None:
    answer = ask(service_key[1])

    assert answer["kind"] == "service"
    assert answer["organization"] is None
    assert answer["user"] is None


def test_answer_needs_no_scope(organization: Organization, owner: User) -> None:
    _, secret = keys.create_organization_key(organization=organization, name="bare", actor=Actor(owner))
    ApiKey.objects.update(scopes=[])

    assert ask(secret)["scopes"] == []


@pytest.mark.parametrize("signed_in", [True, False])
def test_who_shows_no_key_is_nobody(owner: User, client: Client, signed_in: bool) -> None:
    if signed_in:
        client.force_login(owner)

    assert client.get(URL).status_code == 401
