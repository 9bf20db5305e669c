"""Periodic work of billing. Each may run again, or twice at once, and changes nothing then."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from billing import access, credits, late_usage, metering, plans, settlement, sweep, top_ups

# Usage that changed within it is looked at; what a stopped worker missed beyond it, the nightly run settles.
LOOKED_BACK = timedelta(hours=1)


@shared_task
def settle_changed() -> int:
    return settlement.settle_changed(since=timezone.now() - LOOKED_BACK)


@shared_task
def settle_all() -> int:
    return settlement.settle_changed()


@shared_task
def expire_and_renew() -> int:
    """Write off what has expired, and grant what a new month brings."""
    return credits.expire_due() + plans.renew_due()


@shared_task
def recompute_access() -> int:
    return access.recompute_due()


@shared_task
def send_meter_reports() -> int:
    return metering.send_waiting()


@shared_task
def bill_late_usage() -> int:
    return late_usage.bill_due()


@shared_task
def reconcile_meter() -> int:
    return metering.reconcile()


@shared_task
def top_up() -> int:
    """Buy packs where few credits are left, and go on with what another worker began."""
    top_ups.begin_due()
    return top_ups.finish_waiting()


@shared_task
def sweep_stripe() -> int:
    return sweep.run()
