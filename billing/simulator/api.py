"""The API: who asks, what is asked, whether it was asked before; then the operation, and its answer."""

import base64
import binascii
import hashlib
import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from billing.simulator import answers, contract, operations, requests_in
from billing.simulator.errors import StripeError, unsupported
from billing.simulator.expansion import expand
from billing.simulator.simulator import API_VERSION, Request, Simulator, public

logger = logging.getLogger(__name__)

TEST_KEY = re.compile(r"(sk|rk)_test_[A-Za-z0-9_]{8,}")
KEPT_FOR = 86_400  # real seconds that an idempotency key is remembered


@dataclass
class Answer:
    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


def answer(
    sim: Simulator, method: str, path: str, query: str, body: str, headers: Mapping[str, str]
) -> Answer:
    """Answer a request to the API."""
    request = Request(f"req_{secrets.token_hex(7)}", headers.get("Idempotency-Key"))
    shown = {"Request-Id": request.id, "Stripe-Version": API_VERSION}
    try:
        _check_key(headers.get("Authorization", ""))
        _check_version(headers.get("Stripe-Version"))
        result = _answer(sim, method, path, query, body, request)
    except StripeError as error:
        result = Answer(error.status, _error_body(error, path))
        if "already exists with identifier" in str(error):
            shown["Stripe-Should-Retry"] = "false"
    except Exception as error:  # told in Stripe's own form, so that the caller sees what went wrong
        logger.exception("%s %s", method, path)
        problem = StripeError(f"{type(error).__name__}: {error}", status=500, kind="api_error")
        result = Answer(500, _error_body(problem, path))
    if result.status >= 500:  # it would fail again, and the SDK would wait for that
        shown["Stripe-Should-Retry"] = "false"
    result.headers = shown | result.headers
    if request.idempotency_key:
        result.headers["Idempotency-Key"] = request.idempotency_key
    return result


def _error_body(error: StripeError, path: str) -> dict[str, Any]:
    body = error.body()
    return (
        public(body) if path.startswith("/v1/") else {"error": {"code": "invalid_request", **body["error"]}}
    )


def _check_key(authorization: str) -> None:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            given = ""
    if not given:
        raise StripeError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer"
            " auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    if not TEST_KEY.fullmatch(given):
        shown = f"{given[:8]}{'*' * 8}{given[-4:]}" if len(given) > 16 else "*" * len(given)
        raise StripeError(f"Invalid API Key provided: {shown}", status=401)


def _check_version(version: str | None) -> None:
    if version not in {None, API_VERSION}:
        raise StripeError(f"Invalid Stripe API version: {version}. The simulator speaks {API_VERSION} only.")


def _answer(sim: Simulator, method: str, path: str, query: str, body: str, request: Request) -> Answer:
    found = operations.find(method, path)
    if found is None:
        if contract.exists(method, path):
            raise unsupported(f"the operation {method} {path}")
        raise StripeError(f"Unrecognized request URL ({method}: {path}).", status=404)
    operation, ids = found
    form = body if method == "POST" else query
    described = contract.operation(method, operation.path)
    if described is None:
        raise LookupError(f"The SDK has no operation {method} {operation.path}")
    with sim.store.transaction():
        digest = hashlib.sha256(f"{method} {path}\n{form}".encode()).hexdigest()
        if request.idempotency_key and method == "POST":
            before = _answered_before(sim, request.idempotency_key, digest)
            if before is not None:
                return before
        raw = (
            requests_in.parse_json(form)
            if path.startswith("/v2/") and method == "POST"
            else requests_in.parse_form(form)
        )
        params = requests_in.read(described.params, raw)
        for name in params:
            if name not in operation.params:
                raise unsupported(f"the parameter {name} on {method} {operation.path}")
        expansions = params.pop("expand", [])
        # The clock stands still meanwhile: what one request does, it does at one moment.
        sim.request, sim.moment = request, sim.now
        try:
            result = _run(sim, operation, params, ids)
            if result.status == 200:
                expand(sim, result.body, expansions)
        finally:
            sim.request = sim.moment = None
        result.body = public(result.body)
        if sim.strict and result.status == 200:
            kind = described.answer
            if result.body.get("object") == "v2.core.event":
                kind = contract.thin_event(result.body["type"])
            answers.check(kind, result.body, f"{method} {operation.path}")
        if request.idempotency_key and method == "POST":
            sim.store.execute(
                "INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)",
                *(request.idempotency_key, digest, result.status, json.dumps(result.body), time.time()),
            )
    return result


def _run(
    sim: Simulator, operation: operations.Operation, params: dict[str, Any], ids: tuple[str, ...]
) -> Answer:
    """Run an operation. A declined card is an answer like another: what it left behind is kept."""
    try:
        return Answer(200, operation.handler(sim, params, *ids))
    except StripeError as error:
        if not error.kept:
            raise
        return Answer(error.status, error.body())


def _answered_before(sim: Simulator, key: str, digest: str) -> Answer | None:
    sim.store.execute("DELETE FROM idempotency WHERE created < ?", time.time() - KEPT_FOR)
    rows = sim.store.rows("SELECT request, status, answer FROM idempotency WHERE key = ?", key)
    if not rows:
        return None
    former, status, text = rows[0]
    if former != digest:
        raise StripeError(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try"
            f" using a key other than '{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
    return Answer(status, json.loads(text), {"Idempotent-Replayed": "true"})
