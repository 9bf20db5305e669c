import hashlib
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, keys, secrets
from accounts.audit import Actor
from accounts.authentication import service_scopes, usable_key
from accounts.models import ApiKey, AuditEntry, Notification, Organization, User
from accounts.permissions import DEFAULT_SCOPES, ServicePermission

Key = tuple[ApiKey, str]


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


# ── Changing ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_what_changed_is_recorded_and_the_caches_are_told(
    organization_key: Key, organization: Organization, owner: User
) -> None:
    key, known = organization_key[0], version(organization)

    changed = keys.update(
        key=key, changes={"name": "production", "allowed_ips": ["192.0.2.1"]}, actor=Actor(owner)
    )

    entry = AuditEntry.objects.get(action=audit.Action.API_KEY_UPDATED)
    assert changed
    assert (entry.before, entry.after) == ({"allowed_ips": []}, {"allowed_ips": ["192.0.2.1/32"]})
    assert version(organization) == known + 1


def test_a_change_to_what_is_already_so_records_nothing(
    organization_key: Key, organization: Organization, owner: User
) -> None:
    known = version(organization)

    changed = keys.update(
        key=organization_key[0],
        changes={"name": " production ", "scopes": ["webhooks", "usage", "jobs"]},
        actor=Actor(owner),
    )

    assert (changed, version(organization)) == (False, known)
    assert not AuditEntry.objects.filter(action=audit.Action.API_KEY_UPDATED).exists()


def test_all_that_is_wrong_is_told_at_once_by_field(organization_key: Key) -> None:
    with pytest.raises(ValidationError) as error:
        keys.update(
            key=organization_key[0],
            changes={"requests_per_minute": 0, "allowed_ips": ["here"], "name": "kept"},
            actor=None,
        )

    assert error.value.message_dict.keys() == {"requests_per_minute", "allowed_ips"}
    assert ApiKey.objects.get(pk=organization_key[0].pk).name == "production"


def test_what_belongs_to_the_key_for_good_cannot_be_changed(organization_key: Key) -> None:
    with pytest.raises(ValidationError, match="cannot be changed"):
        keys.update(key=organization_key[0], changes={"environment": "staging"}, actor=None)


def test_a_revoked_key_is_not_changed(organization_key: Key) -> None:
    keys.revoke(key=organization_key[0], actor=None)

    with pytest.raises(keys.Ended):
        keys.update(key=organization_key[0], changes={"name": "x"}, actor=None)


def test_a_key_is_disabled_and_enabled_each_once(organization_key: Key, organization: Organization) -> None:
    key, known = organization_key[0], version(organization)

    answers = [
        keys.disable(key=key, actor=None),
        keys.disable(key=key, actor=None),
        keys.enable(key=key, actor=None),
        keys.enable(key=key, actor=None),
    ]

    assert answers == [True, False, True, False]
    assert version(organization) == known + 2
    actions = AuditEntry.objects.filter(target_uid=key.uid).order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["api_key.created", "api_key.disabled", "api_key.enabled"]


def test_a_revoked_key_is_neither_disabled_nor_enabled(organization_key: Key) -> None:
    key = organization_key[0]
    keys.disable(key=key, actor=None)
    keys.revoke(key=key, actor=None)

    assert not keys.enable(key=key, actor=None)
    assert not keys.disable(key=key, actor=None)
    entry = AuditEntry.objects.get(action=audit.Action.API_KEY_REVOKED)
    assert entry.before == {"state": "disabled"}


# ── Rotating ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rotated_key_stays_the_same_but_for_its_secret(organization_key: Key, owner: User) -> None:
    key, old = organization_key
    keys.update(key=key, changes={"requests_per_minute": 5}, actor=None)

    new = keys.rotate(key=key, grace=keys.GRACES["1 hour"], actor=Actor(owner))

    found = ApiKey.objects.with_secret(new).get()
    assert (found.uid, found.name, found.requests_per_minute) == (key.uid, "production", 5)
    assert (found.last_four, found.previous_last_four) == (new[-4:], old[-4:])
    assert new not in str(AuditEntry.objects.values_list("before", "after"))


def test_an_ended_key_is_not_rotated(organization: Organization, organization_key: Key) -> None:
    expired, _ = keys.create_organization_key(organization=organization, name="old", actor=None)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    keys.revoke(key=organization_key[0], actor=None)

    for key in (expired, organization_key[0]):
        with pytest.raises(keys.Ended):
            keys.rotate(key=key, grace=timedelta(0), actor=None)


