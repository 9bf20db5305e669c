"""Looking as a member: somebody of the support staff sees an organization's pages as one of its members sees them.

A look is begun with a reason, ends within the hour, and stands in the organization's audit trail. It is kept in the
session of whoever looks, who stays themselves everywhere else. What it rests on is read anew on every request, see
`accounts.access.member_page`; only pages that say so are shown, by a transaction that can only read.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Membership, NoticeKind, Organization, User
from accounts.notifications import notify
from accounts.permissions import Role

LASTS = timedelta(minutes=60)
PERMISSION = "accounts.look_as_member"
# The session's key for the look that it is in, or was in until something ended it.
LOOK = "look"


class CannotLook(Exception):
    """Why somebody may not look, or no longer; the message is for them."""


class MayNotLook(CannotLook):
    def __init__(self) -> None:
        super().__init__("You may not look as a member.")


class NotVerified(CannotLook):
    def __init__(self) -> None:
        super().__init__("Your session is not verified by a code of your device.")


class OrganizationDeleted(CannotLook):
    def __init__(self) -> None:
        super().__init__("The organization is deleted.")


class OptedOut(CannotLook):
    def __init__(self) -> None:
        super().__init__("This organization does not let support look.")


class OwnOrganization(CannotLook):
    def __init__(self) -> None:
        super().__init__("You are a member of this organization yourself.")


class OnTheStaff(CannotLook):
    def __init__(self) -> None:
        super().__init__("This member is on the staff.")


class SwitchedOff(CannotLook):
    def __init__(self) -> None:
        super().__init__("This member's account is switched off.")


class NotAMember(CannotLook):
    def __init__(self) -> None:
        super().__init__("This person is not a member any more.")


class Over(CannotLook):
    def __init__(self) -> None:
        super().__init__(f"Its {LASTS // timedelta(minutes=1)} minutes are over.")


class Ended(Exception):
    """The request was to be part of a look that has ended: whose it was like, where, and why."""

    def __init__(self, member: User | None, organization: Organization, why: str) -> None:
        super().__init__(why)
        self.member, self.organization = member, organization


@dataclass(frozen=True)
class Look:
    """What a request is part of: `staff` is who makes it, and sees what this member does."""

    staff: User
    membership: Membership
    until: datetime

    @property
    def minutes_left(self) -> int:
        return max(1, math.ceil((self.until - timezone.now()) / timedelta(minutes=1)))


def may_begin(user: User) -> bool:
    return user.is_active and user.is_staff and user.has_perm(PERMISSION)


def check(*, staff: User, membership: Membership) -> None:
    """Raise CannotLook where this person may not look as this member."""
    organization, member = membership.organization, membership.user
    if not may_begin(staff):
        raise MayNotLook
    if organization.deleted_at:
        raise OrganizationDeleted
    if not organization.support_may_look:
        raise OptedOut
    if organization.memberships.filter(user=staff).exists():
        raise OwnOrganization
    if member.is_staff or member.is_superuser:
        raise OnTheStaff
    if not member.is_active:
        raise SwitchedOff


def members_to_look_as(organization: Organization) -> QuerySet[Membership]:
    """Those of its members whom support may look as, each with `uid`, the person's."""
    people = organization.memberships.filter(
        user__is_active=True, user__is_staff=False, user__is_superuser=False
    )
    return people.select_related("user").annotate(uid=F("user__uid")).order_by("user__email")


@transaction.atomic
def start(*, session: SessionBase, membership: Membership, reason: str, actor: Actor) -> None:
    """Begin to look, from now on in this session. What they looked at before ends, here and in their other sessions.

    Raises CannotLook.

    The owner finds a notice of it beside the entry in the audit trail.
    """
    assert actor.user
    check(staff=actor.user, membership=membership)
    _end_elsewhere(actor.user, session, actor)
    end(session=session, actor=actor)
    organization, until = membership.organization, timezone.now() + LASTS
    entry = audit.record(
        audit.Action.LOOK_STARTED,
        actor=actor,
        organization=organization,
        target=membership.user,
        after={"reason": reason, "until": until},
    )
    notify(
        User.objects.filter(memberships__organization=organization, memberships__role=Role.OWNER),
        kind=NoticeKind.SECURITY,
        key=f"audit:{entry.pk}",
        title=f"Our support looks at the pages of {organization.name}",
        body=f"As {membership.user.display_name} sees them, until {until:%H:%M} UTC, without changing anything. "
        f"The reason: {reason}",
        url=reverse("accounts:audit", args=[organization.uid]),
        organization=organization,
        by_mail=False,
    )
    session[LOOK] = {
        "organization": organization.uid,
        "membership": membership.pk,
        "member": membership.user_id,
        "until": until.timestamp(),
    }
    # So that a request which is under way, with the session as it was, cannot put it back.
    session.cycle_key()


