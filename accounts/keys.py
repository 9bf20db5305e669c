"""The life of API keys: made, shown once, limited, rotated, disabled, revoked.

Every change is audited and bumps the organization's access version. Changes of one key wait for each other: the
organization's row is locked first and then the key's. Changes with a `reason` are support's: the people of the key are
told of them, with it.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit, key_notices, networks, permissions, secrets
from accounts.audit import Actor
from accounts.ids import new_uid
from accounts.models import ApiKey, Organization, User
from accounts.names import clean_name
from accounts.permissions import DEFAULT_SCOPES, Permission, Scope, ServicePermission

# How long the old secret goes on working after a rotation.
GRACES: dict[str, timedelta] = {
    "now": timedelta(0),
    "1 hour": timedelta(hours=1),
    "24 hours": timedelta(hours=24),
    "7 days": timedelta(days=7),
}
# How long support may give a customer to rotate a key.
ROTATION_TIMES: dict[str, timedelta] = {
    "24 hours": timedelta(hours=24),
    "3 days": timedelta(days=3),
    "7 days": timedelta(days=7),
    "30 days": timedelta(days=30),
}
LONGEST_NAME = 80
LONGEST_LIFE = timedelta(days=3653)  # ten years
MOST_NETWORKS = 100
MOST_REQUESTS_PER_MINUTE = 1_000_000
LARGEST_BUDGET = Decimal(10**12)  # credits, exclusive

CHANGEABLE = (
    "name",
    "scopes",
    "expires_at",
    "allowed_ips",
    "requests_per_minute",
    "monthly_credit_budget",
)


class AlreadyCreated(Exception):
    """A key with this id exists: the same creation was asked for before."""


class StillInGrace(Exception):
    """The key was rotated a moment ago, or the secret before its last rotation still works: nothing was changed."""


class Ended(Exception):
    """The key is revoked or expired, which this change would not mend."""


class ImportedElsewhere(Exception):
    """Another organization has this key."""


# ── What a key may be given ──────────────────────────────────────────────────────────────────────────────────


_clean_name = partial(clean_name, what="key", longest=LONGEST_NAME)


def _clean_scopes(scopes: Any, known: Iterable[str]) -> list[str]:
    known = list(known)
    if not scopes:
        raise ValidationError("Choose at least one: a key without scopes may do nothing.")
    if unknown := [scope for scope in scopes if scope not in known]:
        raise ValidationError(f"There is no scope {str(unknown[0])[:40]!r}. One of: {', '.join(known)}.")
    return [scope for scope in known if scope in scopes]


def _clean_expiry(expires_at: datetime | None) -> datetime | None:
    now = timezone.now()
    if expires_at is not None and expires_at <= now:
        raise ValidationError("This moment has passed.")
    if expires_at is not None and expires_at > now + LONGEST_LIFE:
        raise ValidationError("Choose a moment within ten years, or let the key never expire.")
    return expires_at


def clean_networks(texts: Iterable[str]) -> list[str]:
    """Addresses and networks in one form, each once. Raises ValidationError."""
    found: list[str] = []
    for text in texts:
        try:
            found.append(networks.normalise(text))
        except ValueError:
            raise ValidationError(
                f"{str(text)[:60]!r} is neither an IP address nor a network such as 203.0.113.0/24."
            ) from None
    found = list(dict.fromkeys(found))
    if len(found) > MOST_NETWORKS:
        raise ValidationError(f"At most {MOST_NETWORKS} of them: sum them up as networks.")
    return found


def _clean_limit(limit: int | None) -> int | None:
    if limit is not None and not 1 <= limit <= MOST_REQUESTS_PER_MINUTE:
        raise ValidationError(f"From 1 to {MOST_REQUESTS_PER_MINUTE:,}, or empty for no limit of its own.")
    return limit


def _clean_budget(budget: Decimal | None) -> Decimal | None:
    if budget is None:
        return None
    budget = Decimal(budget)
    if not budget.is_finite() or not 0 <= budget < LARGEST_BUDGET:
        raise ValidationError("Credits, from 0 up to a trillion, or empty for no budget.")
    if budget != (rounded := budget.quantize(Decimal("0.000001"))):
        raise ValidationError("Use at most 6 decimal places.")
    return rounded


_CLEAN: dict[str, Callable[[Any], Any]] = {
    "name": _clean_name,
    "scopes": lambda scopes: _clean_scopes(scopes, Scope.values),
    "expires_at": _clean_expiry,
    "allowed_ips": clean_networks,
    "requests_per_minute": _clean_limit,
    "monthly_credit_budget": _clean_budget,
}
_CLEAN_OF_SERVICE: dict[str, Callable[[Any], Any]] = {
    "name": _clean_name,
    "scopes": lambda scopes: _clean_scopes(scopes, ServicePermission.values),
    "expires_at": _clean_expiry,
}


def clean(fields: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """These fields in the form they are kept in. Raises ValidationError with a message for each bad one."""
    cleaned, errors = {}, {}
    for name, value in fields.items():
        clean_one = (_CLEAN_OF_SERVICE if kind == ApiKey.Kind.SERVICE else _CLEAN).get(name)
        try:
            if clean_one is None:
                raise ValidationError("This cannot be changed.")
            cleaned[name] = clean_one(value)
        except ValidationError as error:
            errors[name] = error.messages
    if errors:
        raise ValidationError(errors)
    return cleaned


# ── What a key may do ────────────────────────────────────────────────────────────────────────────────────────


def bound(key: ApiKey) -> frozenset[Permission]:
    """What an organization's or personal key can at most be given: what its maker may do in its organization."""
    maker = key.user_id or key.created_by_id
    if maker is None or key.organization is None:  # made by the system itself
        return frozenset(Permission)
    membership = key.organization.memberships.filter(user=maker).select_related("organization").first()
    return membership.permissions if membership else frozenset()


