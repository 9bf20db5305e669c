"""Handing an organization over: both confirm, and there is always exactly one owner."""

from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts import members, ownership
from accounts.audit import Actor
from accounts.models import AuditEntry, Notification, Organization, OwnershipOffer, User
from accounts.permissions import Role


def roles(organization: Organization) -> dict[str, str]:
    return {each.user.name: each.role for each in organization.memberships.select_related("user")}


@pytest.fixture
def offer(organization: Organization, owner: User, member: User) -> OwnershipOffer:
    return ownership.offer(organization=organization, to=member, actor=Actor(owner))


def test_an_offer_changes_nothing_yet(offer: OwnershipOffer, organization: Organization) -> None:
    assert roles(organization) == {"Olivia": "owner", "Mia": "member"}
    assert AuditEntry.objects.get(action="ownership.offered").after == {"to": "mia@example.com"}
    assert Notification.objects.get().title == "Olivia wants to hand Northwind over to you"


def test_accepting_makes_an_owner_and_an_admin(
    offer: OwnershipOffer, organization: Organization, member: User
) -> None:
    organization.refresh_from_db()
    billing_email, version = organization.billing_email, organization.access_version

    ownership.accept(organization=organization, user=member, actor=Actor(member))

    organization.refresh_from_db()
    assert roles(organization) == {"Olivia": "admin", "Mia": "owner"}
    assert organization.billing_email == billing_email
    assert organization.access_version > version
    entry = AuditEntry.objects.get(action="ownership.transferred")
    assert (entry.before, entry.after) == ({"owner": "olivia@example.com"}, {"owner": "mia@example.com"})
    assert Notification.objects.filter(title="Mia now owns Northwind").count() == 2
    assert not OwnershipOffer.objects.exists()


@pytest.mark.parametrize("offerer", ["admin", "member", "viewer", "outsider"])
def test_only_the_owner_offers(
    organization: Organization, owner: User, member: User, offerer: str, request: pytest.FixtureRequest
) -> None:
    person: User = request.getfixturevalue(offerer)

    with pytest.raises(PermissionDenied):
        ownership.offer(organization=organization, to=member, actor=Actor(person))


@pytest.mark.parametrize("target", ["owner", "outsider"])
def test_only_other_members_are_offered_it(
    organization: Organization, owner: User, target: str, request: pytest.FixtureRequest
) -> None:
    person: User = request.getfixturevalue(target)

    with pytest.raises(ownership.NotTransferable):
        ownership.offer(organization=organization, to=person, actor=Actor(owner))


def test_one_offer_at_a_time(
    offer: OwnershipOffer, organization: Organization, owner: User, admin: User
) -> None:
    with pytest.raises(ownership.AlreadyOffered):
        ownership.offer(organization=organization, to=admin, actor=Actor(owner))


def test_an_expired_offer_makes_room(
    offer: OwnershipOffer, organization: Organization, owner: User, admin: User
) -> None:
    OwnershipOffer.objects.update(expires_at=timezone.now())

    ownership.offer(organization=organization, to=admin, actor=Actor(owner))

    assert OwnershipOffer.objects.get().to == admin


def test_nobody_else_accepts(offer: OwnershipOffer, organization: Organization, admin: User) -> None:
    with pytest.raises(ownership.NotOffered):
        ownership.accept(organization=organization, user=admin, actor=Actor(admin))

    assert roles(organization)["Olivia"] == "owner"


def test_an_expired_offer_is_not_accepted(
    offer: OwnershipOffer, organization: Organization, member: User
) -> None:
    OwnershipOffer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    with pytest.raises(ownership.NotOffered):
        ownership.accept(organization=organization, user=member, actor=Actor(member))


def test_an_offer_of_somebody_who_is_no_longer_the_owner_is_void(
    offer: OwnershipOffer, organization: Organization, owner: User, admin: User, member: User
) -> None:
    organization.memberships.filter(user=owner).update(role=Role.ADMIN)
    organization.memberships.filter(user=admin).update(role=Role.OWNER)

    with pytest.raises(ownership.NotOffered):
        ownership.accept(organization=organization, user=member, actor=Actor(member))


def test_somebody_who_left_does_not_accept(
    offer: OwnershipOffer, organization: Organization, member: User
) -> None:
    members.leave(membership=organization.memberships.get(user=member), actor=Actor(member))

    with pytest.raises(ownership.NotOffered):
        ownership.accept(organization=organization, user=member, actor=Actor(member))


@pytest.mark.parametrize(("ender", "told"), [("owner", "member"), ("member", "owner")])
def test_both_may_end_an_offer(
    offer: OwnershipOffer, organization: Organization, ender: str, told: str, request: pytest.FixtureRequest
) -> None:
    person: User = request.getfixturevalue(ender)

    ended = ownership.end(organization=organization, actor=Actor(person))

    assert ended
    assert not OwnershipOffer.objects.exists()
    assert AuditEntry.objects.filter(action="ownership.offer_ended").exists()
    other: User = request.getfixturevalue(told)
    assert Notification.objects.filter(user=other, key=f"{offer.uid}:ended").exists()
    assert not ownership.end(organization=organization, actor=Actor(person))


def test_others_do_not_end_it(offer: OwnershipOffer, organization: Organization, admin: User) -> None:
    with pytest.raises(PermissionDenied):
        ownership.end(organization=organization, actor=Actor(admin))

    assert OwnershipOffer.objects.exists()
