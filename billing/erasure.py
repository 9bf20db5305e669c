"""Erasing what a deleted organization leaves in this app: nothing. Invoices and credits are kept by law."""

from accounts.models import Organization
from billing import subscriptions


def erase(organization: Organization) -> None:
    """Keep every fact, but let nothing be billed any more. Raises stripe.StripeError: then it is erased later."""
    subscriptions.end_deleted(organization)
