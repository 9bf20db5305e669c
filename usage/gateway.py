"""The gateway API: what the operator's data plane calls with a service key. Plain views, for it is the hot path."""

import time
import zlib
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache, wraps
from ipaddress import ip_address
from typing import Any

import msgspec
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from accounts import authentication
from accounts.permissions import ServicePermission
from accounts.problems import problem
from usage import counted, ingest, known_keys, reports_in
from usage import verify as verification
from usage.models import Product

MAX_BODY = 64 * 1024 * 1024
MAX_GZIP_MEMBERS = 100
MAX_VERIFY_BODY = 16 * 1024
# Credits are JSON numbers, and a Decimal is one.
encode = msgspec.json.Encoder(decimal_format="number").encode

View = Callable[[HttpRequest], HttpResponse]


class TooLarge(Exception):
    """The body is larger than it may be, as sent or unpacked."""


class Unreadable(Exception):
    """The body does not unpack."""


def service_key(permission: ServicePermission) -> Callable[[View], View]:
    """A view for service keys with this scope. Other kinds of keys get 403, bad ones 401."""

    def decorate(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        def guarded(request: HttpRequest) -> HttpResponse:
            if request.method != "POST":
                response: HttpResponse = problem(405, "method_not_allowed", "Use POST here.")
                response["Allow"] = "POST"
                return response
            try:
                key = authentication.bearer(request.headers.get("Authorization", ""))
                scopes = known_keys.find_scopes(key, now=timezone.now())
                if scopes is None:
                    response = problem(401, "invalid_api_key", authentication.BAD_KEY)
                    response["WWW-Authenticate"] = "Bearer"
                elif permission not in scopes:
                    response = problem(
                        403, "permission_denied", f"This needs a service key with the scope {permission}."
                    )
                else:
                    return view(request)
                # The body is not waited for, so the server cuts the connection, which the caller has to know.
                response["Connection"] = "close"
                return response
            except OperationalError:
                # The data plane keeps what it wanted to report and sends it again: nothing is lost or counted twice.
                response = problem(503, "unavailable", "The database does not answer. Send the same again.")
                response["Retry-After"] = "1"
                return response

        guarded.access = permission  # type: ignore[attr-defined]
        return guarded

    return decorate


class VerifyRequest(msgspec.Struct):
    """The body of verify. `cost` is in credits; `ip` is where the customer's call came from."""

    key: str
    product: str | None = None
    cost: Decimal | None = None
    ip: str | None = None


_PRODUCTS = frozenset(Product.values)
decode_verify = msgspec.json.Decoder(VerifyRequest).decode


def problem_with(asked: VerifyRequest) -> HttpResponse | None:
    """The answer to a question of which a field makes no sense."""
    if asked.product is not None and asked.product not in _PRODUCTS:
        return problem(400, "invalid_product", f"One of: {', '.join(Product.values)}.", param="product")
    if asked.cost is not None and not (asked.cost.is_finite() and 0 <= asked.cost < 10**12):
        return problem(400, "invalid_cost", "Credits, from 0 up.", param="cost")
    if asked.ip is not None and not (len(asked.ip) < 100 and _is_ip(asked.ip)):
        return problem(400, "invalid_ip", "An IPv4 or IPv6 address.", param="ip")
    return None


@service_key(ServicePermission.GATEWAY_VERIFY)
def verify(request: HttpRequest) -> HttpResponse:
    """Whether a customer's key may call now, and why not."""
    try:
        asked = decode_verify(read_body(request, MAX_VERIFY_BODY))
    except TooLarge:
        return problem(413, "too_large", "The body is larger than 16 KiB.")
    except (Unreadable, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return problem(
            400, "invalid_body", f"The body must be a JSON object: {error}", param=field_at_fault(error)
        )
    if wrong := problem_with(asked):
        return wrong
    answer = verification.verify(asked.key, cost=asked.cost or Decimal(0), ip=asked.ip, now=timezone.now())
    return HttpResponse(encode(answer), content_type="application/json")


@service_key(ServicePermission.GATEWAY_REPORT)
def report_jobs(request: HttpRequest) -> HttpResponse:
    """Take in job reports: `{"jobs": […]}`, or one a line as application/x-ndjson; gzip accepted."""
    try:
        body = read_body(request, MAX_BODY)
        clock = time.monotonic()
        if request.content_type == "application/x-ndjson":
            items = reports_in.read_ndjson(body)
        else:
            items = reports_in.read_json(body)
    except TooLarge:
        return problem(
            413, "too_large", "The body is larger than 64 MiB: send the reports in several batches."
        )
    except Unreadable as error:
        return problem(400, "invalid_body", str(error))
    except reports_in.BadBatch as error:
        return problem(400, "invalid_body", str(error), param=error.param)
    outcome = ingest.ingest(items, now=timezone.now())
    counted.ingested(
        accepted=outcome.accepted,
        duplicates=outcome.duplicates,
        rejected=len(outcome.rejected),
        records=outcome.records,
        seconds=time.monotonic() - clock,
    )
    answer: dict[str, Any] = {
        "accepted": outcome.accepted,
        "duplicates": outcome.duplicates,
        "rejected": outcome.rejected,
    }
    return HttpResponse(encode(answer), content_type="application/json")


def read_body(request: HttpRequest, limit: int) -> bytes:
    """The body, unpacked. Raises `TooLarge` past `limit` bytes without unpacking further, `Unreadable` if broken."""
    body = request.read(limit + 1)
    if len(body) > limit:
        raise TooLarge
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "gzip":
        return _gunzip(body, limit)
    if encoding not in ("", "identity"):
        raise Unreadable(f"Content-Encoding {encoding!r} is not understood here: use gzip or none.")
    return body


def _gunzip(body: bytes, limit: int) -> bytes:
    """Unpack one or more gzip members, never holding more than the limit."""
    pieces: list[bytes] = []
    size = 0
    while body:
        if len(pieces) == MAX_GZIP_MEMBERS:  # each costs a copy of what is left
            raise Unreadable(f"The body has more than {MAX_GZIP_MEMBERS} gzip members.")
        member = zlib.decompressobj(wbits=31)
        try:
            piece = member.decompress(body, limit + 1 - size)
        except zlib.error as error:
            raise Unreadable(f"The body is not gzip: {error}") from None
        size += len(piece)
        if size > limit:
            raise TooLarge
        if not member.eof:
            raise Unreadable("The gzip body ends too early.")
        pieces.append(piece)
        body = member.unused_data
    return b"".join(pieces)


@lru_cache(maxsize=4096)
def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def field_at_fault(error: Exception) -> str | None:
    """The name of the field in msgspec's message, such as `$.key`."""
    message = str(error)
    for before in ("`$.", "missing required field `", "unknown field `"):
        _, found, name = message.partition(before)
        if found:
            return name.rstrip("`")
    return None
