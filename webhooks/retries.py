"""Having messages handed over again that wait in the outbox, or that the engine refused.

Nothing is handed over twice: the engine knows a message by its id, and says so when it has it already.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.functions import TransactionNow
from django.db import transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from webhooks.models import EXPIRED, OutboxMessage

# What is retried in one go, in one transaction.
MOST_AT_ONCE = 10_000


@dataclass(frozen=True)
class Refused:
    """Messages that the engine refused in a time: of one organization or all, of one event type or all."""

    since: datetime
    until: datetime
    organization: Organization | None = None
    event_type: str = ""

    def messages(self) -> QuerySet[OutboxMessage]:
        """Those whose content is still kept, the oldest first, at most as many as are retried in one go."""
        found = retriable().filter(refused_at__gte=self.since, refused_at__lt=self.until)
        if self.organization:
            found = found.filter(organization=self.organization)
        if self.event_type:
            found = found.filter(event_type=self.event_type)
        return found.order_by("pk")[:MOST_AT_ONCE]

    def counts(self) -> Counter[tuple[int, str]]:
        """How many they are, by organization and event type."""
        return Counter(self.messages().values_list("organization_id", "event_type"))


def retriable() -> QuerySet[OutboxMessage]:
    """What is not handed over, and can be: its content is there."""
    return OutboxMessage.objects.filter(handed_over_at=None).exclude(payload=EXPIRED)


@transaction.atomic
def retry(*, ids: Iterable[int], actor: Actor, reason: str) -> int:
    """Have these messages tried now, those refused once more. Returns how many; those handed over are left alone.

    The order of an organization's messages stays: what stands before one that waits is tried with it.
    """
    messages = list(_locked(retriable().filter(pk__in=list(ids)).order_by("pk")))
    _try_now(messages)
    for message in messages:
        audit.record(
            audit.Action.MESSAGE_RETRIED,
            actor=actor,
            organization=message.organization,
            target=message,
            after={"event_type": message.event_type, "was": "refused" if message.refused_at else "waiting"}
            | audit.with_reason(reason),
        )
    return len(messages)


@transaction.atomic
def retry_refused(refused: Refused, *, actor: Actor, reason: str) -> int:
    """Have all these tried once more. Returns how many, at most MOST_AT_ONCE: the rest is for another time."""
    messages = list(_locked(refused.messages()))
    _try_now(messages)
    counts = Counter(message.organization for message in messages)
    for organization, count in counts.items():
        audit.record(
            audit.Action.MESSAGES_RETRIED,
            actor=actor,
            organization=organization,
            target=organization,
            after={"messages": count, "since": refused.since, "until": refused.until}
            | ({"event_type": refused.event_type} if refused.event_type else {})
            | audit.with_reason(reason),
        )
    return len(messages)


def _locked(messages: QuerySet[OutboxMessage]) -> QuerySet[OutboxMessage]:
    """Without those that somebody is just handing over."""
    return (
        messages.select_related("organization")
        .defer("payload")
        .select_for_update(skip_locked=True, of=("self",))
    )


def _try_now(messages: list[OutboxMessage]) -> None:
    now = TransactionNow()  # by the relay's clock
    ids = [message.pk for message in messages]
    OutboxMessage.objects.filter(pk__in=ids).update(refused_at=None, next_attempt_at=now)
    for organization in {message.organization_id for message in messages}:
        # The first of those that wait decides when the others have their turn.
        waiting = OutboxMessage.objects.filter(
            organization=organization, handed_over_at=None, refused_at=None
        )
        first = waiting.select_for_update(skip_locked=True).only("pk").order_by("pk").first()
        if first and first.pk not in ids:
            OutboxMessage.objects.filter(pk=first.pk).update(next_attempt_at=now)
