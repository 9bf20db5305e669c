"""How endpoints fare, by what the engine counts: attempts, the last failed one, the next, and why one is off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.utils import timezone
from svix.api import (
    EndpointGetStatsOptions,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
)
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import EndpointOut, EndpointStats, MessageAttemptOut, MessageStatus

from accounts.audit import Action
from accounts.models import AuditEntry, Organization
from webhooks.gateway import get_svix

# Seconds that a page waits for a Svix server.
PATIENCE = 2.0
DAY = timedelta(days=1)
NOTHING = EndpointStats(success=0, pending=0, sending=0, fail=0, canceled=0)


@dataclass(frozen=True)
class Rate:
    """How many attempts there were, and how many of these arrived."""

    made: int
    arrived: int

    @property
    def percent(self) -> float | None:
        """Never 100 while something failed, nor 0 while something arrived; None without attempts."""
        if not self.made:
            return None
        share = round(100 * self.arrived / self.made, 1)
        if self.arrived < self.made:
            share = min(share, 99.9)
        return max(share, 0.1) if self.arrived else share


@dataclass(frozen=True)
class SwitchedOff:
    """When an endpoint was turned off, by whom (empty for the engine), and why, where that is known."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True)
class Health:
    endpoint: EndpointOut
    day: Rate
    month: Rate
    last_failure: MessageAttemptOut | None
    next_attempt: datetime | None
    switched_off: SwitchedOff | None
    is_known: bool = True

    @property
    def state(self) -> str:
        if self.endpoint.disabled:
            return "paused" if self.switched_off and self.switched_off.by else "disabled"
        return "failing" if self.day.made and not self.day.arrived else "active"

    @property
    def problem(self) -> str:
        """What the last failed attempt came to."""
        failed = self.last_failure
        if failed is None:
            return ""
        return f"answered {failed.response_status_code}" if failed.response_status_code else failed.response


def of(organization: Organization, endpoints: Sequence[EndpointOut]) -> list[Health]:
    """Ask how these fare. Once the engine does not answer, the others are not asked about: they are not known."""
    off = switched_off(organization, [endpoint.id for endpoint in endpoints if endpoint.disabled])
    found: list[Health] = []
    for endpoint in endpoints:
        is_known = not found or found[-1].is_known
        try:
            asked = _ask(organization, endpoint) if is_known else None
        except (HttpError, HTTPValidationError):
            asked = None
        day, month, last_failure, next_attempt = asked or (NOTHING, NOTHING, None, None)
        found.append(
            Health(
                endpoint,
                _rate(day),
                _rate(month),
                last_failure,
                next_attempt,
                off.get(endpoint.id),
                is_known=asked is not None,
            )
        )
    return found


_Asked = tuple[EndpointStats, EndpointStats, MessageAttemptOut | None, datetime | None]


def _ask(organization: Organization, endpoint: EndpointOut) -> _Asked:
    svix = get_svix(patience=PATIENCE)
    month = svix.endpoint.get_stats(
        organization.uid, endpoint.id
    )  # of the last 28 days, if nothing else is said
    if not month.success and not month.fail:
        return NOTHING, month, None, None
    since = EndpointGetStatsOptions(since=timezone.now().astimezone(UTC) - DAY)
    day = svix.endpoint.get_stats(organization.uid, endpoint.id, since)
    if not month.fail:
        return day, month, None, None
    failures = MessageAttemptListByEndpointOptions(status=MessageStatus.FAIL, limit=1, with_content=True)
    failed = svix.message_attempt.list_by_endpoint(organization.uid, endpoint.id, failures).data
    retried = MessageAttemptListAttemptedMessagesOptions(status=MessageStatus.SENDING, limit=1)
    waiting = svix.message_attempt.list_attempted_messages(organization.uid, endpoint.id, retried).data
    return day, month, next(iter(failed), None), waiting[0].next_attempt if waiting else None


def _rate(stats: EndpointStats) -> Rate:
    return Rate(stats.success + stats.fail, stats.success)


def switched_off(organization: Organization, endpoint_ids: Sequence[str]) -> dict[str, SwitchedOff]:
    """Look in the audit trail, where also the engine writes what it turns off; a Svix server does not."""
    if not endpoint_ids:
        return {}
    entries = AuditEntry.objects.filter(
        organization=organization,
        target_uid__in=endpoint_ids,
        action__in=(Action.ENDPOINT_CREATED, Action.ENDPOINT_UPDATED),
        after__has_key="disabled",
    )
    newest = entries.order_by("target_uid", "-id").distinct("target_uid").select_related("actor")
    return {
        entry.target_uid: SwitchedOff(
            entry.created_at,
            _name(entry),
            str((entry.after or {}).get("reason", "")),
        )
        for entry in newest
        if (entry.after or {})["disabled"]
    }


def _name(entry: AuditEntry) -> str:
    """Who did it, empty for the engine. Of support nobody is named, as in the trail."""
    if entry.by_staff:
        return f"{settings.BRAND} support"
    if entry.actor:
        return entry.actor.display_name
    return "" if entry.actor_name == "system" else entry.actor_name
