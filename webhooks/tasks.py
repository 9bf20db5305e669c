"""Periodic work of webhooks, and replays. Delivering is neither: `manage.py deliver` does it."""

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from webhooks import replays, retention
from webhooks.embedded import attempt_counts


@shared_task
def prune_webhooks() -> dict[str, int]:
    return retention.prune(now=timezone.now())


@shared_task
def fold_attempts() -> int:
    return attempt_counts.fold(now=timezone.now())


@shared_task
def go_on_with_replays() -> None:
    """Work on one for a while; the rest has its turn behind what else waits for a worker."""
    if replays.go_on():
        begin_replays()


def begin_replays() -> None:
    """Have a worker look after replays at once. Where the queue does not answer, the next tick does it."""
    transaction.on_commit(go_on_with_replays.delay, robust=True)