@transaction.atomic
def end(*, session: SessionBase, actor: Actor) -> Organization | None:
    """Stop looking. Returns what was looked at, if anything was."""
    kept = session.get(LOOK)
    if kept is None:
        return None
    organization = Organization.objects.get(uid=kept["organization"])
    if _goes_on(session):
        _record_end(kept, organization, actor, "It was stopped.")
    del session[LOOK]
    session.cycle_key()
    return organization


def _end_elsewhere(staff: User, session: SessionBase, actor: Actor) -> None:
    """End what somebody looks at in their other sessions: each look that began is also seen to end."""
    keys = UserSession.objects.filter(user=staff).values("session_key")
    live = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    # All are locked in one order, this one too: two looks begun at once do not wait for each other.
    for row in live.order_by("session_key").select_for_update():
        data = row.get_decoded()
        kept = data.pop(LOOK, None)
        if kept is None or row.session_key == session.session_key:
            continue
        if "ended" not in kept:
            organization = Organization.objects.get(uid=kept["organization"])
            _record_end(kept, organization, actor, "Another look was begun.")
        row.session_data = Session.objects.encode(data)
        row.save(update_fields=["session_data"])


def going_on(session: SessionBase) -> Organization | None:
    """What this session looks at now, as far as it knows by itself."""
    kept = session.get(LOOK)
    if kept is None or "ended" in kept or kept["until"] <= timezone.now().timestamp():
        return None
    return Organization.objects.filter(uid=kept["organization"]).first()


def find(request: HttpRequest, organization_uid: str) -> Look | None:
    """The look at this organization that a request is part of; None where there is none.

    Raises Ended where something has ended it, which is written down once.
    """
    kept = request.session.get(LOOK)
    if kept is None or kept["organization"] != organization_uid:
        return None
    if "ended" not in kept:
        try:
            return _go_on(request, kept)
        except CannotLook as why:
            kept = kept | {"ended": str(why)}
            _write_down(request.session, kept)
    raise Ended(
        User.objects.filter(pk=kept["member"]).first(),
        Organization.objects.get(uid=organization_uid),
        kept["ended"],
    )


def _go_on(request: HttpRequest, kept: dict[str, Any]) -> Look:
    staff = request.user
    assert isinstance(staff, User)
    until = datetime.fromtimestamp(kept["until"], UTC)
    if until <= timezone.now():
        raise Over
    if not staff.is_verified():  # type: ignore[attr-defined]  # the OTP middleware's
        raise NotVerified
    of_organization = Membership.objects.filter(organization__uid=kept["organization"])
    membership = of_organization.select_related("organization", "user").filter(pk=kept["membership"]).first()
    if membership is None:
        raise NotAMember
    check(staff=staff, membership=membership)
    return Look(staff, membership, until)


@transaction.atomic
def _write_down(session: SessionBase, kept: dict[str, Any]) -> None:
    """That it has ended by itself: once, of the requests of a page that all find so."""
    if _goes_on(session):
        _record_end(kept, Organization.objects.get(uid=kept["organization"]), None, kept["ended"])
        session[LOOK] = kept
        session.save()


def _goes_on(session: SessionBase) -> bool:
    """Whether no other request has ended the look of this session; until the transaction ends none does."""
    row = Session.objects.select_for_update().filter(session_key=session.session_key).first()
    return row is not None and "ended" not in row.get_decoded().get(LOOK, {"ended": ""})


def _record_end(kept: dict[str, Any], organization: Organization, actor: Actor | None, why: str) -> None:
    """By nobody where nobody asked for it, or one who left the staff: customers learn no names of it."""
    if actor and actor.user and not actor.user.is_staff:
        actor = None
    member = User.objects.filter(pk=kept["member"]).first()
    audit.record(
        audit.Action.LOOK_ENDED,
        actor=actor,
        organization=organization,
        target=member or organization,
        after={"why": why},
    )


@contextmanager
def reading_only() -> Iterator[None]:
    """Within it the database refuses whatever would write, so that no page can change anything by being looked at."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        yield
