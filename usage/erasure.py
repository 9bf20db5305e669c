"""Erasing what a deleted organization leaves in this app: what jobs were given goes, what was used stays."""

from accounts.erasure import BATCH, delete_in_batches
from accounts.models import Organization
from usage import export_files
from usage.models import Job, PipelineConfig


def erase(organization: Organization) -> None:
    """Erase the configuration, source, metadata, webhook and error of an organization's jobs, and its exports."""
    newest_first = Job.objects.filter(organization=organization).newest_first()
    remaining = newest_first
    while batch := list(remaining.values_list("created_at", "pk")[:BATCH]):
        Job.objects.filter(pk__in=[pk for _, pk in batch]).update(
            source=None, config_sha256="", webhook=None, metadata=None, error=None
        )
        remaining = newest_first.after(*batch[-1])
    delete_in_batches(PipelineConfig.objects.filter(organization=organization))
    export_files.erase(organization)
