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
    """Make the tables for usage of this month and the next, so that no report waits for them."""
    this = partitions.month_of(timezone.now())
    partitions.ensure([this, partitions.next_month(this)])


@shared_task
def prune_idempotency_keys() -> int:
    """Forget keys of reports so old that a repetition would be refused by its timestamp."""
    # A report may come USAGE_ACCEPT_DAYS after its timestamp, and is refused as too old from then on.
    return idempotency.prune(before=timezone.now() - timedelta(days=settings.USAGE_ACCEPT_DAYS + 1))


@shared_task
def erase_details() -> int:
    """Erase what jobs were given and said where it is older than its organization keeps it."""
    return retention.erase_due(now=timezone.now())


@shared_task
def settle_budgets() -> int:
    """Stop keys that have used up their credits of the month, and let others go on."""
    return budgets.settle()


@shared_task
def fold_margins() -> int:
    """Add up days that changed by product, feature, key and file type, so that pages read them at once."""
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
    """Fire usage alerts and spend caps where usage has changed, and tell of what nobody was told of."""
    try:
        firings.evaluate()
    finally:
        told = alert_notices.tell()
    return told


@shared_task
def sweep_alerts() -> int:
    """Fire usage alerts and spend caps of all organizations, whether or not their usage is known to have changed."""
    try:
        firings.evaluate_all()
    finally:
        told = alert_notices.tell()
    return told


@shared_task
def make_exports() -> int:
    """Write the files of usage exports that were asked for."""
    return export_files.make_waiting()


def begin_exports() -> None:
    """Have a worker look after exports at once. Where the queue does not answer, the next tick does it."""
    transaction.on_commit(make_exports.delay, robust=True)


@shared_task
def sweep_exports() -> int:
    """Delete files of usage exports that have expired, and give up exports that do not come to an end."""
    return export_files.sweep(now=timezone.now())
