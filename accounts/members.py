"""The members of an organization: who they are, what becomes of their roles, and how they go."""

from collections.abc import Iterable

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import audit, invitations, keys, notifications, ownership, team
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Membership, NoticeKind, Organization, User
from accounts.permissions import Permission, Role


class OwnerStays(PermissionDenied):
    """An organization is never without its owner."""


def listing(organization: Organization) -> QuerySet[Membership]:
    """The members with their people, each with `has_two_factor`."""
    devices = TOTPDevice.objects.filter(user=OuterRef("user"), confirmed=True)
    return organization.memberships.select_related("user", "organization").annotate(
        has_two_factor=Exists(devices)
    )


def keys_that_stop(membership: Membership) -> QuerySet[ApiKey]:
    """The keys that end with this membership: those of the organization that this member made."""
    made = membership.organization.api_keys.filter(created_by=membership.user_id)
    return made.organization_keys().not_ended().order_by("-created_at", "-id")


@transaction.atomic
def change_role(*, membership: Membership, role: str, actor: Actor | None) -> bool:
    """Give a member another role. Says whether this call did it.

    Raises `team.OutOfReach` where the old role or the new one is not for whoever acts to take or give.
    """
    organization, person = membership.organization, membership.user
    team.lock(organization)
    current = organization.memberships.filter(pk=membership.pk).first()
    if current is None or current.role == role:
        return False
    team.require_reach(actor, current.role, organization)
    team.require_reach(actor, role, organization)
    organization.memberships.filter(pk=membership.pk).update(role=role)
    entry = audit.record(
        audit.Action.MEMBER_ROLE_CHANGED,
        actor=actor,
        organization=organization,
        target=person,
        before={"role": current.role},
        after={"role": role},
    )
    _withdraw_invitations(person, organization, actor)
    organization.bump_access()
    notifications.notify(
        _others([person], actor),
        kind=NoticeKind.TEAM,
        key=f"audit:{entry.pk}",
        title=f"Your role in {organization.name} is now {Role(role).label.lower()}",
        body=f"It was {Role(current.role).label.lower()}. {_name(actor)} changed it.",
        url=team.address(organization),
        organization=organization,
    )
    return True


@transaction.atomic
def remove(*, membership: Membership, actor: Actor | None) -> bool:
    """End a membership, and with it the keys of the organization that this member made. Says whether this call did it.

    Raises `team.OutOfReach`: nobody removes the owner, or somebody above their own level.
    """
    organization, person = membership.organization, membership.user
    team.lock(organization)
    current = organization.memberships.filter(pk=membership.pk).select_related("organization", "user").first()
    if current is None:
        return False
    team.require_reach(actor, current.role, organization)
    what = f"{_name(actor)} removed {person.display_name} from {organization.name}"
    entry = end(current, audit.Action.MEMBER_REMOVED, actor, what=what)
    # No organization: it is not theirs any more.
    notifications.notify(
        _others([person], actor),
        kind=NoticeKind.TEAM,
        key=f"audit:{entry.pk}",
        title=f"You are no longer a member of {organization.name}",
        body=f"{_name(actor)} removed you. Your account, and other organizations you are in, stay as they are.",
    )
    return True


@transaction.atomic
def leave(*, membership: Membership, actor: Actor | None) -> bool:
    """End one's own membership. Says whether this call did it. Raises `OwnerStays`."""
    organization = membership.organization
    team.lock(organization)
    current = organization.memberships.filter(pk=membership.pk).select_related("organization", "user").first()
    if current is None:
        return False
    if Permission.ORGANIZATION_TRANSFER in current.permissions:
        raise OwnerStays("Hand the organization over first: it is never without an owner.")
    what = f"{current.user.display_name} left {organization.name}"
    end(current, audit.Action.MEMBER_LEFT, actor, what=what)
    return True


def end(membership: Membership, action: audit.Action, actor: Actor | None, *, what: str) -> AuditEntry:
    """Delete a membership with what hangs on it, and tell those who manage the team."""
    organization, person = membership.organization, membership.user
    stopped = [key for key in keys_that_stop(membership) if keys.revoke(key=key, actor=actor)]
    organization.memberships.filter(pk=membership.pk).delete()
    entry = audit.record(
        action,
        actor=actor,
        organization=organization,
        target=person,
        before={"role": membership.role, "api_keys": [key.uid for key in stopped]},
    )
    ownership.withdraw(organization=organization, to=person, actor=actor)
    _withdraw_invitations(person, organization, actor)
    organization.bump_access()
    names = ", ".join(str(key) for key in stopped)
    notifications.notify(
        _others(team.managers(organization), actor),
        kind=NoticeKind.TEAM,
        key=f"audit:{entry.pk}",
        title=what,
        body=f"Keys that {person.display_name} had made work no longer: {names}." if names else "",
        url=team.address(organization),
        organization=organization,
    )
    return entry


def _withdraw_invitations(person: User, organization: Organization, actor: Actor | None) -> None:
    """Revoke what somebody has promised and may no longer give."""
    for invitation in organization.invitations.open().filter(invited_by=person):
        if not team.reaches(person, invitation.role, organization):
            invitations.revoke(invitation=invitation, actor=actor)


def _others(people: Iterable[User], actor: Actor | None) -> list[User]:
    """All of them but whoever acts, who knows."""
    return [person for person in people if actor is None or person != actor.user]


def _name(actor: Actor | None) -> str:
    return actor.user.display_name if actor and actor.user else (actor or Actor(None)).name