def rights(key: ApiKey) -> frozenset[Permission]:
    """What an organization's or personal key may do in its organization: its scopes, and no more than its maker."""
    return permissions.of_scopes(key.scopes) & bound(key)


# ── Making ───────────────────────────────────────────────────────────────────────────────────────────────────


def _create(
    *, word: str, actor: Actor | None, uid: str | None, cleaned: Mapping[str, Any], **fields: Any
) -> tuple[ApiKey, str]:
    secret = secrets.generate(word)
    try:
        with transaction.atomic():
            key = ApiKey.objects.create(
                uid=uid or new_uid("key"),
                prefix=secret.prefix,
                last_four=secret.last_four,
                secret_hash=secret.secret_hash,
                pepper_id=secret.pepper_id,
                created_by=actor.answerable if actor else None,
                **cleaned,
                **fields,
            )
    except IntegrityError as error:
        if uid is not None and ApiKey.objects.filter(uid=uid).exists():
            raise AlreadyCreated from error
        raise
    _record_new(audit.Action.API_KEY_CREATED, key, actor)
    return key, secret.plaintext


def _record_new(action: audit.Action, key: ApiKey, actor: Actor | None) -> None:
    limits = {name: getattr(key, name) for name in CHANGEABLE if name not in ("name", "scopes")}
    audit.record(
        action,
        actor=actor,
        organization=key.organization,
        target=key,
        after={"name": key.name, "kind": key.kind, "environment": key.environment, "scopes": key.scopes}
        | {name: value for name, value in limits.items() if value not in (None, [])},
    )


