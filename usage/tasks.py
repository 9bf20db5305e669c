"""Periodic work of usage."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from usage import (
    alert_notices,
    budgets,
    export_files,
    firings,
    idempotency,
    margins,
    partitions,
    retention,
    totals,
)


@shared_task
def attach_partitions() -> None:
    """Make this month's partition and the next one, so that no report waits for it."""
    this = partitions.month_of(timezone.now())
    partitions.ensure([this, partitions.next_month(this)])


@shared_task
def prune_idempotency_keys() -> int:
    """Forget keys of reports so old that a repetition would be refused by its timestamp. Returns how many."""
    # A report may come USAGE_ACCEPT_DAYS after its timestamp, and is refused as too old from then on.
    return idempotency.prune(before=timezone.now() - timedelta(days=settings.USAGE_ACCEPT_DAYS + 1))


@shared_task
def erase_details() -> int:
    return retention.erase_due(now=timezone.now())


@shared_task
def settle_budgets() -> int:
    return budgets.settle()


@shared_task
def fold_margins() -> int:
    return margins.fold()


@shared_task
def count_totals() -> int:
    """Add up what all organizations use today, for the overview of the back office."""
    return totals.count()


@shared_task
def recount_totals() -> int:
    """Add up the last weeks again, whose usage may have come late, and find who uses much more or less than usual."""
    return totals.recount()


@shared_task
def evaluate_alerts() -> int:
    """Fire what is due of alerts and caps where something changed, and tell of what nobody was told of."""
    try:
        firings.evaluate()
    finally:
        told = alert_notices.tell()
    return told


@shared_task
def sweep_alerts() -> int:
    """The same for all organizations, whether anything is known to have changed or not."""
    try:
        firings.evaluate_all()
    finally:
        told = alert_notices.tell()
    return told


@shared_task
def make_exports() -> int:
    return export_files.make_waiting()


def begin_exports() -> None:
    """Have a worker look after exports at once. Where the queue does not answer, the next tick does it."""
    transaction.on_commit(make_exports.delay, robust=True)


@shared_task
def sweep_exports() -> int:
    return export_files.sweep(now=timezone.now())
