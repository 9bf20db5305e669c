"""The audit trail, and the project's only signal.

Apps above this one act on what happens here (a webhook, free credits) by receiving `recorded`, which is sent inside
the transaction of the change: a receiver that raises undoes the change, so a fact and its effects never part.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import models, transaction
from django.dispatch import Signal

from accounts.models import ApiKey, AuditEntry, Organization, User

# Sent with `entry` (the AuditEntry) and `target` (the object it is about).
recorded = Signal()


class Action(models.TextChoices):
    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    USER_EMAIL_CHANGED = "user.email_changed"
    USER_PASSWORD_CHANGED = "user.password_changed"
    USER_PASSWORD_LETTER_SENT = "user.password_letter_sent"
    USER_VERIFICATION_SENT = "user.verification_sent"
    USER_DELETED = "user.deleted"
    USER_DATA_DOWNLOADED = "user.data_downloaded"
    SESSION_ENDED = "session.ended"
    TWO_FACTOR_ENABLED = "two_factor.enabled"
    TWO_FACTOR_DISABLED = "two_factor.disabled"
    TWO_FACTOR_RESET = "two_factor.reset"
    RECOVERY_CODES_REPLACED = "recovery_codes.replaced"
    RECOVERY_CODE_USED = "recovery_code.used"
    ORGANIZATION_CREATED = "organization.created"
    ORGANIZATION_UPDATED = "organization.updated"
    ORGANIZATION_DELETED = "organization.deleted"
    ORGANIZATION_RESTORED = "organization.restored"
    ORGANIZATION_ERASED = "organization.erased"
    OWNERSHIP_OFFERED = "ownership.offered"
    OWNERSHIP_OFFER_ENDED = "ownership.offer_ended"
    OWNERSHIP_TRANSFERRED = "ownership.transferred"
    OWNERSHIP_RECOVERED = "ownership.recovered"
    INVITATION_CREATED = "invitation.created"
    INVITATION_RESENT = "invitation.resent"
    INVITATION_REVOKED = "invitation.revoked"
    INVITATION_ACCEPTED = "invitation.accepted"
    INVITATION_DECLINED = "invitation.declined"
    MEMBER_ADDED = "member.added"
    MEMBER_ROLE_CHANGED = "member.role_changed"
    MEMBER_REMOVED = "member.removed"
    MEMBER_LEFT = "member.left"
    API_KEY_CREATED = "api_key.created"
    API_KEY_IMPORTED = "api_key.imported"
    API_KEY_UPDATED = "api_key.updated"
    API_KEY_DISABLED = "api_key.disabled"
    API_KEY_ENABLED = "api_key.enabled"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_ROTATION_ASKED = "api_key.rotation_asked"
    API_KEY_EXPIRING = "api_key.expiring"
    API_KEY_REVOKED = "api_key.revoked"
    API_KEY_LEAKED = "api_key.leaked"
    LOOK_STARTED = "support.look_started"
    LOOK_ENDED = "support.look_ended"
    NOTE_ADDED = "note.added"
    NOTE_CHANGED = "note.changed"
    NOTE_REMOVED = "note.removed"
    STAFF_DEVICE_ADDED = "staff_device.added"
    STAFF_DEVICE_REMOVED = "staff_device.removed"
    ADMIN_LIST_EXPORTED = "admin_list.exported"
    ENDPOINT_CREATED = "endpoint.created"
    ENDPOINT_UPDATED = "endpoint.updated"
    ENDPOINT_DELETED = "endpoint.deleted"
    ENDPOINT_SECRET_REVEALED = "endpoint.secret_revealed"
    ENDPOINT_SECRET_ROTATED = "endpoint.secret_rotated"
    ENDPOINT_PORTAL_OPENED = "endpoint.portal_opened"
    ENDPOINT_RECOVERED = "endpoint.recovered"
    ENDPOINT_REPLAYED = "endpoint.replayed"
    ENDPOINT_RETRIED = "endpoint.retried"
    ENDPOINT_TESTED = "endpoint.tested"
    MESSAGE_RESENT = "message.resent"
    MESSAGE_RETRIED = "message.retried"
    MESSAGES_RETRIED = "message.all_retried"
    ENTITLEMENT_AGREED = "entitlement.agreed"
    ENTITLEMENT_AGREEMENT_ENDED = "entitlement.agreement_ended"
    PLAN_CHANGED = "plan.changed"
    SUBSCRIPTION_UPDATED = "subscription.updated"
    SUBSCRIPTION_CHANGE_ASKED = "subscription.change_asked"
    SUBSCRIPTION_KEPT = "subscription.kept"
    SUBSCRIPTION_CANCELLED = "subscription.cancelled"
    BILLING_PORTAL_OPENED = "subscription.portal_opened"
    SUBSCRIPTION_READ_AGAIN = "subscription.read_again"
    GRACE_EXTENDED = "subscription.grace_extended"
    CREDITS_PURCHASED = "credits.purchased"
    CREDITS_GRANTED = "credits.granted"
    CREDITS_DEDUCTED = "credits.deducted"
    CREDITS_SETTLED = "credits.settled"
    OFFER_CHANGED = "offer.changed"
    METER_REPORT_RETRIED = "meter_report.retried"
    AUTO_TOP_UP_SET = "auto_top_up.set"
    AUTO_TOP_UP_REMOVED = "auto_top_up.removed"
    AUTO_TOP_UP_STOPPED = "auto_top_up.stopped"
    CREDIT_RATE_PUBLISHED = "credit_rate.published"
    CREDIT_RATE_WITHDRAWN = "credit_rate.withdrawn"
    BILLING_USAGE_EXPORTED = "billing_usage.exported"
    BILLING_USAGE_LINKED = "billing_usage.linked"
    PIPELINE_CREATED = "pipeline.created"
    PIPELINE_UPDATED = "pipeline.updated"
    PIPELINE_DELETED = "pipeline.deleted"
    ALERT_CREATED = "alert.created"
    ALERT_UPDATED = "alert.updated"
    ALERT_DELETED = "alert.deleted"
    SPEND_CAP_SET = "spend_cap.set"
    SPEND_CAP_REMOVED = "spend_cap.removed"
    SWEEP_RUN = "sweep.run"
    USAGE_RECORD_VOIDED = "usage_record.voided"
    USAGE_RECORD_AMENDED = "usage_record.amended"
    USAGE_EXPORT_CREATED = "usage_export.created"
    USAGE_EXPORT_CANCELLED = "usage_export.cancelled"
    USAGE_EXPORT_RETRIED = "usage_export.retried"
    USAGE_EXPORT_DELETED = "usage_export.deleted"


@dataclass(frozen=True)
class Actor:
    """Who makes a change, and from where: a person, perhaps by a key of theirs, or a program by its organization's."""

    user: User | None
    ip: str | None = None
    api_key: ApiKey | None = None

    @property
    def name(self) -> str:
        if self.user:
            return self.user.email
        return str(self.api_key) if self.api_key else "system"

    @property
    def answerable(self) -> User | None:
        """The person behind it: with an organization's key, whoever made that."""
        return self.user or (self.api_key.created_by if self.api_key else None)


