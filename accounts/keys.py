"""The life of API keys: made, shown once, revoked. Every change bumps the organization's access version."""

from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from accounts import audit, secrets
from accounts.audit import Actor
from accounts.ids import new_uid
from accounts.models import ApiKey, Organization, User
from accounts.permissions import DEFAULT_SCOPES, ServicePermission


class AlreadyCreated(Exception):
    """A key with this id exists: the same creation was asked for before."""


def _create(*, word: str, actor: Actor | None, fields: Mapping[str, object]) -> tuple[ApiKey, str]:
    secret = secrets.generate(word)
    key = ApiKey.objects.create(
        prefix=secret.prefix,
        last_four=secret.last_four,
        secret_hash=secret.secret_hash,
        pepper_id=secret.pepper_id,
        created_by=actor.answerable if actor else None,
        **fields,
    )
    audit.record(
        audit.Action.API_KEY_CREATED,
        actor=actor,
        organization=key.organization,
        target=key,
        after={"name": key.name, "kind": key.kind, "environment": key.environment, "scopes": key.scopes},
    )
    return key, secret.plaintext


@transaction.atomic
def create_organization_key(
    *,
    organization: Organization,
    name: str,
    actor: Actor | None,
    environment: str = ApiKey.Environment.PRODUCTION,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    uid: str | None = None,
) -> tuple[ApiKey, str]:
    """Make a key that belongs to the organization. Returns it with its secret, which is not kept.

    With a `uid` chosen beforehand a repeated call makes no second key. Raises `AlreadyCreated`.
    """
    fields = {
        "uid": uid or new_uid("key"),
        "kind": ApiKey.Kind.ORGANIZATION,
        "organization": organization,
        "name": name,
        "environment": environment,
        "scopes": list(DEFAULT_SCOPES) if scopes is None else scopes,
        "expires_at": expires_at,
    }
    try:
        with transaction.atomic():
            return _create(word=environment, actor=actor, fields=fields)
    except IntegrityError as error:
        if uid is not None and ApiKey.objects.filter(uid=uid).exists():
            raise AlreadyCreated from error
        raise


@transaction.atomic
def create_personal_key(
    *,
    user: User,
    organization: Organization,
    name: str,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    actor: Actor | None = None,
) -> tuple[ApiKey, str]:
    """Make a person's own key, with `organization` as its home. Returns it with its secret, which is not kept."""
    fields = {
        "kind": ApiKey.Kind.PERSONAL,
        "organization": organization,
        "user": user,
        "name": name,
        "scopes": list(DEFAULT_SCOPES) if scopes is None else scopes,
        "expires_at": expires_at,
    }
    return _create(word=ApiKey.Environment.PRODUCTION, actor=actor or Actor(user), fields=fields)


@transaction.atomic
def create_service_key(
    *, name: str, scopes: list[str] | None = None, actor: Actor | None = None
) -> tuple[ApiKey, str]:
    """Make a key for the operator's own data plane. Returns it with its secret, which is not kept."""
    fields = {
        "kind": ApiKey.Kind.SERVICE,
        "name": name,
        "scopes": list(ServicePermission.values) if scopes is None else scopes,
    }
    return _create(word=ApiKey.Kind.SERVICE, actor=actor, fields=fields)


@transaction.atomic
def revoke(*, key: ApiKey, actor: Actor | None) -> bool:
    """End a key for good, at once. Says whether this call did it: a second one changes and records nothing."""
    if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now()):
        return False
    key.refresh_from_db()
    if key.organization:
        key.organization.bump_access()
    audit.record(
        audit.Action.API_KEY_REVOKED,
        actor=actor,
        organization=key.organization,
        target=key,
        before={"state": "active"},
        after={"state": "revoked"},
    )
    return True
