"""Publishing the price book: rates that start now or later, and taking back those that have not begun.

The past never changes: no rate starts before now, and one that may have been charged by stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Max, Q, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from usage.models import CreditRate
from usage.reports_in import MAX_AHEAD

# How long a batch of usage may be at work with the rates that it has read.
_ON_ITS_WAY = timedelta(minutes=1)


@dataclass(frozen=True)
class NewRate:
    """A line of the price book as it is to be. `note` is for customers."""

    product: str
    feature: str
    unit: str
    credits_per_unit: Decimal
    minimum_credits: Decimal
    batch_factor: Decimal
    note: str = ""


class AlreadyPublished(Exception):
    """These rates are in the price book: their form was sent twice."""


class Changed(Exception):
    """Somebody has changed the price book since it was looked at."""


class InThePast(Exception):
    """A rate cannot start before now: what was charged stays charged."""


class Taken(Exception):
    """There is a rate already that starts at this very moment."""


class Begun(Exception):
    """The rate has begun, or usage may come any moment that it is charged by."""


def edition(*, now: datetime | None = None) -> str:
    """What tells one state of the price book from the next. A rate that begins makes it another, too."""
    begun = Q(effective_from__lte=now or timezone.now())
    found = CreditRate.objects.aggregate(last=Max("pk"), count=Count("pk"), begun=Count("pk", filter=begun))
    return f"{found['last'] or 0}-{found['count']}-{found['begun']}"


@transaction.atomic
def publish(
    *,
    rates: Sequence[NewRate],
    effective_from: datetime | None,
    reason: str,
    publication: str,
    seen: str,
    actor: Actor,
) -> list[CreditRate]:
    """Publish rates that hold from one moment on, from now if none is given.

    `publication` names them, so that they are published once; `seen` is the edition that they were decided by.
    Raises AlreadyPublished, Changed, InThePast, Taken.
    """
    _one_at_a_time()
    if CreditRate.objects.filter(publication=publication).exists():
        raise AlreadyPublished
    if edition() != seen:
        raise Changed
    now = timezone.now()
    moment = effective_from or now
    if moment < now:
        raise InThePast
    present = in_force(at=moment)
    replaced = [present.get((rate.product, rate.feature)) for rate in rates]
    if any(rate and rate.effective_from == moment for rate in replaced):
        raise Taken
    made = []
    for rate, before in zip(rates, replaced, strict=True):
        row = CreditRate.objects.create(
            **vars(rate), effective_from=moment, reason=reason, publication=publication
        )
        audit.record(
            audit.Action.CREDIT_RATE_PUBLISHED,
            actor=actor,
            target=row,
            before=_values(before) if before else {},
            after=_values(row) | {"effective_from": moment} | audit.with_reason(reason),
        )
        made.append(row)
    return made


@transaction.atomic
def withdraw(*, rate_id: int, reason: str, actor: Actor) -> None:
    """Take back a rate that has not begun. Raises Begun, and DoesNotExist for one that is gone."""
    _one_at_a_time()
    rate = CreditRate.objects.get(pk=rate_id)
    if not withdrawable().filter(pk=rate_id).exists():
        raise Begun
    audit.record(
        audit.Action.CREDIT_RATE_WITHDRAWN,
        actor=actor,
        target=rate,
        before=_values(rate) | {"effective_from": rate.effective_from},
        after=audit.with_reason(reason),
    )
    rate.delete()


def withdrawable() -> QuerySet[CreditRate]:
    """Rates that nothing can be charged by yet: usage is reported up to MAX_AHEAD before it happens."""
    return CreditRate.objects.filter(effective_from__gt=timezone.now() + MAX_AHEAD + _ON_ITS_WAY)


def in_force(*, at: datetime) -> dict[tuple[str, str], CreditRate]:
    """The rates that hold at a moment, by product and feature."""
    begun = CreditRate.objects.filter(effective_from__lte=at).order_by("effective_from")
    return {(rate.product, rate.feature): rate for rate in begun}


def _values(rate: CreditRate) -> dict[str, Any]:
    return {
        "credits_per_unit": str(rate.credits_per_unit),
        "unit": rate.unit,
        "minimum_credits": str(rate.minimum_credits),
        "batch_factor": str(rate.batch_factor),
    }


def _one_at_a_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('usage.price_book'))")
