"""An organization's people: the lock under which they change, who reaches which role, and how somebody comes in."""

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse

from accounts import audit, permissions
from accounts.audit import Actor
from accounts.models import Membership, Organization, User
from accounts.permissions import Permission, Role


class OutOfReach(PermissionDenied):
    """Whoever acts may not give this role, nor change or remove who has it."""


def lock(organization: Organization) -> None:
    """Let nobody else change who is in this organization, or in which role, until the transaction ends."""
    # Not against rows that only refer to it: jobs and usage go on coming in.
    if not Organization.objects.open().select_for_update(no_key=True).filter(pk=organization.pk):
        raise PermissionDenied("This organization has been deleted.")


def lock_person(user: User) -> User:
    """Let nobody end this person's account until the transaction ends. Returns them as they are now."""
    # After organizations, as everywhere; and not against rows that only refer to them.
    person = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if person.deleted_at:
        raise PermissionDenied("This account has been deleted.")
    return person


def lock_organizations_of(user: User) -> list[Organization]:
    """The organizations of this person, which nobody else changes until the transaction ends."""
    theirs = Organization.objects.filter(pk__in=Organization.objects.of(user).values("pk"))
    return list(theirs.order_by("pk").select_for_update(no_key=True))


def reaches(person: User | None, role: str, organization: Organization) -> bool:
    """Whether this person may, as things are now, give a role here, and change or remove who has it."""
    membership = organization.memberships.filter(user=person).select_related("organization").first()
    return membership is not None and permissions.reaches(membership.permissions, role)


def require_reach(actor: Actor | None, role: str, organization: Organization) -> None:
    """Raise `OutOfReach` unless whoever acts reaches this role. The system itself reaches all but the owner's."""
    allowed = role != Role.OWNER if actor is None else reaches(actor.answerable, role, organization)
    if not allowed:
        raise OutOfReach(
            "The owner's role is neither given nor taken away: the owner hands the organization over."
            if role == Role.OWNER
            else f"The role {role} is above your own level."
        )


@transaction.atomic
def add_member(*, organization: Organization, user: User, role: Role, actor: Actor | None) -> Membership:
    """Put a person in an organization."""
    lock_person(user)
    membership = Membership.objects.create(organization=organization, user=user, role=role)
    audit.record(
        audit.Action.MEMBER_ADDED,
        actor=actor,
        organization=organization,
        target=user,
        after={"role": role},
    )
    return membership


def managers(organization: Organization) -> QuerySet[User]:
    """Those who manage its people."""
    return User.objects.filter(
        memberships__organization=organization,
        memberships__role__in=permissions.roles_with(Permission.TEAM_MANAGE),
    )


def address(organization: Organization) -> str:
    return reverse("accounts:team", args=[organization.uid])
