"""What an organization is told about its billing: its people, and its endpoints.

Each is told once: a row says of credits that it was told, and the key of a notice or the id of a message of the rest.
"""

import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from accounts import audit, notifications
from accounts.models import AuditEntry, NoticeKind, Organization, User
from accounts.permissions import Permission, roles_with
from billing import access
from billing.models import AutoTopUp, BillingAccount, CreditNotice, Invoice, Plan, Subscription, TopUp
from webhooks import events, outbox

logger = logging.getLogger(__name__)

# Of what was granted, at which credits are low.
LOW = Decimal("0.2")
# Days before the end of grace, and before a card's, on which people are told.
GRACE_WARNINGS, CARD_WARNINGS = (3, 1), (30, 7)
# An invoice that is read for the first time long after the fact tells no news.
NEWS = timedelta(days=7)


# ── Credits ──────────────────────────────────────────────────────────────────────────────────────────────────
# Who has few or no credits left, with so many granted, and was not told since the last grant. Told that there are
# none, nobody is told any more that there are few.
_DUE: LiteralString = """
SELECT d.organization_id, d.level, d.grants, d.remaining, d.granted FROM (
    SELECT a.organization_id, a.grants, g.granted, GREATEST(e.credits_ceiling - e.credits_used, 0) AS remaining,
           CASE WHEN e.credits_ceiling <= e.credits_used THEN 'depleted' ELSE 'low' END AS level
    FROM usage_entitlement e
    JOIN billing_billingaccount a ON a.organization_id = e.organization_id
    JOIN accounts_organization o ON o.id = e.organization_id AND o.deleted_at IS NULL
    LEFT JOIN LATERAL (
        SELECT COALESCE(SUM(amount), 0) AS granted FROM billing_creditgrant
        WHERE organization_id = e.organization_id AND is_open) g ON true
    WHERE {which} AND a.grants > 0
        AND (e.credits_ceiling <= e.credits_used OR e.credits_ceiling - e.credits_used <= %(low)s * g.granted)) d
WHERE NOT EXISTS (
    SELECT FROM billing_creditnotice n
    WHERE n.organization_id = d.organization_id AND n.grants = d.grants AND n.level IN (d.level, 'depleted'))
ORDER BY d.organization_id
"""
_DUE_LATELY: LiteralString = _DUE.format(
    which="e.organization_id IN (SELECT organization_id FROM usage_usageday WHERE changed_at >= %(since)s)"
)
_DUE_AT_ALL: LiteralString = _DUE.format(which="true")
_DUE_OF_ONE: LiteralString = _DUE.format(which="e.organization_id = %(organization)s")


def tell_of_credits(*, since: datetime | None = None) -> int:
    """Tell of low and used up credits, where usage changed since then or anywhere. Returns how many were told."""
    due = _due(_DUE_LATELY if since else _DUE_AT_ALL, since=since)
    told = 0
    for organization, *_ in due:
        try:
            told += _tell_of_credits(organization)
        except Exception:  # one organization must not keep the others
            logger.exception("organization %d could not be told of its credits", organization)
    return told


def _due(query: LiteralString, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values | {"low": LOW})
        return list(cursor.fetchall())


@transaction.atomic
def _tell_of_credits(organization_pk: int) -> bool:
    """Tell an organization as things are now: it may have got more credits, or somebody else tells it."""
    account = (
        BillingAccount.objects.select_for_update(of=("self",), no_key=True)
        .select_related("organization")
        .get(pk=organization_pk)
    )
    due = _due(_DUE_OF_ONE, organization=organization_pk)
    if not due:
        return False
    _, level, grants, remaining, granted = due[0]
    CreditNotice.objects.create(
        organization_id=organization_pk, level=level, grants=grants, remaining=remaining
    )
    organization = account.organization
    goes_on = account.bills_overage
    if level == CreditNotice.Level.LOW:
        title = f"{organization.name} has {remaining:,.0f} credits left"
        body = f"That is no more than a fifth of the {granted:,.0f} that it was given. " + (
            "Once none are left, calls go on and are billed as overage."
            if goes_on
            else "Once none are left, calls are refused until more are bought."
        )
    else:
        title = f"{organization.name} has used up its credits"
        body = (
            "Calls go on, and are billed as overage."
            if goes_on
            else "Calls are refused with OUT_OF_CREDITS until more credits are bought, or a card is added."
        )
    _tell(organization, key=f"credits.{level}:{organization.uid}:{grants}", title=title, body=body)
    event_type = events.CREDITS_LOW if level == CreditNotice.Level.LOW else events.CREDITS_DEPLETED
    _send(
        organization,
        event_type,
        {
            "organization_id": organization.uid,
            "remaining": float(remaining),
            "granted": float(granted),
            "overage_allowed": goes_on,
        },
        grants,
    )
    return True


