"""Handing an organization over: its owner offers, a member accepts, and at every moment there is exactly one owner."""

from datetime import timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts import audit, notifications, team
from accounts.audit import Actor
from accounts.models import Membership, NoticeKind, Organization, OwnershipOffer, User
from accounts.permissions import Role

LIFE = timedelta(days=7)


class NotOffered(Exception):
    """There is no such offer, or it has expired, was ended, or is meant for somebody else."""


class AlreadyOffered(Exception):
    """Another offer is open: it has to be ended first."""


class NotTransferable(Exception):
    """The organization can be offered to its members only, and not to whoever owns it."""


def pending(organization: Organization) -> OwnershipOffer | None:
    """The offer that may still be accepted."""
    return _unexpired(organization).select_related("to", "offered_by").first()


def candidates(organization: Organization) -> QuerySet[Membership]:
    """The members to whom it may be offered: all but its owner."""
    return organization.memberships.exclude(role=Role.OWNER).select_related("user").order_by("user__email")


@transaction.atomic
def offer(*, organization: Organization, to: User, actor: Actor) -> OwnershipOffer:
    """Offer a member the organization. Nothing changes until they accept.

    Raises `NotTransferable`, `AlreadyOffered`, and PermissionDenied for anybody but the owner.
    """
    team.lock(organization)
    owner = _owner(organization)
    if owner.user != actor.answerable:
        raise PermissionDenied("Only the owner hands an organization over.")
    if not candidates(organization).filter(user=to).exists():
        raise NotTransferable("Choose another member of the organization.")
    if pending(organization):
        raise AlreadyOffered("The organization is offered to somebody already. End that offer first.")
    OwnershipOffer.objects.filter(organization=organization).delete()  # one that has expired
    made = OwnershipOffer.objects.create(
        organization=organization, to=to, offered_by=owner.user, expires_at=timezone.now() + LIFE
    )
    _record(audit.Action.OWNERSHIP_OFFERED, made, actor, after={"to": to.email})
    notifications.notify(
        [to],
        kind=NoticeKind.TEAM,
        key=f"{made.uid}:offered",
        title=f"{owner.user.display_name} wants to hand {organization.name} over to you",
        body="As its owner you would manage its billing and could delete it. Accept within 7 days, or decline.",
        url=reverse("accounts:accept_ownership", args=[organization.uid]),
        organization=organization,
    )
    return made


@transaction.atomic
def accept(*, organization: Organization, user: User, actor: Actor) -> None:
    """Make the member to whom it was offered the owner, and the owner an admin. Raises `NotOffered`."""
    team.lock(organization)
    made = _unexpired(organization).filter(to=user).select_related("to", "offered_by").first()
    former = _owner(organization)
    member = candidates(organization).filter(user=user).first()
    if made is None or member is None or made.offered_by != former.user:
        raise NotOffered
    change_hands(former, member)
    _record(
        audit.Action.OWNERSHIP_TRANSFERRED,
        made,
        actor,
        before={"owner": former.user.email},
        after={"owner": user.email},
    )
    made.delete()
    organization.bump_access()
    notifications.notify(
        team.managers(organization),
        kind=NoticeKind.TEAM,
        key=f"{made.uid}:transferred",
        title=f"{user.display_name} now owns {organization.name}",
        body=f"{former.user.display_name} handed it over and is an admin now.",
        url=team.address(organization),
        organization=organization,
    )


@transaction.atomic
def end(*, organization: Organization, actor: Actor) -> bool:
    """Take an offer back as the owner, or decline it. Says whether there was one.

    Raises PermissionDenied for whoever is neither its owner nor its addressee.
    """
    team.lock(organization)
    made = pending(organization)
    if made is None:
        return False
    owner = _owner(organization).user
    if actor.answerable not in (owner, made.to):
        raise PermissionDenied("Only the owner and whom the organization is offered to may end this.")
    _record(audit.Action.OWNERSHIP_OFFER_ENDED, made, actor, before={"to": made.to.email})
    declined = actor.answerable == made.to
    notifications.notify(
        [owner if declined else made.to],
        kind=NoticeKind.TEAM,
        key=f"{made.uid}:ended",
        title=(
            f"{made.to.display_name} declined to take {organization.name} over"
            if declined
            else f"{owner.display_name} no longer hands {organization.name} over to you"
        ),
        url=team.address(organization),
        organization=organization,
    )
    made.delete()
    return True


def withdraw(*, organization: Organization, actor: Actor | None, to: User | None = None) -> None:
    """End an offer, or one to this person, with what made it pointless: of that they are told, not of the offer."""
    offers = OwnershipOffer.objects.filter(organization=organization).select_related("organization", "to")
    for made in offers if to is None else offers.filter(to=to):
        _record(audit.Action.OWNERSHIP_OFFER_ENDED, made, actor, before={"to": made.to.email})
        made.delete()


def change_hands(former: Membership, member: Membership) -> None:
    """Make a member the owner, and the owner an admin."""
    # In this order: the database never lets two be owners.
    Membership.objects.filter(pk=former.pk).update(role=Role.ADMIN)
    Membership.objects.filter(pk=member.pk).update(role=Role.OWNER)


def _unexpired(organization: Organization) -> QuerySet[OwnershipOffer]:
    return OwnershipOffer.objects.filter(organization=organization, expires_at__gt=timezone.now())


def _owner(organization: Organization) -> Membership:
    return organization.memberships.select_related("user").get(role=Role.OWNER)


def _record(
    action: audit.Action,
    offer: OwnershipOffer,
    actor: Actor | None,
    *,
    before: dict[str, str] | None = None,
    after: dict[str, str] | None = None,
) -> None:
    audit.record(
        action,
        actor=actor,
        organization=offer.organization,
        target=offer,
        before=before,
        after=after,
    )
