"""Giving an organization whose owner is gone a new one, which support does with proof. At every moment there is one."""

from datetime import datetime, timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, members, notes, notifications, ownership, team
from accounts.audit import Actor
from accounts.models import Membership, Note, NoticeKind, Organization, User
from accounts.permissions import Role

# An owner who was there this recently has to have agreed, or to have left the company.
AROUND = timedelta(days=30)


class OwnerIsAround(Exception):
    """The owner was there lately: they hand the organization over themselves, or there is proof that they cannot."""


class NotRecoverable(Exception):
    """Only another of its members, whose account is open, becomes the owner, in place of whoever it was said to be.

    Nobody makes themselves one.
    """


def candidates(organization: Organization) -> QuerySet[Membership]:
    """The members who may become its owner."""
    return ownership.candidates(organization).filter(user__is_active=True, user__deleted_at=None)


def owner(organization: Organization) -> Membership | None:
    """Whoever owns it, around or not; an erased organization has nobody."""
    return organization.memberships.select_related("user").filter(role=Role.OWNER).first()


def was_there_lately(owner: Membership, *, now: datetime) -> bool:
    """Whether the owner could hand the organization over: their account is open, and they have been here."""
    if not owner.user.is_active or owner.user.deleted_at:
        return False
    seen = [moment for moment in (owner.user.last_login, owner.last_active_at) if moment]
    return bool(seen) and max(seen) > now - AROUND


@transaction.atomic
def recover(
    *,
    organization: Organization,
    former_owner: User,
    to: User,
    proof: str,
    reason: str,
    actor: Actor,
    owner_is_out: bool = False,
    remove_former: bool = False,
    now: datetime | None = None,
) -> None:
    """Make a member the owner, and the former owner an admin, or no member any more.

    The proof is about `former_owner`, and becomes a note on the organization. `owner_is_out` says that it shows that
    they agree or have left. A deleted organization can be given an owner, too, so that it can be restored. Raises
    `OwnerIsAround` and `NotRecoverable`.
    """
    now = now or timezone.now()
    # Not `team.lock`, which passes over deleted ones.
    if not Organization.objects.select_for_update(no_key=True).filter(pk=organization.pk, erased_at=None):
        raise PermissionDenied("This organization has been erased.")
    former = owner(organization)
    member = candidates(organization).filter(user=to).first()
    if former is None or former.user != former_owner or member is None or to == actor.user:
        raise NotRecoverable
    if was_there_lately(former, now=now) and not owner_is_out:
        raise OwnerIsAround
    team.lock_person(to)
    ownership.withdraw(organization=organization, actor=actor)
    ownership.change_hands(former, member)
    note = notes.add(about=organization, kind=Note.Kind.IDENTITY_CHECK, text=proof, actor=actor)
    entry = audit.record(
        audit.Action.OWNERSHIP_RECOVERED,
        actor=actor,
        organization=organization,
        target=organization,
        before={"owner": former.user.email},
        after={"owner": to.email, "reason": reason, "proof": note.uid},
    )
    organization.bump_access()
    gone = f"{former.user.display_name} is no longer a member."
    stays = f"{former.user.display_name} is an admin now."
    removed = remove_former or former.user.deleted_at is not None
    notifications.notify(
        [*team.managers(organization).exclude(pk=former.user_id), *([] if removed else [former.user])],
        kind=NoticeKind.TEAM,
        key=f"audit:{entry.pk}",
        title=f"{to.display_name} now owns {organization.name}",
        body=f"Our support made them the owner: {reason}\n\n{gone if removed else stays}",
        url=team.address(organization),
        organization=None if organization.deleted_at else organization,
    )
    if removed:
        _remove(former, organization, actor)


def _remove(former: Membership, organization: Organization, actor: Actor) -> None:
    """End the membership of whoever owned the organization, with the keys that they made for it."""
    left = organization.memberships.select_related("organization", "user").get(pk=former.pk)
    what = f"Our support removed {former.user.display_name} from {organization.name}"
    entry = members.end(left, audit.Action.MEMBER_REMOVED, actor, what=what)
    notifications.notify(
        [former.user],
        kind=NoticeKind.TEAM,
        key=f"audit:{entry.pk}",
        title=f"You are no longer a member of {organization.name}",
        body="Our support gave it another owner. Your account, and other organizations you are in, stay as they are.",
    )
