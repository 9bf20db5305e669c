"""The life of an organization: made, set up, deleted, brought back. Each change bumps its access version."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts import audit, invitations, notifications, ownership, team, time_zones
from accounts.audit import Actor
from accounts.ids import new_uid
from accounts.models import AuditEntry, Membership, NoticeKind, Organization, User
from accounts.names import clean_address, clean_name
from accounts.permissions import Role

MOST_OWNED = 20
LONGEST_NAME = 120
LONGEST_RETENTION = 3650  # days
# How long a deleted organization can be brought back.
GRACE = timedelta(days=30)

_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class AlreadyCreated(Exception):
    """An organization with this id exists: the same creation was asked for before."""


class TooMany(Exception):
    """This person owns as many organizations as anybody may."""

    def __init__(self) -> None:
        super().__init__(
            f"You own {MOST_OWNED} organizations, and nobody may own more. Those deleted count until they are "
            f"erased, {GRACE.days} days later."
        )


class NoOwner(Exception):
    """Nobody is left who could own the organization: its owner's account is gone."""


@transaction.atomic
def create(
    *, name: str, owner: User, time_zone: str = "UTC", actor: Actor | None = None, uid: str | None = None
) -> Organization:
    """Make an organization with its one owner. Its entitlement and free credits follow from the audit row.

    With a `uid` chosen beforehand a repeated call makes no second one. Raises `AlreadyCreated`, `TooMany`, and
    ValidationError with a message for each field.
    """
    values = clean({"name": name, "time_zone": time_zone})
    # Whoever asks twice at once is counted one after the other.
    team.lock_person(owner)
    if uid is not None and Organization.objects.filter(uid=uid).exists():
        raise AlreadyCreated
    if owner.memberships.filter(role=Role.OWNER).count() >= MOST_OWNED:
        raise TooMany
    organization = Organization.objects.create(uid=uid or new_uid("org"), billing_email=owner.email, **values)
    Membership.objects.create(organization=organization, user=owner, role=Role.OWNER)
    audit.record(
        audit.Action.ORGANIZATION_CREATED,
        actor=actor or Actor(owner),
        organization=organization,
        target=organization,
        after={"name": organization.name, "owner": owner.email},
    )
    return organization


@transaction.atomic
def update(
    *,
    organization: Organization,
    changes: Mapping[str, Any],
    actor: Actor | None,
    now: datetime | None = None,
) -> bool:
    """Change settings; `changes` has any of `CHANGEABLE`. Says whether anything is new.

    A new time zone counts from its next midnight; the current one, named again, stays. Raises ValidationError with a
    message for each field, and PermissionDenied when the organization has been deleted.
    """
    now = now or timezone.now()
    team.lock(organization)
    own = Organization.objects.filter(pk=organization.pk)
    _settle(own, now)
    organization.refresh_from_db()
    values = clean(changes)
    if "time_zone" in values:
        values |= _next_zone(organization, values.pop("time_zone"), now)
    changed = {name: value for name, value in values.items() if value != getattr(organization, name)}
    if not changed:
        return False
    before = {name: getattr(organization, name) for name in changed}
    own.update(**changed)
    for name, value in changed.items():
        setattr(organization, name, value)
    organization.bump_access()
    audit.record(
        audit.Action.ORGANIZATION_UPDATED,
        actor=actor,
        organization=organization,
        target=organization,
        before=before,
        after=changed,
    )
    return True


def settle_time_zones(*, now: datetime) -> int:
    """Write down which zones have taken over. They cut days from their moment on, settled or not."""
    return _settle(Organization.objects.all(), now)


@transaction.atomic
def delete(
    *, organization: Organization, actor: Actor | None, reason: str = "", now: datetime | None = None
) -> bool:
    """Close an organization: its pages, keys and webhooks end at once, and it is erased after `GRACE`.

    Says whether this call did it. Support says why.
    """
    now = now or timezone.now()
    closed = Organization.objects.open().filter(pk=organization.pk)
    if not closed.update(deleted_at=now, erase_after=now + GRACE):
        return False
    organization.refresh_from_db()
    for invitation in organization.invitations.open().order_by("pk"):
        invitations.revoke(invitation=invitation, actor=actor)
    ownership.withdraw(organization=organization, actor=actor)
    organization.bump_access()
    entry = audit.record(
        audit.Action.ORGANIZATION_DELETED,
        actor=actor,
        organization=organization,
        target=organization,
        before={"state": "active"},
        after={"state": "deleted", "erase_after": organization.erase_after, **audit.with_reason(reason)},
    )
    person = actor.answerable if actor and not entry.by_staff else None
    _tell_members(
        organization,
        entry,
        title=f"{organization.name} has been deleted",
        body=(
            f"{person.display_name if person else 'The support staff'} deleted the organization. Its API keys have "
            f"stopped working. Until {organization.erase_after:%-d %B %Y} the support staff can bring it back; then "
            f"what it holds is erased."
        ),
    )
    return True


