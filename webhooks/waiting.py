"""What waits for its next try at an endpoint of the embedded engine, and having it tried at once.

For when the endpoint is repaired: the last waits of the schedule are ten hours long.
"""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.functions import TransactionNow
from django.db import transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.audit import Actor
from webhooks.models import Delivery, Endpoint

MOST_COUNTED = 1_000
# What is made due in one go, in one transaction.
MOST_AT_ONCE = 100_000


@dataclass(frozen=True)
class Waiting:
    """How many messages wait, at most MOST_COUNTED and whether there are more, and when the first has its turn."""

    count: int
    are_more: bool
    first_at: datetime | None


def at(endpoint: Endpoint) -> Waiting:
    """What waits for its next try there, as far as anybody wants to know."""
    soonest = list(_rows(endpoint).values_list("next_attempt_at", flat=True)[: MOST_COUNTED + 1])
    return Waiting(
        min(len(soonest), MOST_COUNTED), len(soonest) > MOST_COUNTED, soonest[0] if soonest else None
    )


@transaction.atomic
def try_now(*, endpoint: Endpoint, actor: Actor, reason: str) -> int:
    """Make due what waits there, and return how many they are. What fails again waits on along the schedule.

    What is under way is left alone, and at most MOST_AT_ONCE are taken, the first to have their turn.
    """
    # Nobody is waited for: whoever holds a row is sending it, or has asked for it already.
    free = _rows(endpoint).select_for_update(skip_locked=True)[:MOST_AT_ONCE]
    count = Delivery.objects.filter(pk__in=free.values("pk")).update(next_attempt_at=TransactionNow())
    if count:
        audit.record(
            audit.Action.ENDPOINT_RETRIED,
            actor=actor,
            organization=endpoint.organization,
            target=endpoint,
            after={"messages": count} | audit.with_reason(reason),
        )
    return count


def _rows(endpoint: Endpoint) -> QuerySet[Delivery]:
    """Along the index of what is due in a lane."""
    ahead = Delivery.objects.filter(lane=endpoint.pk, next_attempt_at__gt=TransactionNow())
    return ahead.filter(is_under_way=False).order_by("next_attempt_at")
