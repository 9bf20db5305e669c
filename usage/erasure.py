"""Erasing what a deleted organization leaves in this app: what jobs were given goes, what was used stays."""

from accounts.erasure import BATCH, delete_in_batches
from accounts.models import Organization
from usage import export_files
from usage.models import Job, PipelineConfig, PipelineDraft, SpendCap, UsageAlert


def erase(organization: Organization) -> None:
    """Erase what an organization's jobs were given and what they said, its exports and its alerts."""
    newest_first = Job.objects.filter(organization=organization).newest_first()
    remaining = newest_first
    while batch := list(remaining.values_list("created_at", "pk")[:BATCH]):
        Job.objects.filter(pk__in=[pk for _, pk in batch]).update(
            source=None, config_sha256="", webhook=None, metadata=None, error=None
        )
        remaining = newest_first.after(*batch[-1])
    delete_in_batches(PipelineConfig.objects.filter(organization=organization))
    delete_in_batches(PipelineDraft.objects.filter(organization=organization))
    UsageAlert.objects.filter(organization=organization).delete()
    SpendCap.objects.filter(organization=organization).delete()
    export_files.erase(organization)
