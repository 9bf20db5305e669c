"""What the log says of requests: an id on every line that one causes, also in tasks that it queues, and its own line.

`LOG_FORMAT=json` makes each line a JSON object, for whoever collects them from all processes.
"""

import json
import logging
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.encoding import escape_uri_path

from accounts import secrets
from accounts.ids import random_base62
from accounts.redaction import redacted

logger = logging.getLogger("countinghouse.requests")

HEADER = "X-Request-ID"
_IN_TASKS = "request_id"
_SANE = re.compile(r"[0-9A-Za-z._-]{1,64}")
_LONGEST_PATH = 500
# What a line may tell besides its message, where it is known.
_FIELDS = ("organization", "key", "user", "looking", "method", "path", "status", "duration")

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """The id of the request that this is done for, or "" where there is none."""
    return _request_id.get()


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────
def log_requests(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: gives each request its id, answers it in a header, and logs a line about how it went."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        began = time.monotonic()
        own_id = _given_id(request) or random_base62(22)
        before = _request_id.set(own_id)
        request.request_id = own_id  # type: ignore[attr-defined]  # for the line that Django writes after this
        try:
            response = get_response(request)
            response.headers[HEADER] = own_id
            if logger.isEnabledFor(logging.INFO):
                _log(request, response, time.monotonic() - began)
            return response
        finally:
            _request_id.reset(before)

    return middleware


def _given_id(request: HttpRequest) -> str:
    """The id that a proxy or the caller gave it, if it is fit for a log."""
    given = request.headers.get(HEADER, "")
    return given if _SANE.fullmatch(given) and not secrets.find(given) else ""


def _log(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    path = redacted(escape_uri_path(request.path))[:_LONGEST_PATH]
    how: dict[str, Any] = {
        "method": request.method,
        "path": path,
        "status": response.status_code,
        "duration": round(seconds, 6),
    }
    logger.info("%s %s %d", request.method, path, response.status_code, extra=_who(request) | how)


def _who(request: HttpRequest) -> dict[str, str]:
    """Who asked and for whom, as far as answering the request has found out. Looks nothing up."""
    key = getattr(request, "auth", None)
    signed_in = getattr(request, "_cached_user", None)
    # Somebody of the staff who looks as a member.
    is_looking = bool(getattr(request, "looking", None))
    found = {
        "organization": getattr(request, "organization", None) or getattr(key, "organization", None),
        "user": request.membership.user if is_looking else getattr(key, "user", None) or signed_in,  # type: ignore[attr-defined]
        "looking": signed_in if is_looking else None,
    }
    known = {name: str(getattr(what, "uid", "")) for name, what in found.items()}
    known["key"] = getattr(key, "prefix", "") or _prefix(request)
    return {name: value for name, value in known.items() if value}


def _prefix(request: HttpRequest) -> str:
    """The beginning of a key of ours that came along, for views that do not keep who called."""
    plaintext = request.headers.get("Authorization", "").rpartition(" ")[2]
    return secrets.prefix(plaintext) if secrets.is_well_formed(plaintext) else ""


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────
def hand_on(headers: dict[str, Any], **_: Any) -> None:
    """Give a task that is being queued the id of the request it is queued by."""
    if own_id := _request_id.get():
        headers[_IN_TASKS] = own_id


def take_up(task: Any, **_: Any) -> None:
    """Have a worker's lines bear the id that came with the task."""
    _request_id.set(task.request.get(_IN_TASKS) or "")


def put_down(**_: Any) -> None:
    _request_id.set("")


# ── Lines ────────────────────────────────────────────────────────────────────────────────────────────────────
class JsonLines(logging.Formatter):
    """A line as a JSON object. Secrets were taken out before, by `accounts.redaction.WithoutSecrets`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if own_id := _request_id.get() or getattr(getattr(record, "request", None), "request_id", ""):
            line["request_id"] = own_id
        line |= {name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False, default=str)
