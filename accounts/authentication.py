"""Who is calling. Keys authenticate; `accounts.access` decides what they may."""

from datetime import datetime

from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from accounts import last_used, networks, prepared, secrets
from accounts.access import client_ip
from accounts.models import ApiKey, User

# One answer for every kind of bad key, so that it teaches nothing about the keys there are.
BAD_KEY = "Missing or invalid API key."


def bearer(header: str) -> str:
    """The key in an `Authorization: Bearer …` header, or "" when there is none."""
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def usable_key(plaintext: str) -> ApiKey | None:
    """The key with this secret, or with this one before its rotation while that still works, if it may be used now."""
    key = ApiKey.objects.with_secret(plaintext).select_related("organization", "user").first()
    if key is None or key.state != "active":
        return None
    if key.user and (not key.user.is_active or key.user.deleted_at):
        return None
    # A personal key outlives its home: it speaks for its owner, in whatever organization the call names.
    if key.kind == ApiKey.Kind.ORGANIZATION and key.organization and key.organization.deleted_at:
        return None
    if key.secret_hash not in secrets.hashes(plaintext) and not key.is_in_grace:
        return None
    return key


_SERVICE_KEY = """
SELECT id, CASE WHEN kind = 'service' THEN scopes ELSE '{}' END FROM accounts_apikey
WHERE (secret_hash = %s OR previous_secret_hash = %s AND previous_expires_at > %s)
    AND revoked_at IS NULL AND disabled_at IS NULL AND (expires_at IS NULL OR expires_at > %s)
"""


def service_scopes(plaintext: str, *, now: datetime) -> list[str] | None:
    """What a service key may do; nothing for a live key of another kind; None for a bad one."""
    # One hash a query, the present pepper's first: PostgreSQL settles on no plan for a list of them.
    for hashed in reversed(secrets.hashes(plaintext)):
        for pk, scopes in prepared.fetch(_SERVICE_KEY, [hashed, hashed, now, now]):
            last_used.note(pk)
            return scopes  # type: ignore[no-any-return]
    return None


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer KEY`. The user is the owner of a personal key, and None for the other kinds."""

    def authenticate(self, request: Request) -> tuple[User | None, ApiKey] | None:
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        key = usable_key(bearer(header))
        if key is None:
            raise AuthenticationFailed(BAD_KEY)
        if key.allowed_ips and not networks.contain(key.allowed_ips, ip := client_ip(request._request)):
            # The key is good and its holder knows it: say what is wrong, so that they can mend it.
            raise PermissionDenied(f"This key may not be used from {ip or 'here'}.", "ip_not_allowed")
        last_used.note(key.pk)
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
