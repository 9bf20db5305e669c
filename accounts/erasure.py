"""Erasing what a deleted organization leaves in this app: names, addresses and secrets go, what facts lean on stays."""

from typing import Any

from django.db import connection, transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce, Concat, Now

from accounts import audit
from accounts.models import AuditEntry, Note, Notification, NotificationPreference, Organization

BATCH = 1000


def delete_in_batches(rows: QuerySet[Any]) -> None:
    """Delete so that no transaction grows with what there is."""
    while batch := list(rows.values_list("pk", flat=True)[:BATCH]):
        rows.model._default_manager.filter(pk__in=batch).delete()


def erase(organization: Organization) -> None:
    """Erase an organization's people, keys' names and secrets, notices and names in the audit trail, and its own."""
    _erase_keys(organization)
    # Notices of those whom the organization itself no longer reached.
    told = organization.audit_entries.filter(
        action__in=(
            audit.Action.MEMBER_REMOVED,
            audit.Action.ORGANIZATION_DELETED,
            audit.Action.ORGANIZATION_RESTORED,
        )
    )
    keys = [f"audit:{pk}" for pk in told.values_list("pk", flat=True)]
    delete_in_batches(Notification.objects.filter(organization=None, key__in=keys))
    delete_in_batches(Notification.objects.filter(organization=organization))
    delete_in_batches(NotificationPreference.objects.filter(organization=organization))
    delete_in_batches(organization.invitations.all())
    _erase_notes(organization)
    delete_in_batches(organization.memberships.all())
    _erase_audit(organization)
    Organization.objects.filter(pk=organization.pk).update(name=F("uid"), billing_email="", default_region="")
    organization.refresh_from_db()


def _erase_keys(organization: Organization) -> None:
    """Usage facts name keys by their rows, which stay behind, revoked, without name or secret.

    Personal keys stay their owners', for the other organizations that these are in.
    """
    organization.api_keys.organization_keys().update(
        name=F("uid"),
        prefix="",
        last_four="",
        secret_hash=Concat(Value("erased "), F("uid")),
        previous_secret_hash=None,
        previous_last_four="",
        allowed_ips=[],
        revoked_at=Coalesce("revoked_at", Now()),
    )
    organization.bump_access()


def _erase_notes(organization: Organization) -> None:
    """What is recorded of notes names the organization and is none of its own trail."""
    while uids := list(organization.notes.values_list("uid", flat=True)[:BATCH]):
        _erase_names(AuditEntry.objects.filter(target_type=Note._meta.model_name, target_uid__in=uids))
        organization.notes.filter(uid__in=uids).delete()


def _erase_audit(organization: Organization) -> None:
    _erase_names(organization.audit_entries.all())


def _erase_names(entries: QuerySet[AuditEntry]) -> None:
    """Leave what was done and when; who did it and to whom is no longer readable."""
    named = entries.exclude(actor_name="")
    while batch := list(named.values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            with connection.cursor() as cursor:
                # Without this the database itself refuses to change audit rows.
                cursor.execute("SET LOCAL countinghouse.erasing = 'yes'")
            AuditEntry.objects.filter(pk__in=batch).update(
                organization_name="", actor_name="", target_name="", ip=None, before={}, after={}
            )
