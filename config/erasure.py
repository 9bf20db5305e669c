"""Erasing deleted organizations, app by app. Each step can be repeated, so what a dead worker left is gone on with."""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now

import accounts.erasure
import billing.erasure
import usage.erasure
import webhooks.erasure
from accounts import audit
from accounts.models import Organization

logger = logging.getLogger(__name__)

# From `erase_after` on, ingest keeps no texts of the organization; by then what was on its way in has arrived.
MARGIN = timedelta(minutes=10)
# From the one that leans on all others to the one they all lean on.
STEPS = (billing.erasure, usage.erasure, webhooks.erasure, accounts.erasure)


def erase(organization: Organization) -> None:
    """Erase a deleted organization for good; nobody can bring it back any more."""
    for step in STEPS:
        step.erase(organization)
    with transaction.atomic():
        if Organization.objects.filter(pk=organization.pk, erased_at=None).update(erased_at=Now()):
            audit.record(
                audit.Action.ORGANIZATION_ERASED, actor=None, organization=organization, target=organization
            )


def erase_due(*, now: datetime) -> int:
    """Erase the organizations whose time to be brought back has passed. Returns how many."""
    erased = 0
    due = Organization.objects.filter(deleted_at__isnull=False, erased_at=None, erase_after__lte=now - MARGIN)
    for organization in due.order_by("erase_after"):
        try:
            erase(organization)
        except Exception:  # one that cannot be erased yet must not hold up the others
            logger.exception("%s could not be erased; the next sweep goes on", organization.uid)
        else:
            erased += 1
    return erased
