"""What a call to verify needs to know of keys: read by one query, and kept by each web process for the next calls.

Nobody tells a process of a change, so it looks: at most every 250 ms, and only when it is asked, one read brings the
access versions and the remaining credits of the organizations whose keys are kept. A key of another version is
forgotten. The read names the organizations it asks about, instead of asking for those that changed lately: a version
is the one that a key was read with or it is not, whatever clocks say and however long the change waited for its commit.

What was not found to be so within the last 0.9 s is not believed. A database that does not answer, or a read that
takes too long, therefore sends calls past the cache, and no change goes unnoticed for a second.
"""

import hashlib
import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from django.db import Error

from accounts import authentication, prepared, secrets
from usage import counted

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.25  # seconds
BELIEVED = 0.9  # seconds
KEPT_UNASKED = 10.0  # seconds
KEPT = 60.0  # seconds: then all is read anew, in case that somebody has changed a row by hand, without a bump
_MOST_KEYS = 10_000
_MOST_SERVICE_KEYS = 100

# The left joins say whether a personal key's owner is still active, and whether the owner, or whoever made an
# organization's key, is still a member. A key is found by its secret, or by the one before its rotation. The last
# column: from when a personal key's owner lacks the second factor that the organization requires.
_SELECT = """
SELECT k.id, k.uid, k.environment, k.scopes, k.allowed_ips, k.requests_per_minute, k.budget_reached_until,
       k.expires_at, k.disabled_at, k.revoked_at,
       CASE WHEN k.secret_hash <> %s THEN k.previous_expires_at END,
       o.id, o.uid, o.deleted_at, o.access_version,
       e.plan, e.may_call, e.requests_per_minute, e.credits_ceiling - e.credits_used, e.overage_allowed,
       e.spend_cap_reached_until, COALESCE(u.is_active AND u.deleted_at IS NULL, true),
       m.id IS NOT NULL OR COALESCE(k.user_id, k.created_by_id) IS NULL,
       CASE WHEN k.user_id IS NOT NULL AND NOT EXISTS (
           SELECT FROM otp_totp_totpdevice d WHERE d.user_id = k.user_id AND d.confirmed
       ) THEN o.two_factor_required_from END
FROM accounts_apikey k
JOIN accounts_organization o ON o.id = k.organization_id
JOIN usage_entitlement e ON e.organization_id = o.id
LEFT JOIN accounts_user u ON u.id = k.user_id
LEFT JOIN accounts_membership m
    ON m.user_id = COALESCE(k.user_id, k.created_by_id) AND m.organization_id = k.organization_id
"""
_QUERY = _SELECT + "WHERE k.secret_hash = %s OR k.previous_secret_hash = %s"
_BY_ID = _SELECT + "WHERE k.id = %s"
_OF_ORGANIZATION = _SELECT + "WHERE k.organization_id = %s ORDER BY k.created_at DESC, k.id DESC LIMIT %s"
# Credits are used up without a bump: ingest would change the organization's row with every batch.
_LOOK = """
SELECT o.id, o.access_version, e.credits_ceiling - e.credits_used
FROM accounts_organization o JOIN usage_entitlement e ON e.organization_id = o.id
WHERE o.id = ANY(%s::bigint[])
"""


@dataclass(slots=True)
class Found:
    """A key with all that decides whether it may call. `credits` move on; the rest is as of `access_version`."""

    pk: int
    uid: str
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
    access_version: int
    plan: str
    may_call: bool
    requests_per_minute: int
    credits: Decimal | None
    overage_allowed: bool
    spend_cap_reached_until: datetime | None
    owner_is_active: bool
    maker_is_member: bool
    shut_out_from: datetime | None


What = TypeVar("What")


@dataclass(slots=True)
class _Kept(Generic[What]):
    """What was found and when, when it was last so, and when it was last asked for; by this process's clock."""

    what: What
    found_at: float
    true_at: float
    asked_at: float


# By the key's digest, so that the keys themselves lie nowhere. Threads share both without a lock: each step is one
# operation on a dictionary, and what two of them put there at once is as true.
_keys: dict[bytes, _Kept[Found]] = {}
_service_keys: dict[bytes, _Kept[list[str]]] = {}
_looking = threading.Lock()
_next_look = 0.0


