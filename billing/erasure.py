"""Erasing what a deleted organization leaves in this app: nothing. Invoices and credits are kept by law."""

from accounts.models import Organization


def erase(organization: Organization) -> None:
    """Keep every fact. It stands here so that each app says what becomes of its rows."""
