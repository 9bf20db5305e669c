"""Periodic work of billing, and what is done at Stripe after the fact. Each may run again, or twice at once."""

import logging
from datetime import timedelta

import stripe
from celery import shared_task
from django.db import transaction
from django.utils import timezone

from accounts.models import Organization
from billing import (
    access,
    catalogue,
    credits,
    customers,
    inbox,
    late_usage,
    metering,
    notices,
    plans,
    settlement,
    subscriptions,
    sweep,
    top_ups,
)
from billing.models import Plan

logger = logging.getLogger(__name__)


@shared_task
def settle_changed() -> int:
    """Take what was used since the last time out of the credits."""
    return settlement.follow()


@shared_task
def settle_all() -> int:
    """Take all usage out of the credits, also what was missed or came late."""
    return settlement.settle_changed()


@shared_task
def expire_and_renew() -> int:
    """Write off what has expired, and grant what a new month brings."""
    return credits.expire_due() + plans.renew_due()


@shared_task
def recompute_access() -> int:
    """Write anew what organizations may do whose grace, or something agreed with them, has ended by now."""
    return access.recompute_due()


@shared_task
def send_meter_reports() -> int:
    """Report overage to Stripe's meter."""
    return metering.send_waiting()


@shared_task
def bill_late_usage() -> int:
    """Bill overage that came in after its subscription had ended."""
    return late_usage.bill_due()


@shared_task
def reconcile_meter() -> int:
    """Compare what Stripe's meter counted with what was reported, and repair the difference."""
    return metering.reconcile()


@shared_task
def top_up() -> int:
    """Buy packs where few credits are left, and go on with what another worker began."""
    top_ups.begin_due()
    return top_ups.finish_waiting()


@shared_task
def sweep_stripe() -> int:
    """Take up events of Stripe's that never came, and read subscriptions and unpaid invoices there again."""
    return sweep.run()


@shared_task(autoretry_for=(stripe.StripeError,), retry_backoff=30, max_retries=8)
def tell_stripe_of_customer(organization_pk: int) -> None:
    customers.tell(Organization.objects.get(pk=organization_pk))


@shared_task
def end_deleted(organization_pk: int) -> None:
    subscriptions.end_deleted(Organization.objects.get(pk=organization_pk))


@shared_task
def catch_up_with_stripe() -> int:
    """Apply what events told of, and go on with what Stripe could not be told of."""
    return inbox.apply_due() + subscriptions.catch_up()


@shared_task
def prune_stripe_events() -> int:
    """Delete events of Stripe's that were applied long ago."""
    return inbox.prune(now=timezone.now())


@shared_task
def tell_of_credits() -> int:
    """Tell organizations whose credits have just become few or run out."""
    return notices.tell_of_credits(since=timezone.now() - timedelta(minutes=2))


@shared_task
def sweep_notices() -> int:
    """Tell of credits that are few or gone, of grace that ends and of cards that expire, for all organizations."""
    return notices.tell_of_credits() + notices.warn_of_grace() + notices.warn_of_cards()


@shared_task(autoretry_for=(stripe.StripeError,), retry_backoff=30, max_retries=8)
def sync_offer(plan_pk: int | None = None) -> int:
    """Send what is on offer to Stripe, and write what an edited plan entitles to. Returns for how many that changed."""
    changed = access.recompute_all(Plan.objects.get(pk=plan_pk)) if plan_pk else 0
    catalogue.sync(say=logger.info)
    return changed


@shared_task
def sweep_offer() -> int:
    """Send plans and packs to Stripe and apply edited plans, for what the queue has lost."""
    changed = access.recompute_outdated()
    catalogue.sync(say=logger.info)
    return changed


def offer_changed(plan: Plan | None = None) -> None:
    """Have that done once the change is written. Where the queue does not answer, the next night does it."""
    pk = plan.pk if plan else None
    transaction.on_commit(lambda: sync_offer.delay(pk), robust=True)
