"""Periodic work of webhooks. Delivering is not: `manage.py deliver` does it."""

from celery import shared_task
from django.utils import timezone

from webhooks import retention


@shared_task
def prune_webhooks() -> dict[str, int]:
    return retention.prune(now=timezone.now())
