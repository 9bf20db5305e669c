"""Second factors: the device that proves, beside the password, that somebody is who they say.

That is an authenticator app (TOTP). Recovery codes stand in for it once each, and are nothing without one.
"""

import math
import re
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timeuntil
from django_otp import devices_for_user
from django_otp.models import Device
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex

from accounts import audit, mail, notes, sessions, team
from accounts.audit import Actor
from accounts.devices import has_device as has_device
from accounts.devices import without_device
from accounts.models import AuditEntry, Membership, Note, NoticeKind, Organization, RecoveryCodes, User
from accounts.notifications import notify
from accounts.permissions import Permission, roles_with
from accounts.recovery_codes import code_hash, new_code

APP_NAME = "Authenticator app"
CODES = 10
# Days before an organization's date on which members without a device are reminded; 0 is the day itself.
REMINDERS = (7, 3, 1, 0)
# How long before that date it may be set.
LONGEST_WARNING = timedelta(days=365)
_OF_APP = re.compile("[0-9]{1,8}")


class CodeRefused(ValidationError):
    """A code that does not count; the message is for whoever typed it."""


class WrongCode(CodeRefused):
    def __init__(self) -> None:
        super().__init__("That code is wrong, or it was used before.")


class MustWait(CodeRefused):
    """After wrong codes the next ones are not even looked at for a while, which doubles each time."""

    def __init__(self, until: datetime) -> None:
        seconds = max(1, math.ceil((until - timezone.now()).total_seconds()))
        wait = timeuntil(until, depth=1) if seconds > 90 else f"{seconds} second{'s' * (seconds > 1)}"
        super().__init__(f"There were wrong codes. Wait {wait} before you try again.")


class AlreadySetUp(Exception):
    """There is a device already."""


class NotSetUp(Exception):
    """There is neither a device nor a recovery code."""


class ActorLacksDevice(Exception):
    """Nobody may require of others what they have not set up themselves."""


class IdentityCheck(models.TextChoices):
    """How support made sure who somebody is."""

    VIDEO_CALL = "video_call"
    SIGNED_DOCUMENT = "signed_document"
    CALL_BACK = "call_back", "Call back to a known number"
    OWNER = "owner", "Confirmed by their organization's owner"


@dataclass(frozen=True)
class Enrolment:
    """A new device's secret, in the forms an authenticator app takes. It is shown once."""

    device: TOTPDevice
    url: str
    secret: str


def codes_left(user: User) -> int:
    codes = RecoveryCodes.objects.filter(user=user).first()
    return len(codes.hashes) if codes else 0


def verify(*, user: User, code: str, actor: Actor | None) -> Device:
    """Check a code of this person's app, or one of their recovery codes, and answer whose it was.

    Each works once. Raises WrongCode, which is counted: call it outside of transactions that this may undo; and
    MustWait, when there were wrong ones just now.
    """
    with transaction.atomic():
        device = _spend("".join(code.split()), user)
        if isinstance(device, RecoveryCodes):
            left = codes_left(user)
            entry = audit.record(
                audit.Action.RECOVERY_CODE_USED, actor=actor, target=user, after={"recovery_codes": left}
            )
            _tell(
                user,
                entry,
                title="A recovery code of yours was used",
                body=f"{left} of them are left. If it was not you, change your password and make new codes.",
            )
    if device is None:
        raise WrongCode
    return device


def _spend(code: str, user: User) -> Device | None:
    kind = TOTPDevice if _OF_APP.fullmatch(code) else RecoveryCodes
    own = kind.objects.devices_for_user(user, confirmed=True)
    devices = list(own.order_by("pk").select_for_update())
    for device in devices:
        allowed, why = device.verify_is_allowed()
        if not allowed:
            raise MustWait(why["locked_until"])
    for device in devices:
        if device.verify_token(code):
            # To another device of theirs the same code was a wrong one.
            own.update(throttling_failure_count=0, throttling_failure_timestamp=None)
            return device
    return None


@transaction.atomic
def enrol_totp(*, user: User, actor: Actor | None, name: str = APP_NAME) -> Enrolment:
    """Give a person a device that makes 6-digit codes: the answer holds its secret, for them alone."""
    device = TOTPDevice.objects.create(user=user, name=name, confirmed=True)
    _bump_access(user)
    audit.record(audit.Action.STAFF_DEVICE_ADDED, actor=actor, target=user, after={"device": device.name})
    return _enrolment(device)


def offer(user: User, key: str = "") -> tuple[str, Enrolment]:
    """A secret to be set up, as yet of no device, with the key that makes the same offer again."""
    key = key or random_hex(20)
    return key, _enrolment(TOTPDevice(user=user, name=APP_NAME, key=key))


