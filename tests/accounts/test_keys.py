import pytest
from django.db import IntegrityError, transaction

from accounts import audit, keys
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Organization, User
from accounts.permissions import DEFAULT_SCOPES, ServicePermission


def version(organization: Organization) -> int:
    return Organization.objects.get(pk=organization.pk).access_version


def test_the_secret_is_returned_once_and_finds_its_key(organization: Organization, owner: User) -> None:
    key, secret = keys.create_organization_key(
        organization=organization, name="production", actor=Actor(owner)
    )

    assert ApiKey.objects.with_secret(secret).get() == key
    assert secret not in vars(ApiKey.objects.get(pk=key.pk)).values()


def test_a_key_has_the_default_scopes_unless_others_are_chosen(
    organization: Organization, owner: User
) -> None:
    default, _ = keys.create_organization_key(organization=organization, name="a", actor=Actor(owner))
    chosen, _ = keys.create_organization_key(
        organization=organization, name="b", actor=Actor(owner), scopes=["usage"]
    )

    assert default.scopes == DEFAULT_SCOPES
    assert chosen.scopes == ["usage"]


def test_a_service_key_has_all_service_scopes_and_belongs_to_nobody(db: None) -> None:
    key, secret = keys.create_service_key(name="data plane")

    assert set(key.scopes) == set(ServicePermission.values)
    assert (key.organization, key.user) == (None, None)
    assert secret.startswith("ch_service_")


def test_making_a_key_is_audited_without_its_secret(organization: Organization, owner: User) -> None:
    key, secret = keys.create_organization_key(
        organization=organization, name="production", actor=Actor(owner, ip="192.0.2.1")
    )

    entry = AuditEntry.objects.get(action=audit.Action.API_KEY_CREATED)
    assert (entry.organization, entry.actor, entry.target_uid, entry.ip) == (
        organization,
        owner,
        key.uid,
        "192.0.2.1",
    )
    assert entry.after["name"] == "production"
    assert secret not in str(vars(entry))


def test_revoking_ends_a_key_at_once(organization_key: tuple[ApiKey, str], owner: User) -> None:
    key, secret = organization_key

    assert keys.revoke(key=key, actor=Actor(owner))

    assert ApiKey.objects.with_secret(secret).get().state == "revoked"


def test_revoking_twice_changes_and_records_nothing(
    organization_key: tuple[ApiKey, str], owner: User, organization: Organization
) -> None:
    key, _ = organization_key
    keys.revoke(key=key, actor=Actor(owner))
    revoked_at, known = key.revoked_at, version(organization)

    assert not keys.revoke(key=key, actor=Actor(owner))

    key.refresh_from_db()
    assert (key.revoked_at, version(organization)) == (revoked_at, known)
    assert AuditEntry.objects.filter(action=audit.Action.API_KEY_REVOKED).count() == 1


def test_revoking_tells_the_caches(
    organization_key: tuple[ApiKey, str], owner: User, organization: Organization
) -> None:
    before = version(organization)

    keys.revoke(key=organization_key[0], actor=Actor(owner))

    assert version(organization) == before + 1


def test_revoking_is_audited_with_the_state_before_and_after(
    organization_key: tuple[ApiKey, str], owner: User
) -> None:
    keys.revoke(key=organization_key[0], actor=Actor(owner))

    entry = AuditEntry.objects.get(action=audit.Action.API_KEY_REVOKED)
    assert (entry.before, entry.after) == ({"state": "active"}, {"state": "revoked"})


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "organization"},
        {"kind": "personal"},
    ],
)
def test_the_database_refuses_a_key_without_its_owner(db: None, fields: dict[str, str]) -> None:
    with pytest.raises(IntegrityError, match="api_key_kind_has_its_owner"), transaction.atomic():
        ApiKey.objects.create(name="stray", secret_hash="0" * 64, **fields)
