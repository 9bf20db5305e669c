"""What billing does about what the audit trail says: it starts plans, ends subscriptions, and tells of changes."""

from typing import Any

from django.db import transaction
from django.dispatch import receiver

from accounts import audit
from accounts.models import AuditEntry, Organization
from billing import notices, plans, tasks


@receiver(audit.recorded, sender=AuditEntry)
def start_plan(entry: AuditEntry, target: object, **_: Any) -> None:
    """Start a new organization on pay-as-you-go, with its credits."""
    if entry.action == audit.Action.ORGANIZATION_CREATED and isinstance(target, Organization):
        plans.start(target)


@receiver(audit.recorded, sender=AuditEntry)
def end_subscription(entry: AuditEntry, target: object, **_: Any) -> None:
    """End the subscription of a deleted organization; `subscriptions.catch_up` does it if the queue loses this."""
    if entry.action == audit.Action.ORGANIZATION_DELETED and isinstance(target, Organization):
        pk = target.pk
        transaction.on_commit(lambda: tasks.end_deleted.delay(pk), robust=True)


@receiver(audit.recorded, sender=AuditEntry)
def tell_of_change(entry: AuditEntry, target: object, **_: Any) -> None:
    if isinstance(target, Organization) and entry.action.startswith(("plan.", "subscription.")):
        notices.tell_of_change(entry, target)


@receiver(audit.recorded, sender=AuditEntry)
def tell_of_name(entry: AuditEntry, target: object, **_: Any) -> None:
    """Have invoices say what the organization is called by now, and go where it wants them."""
    is_told = entry.action == audit.Action.ORGANIZATION_UPDATED and {"name", "billing_email"} & set(
        entry.after
    )
    if is_told and isinstance(target, Organization):
        pk = target.pk
        transaction.on_commit(lambda: tasks.tell_stripe_of_customer.delay(pk), robust=True)