def _enrolment(device: TOTPDevice) -> Enrolment:
    return Enrolment(device=device, url=device.config_url, secret=b32encode(device.bin_key).decode())


@transaction.atomic
def set_up(
    *, user: User, key: str, code: str, actor: Actor, keep_session: str | None = None
) -> tuple[TOTPDevice, list[str]]:
    """Make a device of a secret on offer, when a code shows that the person's app holds it.

    Answers it with the recovery codes, which are shown once. Ends the person's other sessions. Raises WrongCode, and
    AlreadySetUp.
    """
    team.lock_organizations_of(user)
    User.objects.select_for_update(no_key=True).get(pk=user.pk)  # others may go on telling them things
    if has_device(user):
        raise AlreadySetUp
    device = TOTPDevice.objects.create(user=user, name=APP_NAME, key=key)
    if not device.verify_token("".join(code.split())):
        raise WrongCode  # and the device goes with the transaction
    codes = _new_codes(user)
    _bump_access(user)
    entry = audit.record(
        audit.Action.TWO_FACTOR_ENABLED,
        actor=actor,
        target=user,
        after={"device": device.name, "recovery_codes": len(codes)},
    )
    _tell(
        user,
        entry,
        title="Two-factor authentication is on",
        body="Signing in takes a code of your authenticator app from now on. Your other sessions have been ended.",
    )
    sessions.end_all(user, keep=keep_session)
    return device, codes


def replace_recovery_codes(*, user: User, code: str, actor: Actor) -> list[str]:
    """Make new recovery codes, shown once; those before stop working. Raises CodeRefused."""
    verify(user=user, code=code, actor=actor)
    with transaction.atomic():
        before = codes_left(user)
        codes = _new_codes(user)
        entry = audit.record(
            audit.Action.RECOVERY_CODES_REPLACED,
            actor=actor,
            target=user,
            before={"recovery_codes": before},
            after={"recovery_codes": len(codes)},
        )
        _tell(user, entry, title="You have new recovery codes", body="Those you had before no longer work.")
    return codes


def _new_codes(user: User) -> list[str]:
    codes = [new_code() for _ in range(CODES)]
    fresh = {
        "name": "Recovery codes",
        "hashes": [code_hash(code) for code in codes],
        "created_at": timezone.now(),
        "throttling_failure_count": 0,
        "throttling_failure_timestamp": None,
    }
    RecoveryCodes.objects.update_or_create(user=user, defaults=fresh)
    return codes


def disable(*, user: User, code: str, actor: Actor, keep_session: str | None = None) -> None:
    """Take away a person's devices and recovery codes, and end their other sessions. Raises CodeRefused."""
    verify(user=user, code=code, actor=actor)
    with transaction.atomic():
        devices = TOTPDevice.objects.filter(user=user)
        before = {"device": ", ".join(device.name for device in devices), "recovery_codes": codes_left(user)}
        devices.delete()
        RecoveryCodes.objects.filter(user=user).delete()
        _bump_access(user)
        entry = audit.record(audit.Action.TWO_FACTOR_DISABLED, actor=actor, target=user, before=before)
        _tell(
            user,
            entry,
            title="Two-factor authentication is off",
            body="Your password alone signs you in again. If it was not you, set a new password at once.",
        )
        sessions.end_all(user, keep=keep_session)


@transaction.atomic
def reset(*, user: User, check: IdentityCheck, seen: str, actor: Actor) -> None:
    """Take a person's devices and recovery codes away after support has made sure who asks for it.

    What was seen becomes a note on the person. All their sessions end; a letter tells them, whatever they want mailed,
    and the owners of their organizations are told. Raises `NotSetUp`.
    """
    team.lock_organizations_of(user)
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    devices = list(devices_for_user(user, confirmed=None))
    if not devices:
        raise NotSetUp
    before = {
        "device": ", ".join(device.name for device in devices if isinstance(device, TOTPDevice)),
        "recovery_codes": codes_left(user),
    }
    for device in devices:
        device.delete()
    _bump_access(user)
    ended = sessions.end_all(user)
    note = notes.add(about=user, kind=Note.Kind.IDENTITY_CHECK, text=f"{check.label}: {seen}", actor=actor)
    entry = audit.record(
        audit.Action.TWO_FACTOR_RESET,
        actor=actor,
        target=user,
        before=before,
        after={"identity_check": check, "note": note.uid, "sessions_ended": ended},
    )
    letter = partial(
        mail.try_to_send,
        "two_factor_reset",
        to=user.email,
        context={"set_up_url": settings.BASE_URL + reverse("accounts:two_factor")},
        reason="this is the address of an account whose second factor was reset",
    )
    transaction.on_commit(letter)
    for membership in Membership.objects.of(user):
        _tell_owner(membership, entry)


