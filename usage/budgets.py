"""Monthly credit budgets of keys: verify refuses a key until its month ends, once its credits reach its budget.

Verify adds nothing up: what it reads is `budget_reached_until` on the key, written here every minute, and at once when
a key's budget changes. A month is the organization's own.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from accounts import key_notices, notifications
from accounts.models import ApiKey, ApiKeyQuerySet, NoticeKind, Organization
from usage.models import DailyUsage

_BATCH = 1000


@dataclass(frozen=True)
class Month:
    """An organization's month: its first day, that of the next one, and the moment at which that begins."""

    first: date
    next: date
    end: datetime


def month_of(organization: Organization, *, now: datetime) -> Month:
    zone = organization.zone_at(now)
    first = now.astimezone(zone).date().replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return Month(first, following, datetime.combine(following, time(), tzinfo=zone).astimezone(UTC))


def settle(keys: ApiKeyQuerySet | None = None, *, now: datetime | None = None) -> int:
    """Mark the keys whose credits of this month have reached their budget, and unmark those that are below it again.

    Looks at all keys, or at these. Returns how many it changed.
    """
    now = now or timezone.now()
    keys = ApiKey.objects.all() if keys is None else keys
    wanted = (
        keys.filter(Q(monthly_credit_budget__isnull=False) | Q(budget_reached_until__gt=now))
        .filter(revoked_at=None, organization__deleted_at=None, organization__isnull=False)
        .select_related("organization", "user")
        .order_by("pk")
    )
    changed, last = 0, 0
    while batch := list(wanted.filter(pk__gt=last)[:_BATCH]):
        changed += _settle(batch, now)
        last = batch[-1].pk
    return changed


def used(keys: Sequence[ApiKey], *, now: datetime) -> dict[int, Decimal]:
    """The credits that each of these keys, of whatever organizations, has used this month; by the keys' ids."""
    of_month: dict[Month, list[ApiKey]] = defaultdict(list)
    for key in keys:
        assert key.organization
        of_month[month_of(key.organization, now=now)].append(key)
    found: dict[int, Decimal] = {}
    for month, members in of_month.items():
        sums = (
            DailyUsage.objects.filter(
                organization_id__in={key.organization_id for key in members},
                day__gte=month.first,
                day__lt=month.next,
                api_key_id__in=[key.pk for key in members],
            )
            .values_list("api_key_id")
            .annotate(Sum("credits"))
        )
        found.update(sums)
    return found


def _settle(keys: Sequence[ApiKey], now: datetime) -> int:
    credits = used(keys, now=now)
    changed = 0
    for key in keys:
        assert key.organization
        budget, mark = key.monthly_credit_budget, key.budget_reached_until
        month = month_of(key.organization, now=now)
        until = month.end if budget is not None and credits.get(key.pk, Decimal(0)) >= budget else None
        # A mark of a month that is over says nothing, and need not be wiped off.
        if until != (mark if mark and mark > now else None):
            changed += _mark(key, until, month, used=credits.get(key.pk, Decimal(0)))
    return changed


@transaction.atomic
def _mark(key: ApiKey, until: datetime | None, month: Month, *, used: Decimal) -> int:
    organization = Organization.objects.select_for_update(no_key=True).get(api_keys=key)
    # Only for the budget that was looked at: whoever has changed it since has had it looked at anew.
    same = ApiKey.objects.filter(id=key.id, monthly_credit_budget=key.monthly_credit_budget)
    if not same.update(budget_reached_until=until):
        return 0
    organization.bump_access()
    if until and key.monthly_credit_budget:
        notifications.notify(
            key_notices.people(key),
            kind=NoticeKind.API_KEYS,
            key=f"api_key.budget:{key.uid}:{month.first:%Y-%m}:{key.monthly_credit_budget}",
            title=f"The API key {key.name} has used up its budget of this month",
            body=f"{key.masked} has used {_credits(used)} this month; it may use {_credits(key.monthly_credit_budget)} "
            f"a month. Requests with it are refused until {month.next:%-d %B}, or until you raise its budget.",
            url=key_notices.address(key),
            organization=organization,
        )
    return 1


def _credits(count: Decimal) -> str:
    return f"{count.normalize():,f} credit{'' if count == 1 else 's'}"
