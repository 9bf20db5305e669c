"""Periodic work of webhooks, and replays. Delivering is neither: `manage.py deliver` does it."""

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from webhooks import replays, retention
from webhooks.embedded import attempt_counts


@shared_task
def prune_webhooks() -> dict[str, int]:
    """Delete old messages and tries, and the contents that organizations no longer keep."""
    return retention.prune(now=timezone.now())


@shared_task
def fold_attempts() -> int:
    """Count tries of delivery by the hour, for charts."""
    return attempt_counts.fold(now=timezone.now())


@shared_task
def go_on_with_replays() -> None:
    """Send endpoints what they missed, for each replay that was asked for, a while at a time."""
    if replays.go_on():
        begin_replays()


def begin_replays() -> None:
    """Have a worker look after replays at once. Where the queue does not answer, the next tick does it."""
    transaction.on_commit(go_on_with_replays.delay, robust=True)
