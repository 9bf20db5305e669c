"""How endpoints fare: since when one fails, when it is turned off, and what is told of its messages."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from accounts import audit
from webhooks import operational
from webhooks.events import utc
from webhooks.models import Application, Attempt, Endpoint, Message, Status
from webhooks.trouble import PATIENCE

# The failed attempt with which a message is told of as failing.
FAILING_AFTER = 4

GONE = "The endpoint answered that it wants no more messages."


@dataclass(frozen=True)
class Try:
    """An attempt, and what it makes of its delivery: nothing if that was no longer its worker's."""

    attempt: Attempt
    settled: dict[str, Any] | None
    number: int  # of the delivery's attempts, from 1
    is_exhausted: bool  # the schedule has come to its end
    has_arrived_before: bool
    wants_no_more: bool  # the receiver says that it is gone

    @property
    def succeeded(self) -> bool:
        return self.attempt.status == Status.SUCCESS

    @property
    def event_type(self) -> str:
        """What is told of the message."""
        if self.succeeded:
            is_late = self.number > FAILING_AFTER and not self.has_arrived_before
            return "message.attempt.recovered" if is_late else ""
        if self.is_exhausted:
            return "message.attempt.exhausted"
        is_failing = self.number == FAILING_AFTER and self.settled and self.settled["next_attempt_at"]
        return "message.attempt.failing" if is_failing else ""


def note(tries: Sequence[Try]) -> None:
    """Note on their endpoints how these tries went, turn off those that are to be, and tell of it.

    Belongs into the transaction that records them. A success forgives all that was before it.
    """
    by_endpoint: dict[int, list[Try]] = defaultdict(list)
    for made in sorted(tries, key=lambda made: made.attempt.timestamp):
        if made.attempt.endpoint_id:
            by_endpoint[made.attempt.endpoint_id].append(made)
    for endpoint in _concerned(by_endpoint):
        before = endpoint.failing_since, endpoint.exhausted_since
        reason = ""
        for made in by_endpoint[endpoint.pk]:
            reason = reason or _note(endpoint, made)
        if reason:
            _turn_off(endpoint, reason)
        elif before != (endpoint.failing_since, endpoint.exhausted_since):
            endpoint.save(update_fields=["failing_since", "exhausted_since"])
    _tell([made for made in tries if made.event_type])


def _concerned(by_endpoint: dict[int, list[Try]]) -> list[Endpoint]:
    """Lock the endpoints that the tries may change: of those that fare well, none."""
    unwell = [
        pk
        for pk, tries in by_endpoint.items()
        if not all(made.succeeded and not made.wants_no_more for made in tries)
    ]
    ailing = Q(pk__in=by_endpoint) & ~Q(failing_since=None, exhausted_since=None)
    endpoints = Endpoint.objects.select_for_update(of=("self",), no_key=True).select_related("organization")
    return [
        endpoint
        for endpoint in endpoints.filter(Q(pk__in=unwell) | ailing).order_by("pk")
        if endpoint.receives
    ]


def _note(endpoint: Endpoint, made: Try) -> str:
    """Note one try, without saving. Returns why the endpoint is to be turned off, nothing if it is not."""
    if made.succeeded:
        endpoint.failing_since = endpoint.exhausted_since = None
    else:
        endpoint.failing_since = endpoint.failing_since or made.attempt.timestamp
    if made.wants_no_more:
        return GONE
    if made.is_exhausted:
        now = timezone.now()
        endpoint.exhausted_since = endpoint.exhausted_since or now
        if now - endpoint.exhausted_since > PATIENCE:
            return operational.reason(endpoint.failing_since or endpoint.exhausted_since)
    return ""


def _turn_off(endpoint: Endpoint, reason: str) -> None:
    failing_since = endpoint.failing_since
    endpoint.switch(disabled=True, now=timezone.now(), reason=reason)
    endpoint.save()
    audit.record(
        audit.Action.ENDPOINT_UPDATED,
        actor=None,
        organization=endpoint.organization,
        target=endpoint,
        before={"disabled": False},
        after={"disabled": True, "reason": reason},
    )
    application = Application.objects.select_related("organization").get(organization=endpoint.organization)
    operational.emit(
        endpoint.organization_id,
        "endpoint.disabled",
        _about(application, endpoint)
        | {"failSince": _moment(failing_since), "trigger": "automatic", "endpointUid": endpoint.own_name},
    )


def _tell(tries: Sequence[Try]) -> None:
    if not tries:
        return
    attempts = [made.attempt for made in tries]
    messages = Message.objects.in_bulk([attempt.message_id for attempt in attempts])
    endpoints = Endpoint.objects.in_bulk([attempt.endpoint_id for attempt in attempts])
    applications = {
        application.organization_id: application
        for application in Application.objects.filter(
            organization__in={attempt.organization_id for attempt in attempts}
        ).select_related("organization")
    }
    for made in tries:
        attempt = made.attempt
        assert attempt.endpoint_id
        message = messages[attempt.message_id]
        operational.emit(
            attempt.organization_id,
            made.event_type,
            _about(applications[attempt.organization_id], endpoints[attempt.endpoint_id])
            | {
                "msgId": message.uid,
                "msgEventId": message.event_id,
                "lastAttempt": {
                    "id": attempt.uid,
                    "responseStatusCode": attempt.status_code,
                    "timestamp": _moment(attempt.timestamp),
                },
            },
        )


def _about(application: Application, endpoint: Endpoint) -> dict[str, Any]:
    return {"appId": application.uid, "appUid": application.organization.uid, "endpointId": endpoint.uid}


def _moment(moment: datetime | None) -> str | None:
    return utc(moment) if moment else None
