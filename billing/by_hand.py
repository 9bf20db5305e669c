"""What support does to an organization's billing by hand: each with a reason, which the audit trail keeps."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from billing import access, credits, subscriptions
from billing.models import BillingAccount, CreditGrant, Subscription


class NotPastDue(Exception):
    """No payment of the organization is overdue: there is no grace to be extended."""


@transaction.atomic
def give_credits(
    *,
    organization: Organization,
    kind: CreditGrant.Kind,
    amount: Decimal,
    reason: str,
    key: str,
    actor: Actor,
    expires_at: datetime | None = None,
) -> CreditGrant | None:
    """Grant credits, once for each key: None if that was done before. The customer reads the reason."""
    granted = credits.grant(
        organization,
        kind=kind,
        amount=amount,
        key=f"staff:{key}",
        reason=reason,
        expires_at=expires_at,
        created_by=actor.user,
    )
    if granted:
        audit.record(
            audit.Action.CREDITS_GRANTED,
            actor=actor,
            organization=organization,
            target=organization,
            after={"kind": kind, "credits": amount, "expires_at": expires_at, "reason": reason},
        )
    return granted


@transaction.atomic
def deduct_credits(
    *, organization: Organization, amount: Decimal, reason: str, key: str, actor: Actor
) -> bool:
    """Take credits away, once for each key: False if that was done before. Raises credits.NotEnough."""
    taken = credits.deduct(
        organization, amount=amount, key=f"staff:{key}", reason=reason, created_by=actor.user
    )
    if taken:
        audit.record(
            audit.Action.CREDITS_DEDUCTED,
            actor=actor,
            organization=organization,
            target=organization,
            after={"credits": amount, "reason": reason},
        )
    return taken


@transaction.atomic
def extend_grace(*, organization: Organization, until: datetime, reason: str, actor: Actor) -> None:
    """Let calls go on until then although a payment is due. Raises NotPastDue."""
    now = timezone.now()
    account = credits.lock(organization, now=now)
    if account.subscription_status != Subscription.PAST_DUE:
        raise NotPastDue
    before = access.grace_ends_at(account, now=now)
    BillingAccount.objects.filter(pk=organization.pk).update(grace_until=until)
    access.recompute(organization, now=now)
    audit.record(
        audit.Action.GRACE_EXTENDED,
        actor=actor,
        organization=organization,
        target=organization,
        before={"until": before},
        after={"until": until, "reason": reason},
    )


@transaction.atomic
def settle(*, organization: Organization, reason: str, actor: Actor) -> None:
    """Take what was used out of the credits now, rather than in some minutes."""
    credits.lock(organization)
    audit.record(
        audit.Action.CREDITS_SETTLED,
        actor=actor,
        organization=organization,
        target=organization,
        after={"reason": reason},
    )


def synchronize(*, organization: Organization, reason: str, actor: Actor) -> None:
    """Read the subscription at Stripe again, and apply it. Raises stripe.StripeError."""
    subscriptions.sync(organization)
    audit.record(
        audit.Action.SUBSCRIPTION_READ_AGAIN,
        actor=actor,
        organization=organization,
        target=organization,
        after={"reason": reason},
    )