@transaction.atomic
def create_organization_key(
    *,
    organization: Organization,
    name: str,
    actor: Actor | None,
    environment: str = ApiKey.Environment.PRODUCTION,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    allowed_ips: Iterable[str] = (),
    requests_per_minute: int | None = None,
    monthly_credit_budget: Decimal | None = None,
    uid: str | None = None,
) -> tuple[ApiKey, str]:
    """Make a key that belongs to the organization. Returns it with its secret, which is not kept.

    With a `uid` chosen beforehand a repeated call makes no second key. Raises `AlreadyCreated`, and ValidationError
    with a message for each field.
    """
    fields = {
        "name": name,
        "scopes": DEFAULT_SCOPES if scopes is None else scopes,
        "expires_at": expires_at,
        "allowed_ips": allowed_ips,
        "requests_per_minute": requests_per_minute,
        "monthly_credit_budget": monthly_credit_budget,
    }
    return _create(
        word=environment,
        actor=actor,
        uid=uid,
        cleaned=clean(fields, ApiKey.Kind.ORGANIZATION),
        kind=ApiKey.Kind.ORGANIZATION,
        organization=organization,
        environment=environment,
    )


@transaction.atomic
def create_personal_key(
    *,
    user: User,
    organization: Organization,
    name: str,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    allowed_ips: Iterable[str] = (),
    requests_per_minute: int | None = None,
    monthly_credit_budget: Decimal | None = None,
    environment: str = ApiKey.Environment.PRODUCTION,
    actor: Actor | None = None,
    uid: str | None = None,
) -> tuple[ApiKey, str]:
    """Make a person's own key, with `organization` as its home. Otherwise as `create_organization_key`."""
    fields = {
        "name": name,
        "scopes": DEFAULT_SCOPES if scopes is None else scopes,
        "expires_at": expires_at,
        "allowed_ips": allowed_ips,
        "requests_per_minute": requests_per_minute,
        "monthly_credit_budget": monthly_credit_budget,
    }
    return _create(
        word=environment,
        actor=actor or Actor(user),
        uid=uid,
        cleaned=clean(fields, ApiKey.Kind.PERSONAL),
        kind=ApiKey.Kind.PERSONAL,
        organization=organization,
        user=user,
        environment=environment,
    )


@transaction.atomic
def create_service_key(
    *, name: str, scopes: list[str] | None = None, actor: Actor | None = None, uid: str | None = None
) -> tuple[ApiKey, str]:
    """Make a key for the operator's own data plane. Otherwise as `create_organization_key`."""
    fields = {"name": name, "scopes": ServicePermission.values if scopes is None else scopes}
    return _create(
        word=ApiKey.Kind.SERVICE,
        actor=actor,
        uid=uid,
        cleaned=clean(fields, ApiKey.Kind.SERVICE),
        kind=ApiKey.Kind.SERVICE,
    )


@transaction.atomic
def create_imported_key(
    *,
    organization: Organization,
    sha256: str,
    name: str,
    actor: Actor | None,
    prefix: str = "",
    last_four: str = "",
    environment: str = ApiKey.Environment.PRODUCTION,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    created_by: User | None = None,
) -> tuple[ApiKey, bool]:
    """Let a key made elsewhere work here, by the SHA-256 (hexadecimal) of it. Says whether this call did it.

    It may do no more than `created_by`, a member; with None it is bounded by its scopes alone: whoever imports is
    often no member. Imported again into the same organization it changes nothing, whatever became of it since. Raises
    `ImportedElsewhere`, ValueError for what is no SHA-256, and ValidationError with a message for each field.
    """
    secret_hash, pepper_id = secrets.hashes_of_import(sha256)
    fields = {
        "name": name,
        "scopes": DEFAULT_SCOPES if scopes is None else scopes,
        "expires_at": expires_at,
    }
    cleaned = clean(fields, ApiKey.Kind.ORGANIZATION)
    hashes = secrets.hashes_of_sha256(sha256)  # it may have come in under an earlier pepper
    known = ApiKey.objects.filter(Q(secret_hash__in=hashes) | Q(previous_secret_hash__in=hashes))
    key, is_new = known.first(), False
    if key is None:
        try:
            with transaction.atomic():
                key = ApiKey.objects.create(
                    kind=ApiKey.Kind.ORGANIZATION,
                    organization=organization,
                    environment=environment,
                    prefix=prefix,
                    last_four=last_four,
                    secret_hash=secret_hash,
                    pepper_id=pepper_id,
                    created_by=created_by,
                    **cleaned,
                )
            is_new = True
        except IntegrityError:  # the same import was quicker
            key = known.get()
    if key.organization_id != organization.pk:
        raise ImportedElsewhere
    if is_new:
        _record_new(audit.Action.API_KEY_IMPORTED, key, actor)
    return key, is_new