# ── Payments ─────────────────────────────────────────────────────────────────────────────────────────────────
def invoice_changed(invoice: Invoice, *, was: str) -> None:
    """Tell of an invoice that was paid or could not be. `was` is its status before, empty for a new one."""
    organization = invoice.organization
    if organization.deleted_at:
        return
    data: dict[str, Any] = {
        "invoice_id": invoice.uid,
        "organization_id": organization.uid,
        "number": invoice.number,
        "currency": invoice.currency,
        "total": float(invoice.total),
        "amount_paid": float(invoice.amount_paid),
        "amount_due": float(invoice.amount_due),
        "period_start": _utc(invoice.period_start),
        "period_end": _utc(invoice.period_end),
    }
    if invoice.status == "paid" and was != "paid":
        if (invoice.paid_at or invoice.created_at) > timezone.now() - NEWS:
            data["paid_at"] = _utc(invoice.paid_at)
            _send(organization, events.INVOICE_PAID, data, invoice.stripe_id)
    elif invoice.status == "open" and invoice.attempts:
        data |= {"attempts": invoice.attempts, "next_attempt_at": _utc(invoice.next_attempt_at)}
        _send(organization, events.INVOICE_PAYMENT_FAILED, data, invoice.stripe_id, invoice.attempts)
        again = f" It is tried again on {invoice.next_attempt_at:%-d %B}." if invoice.next_attempt_at else ""
        _tell(
            organization,
            key=f"invoice.payment_failed:{invoice.stripe_id}",
            title=f"{organization.name}: the payment of invoice {invoice.number} has failed",
            body=f"${invoice.amount_due:,.2f} could not be charged.{again} Have the owner look at the payment method "
            f"on the billing page: calls are refused {access.GRACE.days} days after a plan's payment has failed.",
        )


def warn_of_grace(*, now: datetime | None = None) -> int:
    """Tell whose calls end soon as a payment is due. Returns how many organizations that concerns."""
    now = now or timezone.now()
    accounts = BillingAccount.objects.filter(
        subscription_status=Subscription.PAST_DUE, is_invoiced=False, organization__deleted_at=None
    ).select_related("organization")
    told = 0
    for account in accounts:
        ends = access.grace_ends_at(account, now=now)
        days = _warned(ends, GRACE_WARNINGS, now)
        if days is not None:
            told += 1
            _tell(
                account.organization,
                key=f"grace.ends:{account.organization.uid}:{ends:%Y-%m-%d}:{days}",
                title=f"{account.organization.name}: calls end {_in(days)} unless the payment is made",
                body=f"A payment is due since {account.past_due_since:%-d %B}. From {ends:%-d %B, %H:%M} UTC on, "
                "calls are refused. Have the owner pay, or change the payment method, on the billing page.",
            )
    return told


def warn_of_cards(*, now: datetime | None = None) -> int:
    """Tell whose card expires soon. Returns how many organizations that concerns."""
    now = now or timezone.now()
    accounts = BillingAccount.objects.filter(
        card_ends_at__gt=now,
        card_ends_at__lte=now + timedelta(days=max(CARD_WARNINGS)),
        organization__deleted_at=None,
    ).select_related("organization")
    for account in accounts:
        assert account.card_ends_at
        days = _warned(account.card_ends_at, CARD_WARNINGS, now)
        _tell(
            account.organization,
            key=f"card.expires:{account.organization.uid}:{account.card}:{account.card_ends_at:%Y-%m}:{days}",
            title=f"{account.organization.name}: the card {account.card} expires soon",
            body=f"It can be charged until the end of {account.card_ends_at - timedelta(days=1):%B %Y}. "
            "Have the owner add another one on the billing page, so that no payment fails.",
        )
    return len(accounts)


def _warned(end: datetime, days: tuple[int, ...], now: datetime) -> int | None:
    """Of these days before an end, the last that has come; None before the first, and after the end."""
    if end <= now:
        return None
    return min((each for each in days if end <= now + timedelta(days=each)), default=None)


def _in(days: int) -> str:
    return "within a day" if days == 1 else f"in {days} days"


def top_up_stopped(top_up: TopUp) -> None:
    """Tell that a pack could not be bought, and that none is bought by itself until somebody looks at it."""
    _tell(
        top_up.organization,
        key=f"top_up.failed:{top_up.uid}",
        title=f"{top_up.organization.name}: automatic top-up has stopped",
        body=f"{top_up.credits.normalize():,f} credits for ${top_up.price:,.2f} could not be bought: {top_up.problem} "
        "No more are bought by themselves until the owner sets automatic top-up again on the billing page.",
    )


def top_up_limited(wish: AutoTopUp, spent: Decimal, *, now: datetime) -> None:
    """Tell that credits are few and the limit of the month keeps more from being bought: once a month and limit."""
    month = now.astimezone(UTC)
    _tell(
        wish.organization,
        key=f"top_up.limited:{wish.organization.uid}:{month:%Y-%m}:{wish.monthly_limit}",
        title=f"{wish.organization.name}: automatic top-up has reached its monthly limit",
        body=f"${spent:,.2f} of ${wish.monthly_limit:,.2f} are spent, and a pack costs ${wish.pack.price:,.2f}. "
        f"None is bought by itself before the end of {month:%B} (UTC), unless the owner raises the limit on the "
        "billing page.",
    )


