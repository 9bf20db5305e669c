"""Periodic work of billing, and what is done at Stripe after the fact."""

from celery import shared_task
from django.utils import timezone

from accounts.models import Organization
from billing import inbox, subscriptions


@shared_task
def end_deleted(organization_pk: int) -> None:
    subscriptions.end_deleted(Organization.objects.get(pk=organization_pk))


@shared_task
def catch_up_with_stripe() -> int:
    """Apply what events told of, and go on with what Stripe could not be told of."""
    return inbox.apply_due() + subscriptions.catch_up()


@shared_task
def prune_stripe_events() -> int:
    return inbox.prune(now=timezone.now())
