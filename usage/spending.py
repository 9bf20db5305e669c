"""What an organization spends, and the cap it may put on a month: verify refuses its keys once that is reached.

Verify adds nothing up: what it reads is `Entitlement.spend_cap_reached_until`, written here some seconds after the
usage that reaches the cap, and at once when the cap itself changes. It is the end of the month, so that nobody needs to
notice when that comes.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Q, Sum
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone

from accounts import audit, notifications
from accounts.audit import Actor
from accounts.models import NoticeKind, Organization, User
from accounts.permissions import Permission, roles_with
from usage import alert_periods
from usage.alert_periods import Kind, Period
from usage.models import Entitlement, SpendCap, UsageDay
from webhooks import events, outbox

logger = logging.getLogger(__name__)

LARGEST = Decimal(10**12)  # dollars, exclusive
CENT = Decimal("0.01")

# The caps whose mark is not as it must be. What is found here is looked at again, one by one, by `settle`.
_UNSETTLED: LiteralString = f"""
WITH changed AS MATERIALIZED (SELECT organization_id FROM usage_usageday WHERE changed_at >= %(since)s::timestamptz)
SELECT c.organization_id
FROM usage_spendcap c
JOIN usage_entitlement e ON e.organization_id = c.organization_id
JOIN accounts_organization o ON o.id = c.organization_id AND o.deleted_at IS NULL
JOIN {alert_periods.DAYS}
JOIN LATERAL {alert_periods.periods_of("z.today")} ON p.kind = 'monthly'
WHERE (%(since)s::timestamptz IS NULL OR e.spend_cap_reached_until > %(now)s
        OR c.organization_id IN (SELECT organization_id FROM changed))
    AND CASE WHEN c.amount <= (
            SELECT COALESCE(SUM(d.cost), 0) FROM usage_usageday d
            WHERE d.organization_id = c.organization_id AND d.day >= p.start AND d.day < p.next)
        THEN z.month_end END
        IS DISTINCT FROM CASE WHEN e.spend_cap_reached_until > %(now)s THEN e.spend_cap_reached_until END
ORDER BY c.organization_id
"""


def spend(organization: Organization, period: Period) -> Decimal:
    """What an organization has spent in a period, in dollars: the list cost of what it used."""
    [spent] = spend_each(organization, [period])
    return spent


def spend_each(organization: Organization, periods: Sequence[Period]) -> list[Decimal]:
    """The same of several periods, in one question."""
    of_period = [
        Coalesce(Sum("cost", filter=Q(day__gte=period.start, day__lt=period.next)), Decimal(0))
        for period in periods
    ]
    start, end = min(period.start for period in periods), max(period.next for period in periods)
    days = UsageDay.objects.filter(organization_id=organization.pk, day__gte=start, day__lt=end)
    return list(days.aggregate(**{f"spent_{number}": sum_ for number, sum_ in enumerate(of_period)}).values())


# ── The cap ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Cap:
    """What an organization may spend in this month of its own, None for any amount, and what it has spent.

    `reached_until` says until when its keys are refused, if they are.
    """

    amount: Decimal | None
    spent: Decimal
    month: Period
    reached_until: datetime | None

    @property
    def is_reached(self) -> bool:
        return self.reached_until is not None

    @property
    def percent(self) -> int:
        """Of the cap, rounded down: 100 is said only when it is reached."""
        return int(self.spent * 100 // self.amount) if self.amount else 0


def cap_of(organization: Organization, *, now: datetime | None = None) -> Cap:
    now = now or timezone.now()
    month = alert_periods.current(organization, Kind.MONTHLY, now=now)
    until = marked_until(organization.pk)
    cap = SpendCap.objects.filter(organization=organization).first()
    return Cap(
        amount=cap.amount if cap else None,
        spent=spend(organization, month),
        month=month,
        reached_until=until if until and until > now else None,
    )


def marked_until(organization_pk: int) -> datetime | None:
    """Until when keys are, or were, refused for the organization's cap, as verify reads it."""
    marks = Entitlement.objects.filter(organization=organization_pk)
    return marks.values_list("spend_cap_reached_until", flat=True).first()


@transaction.atomic
def set_cap(
    *,
    organization: Organization,
    amount: Decimal,
    actor: Actor | None,
    reason: str = "",
    now: datetime | None = None,
) -> SpendCap:
    """Let an organization spend at most this many dollars a month. It counts at once, raised or lowered.

    Support says why in `reason`. Raises ValidationError naming `amount`.
    """
    amount = clean_amount(amount)
    _lock(organization)
    cap = SpendCap.objects.filter(organization=organization).first()
    before = cap.amount if cap else None
    if cap and before == amount:
        return cap
    cap, _ = SpendCap.objects.update_or_create(
        organization=organization, defaults={"amount": amount, "updated_at": timezone.now()}
    )
    audit.record(
        audit.Action.SPEND_CAP_SET,
        actor=actor,
        organization=organization,
        target=organization,
        before={} if before is None else {"amount": float(before)},
        after={"amount": float(amount)} | audit.with_reason(reason),
    )
    settle(organization, now=now)
    cap.refresh_from_db()
    return cap


