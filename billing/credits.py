"""The ledger of credits: what comes in, lapses, and is taken back. What is used is settled by `settlement`.

Each function settles first what was used until now, so that whatever changes then concerns only what is used later.
Each line of the ledger is written together with what it changes, under the lock of the organization's account.
"""

import logging
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import Organization, User
from billing import allocation, settlement
from billing.allocation import ZERO, Pot
from billing.models import BillingAccount, CreditEntry, CreditGrant

logger = logging.getLogger(__name__)


class NotEnough(Exception):
    """There are fewer credits than are to be taken back."""


def lock(organization: Organization, *, now: datetime | None = None) -> BillingAccount:
    """Lock an organization's account, settled up to now, in the transaction that is open."""
    settlement.settle([organization.pk], now=now or timezone.now())
    return BillingAccount.objects.select_related("plan", "next_plan", "organization").get(pk=organization.pk)


@transaction.atomic
def grant(
    organization: Organization,
    *,
    kind: CreditGrant.Kind,
    amount: Decimal,
    key: str,
    reason: str,
    expires_at: datetime | None = None,
    stripe_object: str = "",
    created_by: User | None = None,
    now: datetime | None = None,
) -> CreditGrant | None:
    """Give an organization credits, once for each key: returns None if that was done before.

    What was used without credits is paid for first.
    """
    now = now or timezone.now()
    lock(organization, now=now)
    granted, is_new = CreditGrant.objects.get_or_create(
        organization=organization,
        key=key,
        defaults={
            "kind": kind,
            "amount": amount,
            "remaining": amount,
            "priority": CreditGrant.PRIORITY[kind],
            "expires_at": expires_at,
            "reason": reason,
            "stripe_object": stripe_object,
            "created_at": now,
        },
    )
    if not is_new:
        return None
    BillingAccount.objects.filter(pk=organization.pk).update(grants=F("grants") + 1)
    _enter(
        organization.pk,
        CreditEntry.Kind.GRANT,
        amount,
        grant=granted,
        key=f"grant:{granted.uid}",
        reason=reason,
        created_by=created_by,
        now=now,
    )
    settlement.settle([organization.pk], now=now)
    granted.refresh_from_db()
    return granted


@transaction.atomic
def take_back(
    granted: CreditGrant,
    *,
    amount: Decimal,
    key: str,
    reason: str,
    created_by: User | None = None,
    now: datetime | None = None,
) -> Decimal:
    """Take back what is left of a grant, at most this amount, once for each key. Returns how many credits."""
    now = now or timezone.now()
    lock(granted.organization, now=now)
    granted.refresh_from_db()
    taken = min(amount, granted.remaining)
    if taken <= 0 or CreditEntry.objects.filter(organization=granted.organization, key=key).exists():
        return ZERO
    CreditGrant.objects.filter(pk=granted.pk).update(remaining=F("remaining") - taken)
    _enter(
        granted.organization_id,
        CreditEntry.Kind.CORRECTION,
        -taken,
        grant=granted,
        key=key,
        reason=reason,
        created_by=created_by,
        now=now,
    )
    return taken


@transaction.atomic
def deduct(
    organization: Organization,
    *,
    amount: Decimal,
    key: str,
    reason: str,
    created_by: User | None = None,
    now: datetime | None = None,
) -> bool:
    """Take credits away, out of the grants in the order in which they are used, once for each key: False if that was
    done before. Raises NotEnough.
    """
    now = now or timezone.now()
    lock(organization, now=now)
    if CreditEntry.objects.filter(organization=organization, key=key).exists():
        return False
    grants = {
        one.pk: one for one in CreditGrant.objects.filter(organization=organization).open().in_burn_order()
    }
    taken, rest = allocation.burn(amount, [Pot(pk, one.remaining) for pk, one in grants.items()])
    if rest:
        raise NotEnough
    for grant_id, part in taken:
        CreditGrant.objects.filter(pk=grant_id).update(remaining=F("remaining") - part)
        _enter(
            organization.pk,
            CreditEntry.Kind.CORRECTION,
            -part,
            grant=grants[grant_id],
            key=key,
            reason=reason,
            created_by=created_by,
            now=now,
        )
        key = ""
    return True


def expire_due(*, now: datetime | None = None) -> int:
    """Write off what is left of grants that have expired. Returns how many organizations that concerned."""
    now = now or timezone.now()
    due = CreditGrant.objects.open().filter(expires_at__lte=now)
    organizations = Organization.objects.filter(pk__in=due.values("organization")).order_by("pk")
    for organization in organizations:
        try:
            with transaction.atomic():
                lock(organization, now=now)
                expire(organization, now=now)
        except Exception:  # one organization must not keep the others
            logger.exception("credits of %s could not be written off", organization.uid)
    return len(organizations)


def expire(organization: Organization, *, now: datetime) -> None:
    """Write off what is left of an organization's expired grants. The caller holds the lock, with all settled."""
    due = CreditGrant.objects.open().filter(organization=organization, expires_at__lte=now)
    for granted in due.in_burn_order():
        CreditGrant.objects.filter(pk=granted.pk).update(remaining=0)
        _enter(
            organization.pk,
            CreditEntry.Kind.EXPIRY,
            -granted.remaining,
            grant=granted,
            reason=granted.reason,
            now=now,
        )


def _enter(
    organization_pk: int,
    kind: CreditEntry.Kind,
    amount: Decimal,
    *,
    grant: CreditGrant,
    reason: str,
    now: datetime,
    key: str = "",
    created_by: User | None = None,
) -> None:
    """Write a line and what follows from it: the balance, and the ceiling that verify goes by."""
    BillingAccount.objects.filter(pk=organization_pk).update(balance=F("balance") + amount)
    account = BillingAccount.objects.select_related("plan").get(pk=organization_pk)
    CreditEntry.objects.create(
        organization_id=organization_pk,
        kind=kind,
        amount=amount,
        balance=account.balance,
        grant=grant,
        key=key,
        reason=reason,
        created_by=created_by,
        created_at=now,
    )
    settlement.raise_ceilings({organization_pk: settlement.ceiling(account)})
