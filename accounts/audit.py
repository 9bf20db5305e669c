"""The audit trail, and the project's only signal.

Apps above this one act on what happens here (a webhook, free credits) by receiving `recorded`, which is sent inside
the transaction of the change: a receiver that raises undoes the change, so a fact and its effects never part.
"""

from typing import Any

from django.db import models, transaction
from django.dispatch import Signal

from accounts.models import ApiKey, AuditEntry, Organization, User

# Sent with `entry` (the AuditEntry) and `target` (the object it is about).
recorded = Signal()


class Action(models.TextChoices):
    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    ORGANIZATION_CREATED = "organization.created"
    ORGANIZATION_UPDATED = "organization.updated"
    MEMBER_ADDED = "member.added"
    MEMBER_ROLE_CHANGED = "member.role_changed"
    MEMBER_REMOVED = "member.removed"
    API_KEY_CREATED = "api_key.created"
    API_KEY_UPDATED = "api_key.updated"
    API_KEY_DISABLED = "api_key.disabled"
    API_KEY_ENABLED = "api_key.enabled"
    API_KEY_REVOKED = "api_key.revoked"
    STAFF_DEVICE_ADDED = "staff_device.added"
    STAFF_DEVICE_REMOVED = "staff_device.removed"
    ENDPOINT_CREATED = "endpoint.created"
    ENDPOINT_UPDATED = "endpoint.updated"
    ENDPOINT_DELETED = "endpoint.deleted"
    ENTITLEMENT_CHANGED = "entitlement.changed"
    CREDIT_RATE_PUBLISHED = "credit_rate.published"


def record(
    action: Action,
    *,
    actor: User | None,
    target: models.Model,
    organization: Organization | None = None,
    api_key: ApiKey | None = None,
    ip: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEntry:
    """Write one audit row and tell the receivers. `actor` is None for the system itself; values are JSON."""
    with transaction.atomic():
        entry = AuditEntry.objects.create(
            action=action,
            actor=actor,
            actor_name=actor.email if actor else "system",
            organization=organization,
            organization_name=organization.name if organization else "",
            api_key_uid=api_key.uid if api_key else "",
            target_type=target._meta.model_name or "",
            target_uid=getattr(target, "uid", str(target.pk)),
            target_name=str(target)[:254],
            ip=ip,
            before=before or {},
            after=after or {},
        )
        recorded.send(sender=AuditEntry, entry=entry, target=target)
    return entry
