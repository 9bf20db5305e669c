"""What we hold about a person: handed to them as a file, and erased with their account."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django_otp import devices_for_user

from accounts import audit, keys, mail, members, sessions
from accounts.audit import Actor
from accounts.models import (
    ApiKey,
    AuditEntry,
    EmailChange,
    Invitation,
    Membership,
    Note,
    Notification,
    NotificationPreference,
    Organization,
    OwnershipOffer,
    User,
)
from accounts.permissions import Role

BATCH = 500
_KEY = {
    "id": "uid",
    "name": "name",
    "organization_id": "organization__uid",
    "environment": "environment",
    "scopes": "scopes",
    "allowed_ips": "allowed_ips",
    "requests_per_minute": "requests_per_minute",
    "monthly_credit_budget": "monthly_credit_budget",
    "begins_with": "prefix",
    "ends_with": "last_four",
    "created_at": "created_at",
    "last_used_at": "last_used_at",
    "expires_at": "expires_at",
    "disabled_at": "disabled_at",
    "revoked_at": "revoked_at",
}


def download(user: User) -> Iterator[str]:
    """Everything we hold about this person, as pieces of one JSON text. No secret of theirs is in it."""
    parts = _parts(user)
    yield "{"
    for place, (name, rows) in enumerate(parts.items()):
        yield f"{',' if place else ''}\n  {json.dumps(name)}: ["
        comma = ""
        for row in rows:
            # Indented by hand: a text's own line breaks are escaped by now, and stay as they are.
            yield f"{comma}\n" + _indented(
                json.dumps(row, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2)
            )
            comma = ","
        yield "\n  ]" if comma else "]"
    yield "\n}\n"


def _indented(text: str) -> str:
    return "    " + text.replace("\n", "\n    ")


def _parts(user: User) -> dict[str, Iterator[dict[str, Any]]]:
    addresses = EmailAddress.objects.filter(user=user)
    own_keys = ApiKey.objects.filter(user=user)
    made_keys = ApiKey.objects.organization_keys().filter(created_by=user)
    to_them = Q(accepted_by=user) | Q(email__iexact=user.email) | Q(email__in=addresses.values("email"))
    return {
        "profile": _rows(
            User.objects.filter(pk=user.pk),
            id="uid",
            email="email",
            name="name",
            joined_at="date_joined",
            last_sign_in_at="last_login",
        ),
        "addresses": _rows(addresses, email="email", verified="verified", primary="primary"),
        "email_change": _rows(
            EmailChange.objects.filter(user=user),
            new_email="new_email",
            created_at="created_at",
            expires_at="expires_at",
        ),
        "connected_accounts": _rows(
            SocialAccount.objects.filter(user=user),
            provider="provider",
            id="uid",
            connected_at="date_joined",
            last_sign_in_at="last_login",
            profile="extra_data",
        ),
        "second_factors": (
            {"kind": device._meta.verbose_name, "name": device.name, "confirmed": device.confirmed}
            for device in devices_for_user(user, confirmed=None)
        ),
        "sessions": _rows(
            UserSession.objects.filter(user=user),
            ip="ip",
            browser="user_agent",
            signed_in_at="created_at",
            last_used_at="last_seen_at",
        ),
        "memberships": _rows(
            Membership.objects.filter(user=user),
            organization_id="organization__uid",
            organization="organization__name",
            role="role",
            joined_at="created_at",
            last_active_at="last_active_at",
        ),
        "invitations": _rows(
            Invitation.objects.filter(to_them),
            id="uid",
            organization="organization__name",
            email="email",
            role="role",
            created_at="created_at",
            expires_at="expires_at",
            accepted_at="accepted_at",
            declined_at="declined_at",
            revoked_at="revoked_at",
        ),
        "ownership_offers": _rows(
            OwnershipOffer.objects.filter(to=user),
            organization="organization__name",
            created_at="created_at",
            expires_at="expires_at",
        ),
        "personal_keys": _rows(own_keys, **_KEY),
        "organization_keys_you_made": _rows(made_keys, **_KEY),
        "notification_preferences": _rows(
            NotificationPreference.objects.filter(user=user),
            organization="organization__name",
            kind="kind",
            by_mail="by_mail",
        ),
        "notifications": _rows(
            Notification.objects.filter(user=user),
            organization="organization__name",
            kind="kind",
            title="title",
            body="body",
            url="url",
            created_at="created_at",
            read_at="read_at",
            emailed_at="emailed_at",
        ),
        "notes_of_our_support": _rows(
            Note.objects.filter(user=user),
            kind="kind",
            text="text",
            created_at="created_at",
            taken_back_at="removed_at",
        ),
        "what_you_did": _trail(user),
    }


def _rows(rows: QuerySet[Any], **columns: str) -> Iterator[dict[str, Any]]:
    for values in rows.order_by("pk").values_list(*columns.values()).iterator(chunk_size=BATCH):
        yield dict(zip(columns, values, strict=True))


def _trail(user: User) -> Iterator[dict[str, Any]]:
    """What the audit trail says this person did. What was changed is told where that is their own, not another's."""
    for entry in AuditEntry.objects.filter(actor=user).order_by("pk").iterator(chunk_size=BATCH):
        row: dict[str, Any] = {
            "at": entry.created_at,
            "action": entry.action,
            "organization": entry.organization_name,
            "ip": entry.ip,
            "of": f"{entry.target_type} {entry.target_uid}",
        }
        if entry.target_uid == user.uid:
            row |= {"before": entry.before, "after": entry.after}
        yield row


