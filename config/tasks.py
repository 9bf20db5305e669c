"""Periodic work that sees all apps."""

from celery import shared_task
from django.utils import timezone

from config import erasure


@shared_task
def erase_organizations() -> int:
    """Erase what deleted organizations hold, once they cannot be restored any more."""
    return erasure.erase_due(now=timezone.now())