@transaction.atomic
def remove_cap(*, organization: Organization, actor: Actor | None, reason: str = "") -> bool:
    """Let an organization spend without a cap again, at once. Says whether it had one. Support says why."""
    _lock(organization)
    cap = SpendCap.objects.filter(organization=organization).first()
    if cap is None:
        return False
    cap.delete()
    audit.record(
        audit.Action.SPEND_CAP_REMOVED,
        actor=actor,
        organization=organization,
        target=organization,
        before={"amount": float(cap.amount)},
        after=audit.with_reason(reason),
    )
    settle(organization)
    return True


def clean_amount(amount: Decimal) -> Decimal:
    amount = Decimal(amount)
    if not amount.is_finite() or not CENT <= amount < LARGEST:
        raise ValidationError({"amount": "Dollars a month, from 0.01 up to a trillion."})
    if amount != (rounded := amount.quantize(CENT)):
        raise ValidationError({"amount": "Use at most 2 decimal places."})
    return rounded


# ── Whether it is reached ────────────────────────────────────────────────────────────────────────────────────


def settle_changed(*, since: datetime | None, now: datetime) -> int:
    """Mark the organizations that have reached their caps, and unmark those below them again; returns how many.

    Looks at those whose usage changed since then, or at all.
    """
    values: dict[str, Any] = {
        "days": alert_periods.days(now=now),
        "now": now,
        "since": since,
    }
    with connection.cursor() as cursor:
        cursor.execute(_UNSETTLED, values)
        found = [organization for (organization,) in cursor.fetchall()]
    return _settle_each(Organization.objects.filter(pk__in=found).order_by("pk"), now)


def _settle_each(organizations: Iterable[Organization], now: datetime) -> int:
    settled = 0
    for organization in organizations:
        try:
            settled += settle(organization, now=now)
        except Exception:  # one organization must not keep the others
            logger.exception("the spend cap of %s could not be settled", organization.uid)
    return settled


@transaction.atomic
def settle(organization: Organization, *, now: datetime | None = None) -> bool:
    """Write down until when the organization's keys are refused for its cap. Says whether that changed."""
    now = now or timezone.now()
    _lock(organization)
    cap = SpendCap.objects.filter(organization=organization).first()
    month = alert_periods.current(organization, Kind.MONTHLY, now=now)
    spent = spend(organization, month)
    until = month.end if cap and spent >= cap.amount else None
    entitlement = (
        Entitlement.objects.filter(organization=organization).only("spend_cap_reached_until").first()
    )
    if entitlement is None:
        return False
    mark = entitlement.spend_cap_reached_until
    # A mark of a month that is over says nothing, and need not be wiped off.
    was_reached = mark is not None and mark > now
    if until == (mark if was_reached else None):
        return False
    Entitlement.objects.filter(pk=entitlement.pk).update(spend_cap_reached_until=until)
    SpendCap.objects.filter(organization=organization).update(reached_for=month.start if until else None)
    organization.bump_access()
    if cap and until and not was_reached:
        _tell(organization, cap, month, spent)
    return True


def _lock(organization: Organization) -> None:
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)


def _tell(organization: Organization, cap: SpendCap, month: Period, spent: Decimal) -> None:
    members = User.objects.filter(
        is_active=True,
        memberships__organization=organization,
        memberships__role__in=roles_with(Permission.ALERTS_VIEW),
    )
    notifications.notify(
        members,
        kind=NoticeKind.USAGE,
        key=f"spend_cap.reached:{organization.uid}:{month.start:%Y-%m}:{cap.amount}",
        title=f"{organization.name} has reached its spend cap of ${cap.amount:,.2f}",
        body=f"${spent:,.2f} have been spent in {month.start:%B %Y}. Requests with the organization's API keys are "
        f"refused until {month.next:%-d %B}, or until an owner or admin raises or removes the cap.",
        url=reverse("usage:spend_cap", args=[organization.uid]),
        organization=organization,
    )
    outbox.send(
        organization=organization,
        event_type="spend_cap.reached",
        data={
            "organization_id": organization.uid,
            "amount": float(cap.amount),
            "spend": float(spent),
            "period_start": month.start.isoformat(),
            "period_end": month.last.isoformat(),
            "reached_until": events.utc(month.end),
        },
    )