class SoleOwner(Exception):
    """Somebody owns organizations, which would be left without an owner."""

    def __init__(self, organizations: list[Organization]) -> None:
        super().__init__(", ".join(organization.name for organization in organizations))
        self.organizations = organizations


class OfTheStaff(Exception):
    """Accounts of the support staff end only after they have left the staff."""


def owned_by(user: User) -> QuerySet[Organization]:
    """The organizations that keep this person from leaving: each has one owner."""
    owned = Organization.objects.open().filter(memberships__user=user, memberships__role=Role.OWNER)
    return owned.order_by("name", "pk")


def keys_that_stop(user: User) -> QuerySet[ApiKey]:
    """The keys that end with this account: the person's own, and those they made for organizations they are in."""
    made = Q(kind=ApiKey.Kind.ORGANIZATION, created_by=user, organization__in=Organization.objects.of(user))
    stopping = ApiKey.objects.not_ended().filter(made | Q(user=user))
    return stopping.select_related("organization").order_by("organization__name", "-created_at", "-id")


@transaction.atomic
def delete_account(*, user: User, actor: Actor | None, reason: str = "") -> bool:
    """End an account for good, and free its address. Says whether this call did it. Support says why.

    What remains is a row without name and address, for what others have that points at it; the audit trail keeps the
    names it was written with. Raises `SoleOwner` and `OfTheStaff`.
    """
    # Organizations before people, as everywhere, so that nobody changes who owns one meanwhile.
    concerned = Q(memberships__user=user) | Q(api_keys__user=user)
    organizations = Organization.objects.filter(pk__in=Organization.objects.filter(concerned).values("pk"))
    list(organizations.order_by("pk").select_for_update(no_key=True))
    user = User.objects.select_for_update().get(pk=user.pk)
    if user.deleted_at:
        return False
    if user.is_staff:
        raise OfTheStaff
    if owned := list(owned_by(user)):
        raise SoleOwner(owned)
    for membership in Membership.objects.of(user).order_by("organization"):
        members.leave(membership=membership, actor=actor)
    for key in ApiKey.objects.filter(user=user, revoked_at=None).select_related("organization"):
        keys.revoke(key=key, actor=actor)
    audit.record(audit.Action.USER_DELETED, actor=actor, target=user, after=audit.with_reason(reason))
    address = user.email
    _erase(user)
    letter = partial(
        mail.try_to_send, "account_deleted", to=address, context={}, reason="you had an account here"
    )
    transaction.on_commit(letter)
    return True


def _erase(user: User) -> None:
    sessions.end_all(user)
    for device in devices_for_user(user, confirmed=None):
        device.delete()
    # A deleted organization keeps its owner, whoever that is now, in case that it comes back.
    Membership.objects.filter(user=user).exclude(role=Role.OWNER).delete()
    EmailAddress.objects.filter(user=user).delete()
    SocialAccount.objects.filter(user=user).delete()
    EmailChange.objects.filter(user=user).delete()
    Note.objects.filter(user=user).delete()
    Notification.objects.filter(user=user).delete()
    NotificationPreference.objects.filter(user=user).delete()
    OwnershipOffer.objects.filter(Q(to=user) | Q(offered_by=user)).delete()
    user.groups.clear()
    user.user_permissions.clear()
    user.email = f"deleted-{user.uid}@deleted.invalid"
    user.name = ""
    user.set_unusable_password()
    user.is_active = user.is_superuser = False
    user.last_login = None
    user.deleted_at = timezone.now()
    user.save()
