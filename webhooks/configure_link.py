"""Links that lead to an organization's webhook pages, for a program to show to a person. They are good for a while."""

from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.urls import reverse

from accounts.models import Organization

LIFETIME = timedelta(minutes=10)
_signer = signing.TimestampSigner(salt="webhook pages", sep=".")


def link(organization: Organization) -> str:
    """Return the whole URL. It opens nothing to whoever may not see the pages anyway."""
    path = reverse("webhooks:configure", args=[_signer.sign(organization.uid)])
    return f"{settings.BASE_URL}{path}"


def organization_uid(token: str) -> str | None:
    """Return whose pages a link leads to; None when it is too old, or none of ours."""
    try:
        return _signer.unsign(token, max_age=LIFETIME)
    except signing.BadSignature:
        return None
