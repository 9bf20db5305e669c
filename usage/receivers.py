"""What usage says to what happens in accounts.

Nobody keeps job details for longer than the plan allows. A key's new budget counts from the moment it is given. What
somebody made for an organization stays when they delete their account, but not that it was them.
"""

from typing import Any

from django.core.exceptions import ValidationError
from django.dispatch import receiver

from accounts import audit
from accounts.models import ApiKey, AuditEntry, Organization, User
from usage import budgets, retention
from usage.models import PipelineDraft, UsageAlert, UsageExportFile


@receiver(audit.recorded, sender=AuditEntry)
def refuse_longer_retention(entry: AuditEntry, target: object, **_: Any) -> None:
    if entry.action != audit.Action.ORGANIZATION_UPDATED or not isinstance(target, Organization):
        return
    days = entry.after.get("retention_days")
    if days is not None and days > (most := retention.longest(target)):
        raise ValidationError({"retention_days": f"Your plan keeps job details for {most} days at most."})


@receiver(audit.recorded, sender=AuditEntry)
def settle_budget(entry: AuditEntry, target: object, **_: Any) -> None:
    changes_key = entry.action in (audit.Action.API_KEY_CREATED, audit.Action.API_KEY_UPDATED)
    if changes_key and isinstance(target, ApiKey) and "monthly_credit_budget" in entry.after:
        budgets.settle(ApiKey.objects.filter(pk=target.pk))
        target.refresh_from_db(fields=["budget_reached_until"])


@receiver(audit.recorded, sender=AuditEntry)
def forget_who_made_it(entry: AuditEntry, target: object, **_: Any) -> None:
    if entry.action == audit.Action.USER_DELETED and isinstance(target, User):
        PipelineDraft.objects.filter(created_by=target).update(created_by=None)
        UsageAlert.objects.filter(created_by=target).update(created_by=None)
        UsageExportFile.objects.filter(created_by=target).update(created_by=None)
