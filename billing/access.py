"""What an organization may do, out of its plan, what staff agreed with it, and the state of its subscription.

Stripe and staff change the facts; `recompute` draws the conclusion, under the account's lock, and writes it to usage's
Entitlement, from where verify knows it within a second.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from billing import credits, settlement
from billing.models import BillingAccount, EntitlementOverride, Plan, Subscription
from usage import entitlements

logger = logging.getLogger(__name__)

GRACE = timedelta(days=7)
# Who cancels is told that nothing is left to be called; the others, what to do.
CANCELLED = "Its subscription was cancelled."
UNPAID = "A payment has failed for more than {days} days."
PAUSED = "Its subscription is paused."


@dataclass(frozen=True)
class Terms:
    """What an organization's plan gives it, with what staff agreed beside it."""

    requests_per_minute: int
    retention_days: int
    credit_price: Decimal
    included_credits: Decimal
    suspended: str = ""


def terms(account: BillingAccount, *, now: datetime | None = None) -> Terms:
    now = now or timezone.now()
    values = {
        name: getattr(account.plan, name)
        for name in ("requests_per_minute", "retention_days", "credit_price", "included_credits")
    }
    if account.credit_price is not None:  # which a changed plan leaves as it was
        values["credit_price"] = account.credit_price
    suspended = ""
    for override in in_force(account.organization_id, now=now):
        values |= {name: value for name in values if (value := getattr(override, name)) is not None}
        if override.is_suspended:
            suspended = override.reason
    return Terms(**values, suspended=suspended)


def in_force(organization_pk: int, *, now: datetime) -> list[EntitlementOverride]:
    """The overrides that count now, the newest last."""
    found = EntitlementOverride.objects.filter(organization=organization_pk, ended_at=None)
    return list(found.filter(Q(until=None) | Q(until__gt=now)).order_by("id"))


def refusal(account: BillingAccount, *, now: datetime) -> str:
    """Why its state of payment keeps an organization from calling, in words for the customer; empty if it does not."""
    match account.subscription_status:
        case _ if account.is_invoiced:
            return ""
        case Subscription.PAST_DUE if now >= grace_ends_at(account, now=now):
            return UNPAID.format(days=GRACE.days)
        case Subscription.UNPAID | Subscription.INCOMPLETE_EXPIRED:
            return "A payment has failed."
        case Subscription.PAUSED:
            return PAUSED
        case Subscription.CANCELED if not account.cancelled_at:
            return "A payment has failed."
    return CANCELLED if account.cancelled_at else ""


def grace_ends_at(account: BillingAccount, *, now: datetime) -> datetime:
    """Until when calls go on although a payment is due: seven days from when we heard, or as staff extended it."""
    ends = (account.past_due_since or now) + GRACE
    return max(ends, account.grace_until) if account.grace_until else ends


@transaction.atomic
def recompute(organization: Organization, *, now: datetime | None = None) -> bool:
    """Write what the organization may do now. Says whether anything is different."""
    now = now or timezone.now()
    # Without its plan: a join would lose the row to whoever has just changed that.
    account = BillingAccount.objects.select_for_update().get(pk=organization.pk)
    agreed = terms(account, now=now)
    reason = agreed.suspended or refusal(account, now=now)
    return entitlements.write(
        organization,
        plan=account.plan.slug,
        may_call=not reason,
        reason=reason,
        requests_per_minute=agreed.requests_per_minute,
        credit_price=agreed.credit_price,
        credits_ceiling=settlement.ceiling(account),
        overage_allowed=account.bills_overage,
        # Who cancels has their data deleted.
        retention_days=0 if account.cancelled_at else agreed.retention_days,
    )


def recompute_due(*, now: datetime | None = None) -> int:
    """Do so where only time has passed: grace that ended, and overrides that did. Returns how many changed."""
    now = now or timezone.now()
    over = EntitlementOverride.objects.filter(ended_at=None, until__lte=now)
    due = Organization.objects.filter(
        Q(pk__in=over.values("organization"))
        | Q(billing_account__subscription_status=Subscription.PAST_DUE, entitlement__may_call=True)
    )
    changed = 0
    for organization in due.order_by("pk"):
        try:
            changed += _recompute_ended(organization, now)
        except Exception:  # one organization must not keep the others
            logger.exception("what %s may do could not be written", organization.uid)
    return changed


@transaction.atomic
def _recompute_ended(organization: Organization, now: datetime) -> bool:
    # What was used until now counts by the terms of before.
    credits.lock(organization, now=now)
    ended = EntitlementOverride.objects.filter(organization=organization, ended_at=None, until__lte=now)
    ended.update(ended_at=now)
    return recompute(organization, now=now)


def recompute_outdated() -> int:
    """Do so where something else is written than a plan says, as a lost task would leave it. Returns how many changed.

    Whom staff agreed something with has something else by right; it is looked at all the same.
    """
    outdated = Organization.objects.exclude(
        entitlement__plan=F("billing_account__plan__slug"),
        entitlement__requests_per_minute=F("billing_account__plan__requests_per_minute"),
        entitlement__credit_price=F("billing_account__plan__credit_price"),
        entitlement__retention_days=F("billing_account__plan__retention_days"),
    )
    found = outdated.filter(billing_account__isnull=False, deleted_at=None).order_by("pk")
    return sum(recompute(organization) for organization in found.iterator(500))


def recompute_all(plan: Plan) -> int:
    """Do so for everybody on a plan, after it was edited. Returns how many changed."""
    organizations = Organization.objects.filter(billing_account__plan=plan).order_by("pk")
    return sum(recompute(organization) for organization in organizations.iterator(500))


# ── What staff agree beside the plan ─────────────────────────────────────────────────────────────────────────
@transaction.atomic
def agree(
    *,
    organization: Organization,
    reason: str,
    actor: Actor | None,
    until: datetime | None = None,
    **values: Any,
) -> EntitlementOverride:
    """Agree something beside the plan, or suspend the organization (`is_suspended`), until then or for good.

    `values` are fields of EntitlementOverride. What was used up to now counts by the terms of before.
    """
    now = timezone.now()
    credits.lock(organization, now=now)
    override = EntitlementOverride.objects.create(
        organization=organization,
        reason=reason,
        until=until,
        created_by=actor.user if actor else None,
        created_at=now,
        **values,
    )
    recompute(organization, now=now)
    audit.record(
        audit.Action.ENTITLEMENT_AGREED,
        actor=actor,
        organization=organization,
        target=organization,
        after=values | {"reason": reason} | ({"until": until} if until else {}),
    )
    return override


@transaction.atomic
def end_agreement(override: EntitlementOverride, *, reason: str, actor: Actor | None) -> bool:
    """End what was agreed. Says whether it was still in force."""
    now = timezone.now()
    credits.lock(override.organization, now=now)
    if not EntitlementOverride.objects.filter(pk=override.pk, ended_at=None).update(ended_at=now):
        return False
    recompute(override.organization, now=now)
    audit.record(
        audit.Action.ENTITLEMENT_AGREEMENT_ENDED,
        actor=actor,
        organization=override.organization,
        target=override.organization,
        before={"reason": override.reason},
        after={"reason": reason},
    )
    return True
