"""May this key call now? The question of every request to the operator's API, answered by one prepared query."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from accounts import last_used, networks, prepared, secrets
from accounts.permissions import Scope
from usage import limits

# The left joins say whether a personal key's owner is still active, and whether the owner, or whoever made an
# organization's key, is still a member. A key is found by its secret, or by the one before its rotation. The last
# column: from when a personal key's owner lacks the second factor that the organization requires.
_QUERY = """
SELECT k.id, k.uid, k.kind, k.environment, k.scopes, k.allowed_ips, k.requests_per_minute, k.budget_reached_until,
       k.expires_at, k.disabled_at, k.revoked_at,
       CASE WHEN NOT k.secret_hash = ANY(%s) THEN k.previous_expires_at END, o.id, o.uid, o.deleted_at,
       e.plan, e.may_call, e.reason, e.requests_per_minute, e.credits_ceiling - e.credits_used, e.overage_allowed,
       e.spend_cap_reached_until, COALESCE(u.is_active AND u.deleted_at IS NULL, true),
       m.id IS NOT NULL OR k.created_by_id IS NULL,
       CASE WHEN k.user_id IS NOT NULL AND NOT EXISTS (
           SELECT FROM otp_totp_totpdevice d WHERE d.user_id = k.user_id AND d.confirmed
       ) THEN o.two_factor_required_from END
FROM accounts_apikey k
JOIN accounts_organization o ON o.id = k.organization_id
JOIN usage_entitlement e ON e.organization_id = o.id
LEFT JOIN accounts_user u ON u.id = k.user_id
LEFT JOIN accounts_membership m
    ON m.user_id = COALESCE(k.user_id, k.created_by_id) AND m.organization_id = k.organization_id
WHERE k.secret_hash = ANY(%s) OR k.previous_secret_hash = ANY(%s)
"""

NOT_FOUND: dict[str, Any] = {
    "valid": False,
    "code": "NOT_FOUND",
    "organization_id": None,
    "api_key_id": None,
    "environment": None,
    "scopes": None,
    "plan": None,
    "rate_limit": None,
    "credits": None,
}


@dataclass(frozen=True)
class _Found:
    """A key with all that decides whether it may call."""

    pk: int
    uid: str
    kind: str
    environment: str
    scopes: list[str]
    allowed_ips: list[str]
    own_limit: int | None
    budget_reached_until: datetime | None
    expires_at: datetime | None
    disabled_at: datetime | None
    revoked_at: datetime | None
    old_secret_until: datetime | None
    organization_pk: int
    organization_uid: str
    organization_deleted_at: datetime | None
    plan: str
    may_call: bool
    reason: str
    requests_per_minute: int
    credits: Decimal | None
    overage_allowed: bool
    spend_cap_reached_until: datetime | None
    owner_is_active: bool
    maker_is_member: bool
    shut_out_from: datetime | None


def verify(plaintext: str, *, cost: Decimal, ip: str | None, now: datetime) -> dict[str, Any]:
    """The answer to the data plane, as JSON values. `cost` (credits) is checked, not reserved; `ip` is the caller's.

    Takes one request from the limits of the organization and of the key when all else is well, and tells of the one
    that is nearer its end.
    """
    found = _find(plaintext)
    if found is None:
        return NOT_FOUND
    last_used.note(found.pk)
    code = _refusal(found, cost, ip, now)
    names = [(f"organization:{found.organization_pk}", found.requests_per_minute)]
    if found.own_limit is not None:
        names.append((f"key:{found.pk}", found.own_limit))
    taken = min(
        limits.take_all(names, cost=0 if code else 1), key=lambda one: (one.allowed, one.remaining, one.limit)
    )
    if not code and not taken.allowed:
        code = "RATE_LIMITED"
    return {
        "valid": not code,
        "code": code or "VALID",
        "organization_id": found.organization_uid,
        "api_key_id": found.uid,
        "environment": found.environment,
        "scopes": found.scopes,
        "plan": found.plan,
        "rate_limit": {"limit": taken.limit, "remaining": taken.remaining, "reset": taken.reset},
        "credits": {"remaining": None if found.credits is None else float(max(found.credits, Decimal(0)))},
    }


def _find(plaintext: str) -> _Found | None:
    hashes = secrets.hashes(plaintext)
    if not hashes:
        return None
    rows = prepared.fetch(_QUERY, [hashes, hashes, hashes])
    return _Found(*rows[0]) if rows else None


def _refusal(found: _Found, cost: Decimal, ip: str | None, now: datetime) -> str:
    """The code of the first thing that forbids the call, or ""; what cannot change back comes first."""
    if found.revoked_at or found.organization_deleted_at:
        return "REVOKED"
    if found.disabled_at:
        return "DISABLED"
    if any(end is not None and end <= now for end in (found.expires_at, found.old_secret_until)):
        return "EXPIRED"
    if not found.may_call:
        return "SUSPENDED"
    if not (found.owner_is_active and found.maker_is_member) or Scope.JOBS not in found.scopes:
        return "FORBIDDEN"
    if found.shut_out_from is not None and found.shut_out_from <= now:
        return "FORBIDDEN"
    if found.allowed_ips and not networks.contain(found.allowed_ips, ip):
        return "FORBIDDEN"
    if found.spend_cap_reached_until is not None and found.spend_cap_reached_until > now:
        return "SPEND_CAP_REACHED"
    if found.budget_reached_until is not None and found.budget_reached_until > now:
        return "BUDGET_EXCEEDED"
    if (
        found.credits is not None
        and not found.overage_allowed
        and (found.credits <= 0 or found.credits < cost)
    ):
        return "OUT_OF_CREDITS"
    return ""