@transaction.atomic
def restore(
    *, organization: Organization, actor: Actor | None, reason: str = "", now: datetime | None = None
) -> bool:
    """Bring a deleted organization back, its keys with it. Says whether this call did it: erasing may have begun.

    Raises `NoOwner`.
    """
    now = now or timezone.now()
    closed = Organization.objects.filter(pk=organization.pk, deleted_at__isnull=False, erase_after__gt=now)
    if not closed.update(deleted_at=None, erase_after=None):
        return False
    if not organization.memberships.filter(role=Role.OWNER, user__is_active=True).exists():
        raise NoOwner
    organization.refresh_from_db()
    organization.bump_access()
    entry = audit.record(
        audit.Action.ORGANIZATION_RESTORED,
        actor=actor,
        organization=organization,
        target=organization,
        before={"state": "deleted"},
        after={"state": "active", **audit.with_reason(reason)},
    )
    _tell_members(
        organization,
        entry,
        title=f"{organization.name} is back",
        body="The support staff has restored the organization. Its API keys work again as they did before.",
        url=reverse("accounts:api_keys", args=[organization.uid]),
    )
    return True


def _settle(organizations: QuerySet[Organization], now: datetime) -> int:
    due = organizations.filter(next_time_zone_at__lte=now)
    return due.update(time_zone=F("next_time_zone"), next_time_zone="", next_time_zone_at=None)


def _next_zone(organization: Organization, name: str, now: datetime) -> dict[str, Any]:
    if name == organization.time_zone:
        return {"next_time_zone": "", "next_time_zone_at": None}
    if name == organization.next_time_zone:
        return {}
    return {"next_time_zone": name, "next_time_zone_at": time_zones.next_midnight(name, now=now)}


def _tell_members(
    organization: Organization, entry: AuditEntry, *, title: str, body: str, url: str = ""
) -> None:
    # As a notice of their account: those of a deleted organization go unread.
    notifications.notify(
        User.objects.filter(memberships__organization=organization, is_active=True),
        kind=NoticeKind.TEAM,
        key=f"audit:{entry.pk}",
        title=title,
        body=body,
        url=url,
    )


def is_name_of(organization: Organization, text: str) -> bool:
    """Whether somebody has typed an organization's exact name, to confirm that they mean it."""
    return unicodedata.normalize("NFC", text.strip()) == unicodedata.normalize("NFC", organization.name)


def _clean_time_zone(name: str) -> str:
    if name not in time_zones.names():
        raise ValidationError("There is no time zone with this name. Use one such as Europe/Berlin, or UTC.")
    return name


def _clean_region(text: str) -> str:
    region = text.strip()
    if region and not _REGION.fullmatch(region):
        raise ValidationError("A region is a short word of small letters, digits and hyphens, such as eu.")
    return region


def _clean_retention(days: int | None) -> int | None:
    if days is not None and not 0 <= days <= LONGEST_RETENTION:
        raise ValidationError(f"Days, from 0 to {LONGEST_RETENTION}.")
    return days


_CLEAN: dict[str, Callable[[Any], Any]] = {
    "name": partial(clean_name, what="organization", longest=LONGEST_NAME),
    "billing_email": lambda text: clean_address(text) if text.strip() else "",
    "time_zone": _clean_time_zone,
    "default_region": _clean_region,
    "only_owner_manages_keys": bool,
    "support_may_look": bool,
    "retention_days": _clean_retention,
}
CHANGEABLE = frozenset(_CLEAN)


def clean(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in the form in which they are kept. Raises ValidationError with a message for each field."""
    cleaned, problems = {}, {}
    for name, value in values.items():
        try:
            cleaned[name] = _CLEAN[name](value)
        except ValidationError as error:
            problems[name] = error
    if problems:
        raise ValidationError(problems)
    return cleaned