# ── The subscription ─────────────────────────────────────────────────────────────────────────────────────────
def tell_of_change(entry: AuditEntry, organization: Organization) -> None:
    """Tell what the audit trail says of an organization's plan and subscription, in the transaction of the change."""
    if organization.deleted_at:
        return
    account = BillingAccount.objects.select_related("plan", "next_plan").get(pk=organization.pk)
    match entry.action:
        case audit.Action.PLAN_CHANGED:
            _tell_of_plan(entry, organization)
            if "invoiced" not in entry.after:
                return  # the subscription's own entry follows
        case audit.Action.SUBSCRIPTION_UPDATED:
            _tell_of_subscription(entry, organization, account)
        case audit.Action.SUBSCRIPTION_CANCELLED:
            _tell_of_cancelling(organization, account)
        case _:
            return
    _send(organization, events.SUBSCRIPTION_UPDATED, _subscription(organization, account), entry.pk)


def _subscription(organization: Organization, account: BillingAccount) -> dict[str, Any]:
    status = "canceled" if account.cancelled_at else account.subscription_status
    return {
        "organization_id": organization.uid,
        "plan": account.plan.slug,
        "interval": account.interval or None,
        "status": "invoiced" if account.is_invoiced else status or "none",
        "renews_at": _utc(account.renews_at),
        "ends_at": _utc(account.ends_at),
        "next_plan": account.next_plan.slug if account.next_plan else None,
    }


def _tell_of_plan(entry: AuditEntry, organization: Organization) -> None:
    names = dict(Plan.objects.values_list("slug", "name"))
    before, after = (names.get(facts.get("plan", ""), "") for facts in (entry.before, entry.after))
    if before == after:
        return
    _tell(
        organization,
        key=f"plan.changed:{organization.uid}:{entry.pk}",
        title=f"{organization.name} is on {after} now",
        body=f"Before, it was on {before}. What the plan includes and costs is on the billing page.",
    )


def _tell_of_subscription(entry: AuditEntry, organization: Organization, account: BillingAccount) -> None:
    before, after = entry.before.get("status"), entry.after.get("status")
    if before in {Subscription.PAST_DUE, Subscription.UNPAID} and after == Subscription.ACTIVE:
        _tell(
            organization,
            key=f"payment.recovered:{organization.uid}:{entry.pk}",
            title=f"{organization.name}: the payment was made",
            body="What was due has been paid. Calls go on as before.",
        )
    elif after == Subscription.UNPAID:
        _tell(
            organization,
            key=f"payment.given_up:{organization.uid}:{entry.pk}",
            title=f"{organization.name}: calls are refused, as a payment has failed",
            body="The payment was tried several times. Calls go on once the open invoice is paid.",
        )
    elif after == Subscription.CANCELED and not account.cancelled_at:
        _tell(
            organization,
            key=f"payment.given_up:{organization.uid}:{entry.pk}",
            title=f"{organization.name}: calls are refused, as a payment has failed",
            body="The payment was tried several times, and the subscription has ended. Calls go on once a plan is "
            "chosen on the billing page.",
        )
    if entry.after.get("cancelled"):
        _tell_of_cancelling(organization, account)
    elif entry.after.get("ends_at") and account.ends_at:
        follows = f"{account.next_plan.name} follows" if account.next_plan else "Nothing follows"
        _tell(
            organization,
            key=f"subscription.ends:{organization.uid}:{entry.pk}",
            title=f"{organization.name}: {account.plan.name} ends on {account.ends_at:%-d %B %Y}",
            body=f"{follows}. Until then the owner can keep the plan as it is, on the billing page.",
        )


def _tell_of_cancelling(organization: Organization, account: BillingAccount) -> None:
    _tell(
        organization,
        key=f"subscription.cancelled:{organization.uid}:{account.stripe_subscription}",
        title=f"{organization.name}: the subscription was cancelled",
        body="Calls are refused from now on. What was used up to now is billed by a last invoice. "
        "A new subscription can be started on the billing page.",
    )


# ── Telling ──────────────────────────────────────────────────────────────────────────────────────────────────
def _tell(organization: Organization, *, key: str, title: str, body: str) -> None:
    people = User.objects.filter(
        is_active=True,
        memberships__organization=organization,
        memberships__role__in=roles_with(Permission.BILLING_VIEW),
    )
    notifications.notify(
        people,
        kind=NoticeKind.BILLING,
        key=key,
        title=title,
        body=body,
        url=reverse("billing:overview", args=[organization.uid]),
        organization=organization,
    )


def _send(
    organization: Organization, event_type: events.EventType, data: dict[str, Any], *fact: str | int
) -> None:
    outbox.send(
        organization=organization,
        event_type=event_type.name,
        data=data,
        uid=outbox.uid_about(event_type.name, organization.uid, *fact),
    )


def _utc(moment: datetime | None) -> str | None:
    return events.utc(moment) if moment else None
