"""Putting organizations on plans, and what a plan grants each month."""

import logging
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from billing import access, credits
from billing.models import BillingAccount, CreditGrant, EntitlementOverride, Interval, Plan

logger = logging.getLogger(__name__)

PAY_AS_YOU_GO, PRO, ENTERPRISE = "pay_as_you_go", "pro", "enterprise"


def named(slug: str) -> Plan:
    """The plan of this name. Raises Plan.DoesNotExist."""
    return Plan.objects.get(slug=slug)


@transaction.atomic
def start(organization: Organization, *, now: datetime | None = None) -> BillingAccount:
    """Open a new organization's account, on pay-as-you-go, with the credits that a sign-up gets. Once."""
    now = now or timezone.now()
    plan = named(PAY_AS_YOU_GO)
    account, is_new = BillingAccount.objects.get_or_create(
        organization=organization, defaults={"plan": plan, "anchor": now}
    )
    if is_new:
        access.recompute(organization, now=now)
        if plan.sign_up_credits:
            credits.grant(
                organization,
                kind=CreditGrant.Kind.FREE,
                amount=plan.sign_up_credits,
                key="sign_up",
                reason="Free credits for signing up",
                now=now,
            )
    return account


@transaction.atomic
def put_on(
    organization: Organization,
    plan: Plan,
    *,
    actor: Actor | None,
    reason: str = "",
    now: datetime | None = None,
) -> BillingAccount:
    """Put an organization on a plan that is invoiced by hand, or back on pay-as-you-go without a subscription.

    Not while Stripe bills a subscription of it: raises `StripeBills`. What it has of credits stays. Who is on the plan
    already stays on it, without another month's credits.
    """
    now = now or timezone.now()
    account = credits.lock(organization, now=now)
    if account.is_subscribed:
        raise StripeBills
    before = {"plan": account.plan.slug, "invoiced": account.is_invoiced}
    after = {"plan": plan.slug, "invoiced": not plan.is_metered}
    if before == after and not account.subscription_status and not account.cancelled_at:
        return account
    account.plan = plan
    account.is_invoiced = not plan.is_metered
    account.interval = "" if plan.is_metered else Interval.MONTH
    account.subscription_status, account.stripe_subscription = "", ""
    account.credit_price = None
    account.past_due_since = account.grace_until = account.ends_at = account.cancelled_at = None
    # Whatever was to follow a subscription that has ended, this follows instead.
    account.renews_at = account.next_plan = None
    account.next_interval = ""
    account.anchor = now
    account.save()
    access.recompute(organization, now=now)
    renew(organization, now=now)
    audit.record(
        audit.Action.PLAN_CHANGED,
        actor=actor,
        organization=organization,
        target=organization,
        before=before,
        after=after | audit.with_reason(reason),
    )
    return account


class StripeBills(Exception):
    """Stripe has a subscription of this organization, which has to be changed or cancelled there first."""


# ── Included credits ─────────────────────────────────────────────────────────────────────────────────────────
def month_of(anchor: datetime, now: datetime) -> tuple[datetime, datetime]:
    """The month, counted from `anchor`, that a moment is in: where a month has no such day, it ends with its last."""
    number = (now.year - anchor.year) * 12 + now.month - anchor.month
    while _after(anchor, number) > now:
        number -= 1
    while _after(anchor, number + 1) <= now:
        number += 1
    return _after(anchor, number), _after(anchor, number + 1)


def _after(anchor: datetime, months: int) -> datetime:
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    for day in range(anchor.day, 27, -1):
        try:
            return anchor.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    return anchor.replace(year=year, month=month + 1)


@transaction.atomic
def renew(organization: Organization, *, now: datetime | None = None) -> CreditGrant | None:
    """Grant the credits that the plan includes for the month that runs, once; those of the month before lapse.

    Only while it is paid for: who is past due gets the next ones with the payment, and who has asked for an end none
    after it, however late Stripe tells of that. Returns the grant, if it is new.
    """
    now = now or timezone.now()
    account = credits.lock(organization, now=now)
    included = access.terms(account, now=now).included_credits
    if not _goes_on(account, now) or included <= 0:
        return None
    start, end = month_of(account.anchor, now)
    key = f"included:{account.stripe_subscription or 'invoiced'}:{start:%Y-%m-%dT%H:%M}"
    if CreditGrant.objects.filter(organization=organization, key=key).exists():
        return None
    if not account.plan.rolls_over:
        # Also those of a month that was cut short by a change of plan.
        earlier = CreditGrant.objects.open().filter(organization=organization, kind=CreditGrant.Kind.INCLUDED)
        earlier.exclude(expires_at=None).filter(expires_at__gt=now).update(expires_at=now)
    credits.expire(organization, now=now)
    return credits.grant(
        organization,
        kind=CreditGrant.Kind.INCLUDED,
        amount=included,
        key=key,
        reason=f"Credits of {account.plan.name}, {start:%-d %B} to {end:%-d %B %Y}",
        expires_at=None if account.plan.rolls_over else end,
        now=now,
    )


def _goes_on(account: BillingAccount, now: datetime) -> bool:
    if account.is_invoiced:
        return True
    has_ended = account.cancelled_at or (account.ends_at and account.ends_at <= now)
    return account.subscription_status in {"trialing", "active"} and not has_ended


def renew_due(*, now: datetime | None = None) -> int:
    """Grant included credits wherever a month has begun. Returns how many organizations got some."""
    now = now or timezone.now()
    has_them = CreditGrant.objects.filter(kind=CreditGrant.Kind.INCLUDED, expires_at__gt=now)
    agreed = EntitlementOverride.objects.filter(ended_at=None, included_credits__gt=0)
    accounts = (
        BillingAccount.objects.filter(
            Q(plan__included_credits__gt=0) | Q(organization__in=agreed.values("organization"))
        )
        .filter(organization__deleted_at=None)
        .exclude(organization__in=has_them.values("organization"))
        .select_related("organization")
        .order_by("pk")
    )
    renewed = 0
    for account in accounts:
        try:
            renewed += renew(account.organization, now=now) is not None
        except Exception:  # one organization must not keep the others
            logger.exception("%s could not be given its credits", account.organization.uid)
    return renewed
