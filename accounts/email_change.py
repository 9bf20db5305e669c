"""Another address to sign in with, once both the old and the new one have agreed.

Each gets a letter with a link of its own; they may be followed in either order. Nothing here tells whether the new
address is known: with one that has an account, all goes the same way, but the letter there says so and has no link.
"""

from datetime import timedelta
from enum import Enum

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts import audit, links, mail
from accounts.audit import Actor
from accounts.models import EmailChange, NoticeKind, Organization, User
from accounts.notifications import notify
from accounts.permissions import Permission, roles_with

LIFE = timedelta(days=3)


class LinkEnded(Exception):
    """The link was used up, replaced, or is too old; or there never was one."""


class AddressTaken(Exception):
    """Another account has the new address by now. The change is off."""


class Side(Enum):
    """Which of the two addresses a link was sent to."""

    OLD = "old"
    NEW = "new"


def ask(*, user: User, new_email: str) -> EmailChange:
    """Send a link to both addresses. An earlier wish of this person is replaced, and its links end."""
    old_token, old_hash = links.new_token()
    new_token, new_hash = links.new_token()
    now = timezone.now()
    change, _ = EmailChange.objects.update_or_create(
        user=user,
        defaults={
            "new_email": new_email,
            "old_token_hash": old_hash,
            "new_token_hash": new_hash,
            "old_confirmed_at": None,
            "new_confirmed_at": None,
            "created_at": now,
            "expires_at": now + LIFE,
        },
    )
    context: dict[str, object] = {
        "new_email": new_email,
        "sign_in_url": settings.BASE_URL + reverse("account_login"),
        "forgotten_url": settings.BASE_URL + reverse("account_reset_password"),
    }
    mail.try_to_send(
        "email_change_old",
        to=user.email,
        context=context | {"confirm_url": _address(old_token)},
        reason="a change of the address that you sign in with was asked for",
    )
    reason = "somebody gave this address as their new one"
    if _is_known(new_email):
        mail.try_to_send("email_change_known", to=new_email, context=context, reason=reason)
    else:
        context["confirm_url"] = _address(new_token)
        mail.try_to_send("email_change_new", to=new_email, context=context, reason=reason)
    return change


def pending(user: User) -> EmailChange | None:
    """What this person has asked for and may still confirm."""
    return EmailChange.objects.filter(user=user, expires_at__gt=timezone.now()).first()


def cancel(*, user: User) -> bool:
    """Take a wish back. Says whether there was one."""
    deleted, _ = EmailChange.objects.filter(user=user).delete()
    return bool(deleted)


def find(token: str) -> tuple[EmailChange, Side]:
    """The change that this link is about, and whose it is. Raises `LinkEnded`."""
    return _find(token, lock=False)


def confirm(*, token: str, ip: str | None) -> EmailChange | None:
    """Agree for the address that this link was sent to. Returns the change if the other one's consent is missing.

    With both, the address changes. Raises `LinkEnded` and `AddressTaken`.
    """
    with transaction.atomic():
        change, side = _find(token, lock=True)
        now = timezone.now()
        if side is Side.OLD:
            change.old_confirmed_at = change.old_confirmed_at or now
        else:
            change.new_confirmed_at = change.new_confirmed_at or now
        change.save(update_fields=["old_confirmed_at", "new_confirmed_at"])
        if not (change.old_confirmed_at and change.new_confirmed_at):
            return change
        change.delete()
        try:
            with transaction.atomic():
                _apply(change, Actor(change.user, ip))
        except IntegrityError:
            taken = True
        else:
            taken = False
    if taken:
        raise AddressTaken
    return None


def _find(token: str, *, lock: bool) -> tuple[EmailChange, Side]:
    hashed = links.token_hash(token)
    found = EmailChange.objects.select_related("user").filter(
        Q(old_token_hash=hashed) | Q(new_token_hash=hashed), user__is_active=True
    )
    if lock:
        # The person's row last and in every case: whoever else changes their address waits for it.
        found = found.select_for_update()
    change = found.first()
    if change is None or change.expires_at <= timezone.now():
        raise LinkEnded
    return change, Side.OLD if change.old_token_hash == hashed else Side.NEW


def _apply(change: EmailChange, actor: Actor) -> None:
    user, before = change.user, change.user.email
    user.email = change.new_email
    user.save(update_fields=["email"])
    # allauth's copy, by which people sign in: one address a person.
    EmailAddress.objects.filter(user=user).delete()
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    entry = audit.record(
        audit.Action.USER_EMAIL_CHANGED,
        actor=actor,
        target=user,
        before={"email": before},
        after={"email": user.email},
    )
    notify(
        [user],
        kind=NoticeKind.SECURITY,
        key=f"email_changed:{entry.pk}",
        title=f"You now sign in with {user.email}",
        body=" ".join(
            [f"Until now it was {before}."]
            + [
                f"That is still the billing e-mail of {each.name}: change it in the settings there."
                for each in billed_to(user, before)
            ]
        ),
        url=reverse("accounts:profile"),
    )


def billed_to(user: User, address: str) -> QuerySet[Organization]:
    """The organizations of this owner whose bills go to this address."""
    owned = Organization.objects.open().filter(
        memberships__user=user, memberships__role__in=roles_with(Permission.ORGANIZATION_TRANSFER)
    )
    return owned.filter(billing_email__iexact=address).order_by("name", "pk")


def _is_known(email: str) -> bool:
    return (
        User.objects.filter(email__iexact=email).exists() or EmailAddress.objects.filter(email=email).exists()
    )


def _address(token: str) -> str:
    return f"{settings.BASE_URL}{reverse('accounts:confirm_email_change', args=[token])}"
