"""Verify, ahead of Django: a WSGI layer that answers plain questions, and passes all else on.

What it answers is what Django's view would: the same questions are read and the same verdict is given. Whatever is
not plain goes to the view untouched: a service key that this process does not know, a body that is compressed,
malformed or not of a stated length, a database that does not answer.

Django's middleware is not asked again about each call. Whether a host is allowed, whether a call must come by https
and which headers an answer bears follows from how the server was addressed: so a way of addressing it is taken once
Django has answered a call that came by it, with the headers which that answer had.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import msgspec
from django.db import Error

from accounts import authentication
from accounts.permissions import ServicePermission
from usage import gateway, known_keys
from usage import verify as verification

PATH = "/api/v1/gateway/verify"

# All by which Django tells how it was addressed.
_ADDRESS = (
    "HTTP_HOST",
    "SERVER_NAME",
    "SERVER_PORT",
    "wsgi.url_scheme",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PROTO",
)
# What makes a call unusual, when it is there.
_UNUSUAL = ("QUERY_STRING", "HTTP_CONTENT_ENCODING", "HTTP_TRANSFER_ENCODING", "HTTP_COOKIE")
_MOST_ADDRESSES = 100
# Headers that are of one answer only.
_OF_ONE = ("content-length", "x-request-id")

Address = tuple[str | None, ...]
Headers = list[tuple[str, str]]

# The headers of Django's answers, by how it was addressed.
_taken: dict[Address, Headers] = {}


def ahead_of(application: WSGIApplication) -> WSGIApplication:
    """This application, with verify answered ahead of it where that can be."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or not _is_plain(environ):
            return application(environ, start_response)
        address = tuple(map(environ.get, _ADDRESS))
        headers = _taken.get(address)
        # The body last: who has no service key must not keep a thread waiting for it.
        if headers is None or not _may_ask(environ.get("HTTP_AUTHORIZATION", "")):
            return application(environ, _taking(address, start_response))
        body: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        answer = _answer(body)
        if answer is None:
            environ["wsgi.input"] = BytesIO(body)
            return application(environ, start_response)
        start_response("200 OK", [*headers, ("Content-Length", str(len(answer)))])
        return [answer]

    return serve


def forget() -> None:
    """Let Django answer first again, however the server is addressed."""
    _taken.clear()


def _is_plain(environ: WSGIEnvironment) -> bool:
    length = environ.get("CONTENT_LENGTH", "")
    return (
        environ["REQUEST_METHOD"] == "POST"
        and len(length) < 6
        and length.isdecimal()
        and length.isascii()
        and int(length) <= gateway.MAX_VERIFY_BODY
        and not any(map(environ.get, _UNUSUAL))
    )


def _may_ask(authorization: str) -> bool:
    scopes = known_keys.recall_scopes(authentication.bearer(authorization), clock=time.monotonic())
    return scopes is not None and ServicePermission.GATEWAY_VERIFY in scopes


def _answer(body: bytes) -> bytes | None:
    """The body of the answer, if one can be given here."""
    clock = time.monotonic()
    known_keys.look(clock=clock)
    try:
        asked = gateway.decode_verify(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if gateway.problem_with(asked):
        return None
    try:
        # A key that is read takes half as long here as in the view.
        found = known_keys.recall(asked.key, clock=clock) or known_keys.find(asked.key)
    except Error:
        return None  # the view says it
    now = datetime.now(UTC)
    answer = verification.answer(found, cost=asked.cost or Decimal(0), ip=asked.ip, now=now, asked_at=clock)
    return gateway.encode(answer)


def _taking(address: Address, start_response: StartResponse) -> StartResponse:
    """`start_response`, which also notes the headers of a good answer."""

    def start(status: str, headers: Headers, *exc_info: Any) -> Any:
        names = {name.lower() for name, _ in headers}
        if status == "200 OK" and "set-cookie" not in names and len(_taken) < _MOST_ADDRESSES:
            _taken[address] = [(name, value) for name, value in headers if name.lower() not in _OF_ONE]
        return start_response(status, headers, *exc_info)

    return start