def test_the_grace_can_be_ended_early(organization_key: Key) -> None:
    key, old = organization_key
    new = keys.rotate(key=key, grace=keys.GRACES["7 days"], actor=None)

    assert keys.end_grace(key=key, actor=None)

    assert usable_key(old) is None
    assert usable_key(new) == key
    assert not keys.end_grace(key=key, actor=None)
    keys.rotate(key=key, grace=timedelta(0), actor=None)


def test_a_service_key_rotates_too(service_key: Key) -> None:
    key, old = service_key

    new = keys.rotate(key=key, grace=keys.GRACES["1 hour"], actor=None)

    assert new.startswith("ch_service_")
    assert service_scopes(old, now=timezone.now()) == service_scopes(new, now=timezone.now()) == key.scopes
    assert service_scopes(old, now=timezone.now() + timedelta(hours=2)) is None


# ── Made elsewhere ───────────────────────────────────────────────────────────────────────────────────────────

FOREIGN = "sk_live_4242424242424242"
SHA256 = hashlib.sha256(FOREIGN.encode()).hexdigest()


def test_an_imported_key_works_as_it_is(organization: Organization) -> None:
    key, is_new = keys.create_imported_key(
        organization=organization, sha256=SHA256, name="legacy", actor=None, last_four="4242"
    )

    assert is_new
    assert usable_key(FOREIGN) == key
    assert usable_key(SHA256) is None
    assert AuditEntry.objects.filter(action=audit.Action.API_KEY_IMPORTED).count() == 1


def test_imported_again_it_is_the_same_key(
    organization: Organization, other_organization: Organization
) -> None:
    first, _ = keys.create_imported_key(organization=organization, sha256=SHA256, name="legacy", actor=None)

    again = keys.create_imported_key(
        organization=organization, sha256=SHA256.upper(), name="other", actor=None
    )

    assert again == (first, False)
    with pytest.raises(keys.ImportedElsewhere):
        keys.create_imported_key(organization=other_organization, sha256=SHA256, name="x", actor=None)


def test_an_imported_key_rotates_into_one_of_ours(organization: Organization) -> None:
    key, _ = keys.create_imported_key(organization=organization, sha256=SHA256, name="legacy", actor=None)

    new = keys.rotate(key=key, grace=keys.GRACES["1 hour"], actor=None)

    assert secrets.is_well_formed(new)
    assert usable_key(FOREIGN) == usable_key(new) == key


# ── One more address ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tied(organization: Organization, owner: User) -> ApiKey:
    """A key for one network only."""
    return keys.create_organization_key(
        organization=organization, name="tied", allowed_ips=["192.0.2.0/24"], actor=Actor(owner)
    )[0]


def test_support_allows_one_more_address_and_says_why(
    tied: ApiKey, organization: Organization, staff: User, owner: User
) -> None:
    known = version(organization)

    assert keys.allow(key=tied, address="198.51.100.7", reason="They moved", actor=Actor(staff))

    tied.refresh_from_db()
    entry = AuditEntry.objects.get(action=audit.Action.API_KEY_UPDATED)
    assert tied.allowed_ips == ["192.0.2.0/24", "198.51.100.7/32"]
    assert entry.before == {"allowed_ips": ["192.0.2.0/24"]}
    assert entry.after == {"allowed_ips": tied.allowed_ips, "reason": "They moved"}
    assert version(organization) == known + 1
    assert "They moved" in Notification.objects.get(user=owner, title__contains="one more address").body


@pytest.mark.parametrize("address", ["192.0.2.9", "::ffff:192.0.2.9"])
def test_an_address_that_is_allowed_already_changes_nothing(tied: ApiKey, staff: User, address: str) -> None:
    assert not keys.allow(key=tied, address=address, reason="Please", actor=Actor(staff))
    assert not AuditEntry.objects.filter(action=audit.Action.API_KEY_UPDATED).exists()


def test_a_key_that_may_be_used_from_anywhere_is_not_tied_to_an_address(
    organization_key: Key, staff: User
) -> None:
    assert not keys.allow(key=organization_key[0], address="192.0.2.9", reason="Please", actor=Actor(staff))
    assert organization_key[0].allowed_ips == []


def test_a_revoked_key_is_allowed_nothing(tied: ApiKey, owner: User, staff: User) -> None:
    keys.revoke(key=tied, actor=Actor(owner))

    with pytest.raises(keys.Ended):
        keys.allow(key=tied, address="198.51.100.7", reason="Please", actor=Actor(staff))