def record(
    action: Action,
    *,
    actor: Actor | None,
    target: models.Model,
    organization: Organization | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Write one audit row and tell the receivers. `actor` is None for the system itself.

    Values are kept as JSON: times in UTC, numbers as numbers, what JSON does not know as text.
    """
    actor = actor or Actor(None)
    with transaction.atomic():
        entry = AuditEntry.objects.create(
            action=action,
            actor=actor.user,
            actor_name=actor.name[:254],
            by_staff=_is_support(actor.user, organization),
            organization=organization,
            organization_name=organization.name if organization else "",
            api_key_uid=actor.api_key.uid if actor.api_key else "",
            target_type=target._meta.model_name or "",
            target_uid=getattr(target, "uid", str(target.pk)),
            target_name=str(target)[:254],
            ip=actor.ip,
            before=_json(before or {}),
            after=_json(after or {}),
        )
        recorded.send(sender=AuditEntry, entry=entry, target=target)
    return entry


def with_reason(reason: str) -> dict[str, str]:
    """What `after` says of why something was done, where that was given."""
    return {"reason": reason} if reason else {}


def _is_support(user: User | None, organization: Organization | None) -> bool:
    """Whether a change is support's, not a member's who is on the staff besides."""
    if user is None or organization is None or not user.is_staff:
        return False
    return not organization.memberships.filter(user=user).exists()


def time_text(moment: datetime) -> str:
    """A time as the API writes it: in UTC, to the microsecond."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(values), default=_plain))  # type: ignore[no-any-return]


def _plain(value: object) -> str | float:
    if isinstance(value, datetime):
        return time_text(value)
    return float(value) if isinstance(value, Decimal) else str(value)
