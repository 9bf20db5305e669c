"""What the engine itself has to tell, such as that an endpoint was changed or that a message is given up.

Svix's operational webhooks, by their names and data. Members hear of what they should look after.
"""

import logging
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from accounts.models import Organization
from webhooks import trouble
from webhooks.models import Attempt, Endpoint, Status
from webhooks.trouble import Trouble

logger = logging.getLogger(__name__)

# As many attempts as are looked at for the event types that failed.
LATEST = 100
INSTANT = timedelta(milliseconds=1)

# What members hear of. The other types are told to whoever reads the log.
TOLD = {
    "message.attempt.failing": trouble.tell_of_failures,
    "message.attempt.exhausted": trouble.tell_of_messages_given_up,
    "endpoint.disabled": trouble.tell_of_end,
}


def emit(organization_id: int, event_type: str, data: dict[str, Any]) -> None:
    """Tell of something that happened to an organization's endpoints, in the transaction that it happened in."""
    logger.info("%s: %s", event_type, data)
    if event_type not in TOLD:
        return
    endpoints = Endpoint.objects.filter(organization=organization_id, uid=data["endpointId"])
    endpoint = endpoints.select_related("organization").first()
    if endpoint is not None:
        tell(endpoint.organization, event_type, _trouble_of(endpoint), is_disabled=endpoint.disabled)


def tell(organization: Organization, event_type: str, of: Trouble, *, is_disabled: bool) -> None:
    """Tell members, whatever the engine, in a transaction. Once an endpoint is turned off, that alone matters."""
    if event_type == "endpoint.disabled" or not is_disabled:
        TOLD[event_type](organization, of)


def reason(since: datetime) -> str:
    """Why an endpoint that has failed since then was turned off."""
    return f"Every message has failed since {since:%-d %B %Y, %H:%M} UTC."


def error(status_code: int, response: str) -> str:
    """What a failed attempt came to, in a line; 0 is no answer, and then the response says why."""
    if not status_code:
        return response
    try:
        return f"{status_code} {HTTPStatus(status_code).phrase}"
    except ValueError:
        return str(status_code)


def _trouble_of(endpoint: Endpoint) -> Trouble:
    failed = Attempt.objects.filter(endpoint=endpoint, status=Status.FAIL)
    if endpoint.failing_since:
        failed = failed.filter(timestamp__gte=endpoint.failing_since)
    latest = list(
        failed.select_related("message").defer("message__payload").order_by("-timestamp", "-pk")[:LATEST]
    )
    first = failed.order_by("timestamp", "pk").first()
    return Trouble(
        endpoint_id=endpoint.uid,
        url=endpoint.url,
        description=endpoint.description,
        event_types=sorted({attempt.message.event_type for attempt in latest}),
        since=endpoint.failing_since,
        first_error=_error(first),
        last_error=_error(latest[0]) if latest else "",
        exhausted_since=endpoint.exhausted_since,
        disabled_at=endpoint.disabled_at,
        reason=endpoint.disabled_reason,
    )


def _error(attempt: Attempt | None) -> str:
    return error(attempt.status_code, attempt.response) if attempt else ""
