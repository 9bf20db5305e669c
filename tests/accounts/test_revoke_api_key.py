"""Revoking a key on its page: said plainly beforehand, at once, and once."""

from django.test import Client

from accounts import keys
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Organization, User


def address(organization: Organization, key: ApiKey) -> str:
    return f"/o/{organization.uid}/api-keys/{key.uid}/revoke/"


def test_asking_says_what_stops_and_changes_nothing(
    client: Client, owner: User, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key
    client.force_login(owner)

    page = client.get(address(organization, key)).content.decode()

    assert "ends its access immediately and for good" in page
    assert usable_key(secret) == key


def test_a_revoked_key_stops_at_once(
    client: Client, owner: User, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key
    client.force_login(owner)

    response = client.post(address(organization, key), follow=True)

    assert usable_key(secret) is None
    assert f"{key} is revoked." in response.content.decode()
    assert AuditEntry.objects.get(action="api_key.revoked").actor == owner


def test_revoking_twice_is_recorded_once(
    client: Client, owner: User, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    key, _ = organization_key
    client.force_login(owner)
    client.post(address(organization, key))

    response = client.post(address(organization, key), follow=True)

    assert "was revoked before" in response.content.decode()
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


def test_a_key_of_another_organization_is_not_found(
    client: Client, owner: User, organization: Organization, other_organization: Organization
) -> None:
    foreign, secret = keys.create_organization_key(
        organization=other_organization, name="foreign", actor=None
    )
    client.force_login(owner)

    response = client.post(address(organization, foreign))

    assert response.status_code == 404
    assert usable_key(secret) == foreign
