"""What becomes of members: their roles, and how they go."""

import pytest

from accounts import keys, members, ownership, team
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Notification, Organization, OwnershipOffer, User
from accounts.permissions import Role


def role_of(person: User, organization: Organization) -> str:
    return organization.memberships.get(user=person).role


@pytest.mark.parametrize("changer", ["owner", "admin"])
def test_a_role_is_changed_and_recorded(
    organization: Organization, member: User, changer: str, request: pytest.FixtureRequest
) -> None:
    person: User = request.getfixturevalue(changer)
    version = Organization.objects.get().access_version

    changed = members.change_role(
        membership=organization.memberships.get(user=member), role=Role.ADMIN, actor=Actor(person)
    )

    assert changed
    assert role_of(member, organization) == Role.ADMIN
    entry = AuditEntry.objects.get(action="member.role_changed")
    assert (entry.before, entry.after) == ({"role": "member"}, {"role": "admin"})
    assert Organization.objects.get().access_version > version
    assert Notification.objects.get(user=member).title == "Your role in Northwind is now admin"


def test_the_same_role_again_changes_nothing(organization: Organization, owner: User, member: User) -> None:
    changed = members.change_role(
        membership=organization.memberships.get(user=member), role=Role.MEMBER, actor=Actor(owner)
    )

    assert not changed
    assert not AuditEntry.objects.filter(action="member.role_changed").exists()


@pytest.mark.parametrize(
    ("changer", "target", "role"),
    [
        ("admin", "owner", Role.VIEWER),
        ("admin", "member", Role.OWNER),
        ("owner", "member", Role.OWNER),
        ("owner", "owner", Role.VIEWER),
        ("member", "admin", Role.VIEWER),
        ("member", "viewer", Role.ADMIN),
        ("viewer", "viewer", Role.MEMBER),
        ("outsider", "viewer", Role.MEMBER),
    ],
)
def test_nobody_reaches_above_their_own_level(
    organization: Organization, changer: str, target: str, role: Role, request: pytest.FixtureRequest
) -> None:
    person: User = request.getfixturevalue(changer)
    other: User = request.getfixturevalue(target)
    before = role_of(other, organization)

    with pytest.raises(team.OutOfReach):
        members.change_role(
            membership=organization.memberships.get(user=other), role=role, actor=Actor(person)
        )

    assert role_of(other, organization) == before


@pytest.mark.parametrize(
    ("remover", "target"), [("admin", "owner"), ("owner", "owner"), ("viewer", "member")]
)
def test_nobody_removes_above_their_own_level(
    organization: Organization, remover: str, target: str, request: pytest.FixtureRequest
) -> None:
    person: User = request.getfixturevalue(remover)
    other: User = request.getfixturevalue(target)

    with pytest.raises(team.OutOfReach):
        members.remove(membership=organization.memberships.get(user=other), actor=Actor(person))

    assert organization.memberships.filter(user=other).exists()


def test_removal_ends_the_keys_they_made_and_no_others(
    organization: Organization,
    owner: User,
    admin: User,
    organization_key: tuple[ApiKey, str],
) -> None:
    theirs, _ = keys.create_organization_key(organization=organization, name="checkout", actor=Actor(admin))
    own, _ = keys.create_personal_key(user=admin, organization=organization, name="laptop")
    membership = organization.memberships.get(user=admin)
    named = list(members.keys_that_stop(membership))

    members.remove(membership=membership, actor=Actor(owner))

    assert named == [theirs]
    assert set(ApiKey.objects.filter(revoked_at=None)) == {organization_key[0], own}
    assert AuditEntry.objects.get(action="member.removed").before == {
        "role": "admin",
        "api_keys": [theirs.uid],
    }
    assert AuditEntry.objects.get(action="api_key.revoked").target_uid == theirs.uid
    assert Notification.objects.get(user=admin).title == "You are no longer a member of Northwind"


def test_the_other_managers_learn_which_keys_stopped(
    organization: Organization, owner: User, admin: User, member: User
) -> None:
    theirs, _ = keys.create_organization_key(organization=organization, name="checkout", actor=Actor(member))

    members.remove(membership=organization.memberships.get(user=member), actor=Actor(admin))

    notice = Notification.objects.get(user=owner, kind="team")
    assert notice.title == "Adam removed Mia from Northwind"
    assert str(theirs) in notice.body
    assert not Notification.objects.filter(user=admin, kind="team").exists()


def test_removal_ends_an_offer_to_own(organization: Organization, owner: User, member: User) -> None:
    ownership.offer(organization=organization, to=member, actor=Actor(owner))

    members.remove(membership=organization.memberships.get(user=member), actor=Actor(owner))

    assert not OwnershipOffer.objects.exists()
    assert AuditEntry.objects.filter(action="ownership.offer_ended").exists()


def test_a_second_removal_does_nothing(organization: Organization, owner: User, member: User) -> None:
    seen_before = organization.memberships.get(user=member)
    members.remove(membership=organization.memberships.get(user=member), actor=Actor(owner))

    assert not members.remove(membership=seen_before, actor=Actor(owner))
    assert AuditEntry.objects.filter(action="member.removed").count() == 1


def test_a_member_leaves(organization: Organization, viewer: User) -> None:
    left = members.leave(membership=organization.memberships.get(user=viewer), actor=Actor(viewer))

    assert left
    assert not organization.memberships.filter(user=viewer).exists()
    assert AuditEntry.objects.get(action="member.left").actor == viewer


def test_an_owner_does_not_leave(organization: Organization, owner: User) -> None:
    with pytest.raises(members.OwnerStays):
        members.leave(membership=organization.memberships.get(user=owner), actor=Actor(owner))

    assert organization.memberships.filter(user=owner).exists()
