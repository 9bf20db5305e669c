"""Each night: what Stripe's events should have told, and did not, is read there."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import stripe
from django.utils import timezone
from djstripe.models import Event

from billing import catalogue, inbox, invoices, subscriptions
from billing.gateway import get_stripe
from billing.models import BillingAccount, Invoice

logger = logging.getLogger(__name__)

# Stripe itself tries for three days to tell of an event.
LOOKED_BACK = timedelta(days=5)
# Of kinds of events that Stripe lists at once, and of events that are looked up at once.
_AT_ONCE = 20


def run(*, now: datetime | None = None) -> int:
    """Take up missed events, and read subscriptions and unpaid invoices again. Returns how many events were missed."""
    missed = take_up_missed(since=(now or timezone.now()) - LOOKED_BACK)
    read_subscriptions()
    read_invoices()
    return missed


def take_up_missed(*, since: datetime) -> int:
    """Have what events told of since then read again, of those that never reached us. Returns how many there are."""
    missed: dict[str, list[str]] = {}
    for events in _batches(since):
        known = set(Event.objects.filter(id__in=[event.id for event in events]).values_list("id", flat=True))
        for event in events:
            if event.id not in known and (about := inbox.concerned(event.data.to_dict())):
                missed.setdefault(about, []).append(event.id)
    for about, events_missed in missed.items():
        logger.warning("%s: %d events never came", about, len(events_missed))
        inbox.note(about)
    return sum(len(events) for events in missed.values())


def _batches(since: datetime) -> Iterator[list[stripe.Event]]:
    for start in range(0, len(catalogue.EVENTS), _AT_ONCE):
        params: Any = {
            "types": catalogue.EVENTS[start : start + _AT_ONCE],
            "created": {"gte": int(since.timestamp())},
            "limit": 100,
        }
        batch: list[stripe.Event] = []
        for event in get_stripe().v1.events.list(params).auto_paging_iter():
            batch.append(event)
            if len(batch) == 500:
                yield batch
                batch = []
        if batch:
            yield batch


def read_subscriptions() -> None:
    """Read each subscription again that is not over."""
    accounts = BillingAccount.objects.exclude(stripe_customer="").exclude(stripe_subscription="")
    for account in accounts.select_related("organization").order_by("pk").iterator(500):
        if not account.is_subscribed:
            continue
        try:
            subscriptions.sync(account.organization)
        except Exception:  # one organization must not keep the others
            logger.exception("the subscription of %s could not be read", account.organization.uid)


def read_invoices() -> None:
    """Read each invoice again that may still change."""
    for invoice in Invoice.objects.filter(status__in=["draft", "open"]).order_by("pk").iterator(500):
        try:
            invoices.record(get_stripe().v1.invoices.retrieve(invoice.stripe_id))
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                invoices.forget(invoice.stripe_id)
            else:
                logger.exception("invoice %s could not be read", invoice.stripe_id)
        except Exception:  # one invoice must not keep the others
            logger.exception("invoice %s could not be read", invoice.stripe_id)
