"""Who has a second factor: a confirmed authenticator app. Recovery codes alone are none."""

from django.db.models import QuerySet
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.models import Organization, User


def has_device(user: User) -> bool:
    return bool(TOTPDevice.objects.devices_for_user(user, confirmed=True).exists())


def without_device(organization: Organization) -> QuerySet[User]:
    """The members who have set up no second factor."""
    enrolled = TOTPDevice.objects.filter(confirmed=True).values("user")
    return organization.members.filter(is_active=True).exclude(pk__in=enrolled)
