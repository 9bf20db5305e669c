"""What the people behind a key are told about it."""

import math
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from accounts import audit, notifications
from accounts.models import ApiKey, AuditEntry, NoticeKind, Notification, User
from accounts.permissions import Permission, roles_with

# How long before a key's end its people are warned; only of the nearest of these, and not where it was given no
# longer life.
WARNINGS = (timedelta(days=1), timedelta(days=7), timedelta(days=30))
# What support does with a key, as its people are told, and what follows.
_SUPPORT_DID = {
    audit.Action.API_KEY_DISABLED: (
        "The API key {name} is disabled",
        "Requests with it are refused until it is enabled again.",
    ),
    audit.Action.API_KEY_ENABLED: ("The API key {name} is enabled again", "Requests with it are answered."),
    audit.Action.API_KEY_REVOKED: (
        "Our support revoked the API key {name}",
        "Requests with it are refused, and it cannot be brought back. Create another for the programs that used it.",
    ),
    audit.Action.API_KEY_UPDATED: (
        "The API key {name} may be used from one more address",
        "It is the last of the networks on the key's page. Take it off there if nobody of yours calls from it.",
    ),
    audit.Action.API_KEY_ROTATION_ASKED: (
        "Please rotate the API key {name}",
        "Give it a new secret by {until}, or it is disabled then. Its id, limits and usage go on, and the old secret "
        "can work for a while beside the new one.",
    ),
}
_BATCH = 500
_DAY = timedelta(days=1)


def people(key: ApiKey) -> list[User]:
    """Who is to know about a key: its owner, or its maker and the organization's owner, or whoever runs the service."""
    if key.kind == ApiKey.Kind.SERVICE:
        return list(User.objects.filter(is_active=True, is_staff=True, is_superuser=True))
    if key.user:
        return [key.user]
    return list(owner_and_maker(key))


def owner_and_maker(key: ApiKey) -> QuerySet[User]:
    """Of the members of a key's organization: who owns it, and who made the key."""
    owns = Q(memberships__role__in=roles_with(Permission.ORGANIZATION_TRANSFER))
    members = User.objects.filter(owns | Q(pk=key.created_by_id), memberships__organization=key.organization)
    return members.distinct()


def address(key: ApiKey) -> str:
    """The page of a key."""
    if key.organization is None:
        return reverse("admin:accounts_apikey_change", args=[key.pk])
    return reverse("accounts:api_key", args=[key.organization.uid, key.uid])


def tell_what_support_did(key: ApiKey, entry: AuditEntry, *, reason: str) -> None:
    """Tell the people of a key what support has done with it, or asks of them, and why."""
    title, follows = _SUPPORT_DID[audit.Action(entry.action)]
    url = address(key)
    if key.rotate_by and key.organization:
        moment = key.rotate_by.astimezone(key.organization.zone)
        follows = follows.format(until=f"{moment:%-d %B %Y at %H:%M %Z}")
        if entry.action == audit.Action.API_KEY_ROTATION_ASKED:
            url = reverse("accounts:rotate_api_key", args=[key.organization.uid, key.uid])
    notifications.notify(
        people(key),
        kind=NoticeKind.API_KEYS,
        key=f"audit:{entry.pk}",
        title=title.format(name=key.name),
        body=f"{key.masked}: {reason}\n\n{follows}",
        url=url,
        organization=key.organization,
    )


def warn_of_expiry(*, now: datetime) -> int:
    """Tell people which keys will end soon. Returns how many warnings are new."""
    ending = (
        ApiKey.objects.filter(
            revoked_at=None, disabled_at=None, expires_at__gt=now, expires_at__lte=now + max(WARNINGS)
        )
        .filter(Q(organization=None) | Q(organization__deleted_at=None))
        .select_related("organization", "user")
        .order_by("pk")
    )
    return sum(_warn(key, now) for key in ending.iterator(chunk_size=_BATCH))


@transaction.atomic
def _warn(key: ApiKey, now: datetime) -> bool:
    """Warn of this key's end if it is time. Says whether somebody is told who was not."""
    assert key.expires_at is not None
    left = key.expires_at - now
    step = next(step for step in WARNINGS if left <= step)
    if key.expires_at - key.created_at <= step:
        return False
    told = people(key)
    fact = f"api_key.expires:{key.uid}:{key.expires_at:%Y%m%dT%H%M%S}:{step.days}"
    know = Notification.objects.filter(user__in=told, key=fact).count()
    if know == len(told):
        return False
    if not know:
        audit.record(
            audit.Action.API_KEY_EXPIRING,
            actor=None,
            organization=key.organization,
            target=key,
            after={"expires_at": key.expires_at, "days_left": step.days},
        )
    when = f"in {math.ceil(left / _DAY)} days" if left > _DAY else "within a day"
    moment = key.expires_at.astimezone(key.organization.zone if key.organization else UTC)
    notifications.notify(
        told,
        kind=NoticeKind.API_KEYS,
        key=fact,
        title=f"The API key {key.name} expires {when}",
        body=f"{key.masked} stops working on {moment:%-d %B %Y at %H:%M %Z}: requests with it are refused from then "
        "on. Give it a later end, or create another key and move your programs to that one.",
        url=address(key),
        organization=key.organization,
    )
    return True