# ── Changing ─────────────────────────────────────────────────────────────────────────────────────────────────


def _lock(key: ApiKey) -> None:
    """Bring `key` up to date, and let nobody else change it until this transaction ends."""
    organization = None
    if key.organization_id:
        organization = Organization.objects.select_for_update(no_key=True).get(pk=key.organization_id)
    key.refresh_from_db(from_queryset=ApiKey.objects.select_for_update(no_key=True))
    key.organization = organization


def _change(
    key: ApiKey,
    action: audit.Action,
    actor: Actor | None,
    *,
    before: Mapping[str, Any],
    fields: Mapping[str, Any],
    after: Callable[[], Mapping[str, Any]],
    reason: str = "",
) -> None:
    """Write these fields of a locked key, tell the caches, and record it; `after` is asked once they are written."""
    for name, value in fields.items():
        setattr(key, name, value)
    key.save(update_fields=list(fields))
    if key.organization:
        key.organization.bump_access()
    entry = audit.record(
        action,
        actor=actor,
        organization=key.organization,
        target=key,
        before=before,
        after={**after(), **audit.with_reason(reason)},
    )
    if reason:
        key_notices.tell_what_support_did(key, entry, reason=reason)


def _move(key: ApiKey, action: audit.Action, actor: Actor | None, reason: str, **fields: Any) -> bool:
    """Bring a locked key into another state."""
    _change(
        key,
        action,
        actor,
        before={"state": key.state},
        fields=fields,
        after=lambda: {"state": key.state},
        reason=reason,
    )
    return True


@transaction.atomic
def update(*, key: ApiKey, changes: Mapping[str, Any], actor: Actor | None) -> bool:
    """Change what a key is called and may do; `changes` has any of `CHANGEABLE`. Says whether anything is new.

    Raises `Ended` for a revoked key, and ValidationError with a message for each field.
    """
    _lock(key)
    if key.revoked_at:
        raise Ended
    changes = {name: value for name, value in changes.items() if value != getattr(key, name, ...)}
    cleaned = {name: value for name, value in clean(changes, key.kind).items() if value != getattr(key, name)}
    if not cleaned:
        return False
    _change(
        key,
        audit.Action.API_KEY_UPDATED,
        actor,
        before={name: getattr(key, name) for name in cleaned},
        fields=cleaned,
        after=lambda: cleaned,
    )
    return True


@transaction.atomic
def disable(*, key: ApiKey, actor: Actor | None, reason: str = "") -> bool:
    """Stop a key until it is enabled again. Says whether this call did it."""
    _lock(key)
    if key.revoked_at or key.disabled_at:
        return False
    return _move(key, audit.Action.API_KEY_DISABLED, actor, reason, disabled_at=timezone.now())


@transaction.atomic
def enable(*, key: ApiKey, actor: Actor | None, reason: str = "") -> bool:
    """Let a disabled key work again. Says whether this call did it."""
    _lock(key)
    if key.revoked_at or not key.disabled_at:
        return False
    return _move(key, audit.Action.API_KEY_ENABLED, actor, reason, disabled_at=None)


@transaction.atomic
def revoke(*, key: ApiKey, actor: Actor | None, reason: str = "") -> bool:
    """End a key for good, at once. Says whether this call did it: a second one changes and records nothing."""
    _lock(key)
    if key.revoked_at:
        return False
    return _move(key, audit.Action.API_KEY_REVOKED, actor, reason, revoked_at=timezone.now())


