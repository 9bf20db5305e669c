"""What Stripe's events lead to. dj-stripe takes them in and mirrors what they are about; here follows what is ours.

An event only says what to read again: that is written down in the event's own transaction (`StripeChange`), so that it
cannot be lost, and done after it. What an object is now decides, not what the event said, so neither order nor
repetition matters. An object is applied by one process at a time; what comes meanwhile makes it read once more.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

import stripe
from django.db import connection, models, transaction
from django.dispatch import receiver
from django.utils import timezone
from djstripe.event_handlers import djstripe_receiver
from djstripe.models import Event, WebhookEventTrigger
from djstripe.signals import webhook_pre_validate

from accounts.models import Organization
from billing import catalogue, checkout, invoices, metering, refunds, subscriptions
from billing.gateway import get_stripe
from billing.models import BillingAccount, StripeChange

logger = logging.getLogger(__name__)

LEASE = timedelta(minutes=2)  # more than all that is asked of Stripe for an object takes
SHORTEST_WAIT, LONGEST_WAIT = timedelta(seconds=15), timedelta(hours=1)
# Stripe's own list of events goes back 30 days.
KEPT = timedelta(days=35)

_NOTE = """
INSERT INTO billing_stripechange AS c (stripe_id, version, attempts, next_attempt_at, last_error, created_at)
VALUES (%s, 1, 0, now(), '', now())
ON CONFLICT (stripe_id) DO UPDATE SET version = c.version + 1, attempts = 0, next_attempt_at = now()
"""


# ── Hearing ──────────────────────────────────────────────────────────────────────────────────────────────────
@receiver(webhook_pre_validate, sender=WebhookEventTrigger)
def take_no_secret_from_a_request(instance: WebhookEventTrigger, **_: Any) -> None:
    """While DEBUG is on, dj-stripe would verify a signature by a secret that the request brings along."""
    instance.headers = {
        name: value for name, value in instance.headers.items() if name.lower() != "x-djstripe-webhook-secret"
    }


@djstripe_receiver(catalogue.EVENTS)  # type: ignore[untyped-decorator]
def hear(event: Event, **_: Any) -> None:
    """Write down what an event is about, in its transaction, and apply it after that."""
    stripe_id = concerned(event.data)
    if stripe_id:
        note(stripe_id)


def concerned(data: dict[str, Any]) -> str:
    """Return the id of what has to be read again: of a customer for their subscriptions and cards."""
    about = data["object"]
    match about["object"]:
        case "customer" | "checkout.session" | "invoice" | "charge":
            found = about.get("id")
        case "dispute":
            found = about["charge"]
        case "subscription":
            found = about["customer"]
        case "payment_method":  # one that was detached has no customer any more
            found = about["customer"] or data.get("previous_attributes", {}).get("customer")
        case _:
            found = None
    return found or ""


def note(stripe_id: str) -> None:
    """Have an object of Stripe's read again and applied, once the transaction that is open is over."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, [stripe_id])
    transaction.on_commit(lambda: apply(stripe_id), robust=True)


# ── Applying ─────────────────────────────────────────────────────────────────────────────────────────────────
def apply(stripe_id: str) -> bool:
    """Read an object and apply it, again while events of it arrive. Says whether that was done; else it is retried."""
    while change := _claim(stripe_id):
        try:
            _apply(stripe_id)
        except Exception as error:  # the sweep takes it up again
            logger.exception("%s could not be applied", stripe_id)
            wait = min(SHORTEST_WAIT * 2 ** min(change.attempts, 10), LONGEST_WAIT)
            _mine(change).update(
                leased_until=None,
                attempts=models.F("attempts") + 1,
                next_attempt_at=timezone.now() + wait,
                last_error=f"{type(error).__name__}: {error}",
            )
            return False
        if _mine(change).filter(version=change.version).delete()[0]:
            return True
        _mine(change).update(leased_until=None)
    return True


def apply_due(*, now: datetime | None = None) -> int:
    """Apply what was not applied after its event, or could not be. Returns how many objects that were."""
    now = now or timezone.now()
    due = StripeChange.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    return sum(apply(stripe_id) for stripe_id in list(due.values_list("stripe_id", flat=True)))


def oldest_change() -> datetime | None:
    """When an event told of what has waited longest to be applied."""
    return StripeChange.objects.order_by("created_at").values_list("created_at", flat=True).first()


def last_event_at() -> datetime | None:
    """When Stripe last told of anything, by its own clock."""
    last: datetime | None = Event.objects.order_by("-djstripe_id").values_list("created", flat=True).first()
    return last


def _claim(stripe_id: str) -> StripeChange | None:
    """Take an object for a while, unless another process has it: that one will see what is new."""
    now = timezone.now()
    free = models.Q(leased_until=None) | models.Q(leased_until__lte=now)
    claimed = StripeChange.objects.filter(free, pk=stripe_id).update(leased_until=now + LEASE)
    return StripeChange.objects.filter(pk=stripe_id, leased_until=now + LEASE).first() if claimed else None


def _mine(change: StripeChange) -> "models.QuerySet[StripeChange]":
    return StripeChange.objects.filter(pk=change.pk, leased_until=change.leased_until)


def _apply(stripe_id: str) -> None:
    try:
        match stripe_id.partition("_")[0]:
            case "cus":
                if organization := _customer(stripe_id):
                    subscriptions.sync(organization)
            case "cs":
                checkout.apply(stripe_id)
            case "in":
                _apply_invoice(get_stripe().v1.invoices.retrieve(stripe_id))
            case "ch" | "py":
                refunds.apply(stripe_id)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        logger.info("%s is gone: ignored", stripe_id)
        invoices.forget(stripe_id)


def _apply_invoice(invoice: stripe.Invoice) -> None:
    customer = invoice.customer if isinstance(invoice.customer, str) else getattr(invoice.customer, "id", "")
    organization = _customer(customer)
    if organization is None:
        return
    if invoice.status == "draft" or (invoice.parent and invoice.parent.subscription_details):
        # How its payment went decides how the subscription stands.
        subscriptions.sync(organization)
    if invoice.status == "draft":
        # A period has ended: what was used in it is settled and reported before this is finalized.
        metering.flush(organization)
    invoices.record(invoice)


def _customer(stripe_id: str) -> Organization | None:
    account = BillingAccount.objects.select_related("organization").filter(stripe_customer=stripe_id or "-")
    found = account.first()
    if found is None:
        logger.info("%s is no customer of ours: ignored", stripe_id)
    return found.organization if found else None


def prune(*, now: datetime) -> int:
    """Forget what was taken in so long ago that Stripe does not list it any more. Returns how many events."""
    WebhookEventTrigger.objects.filter(created__lt=now - KEPT).delete()
    return int(Event.objects.filter(created__lt=now - KEPT).delete()[0])
