"""What the engine itself has to tell, such as that an endpoint was changed or that a message is given up.

Svix's operational webhooks, by their names and data. Members hear of what they should look after.
"""

import logging
from http import HTTPStatus
from typing import Any

from webhooks import trouble
from webhooks.models import Attempt, Endpoint, Status
from webhooks.trouble import Trouble

logger = logging.getLogger(__name__)

# As many attempts as are looked at for the event types that failed.
LATEST = 100


def emit(organization_id: int, event_type: str, data: dict[str, Any]) -> None:
    """Tell of something that happened to an organization's endpoints, in the transaction that it happened in."""
    logger.info("%s: %s", event_type, data)
    tell = {
        "message.attempt.failing": trouble.tell_of_failures,
        "message.attempt.exhausted": trouble.tell_of_messages_given_up,
        "endpoint.disabled": trouble.tell_of_end,
    }.get(event_type)
    if tell is None:
        return
    endpoints = Endpoint.objects.filter(organization=organization_id, uid=data["endpointId"])
    endpoint = endpoints.select_related("organization").first()
    # Once it is turned off, that alone matters.
    if endpoint is not None and (event_type == "endpoint.disabled" or not endpoint.disabled):
        tell(endpoint.organization, _trouble_of(endpoint))


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
    if attempt is None:
        return ""
    if not attempt.status_code:
        return attempt.response
    try:
        return f"{attempt.status_code} {HTTPStatus(attempt.status_code).phrase}"
    except ValueError:
        return str(attempt.status_code)
