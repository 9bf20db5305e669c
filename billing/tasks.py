"""Periodic work of billing, and what is done at Stripe after the fact."""

import logging

import stripe
from celery import shared_task
from django.utils import timezone

from accounts.models import Organization
from billing import catalogue, customers, inbox, subscriptions

logger = logging.getLogger(__name__)


@shared_task(autoretry_for=(stripe.StripeError,), retry_backoff=30, max_retries=8)
def sync_catalogue() -> None:
    """Tell Stripe of a plan or pack that was changed in the admin."""
    catalogue.sync(say=logger.info)


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
    return inbox.prune(now=timezone.now())
