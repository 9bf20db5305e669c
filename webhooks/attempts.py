"""What became of one message: what the outbox knows of it, and of the tries to deliver it what the engine tells."""

from dataclasses import dataclass
from datetime import datetime

import httpx
from svix.api import MessageAttemptListByMsgOptions
from svix.exceptions import HttpError, HTTPValidationError

from accounts.models import Organization
from webhooks.gateway import get_svix
from webhooks.models import Attempt, Delivery, Message, OutboxMessage, Status

SHOWN = 50
# Seconds that a page waits for a Svix server.
PATIENCE = 2.0

_STATES = {
    Status.SUCCESS: "delivered",
    Status.PENDING: "waiting",
    Status.SENDING: "waiting",
    Status.FAIL: "failed",
    Status.CANCELED: "cancelled",
}


@dataclass(frozen=True)
class Try:
    """One try to deliver. `status_code` is 0 when there was no answer, and `problem` then says why."""

    url: str
    state: str
    status_code: int
    problem: str
    timestamp: datetime


@dataclass(frozen=True)
class Sent:
    """A message, and the tries to deliver it, the newest first; None when they could not be read now.

    `uid` leads to its page. `state` is `waiting`, `refused` or `handed over`, and `problem` why it is not handed over
    yet, or never will be.
    """

    uid: str
    event_type: str
    written_at: datetime | None
    url: str
    state: str
    problem: str
    tries: list[Try] | None


def sent(organization: Organization, uid: str) -> Sent | None:
    """What became of the organization's message with this uid; None when there is none."""
    message = OutboxMessage.objects.filter(organization=organization, uid=uid).first()
    if message is None:
        return _handed_over_long_ago(organization, uid)
    state = "refused" if message.refused_at else ("handed over" if message.handed_over_at else "waiting")
    return Sent(
        uid=message.uid,
        event_type=message.event_type,
        written_at=message.created_at,
        url=message.url,
        state=state,
        problem=message.last_error,
        tries=_tries(organization, uid, url=message.url) if message.handed_over_at else [],
    )


def _handed_over_long_ago(organization: Organization, uid: str) -> Sent | None:
    """The same when the outbox has forgotten it, which it does after some days: by what the engine knows."""
    kept = Message.objects.filter(organization=organization, event_id=uid).first()
    if kept:
        url = (
            Delivery.objects.filter(message=kept).exclude(url="").values_list("url", flat=True).first() or ""
        )
        tries = _tries(organization, uid, url=url)
        return Sent(uid, kept.event_type, kept.created_at, url, "handed over", "", tries)
    try:
        message = get_svix(patience=PATIENCE).message.get(organization.uid, uid)
    except HttpError as error:
        return None if error.status_code == 404 else Sent(uid, "", None, "", "handed over", "", None)
    tries = _tries(organization, uid, url="")
    return Sent(uid, message.event_type, message.timestamp, "", "handed over", "", tries)


def _tries(organization: Organization, uid: str, *, url: str) -> list[Try] | None:
    if url:  # which is always sent from here
        found = Attempt.objects.filter(
            organization=organization, message__organization=organization, message__event_id=uid
        )
        return [
            _try(made.url, made.status, made.status_code, made.response, made.timestamp)
            for made in found.order_by("-id")[:SHOWN]
        ]
    options = MessageAttemptListByMsgOptions(limit=SHOWN, with_content=True)
    try:
        svix = get_svix(patience=PATIENCE)
        answer = svix.message_attempt.list_by_msg(organization.uid, uid, options)
    except HttpError as error:
        return [] if error.status_code == 404 else None
    except (HTTPValidationError, httpx.HTTPError, ValueError):
        return None
    return [
        _try(made.url, made.status.value, made.response_status_code, made.response, made.timestamp)
        for made in answer.data
    ]


def _try(url: str, status: int, status_code: int, response: str, timestamp: datetime) -> Try:
    return Try(url, _STATES[Status(status)], status_code, "" if status_code else response, timestamp)
