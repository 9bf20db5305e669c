"""What billing does about what happens in accounts: a new organization starts on pay-as-you-go, with its credits."""

from typing import Any

from django.dispatch import receiver

from accounts import audit
from accounts.models import AuditEntry, Organization
from billing import plans


@receiver(audit.recorded, sender=AuditEntry)
def start_plan(entry: AuditEntry, target: object, **_: Any) -> None:
    if entry.action == audit.Action.ORGANIZATION_CREATED and isinstance(target, Organization):
        plans.start(target)
