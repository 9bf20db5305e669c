"""Who is calling. Keys authenticate; `accounts.access` decides what they may."""

from typing import Any

from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.models import ApiKey, User

# One answer for every kind of bad key, so that it teaches nothing about the keys there are.
BAD_KEY = "Missing or invalid API key."


def bearer(header: str) -> str:
    """The key in an `Authorization: Bearer …` header, or "" when there is none."""
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def usable_key(plaintext: str) -> ApiKey | None:
    """The key with this secret, if it may be used now."""
    key = ApiKey.objects.with_secret(plaintext).select_related("organization", "user").first()
    if key is None or key.state != "active" or (key.user and not key.user.is_active):
        return None
    return key


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer KEY`. The user is the owner of a personal key, and None for the other kinds."""

    def authenticate(self, request: Request) -> tuple[User | None, ApiKey] | None:
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        key = usable_key(bearer(header))
        if key is None:
            raise AuthenticationFailed(BAD_KEY)
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