def _tell_owner(membership: Membership, entry: AuditEntry) -> None:
    organization, user = membership.organization, membership.user
    notify(
        User.objects.filter(
            memberships__organization=organization,
            memberships__role__in=roles_with(Permission.ORGANIZATION_TRANSFER),
        ).exclude(pk=user.pk),
        kind=NoticeKind.SECURITY,
        key=f"audit:{entry.pk}:{organization.uid}",
        title=f"Our support reset the second factor of {user.display_name}",
        body=f"They had lost it and have shown who they are. Until {user.display_name} sets it up again, the password "
        "alone signs them in. If they know nothing of this, remove them from the organization and write to us.",
        url=reverse("accounts:team", args=[organization.uid]),
        organization=organization,
    )


@transaction.atomic
def remove(*, device: TOTPDevice, actor: Actor | None) -> None:
    """Take away a device that was lost or replaced. With the last one the recovery codes and all sessions end."""
    user = device.user
    before = {"device": device.name}
    device.delete()
    if not has_device(user):
        RecoveryCodes.objects.filter(user=user).delete()
        _bump_access(user)
        sessions.end_all(user)
    entry = audit.record(audit.Action.STAFF_DEVICE_REMOVED, actor=actor, target=user, before=before)
    _tell(
        user,
        entry,
        title="Our support removed a device from your account",
        body=f"“{before['device']}” no longer makes codes for signing in. If you did not ask for this, write to us.",
    )


def _bump_access(user: User) -> None:
    """Where a second factor is or will be required, having one opens the doors of a person and their personal keys."""
    for organization in Organization.objects.of(user).order_by("pk"):
        organization.bump_access()


def _tell(user: User, entry: AuditEntry, *, title: str, body: str) -> None:
    notify(
        [user],
        kind=NoticeKind.SECURITY,
        key=f"audit:{entry.pk}",
        title=title,
        body=body,
        url=reverse("accounts:two_factor"),
    )


@transaction.atomic
def require(*, organization: Organization, from_: datetime | None, actor: Actor | None) -> bool:
    """Set from when members need a second factor, now at the earliest; None: not at all. False: it was so before.

    Tells the members without one. Raises ActorLacksDevice.
    """
    held = Organization.objects.select_for_update(no_key=True).values_list(
        "two_factor_required_from", flat=True
    )
    before = held.get(pk=organization.pk)
    if from_ == before:
        return False
    person = actor.answerable if actor else None
    if from_ and person and not has_device(person):
        raise ActorLacksDevice
    after = from_ and max(from_, timezone.now())
    organization.two_factor_required_from = after
    organization.save(update_fields=["two_factor_required_from"])
    organization.bump_access()
    audit.record(
        audit.Action.ORGANIZATION_UPDATED,
        actor=actor,
        target=organization,
        organization=organization,
        before={"two_factor_required_from": before},
        after={"two_factor_required_from": after},
    )
    if after:
        _remind(organization, now=timezone.now())
    return True


def remind(*, now: datetime) -> None:
    """Remind the members without a device of the organizations that will soon require one, or do from today."""
    soon = Organization.objects.open().filter(
        two_factor_required_from__gt=now - timedelta(days=1),
        two_factor_required_from__lt=now + timedelta(days=max(REMINDERS) + 1),
    )
    for organization in soon:
        if _days_left(organization, now=now) <= max(REMINDERS):
            _remind(organization, now=now)


def _days_left(organization: Organization, *, now: datetime) -> int:
    """Counted as the organization's calendar does."""
    assert organization.two_factor_required_from
    zone = organization.zone_at(now)
    return (organization.two_factor_required_from.astimezone(zone).date() - now.astimezone(zone).date()).days


def _remind(organization: Organization, *, now: datetime) -> None:
    """Tell the members without a device, once for each of the days in REMINDERS and once before them."""
    required_from = organization.two_factor_required_from
    assert required_from
    days = _days_left(organization, now=now)
    step = min((reminder for reminder in REMINDERS if days <= reminder), default="first")
    day = required_from.astimezone(organization.zone_at(now))
    when = f"from {day.day} {day:%B %Y}" if required_from > now else "now"
    notify(
        without_device(organization),
        kind=NoticeKind.SECURITY,
        key=f"two_factor_required:{organization.uid}:{required_from.isoformat()}:{step}",
        title=f"{organization.name} requires two-factor authentication {when}",
        body="Members who have not set it up then reach only the page on which they can. It takes two minutes.",
        url=reverse("accounts:two_factor"),
        organization=organization,
    )


def demanded_by(user: User, memberships: Iterable[Membership]) -> list[Organization]:
    """Those of this person's organizations that require the second factor which they lack, now or soon."""
    demanding = [each.organization for each in memberships if each.organization.two_factor_required_from]
    return [] if not demanding or has_device(user) else demanding
