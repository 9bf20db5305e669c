"""Asking people to join: a letter with a link that works once, and what becomes of it."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from accounts import audit, links, mail, notifications, team
from accounts.audit import Actor
from accounts.models import AuditEntry, Invitation, Membership, NoticeKind, Organization, User
from accounts.names import clean_address
from accounts.permissions import Role

LIFE = timedelta(days=7)
# Nobody is to mail the world through us.
MOST_OPEN = 100
MOST_LETTERS_A_DAY = 50
RESEND_AFTER = timedelta(minutes=1)
# The session's key for the invitation last opened in it: the hash of its link's word.
OPENED = "invitation"


class Refused(Exception):
    """This cannot be sent, for a reason that the text tells."""


class AlreadyThere(Refused):
    """The address is a member's, or has an open invitation."""


class TooMany(Refused):
    """There are too many open invitations, or too many letters went out of late."""


class Ended(Exception):
    """The link leads nowhere any more. `invitation` says why by its state; None where there never was one."""

    def __init__(self, invitation: Invitation | None) -> None:
        super().__init__()
        self.invitation = invitation


class OtherAddress(Exception):
    """Somebody with another address than the invited one has to confirm that they mean to join with it."""


@transaction.atomic
def invite(*, organization: Organization, email: str, role: str, actor: Actor | None) -> Invitation:
    """Ask an address to join. The letter goes out once this is committed; should that fail, resending works.

    Raises `AlreadyThere`, `TooMany`, ValidationError for what is no address, and `team.OutOfReach` for a role above
    the level of whoever acts.
    """
    email = clean_address(email)
    team.lock(organization)
    team.require_reach(actor, role, organization)
    if organization.memberships.filter(user__email__iexact=email).exists():
        raise AlreadyThere(f"{email} is a member already.")
    now = timezone.now()
    still_open = organization.invitations.open()
    for expired in still_open.filter(email__iexact=email, expires_at__lte=now):
        revoke(invitation=expired, actor=actor)
    if still_open.filter(expires_at__gt=now).count() >= MOST_OPEN:
        raise TooMany(f"There are {MOST_OPEN} open invitations. Revoke some, or wait for answers.")
    _require_fewer_letters(organization, actor)
    token, token_hash = links.new_token()
    try:
        with transaction.atomic():
            invitation = Invitation.objects.create(
                organization=organization,
                email=email,
                role=role,
                token_hash=token_hash,
                invited_by=actor.answerable if actor else None,
                expires_at=now + LIFE,
            )
    except IntegrityError as error:
        raise AlreadyThere(f"{email} is invited already. Resend or revoke that invitation.") from error
    _record(audit.Action.INVITATION_CREATED, invitation, actor, after={"role": role})
    _send_once_committed(invitation, token)
    return invitation


@transaction.atomic
def resend(*, invitation: Invitation, actor: Actor | None, reason: str = "") -> bool:
    """Send a new link with a new week to go; the old link is dead. Says whether the invitation was still open.

    Support says why. Raises `TooMany`.
    """
    organization = invitation.organization
    team.lock(organization)
    now = timezone.now()
    current = organization.invitations.open().filter(pk=invitation.pk).first()
    if current is None:
        return False
    if current.sent_at and current.sent_at > now - RESEND_AFTER:
        raise TooMany(f"The last letter to {current.email} went out less than a minute ago.")
    _require_fewer_letters(organization, actor)
    token, current.token_hash = links.new_token()
    current.expires_at, current.sent_at = now + LIFE, None
    # Whoever sends it stands for it from now on, if they may.
    if actor and team.reaches(actor.answerable, current.role, organization):
        current.invited_by = actor.answerable
    current.save(update_fields=["token_hash", "expires_at", "sent_at", "invited_by"])
    told = {"role": current.role} | audit.with_reason(reason)
    _record(audit.Action.INVITATION_RESENT, current, actor, after=told)
    _send_once_committed(current, token)
    return True


@transaction.atomic
def revoke(*, invitation: Invitation, actor: Actor | None, reason: str = "") -> bool:
    """Take an invitation back. Says whether it was still open. Support says why."""
    if not Invitation.objects.open().filter(pk=invitation.pk).update(revoked_at=Now()):
        return False
    before, after = {"role": invitation.role}, audit.with_reason(reason)
    _record(audit.Action.INVITATION_REVOKED, invitation, actor, before=before, after=after)
    return True


def find(token: str) -> Invitation:
    """The invitation that this link's word opens. Raises `Ended`."""
    invitation = (
        Invitation.objects.filter(token_hash=links.token_hash(token), organization__deleted_at=None)
        .select_related("organization", "invited_by")
        .first()
    )
    if invitation is None or invitation.state != "pending" or not _is_stood_for(invitation):
        raise Ended(invitation)
    return invitation


