"""What webhooks tell of what happens in accounts: audit actions as events, in the transaction of the fact."""

from typing import Any

from django.dispatch import receiver

from accounts import audit
from accounts.models import ApiKey, AuditEntry
from webhooks import events, outbox

_EVENTS: dict[str, events.EventType] = {
    audit.Action.API_KEY_EXPIRING: events.API_KEY_EXPIRING,
    audit.Action.API_KEY_REVOKED: events.API_KEY_REVOKED,
    audit.Action.API_KEY_LEAKED: events.API_KEY_LEAKED,
}


@receiver(audit.recorded, sender=AuditEntry)
def tell_of_key(entry: AuditEntry, target: object, **_: Any) -> None:
    """Tell the organization of a key; service keys are the operator's own and concern no customer."""
    event_type = _EVENTS.get(entry.action)
    if event_type is None or not isinstance(target, ApiKey) or target.organization is None:
        return
    data = {
        "api_key_id": target.uid,
        "organization_id": target.organization.uid,
        "name": target.name,
        "last_four": target.last_four,
        "kind": target.kind,
        "environment": target.environment,
    }
    facts = _facts(event_type, entry, target)
    outbox.send(
        organization=target.organization,
        event_type=event_type.name,
        data=data | facts,
        uid=outbox.uid_about(event_type.name, target.uid, *facts.values()),
    )


def _facts(event_type: events.EventType, entry: AuditEntry, key: ApiKey) -> dict[str, Any]:
    """What a message of this type says besides the key."""
    if event_type is events.API_KEY_EXPIRING:
        assert key.expires_at is not None
        return {"expires_at": events.utc(key.expires_at), "days_left": entry.after["days_left"]}
    if event_type is events.API_KEY_REVOKED:
        assert key.revoked_at is not None
        return {"revoked_at": events.utc(key.revoked_at)}
    return {
        "last_four": entry.after["secret"].removeprefix("…"),
        "place": entry.after["place"],
        "is_revoked": key.revoked_at is not None,
    }