@transaction.atomic
def rotate(*, key: ApiKey, grace: timedelta, actor: Actor | None) -> str:
    """Give a key a new secret and return it; it is not kept. The old one goes on working for `grace`.

    The key stays the same: its id, limits, budget and usage go on. Of two rotations of the key as both callers saw
    it one wins, so that neither loses the secret it was given. Raises `StillInGrace`, `Ended`, and ValidationError
    for a longer grace than any of `GRACES`.
    """
    if not timedelta(0) <= grace <= max(GRACES.values()):
        raise ValidationError({"grace": "At most 7 days."})
    seen = key.secret_hash
    _lock(key)
    now = timezone.now()
    if key.revoked_at or (key.expires_at and key.expires_at <= now):
        raise Ended
    if key.secret_hash != seen or key.is_in_grace:
        raise StillInGrace
    secret = secrets.generate(ApiKey.Kind.SERVICE if key.kind == ApiKey.Kind.SERVICE else key.environment)
    _change(
        key,
        audit.Action.API_KEY_ROTATED,
        actor,
        before={"last_four": key.last_four},
        fields={
            "prefix": secret.prefix,
            "last_four": secret.last_four,
            "secret_hash": secret.secret_hash,
            "pepper_id": secret.pepper_id,
            "previous_secret_hash": key.secret_hash,
            "previous_last_four": key.last_four,
            "previous_expires_at": now + grace,
            "rotated_at": now,
            "rotate_by": None,
        },
        after=lambda: {"last_four": key.last_four, "old_works_until": now + grace},
    )
    return secret.plaintext


@transaction.atomic
def ask_to_rotate(*, key: ApiKey, within: timedelta, reason: str, actor: Actor) -> None:
    """Have a customer rotate a key: without that it is disabled when the time has passed.

    Support itself cannot give a key a new secret, for whoever rotates a key is shown it. The key's own end stays as it
    is; asked again, the new time counts. Raises `Ended`.
    """
    _lock(key)
    now = timezone.now()
    if key.revoked_at or (key.expires_at and key.expires_at <= now):
        raise Ended
    _change(
        key,
        audit.Action.API_KEY_ROTATION_ASKED,
        actor,
        before={"rotate_by": key.rotate_by},
        fields={"rotate_by": now + within},
        after=lambda: {"rotate_by": key.rotate_by},
        reason=reason,
    )


@transaction.atomic
def allow(*, key: ApiKey, address: str, reason: str, actor: Actor) -> bool:
    """Let a key that is tied to networks be used from one more IP address. Says whether that is new.

    A key that may be used from anywhere is left alone: its first network would shut out all others. Raises `Ended` for
    a revoked key, and ValidationError.
    """
    _lock(key)
    if key.revoked_at:
        raise Ended
    before = key.allowed_ips
    if not before or networks.contain(before, address):
        return False
    _change(
        key,
        audit.Action.API_KEY_UPDATED,
        actor,
        before={"allowed_ips": before},
        fields={"allowed_ips": clean_networks([*before, address])},
        after=lambda: {"allowed_ips": key.allowed_ips},
        reason=reason,
    )
    return True


def disable_unrotated(*, now: datetime) -> int:
    """Disable the keys that support asked to rotate and nobody did, enabled ones of earlier too. Returns how many."""
    due = ApiKey.objects.not_ended().filter(rotate_by__lte=now, disabled_at=None).order_by("pk")
    return sum(_disable_unrotated(key, now) for key in due)


@transaction.atomic
def _disable_unrotated(key: ApiKey, now: datetime) -> bool:
    _lock(key)
    if key.rotate_by is None or key.rotate_by > now:  # rotated meanwhile
        return False
    return disable(key=key, actor=None, reason="It was not rotated in the time that our support gave.")


@transaction.atomic
def end_grace(*, key: ApiKey, actor: Actor | None) -> bool:
    """Stop the secret before the last rotation now. Says whether this call did it."""
    _lock(key)
    if not key.is_in_grace:
        return False
    until, now = key.previous_expires_at, timezone.now()
    _change(
        key,
        audit.Action.API_KEY_UPDATED,
        actor,
        before={"old_works_until": until},
        fields={"previous_expires_at": now},
        after=lambda: {"old_works_until": now},
    )
    return True