def find(plaintext: str) -> Found | None:
    """Read all about a key, and keep it. An unknown key is not kept: it may be made or imported at any moment."""
    clock = time.monotonic()
    # One hash a query, the present pepper's first. For a list of them, of whatever length, PostgreSQL would never
    # settle on one plan, and planning takes six times as long as the rest.
    for hashed in reversed(secrets.hashes(plaintext)):
        if rows := prepared.fetch(_QUERY, [hashed, hashed, hashed]):
            break
    else:
        return None
    found = Found(*rows[0])
    digest = _digest(plaintext)
    # Beyond it keys wait until others are no longer asked for: to throw those out would only make them come back.
    if len(_keys) < _MOST_KEYS or digest in _keys:
        _keys[digest] = _Kept(found, clock, clock, clock)
    counted.key_read.inc()
    return found


def read(key_pk: int, *, by_old_secret: bool = False) -> Found | None:
    """All about a key as a call with it would find it now, past what is kept. A service key is nobody's: None.

    `by_old_secret` is for a call with the secret before the last rotation.
    """
    # Stands for the hash that the call came with: any other than the present one is the old one.
    came_with = "" if by_old_secret else None
    rows = prepared.fetch(_BY_ID, [came_with, key_pk])
    return Found(*rows[0]) if rows else None


def read_all(organization_pk: int, *, most: int) -> list[Found]:
    """The same of an organization's keys, the newest first, up to so many."""
    return [Found(*row) for row in prepared.fetch(_OF_ORGANIZATION, [None, organization_pk, most])]


def recall(plaintext: str, *, clock: float) -> Found | None:
    """What is kept of a key, if that can still be believed at this moment of the process's clock."""
    kept = _keys.get(_digest(plaintext))
    if kept is None or clock - kept.true_at > BELIEVED:
        return None
    kept.asked_at = clock
    counted.key_kept.inc()
    return kept.what


def find_scopes(service_key: str, *, now: datetime) -> list[str] | None:
    """Read what a service key may do, as `authentication.service_scopes` does, and keep that."""
    clock = time.monotonic()
    scopes = authentication.service_scopes(service_key, now=now)
    if scopes:
        if len(_service_keys) >= _MOST_SERVICE_KEYS:
            _service_keys.clear()
        _service_keys[_digest(service_key)] = _Kept(scopes, clock, clock, clock)
    return scopes


def recall_scopes(service_key: str, *, clock: float) -> list[str] | None:
    """What is kept of a service key. No look prolongs it: there are few of them, and each is soon read anew."""
    kept = _service_keys.get(_digest(service_key))
    return None if kept is None or clock - kept.true_at > BELIEVED else kept.what


def look(*, clock: float) -> None:
    """Find out what has changed, unless somebody did a moment ago or is about to. `clock` is the process's, now."""
    global _next_look
    if clock < _next_look or not _looking.acquire(blocking=False):
        return
    try:
        if clock >= _next_look:
            _next_look = clock + LOOK_EVERY
            _look(clock)
    finally:
        _looking.release()


def forget() -> None:
    """Let this process know nothing again."""
    global _next_look
    _keys.clear()
    _service_keys.clear()
    _next_look = 0.0


def _look(clock: float) -> None:
    for digest, kept in _keys.copy().items():
        if clock - kept.asked_at > KEPT_UNASKED or clock - kept.found_at > KEPT:
            _keys.pop(digest, None)
    asked = _keys.copy()
    if not asked:
        return
    try:
        rows = prepared.fetch(_LOOK, [list({kept.what.organization_pk for kept in asked.values()})])
    except Error as error:
        counted.look_failed.inc()
        logger.warning("Changes of keys cannot be read: %s", error)
        return
    counted.look_done.inc()
    states = {pk: (version, credits) for pk, version, credits in rows}
    for digest, kept in asked.items():
        version, credits = states.get(kept.what.organization_pk, (None, None))
        if version == kept.what.access_version:
            kept.what.credits = credits
            kept.true_at = clock
        else:
            _keys.pop(digest, None)


def _digest(plaintext: str) -> bytes:
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).digest()
