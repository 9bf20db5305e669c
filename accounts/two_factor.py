"""Second factors: the device that proves, beside the password, that somebody is who they say."""

from base64 import b32encode
from dataclasses import dataclass

from django.db import transaction
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import audit
from accounts.audit import Actor
from accounts.models import User


@dataclass(frozen=True)
class Enrolment:
    """A new device's secret, in the forms an authenticator app takes. It is shown once."""

    device: TOTPDevice
    url: str
    secret: str


def has_device(user: User) -> bool:
    return bool(TOTPDevice.objects.devices_for_user(user, confirmed=True).exists())


@transaction.atomic
def enrol_totp(*, user: User, actor: Actor | None, name: str = "Authenticator app") -> Enrolment:
    """Give a person a device that makes 6-digit codes: the answer holds its secret, for them alone."""
    device = TOTPDevice.objects.create(user=user, name=name, confirmed=True)
    audit.record(audit.Action.STAFF_DEVICE_ADDED, actor=actor, target=user, after={"device": device.name})
    return Enrolment(device=device, url=device.config_url, secret=b32encode(device.bin_key).decode())


@transaction.atomic
def remove(*, device: TOTPDevice, actor: Actor | None) -> None:
    """Take away a device that was lost or replaced. Sessions verified by it are verified no longer."""
    user = device.user
    before = {"device": device.name}
    device.delete()
    audit.record(audit.Action.STAFF_DEVICE_REMOVED, actor=actor, target=user, before=before)
