"""May this key call now? The question of every request to the operator's API."""

import time
from datetime import datetime
from decimal import Decimal
from typing import Any

from accounts import last_used, networks
from accounts.permissions import Scope
from usage import counted, known_keys, limits
from usage.known_keys import Found

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


def verify(plaintext: str, *, cost: Decimal, ip: str | None, now: datetime) -> dict[str, Any]:
    """The answer to the data plane, as JSON values, by what the database says now."""
    clock = time.monotonic()
    return answer(known_keys.find(plaintext), cost=cost, ip=ip, now=now, asked_at=clock)


def answer(
    found: Found | None, *, cost: Decimal, ip: str | None, now: datetime, asked_at: float
) -> dict[str, Any]:
    """The answer about a key, as JSON values, counted. `cost` (credits) is checked, not reserved; `ip` is the caller's.

    Takes one request from the limits of the organization and of the key when all else is well, and tells of the one
    that is nearer its end. `asked_at` is by this process's clock.
    """
    told = NOT_FOUND if found is None else _told(found, cost, ip, now)
    counted.verified(told["code"], time.monotonic() - asked_at)
    return told


def _told(found: Found, cost: Decimal, ip: str | None, now: datetime) -> dict[str, Any]:
    last_used.note(found.pk)
    credits = found.credits  # once: a look may change them meanwhile
    code = refusal(found, credits, cost, ip, now)
    taken = min(
        limits.take_all(limits_of(found), cost=0 if code else 1),
        key=lambda one: (one.allowed, one.remaining, one.limit),
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
        "credits": {"remaining": None if credits is None else float(max(credits, Decimal(0)))},
    }


def limits_of(found: Found) -> list[tuple[str, int]]:
    """The limits that a call with this key takes of, with their requests a minute."""
    names = [(f"organization:{found.organization_pk}", found.requests_per_minute)]
    if found.own_limit is not None:
        names.append((f"key:{found.pk}", found.own_limit))
    return names


def refusal(found: Found, credits: Decimal | None, cost: Decimal, ip: str | None, now: datetime) -> str:
    """The code of the first thing that forbids the call, or ""; what cannot change back comes first.

    `refusals.checks` tells of each of these, in this order.
    """
    if found.revoked_at or found.organization_deleted_at:
        return "REVOKED"
    if found.disabled_at:
        return "DISABLED"
    if found.expires_at and found.expires_at <= now:
        return "EXPIRED"
    if found.old_secret_until and found.old_secret_until <= now:
        return "EXPIRED"
    if not found.may_call:
        return "SUSPENDED"
    if not (found.owner_is_active and found.maker_is_member) or Scope.JOBS not in found.scopes:
        return "FORBIDDEN"
    if found.shut_out_from and found.shut_out_from <= now:
        return "FORBIDDEN"
    if found.allowed_ips and not networks.contain(found.allowed_ips, ip):
        return "FORBIDDEN"
    if found.spend_cap_reached_until and found.spend_cap_reached_until > now:
        return "SPEND_CAP_REACHED"
    if found.budget_reached_until and found.budget_reached_until > now:
        return "BUDGET_EXCEEDED"
    if credits is not None and not found.overage_allowed and (credits <= 0 or credits < cost):
        return "OUT_OF_CREDITS"
    return ""