def opened_in(session: Mapping[str, Any]) -> Invitation | None:
    """The invitation whose link was opened in this session, if it may still be accepted."""
    invitation = Invitation.objects.open().filter(token_hash=session.get(OPENED, "")).first()
    return invitation if invitation and invitation.state == "pending" else None


@transaction.atomic
def accept(
    *, invitation: Invitation, user: User, other_address: bool, actor: Actor | None
) -> tuple[Membership, bool]:
    """Let somebody in by an invitation that `find` has found. Says whether this call did it: members are in already.

    `other_address`: they have confirmed that they join with another address than the invited one; without that it
    raises `OtherAddress`. Raises `Ended` where somebody else was faster, or things have changed meanwhile.
    """
    organization = invitation.organization
    team.lock(organization)
    if membership := organization.memberships.filter(user=user).first():
        return membership, False
    if user.email.lower() != invitation.email.lower() and not other_address:
        raise OtherAddress
    # By its link too: a link that was replaced since is dead.
    unanswered = Invitation.objects.open().filter(
        pk=invitation.pk, token_hash=invitation.token_hash, expires_at__gt=Now()
    )
    if not _is_stood_for(invitation) or not unanswered.update(accepted_at=Now(), accepted_by=user):
        invitation.refresh_from_db()
        raise Ended(invitation)
    membership = team.add_member(
        organization=organization, user=user, role=Role(invitation.role), actor=actor
    )
    organization.bump_access()
    _record(
        audit.Action.INVITATION_ACCEPTED,
        invitation,
        actor,
        after={"role": invitation.role, "member": user.email},
    )
    _tell_inviter(invitation, f"{user.display_name} joined {organization.name}")
    return membership, True


@transaction.atomic
def decline(*, invitation: Invitation, actor: Actor | None) -> None:
    """Answer no to an invitation that `find` has found. Raises `Ended` where it was answered meanwhile."""
    unanswered = Invitation.objects.open().filter(pk=invitation.pk, token_hash=invitation.token_hash)
    if not unanswered.update(declined_at=Now()):
        invitation.refresh_from_db()
        raise Ended(invitation)
    _record(audit.Action.INVITATION_DECLINED, invitation, actor, before={"role": invitation.role})
    _tell_inviter(invitation, f"{invitation.email} declined to join {invitation.organization.name}")


def _is_stood_for(invitation: Invitation) -> bool:
    """Whether its inviter may still give what it promises."""
    return invitation.invited_by is None or team.reaches(
        invitation.invited_by, invitation.role, invitation.organization
    )


def _require_fewer_letters(organization: Organization, actor: Actor | None) -> None:
    """Raise `TooMany` when this organization, or this person through others, has sent enough for a day."""
    yesterday = timezone.now() - timedelta(days=1)
    letters = AuditEntry.objects.filter(
        action__in=[audit.Action.INVITATION_CREATED, audit.Action.INVITATION_RESENT], created_at__gt=yesterday
    )
    sent = letters.filter(organization=organization).count()
    if actor and actor.answerable:
        own = Invitation.objects.filter(invited_by=actor.answerable)
        lately = own.filter(Q(sent_at__gt=yesterday) | Q(sent_at=None))
        sent = max(sent, letters.filter(target_uid__in=lately.values("uid")).count())
    if sent >= MOST_LETTERS_A_DAY:
        raise TooMany(f"{MOST_LETTERS_A_DAY} invitations were sent within a day. Send more tomorrow.")


def _send_once_committed(invitation: Invitation, token: str) -> None:
    transaction.on_commit(partial(_send, invitation, token))


def _send(invitation: Invitation, token: str) -> None:
    """Send the letter. Should it fail, the invitation says that it was not sent."""
    organization, inviter = invitation.organization, invitation.invited_by
    name = inviter.display_name if inviter else organization.name
    link = settings.BASE_URL + reverse("accounts:invitation", args=[token])
    if mail.try_to_send(
        "invitation",
        to=invitation.email,
        context={"invitation": invitation, "inviter": inviter, "name": name, "link": link},
        reason=f"{name} invited this address to {organization.name}",
        unsubscribe_url=settings.BASE_URL + reverse("accounts:decline_invitation", args=[token]),
        unsubscribe_label="Decline this invitation",
    ):
        sent = Invitation.objects.filter(pk=invitation.pk, token_hash=invitation.token_hash)
        sent.update(sent_at=Now())


def _tell_inviter(invitation: Invitation, title: str) -> None:
    if invitation.invited_by:
        notifications.notify(
            [invitation.invited_by],
            kind=NoticeKind.TEAM,
            key=f"invitation:{invitation.uid}",
            title=title,
            url=team.address(invitation.organization),
            organization=invitation.organization,
        )


def _record(
    action: audit.Action,
    invitation: Invitation,
    actor: Actor | None,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    audit.record(
        action,
        actor=actor,
        organization=invitation.organization,
        target=invitation,
        before=before,
        after=after,
    )
