"""What a person wants by mail: each kind of notice, of their account and of each of their organizations."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.urls import reverse

from accounts import audit
from accounts.audit import Actor
from accounts.models import Membership, NoticeKind, NotificationPreference, Organization, User
from accounts.permissions import Permission


@dataclass(frozen=True)
class Topic:
    """A kind of notice in plain words. With a permission, only members who have it get an organization's."""

    subject: str
    sentence: str
    permission: Permission | None = None
    of_account: bool = False


TOPICS = {
    NoticeKind.SECURITY: Topic(
        "security",
        "Passwords, addresses, connected accounts and two-factor authentication.",
        of_account=True,
    ),
    NoticeKind.TEAM: Topic(
        "members and roles", "Who joins and leaves, roles, invitations and ownership.", of_account=True
    ),
    NoticeKind.API_KEYS: Topic(
        "API keys", "Keys that leaked, are about to expire, or have used up their budget.", of_account=True
    ),
    NoticeKind.USAGE: Topic("usage", "Usage alerts, limits and finished exports.", Permission.USAGE_VIEW),
    NoticeKind.WEBHOOKS: Topic(
        "webhooks", "Endpoints that fail or were switched off.", Permission.WEBHOOKS_VIEW
    ),
    NoticeKind.BILLING: Topic(
        "billing", "Payments, invoices, credits and the plan.", Permission.BILLING_VIEW
    ),
}


@dataclass(frozen=True)
class Place:
    """A kind of notice of an organization, or, without one, of the person's account."""

    organization: Organization | None
    kind: NoticeKind

    @property
    def label(self) -> str:
        return f"{self.kind} of {self.organization.uid if self.organization else 'the account'}"


def of_person(user: User) -> dict[Place, bool]:
    """Every notice this person may get, and whether they want it by mail: the account's first."""
    unwanted = set(
        NotificationPreference.objects.filter(user=user, by_mail=False).values_list("organization", "kind")
    )
    places = [Place(None, kind) for kind, topic in TOPICS.items() if topic.of_account]
    for membership in Membership.objects.of(user).in_order():
        places += [
            Place(membership.organization, kind)
            for kind, topic in TOPICS.items()
            if topic.permission is None or topic.permission in membership.permissions
        ]
    return {
        place: (place.organization and place.organization.pk, place.kind.value) not in unwanted
        for place in places
    }


def wants_mail(*, user: User, organization: Organization | None, kind: NoticeKind) -> bool:
    return not NotificationPreference.objects.filter(
        user=user, organization=organization, kind=kind, by_mail=False
    ).exists()


@transaction.atomic
def change(*, user: User, wanted: Mapping[Place, bool], actor: Actor | None) -> bool:
    """Set what comes by mail, for the places named. Says whether anything is different now."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    unwanted = set(
        NotificationPreference.objects.filter(user=user, by_mail=False).values_list("organization", "kind")
    )
    different = {
        place: by_mail
        for place, by_mail in wanted.items()
        if by_mail == ((place.organization and place.organization.pk, place.kind.value) in unwanted)
    }
    if not different:
        return False
    NotificationPreference.objects.bulk_create(
        [
            NotificationPreference(
                user=user, organization=place.organization, kind=place.kind, by_mail=by_mail
            )
            for place, by_mail in different.items()
        ],
        update_conflicts=True,
        unique_fields=["user", "organization", "kind"],
        update_fields=["by_mail"],
    )
    audit.record(
        audit.Action.USER_UPDATED,
        actor=actor,
        target=user,
        before={"mail": {place.label: not by_mail for place, by_mail in different.items()}},
        after={"mail": {place.label: by_mail for place, by_mail in different.items()}},
    )
    return True


# Tokens stay good for as long as letters lie in mailboxes. What they allow is to get fewer letters.
_signer = signing.Signer(sep=".", salt="unsubscribe")


class BadToken(ValueError):
    """Nobody made this token, or there is no longer anybody to get letters."""


def unsubscribe_url(*, user: User, organization: Organization | None, kind: NoticeKind) -> str:
    token = _signer.sign(f"{user.uid}.{organization.uid if organization else ''}.{kind}")
    return str(settings.BASE_URL) + reverse("accounts:unsubscribe", kwargs={"token": token})


def read_token(token: str) -> tuple[User, Place]:
    """Whose letters about what this token ends. Raises `BadToken`."""
    try:
        user_uid, organization_uid, kind = _signer.unsign(token).split(".")
        user = User.objects.get(uid=user_uid, is_active=True)
        organization = Organization.objects.get(uid=organization_uid) if organization_uid else None
        return user, Place(organization, NoticeKind(kind))
    except (signing.BadSignature, User.DoesNotExist, Organization.DoesNotExist, ValueError):
        raise BadToken from None
