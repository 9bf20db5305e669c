"""Svix's HTTP API served in this process: an httpx transport that routes calls to functions."""

import re
from collections.abc import Callable

import httpx
from pydantic import ValidationError

from webhooks.embedded import applications, endpoints, messages
from webhooks.embedded.calls import Answer, Call, Refusal, misshapen, not_found

_ROUTES = [
    ("POST", "/app", applications.create),
    ("GET", "/app/{app}", applications.get),
    ("DELETE", "/app/{app}", applications.delete),
    ("GET", "/app/{app}/endpoint", endpoints.list_),
    ("POST", "/app/{app}/endpoint", endpoints.create),
    ("GET", "/app/{app}/endpoint/{endpoint}", endpoints.get),
    ("PATCH", "/app/{app}/endpoint/{endpoint}", endpoints.patch),
    ("DELETE", "/app/{app}/endpoint/{endpoint}", endpoints.delete),
    ("GET", "/app/{app}/endpoint/{endpoint}/secret", endpoints.get_secret),
    ("POST", "/app/{app}/msg", messages.create),
    ("GET", "/app/{app}/msg/{message}", messages.get),
    ("GET", "/app/{app}/attempt/msg/{message}", messages.list_attempts),
]


def _compiled(path: str) -> re.Pattern[str]:
    return re.compile("/api/v1" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + "/?")


ROUTES: list[tuple[str, re.Pattern[str], Callable[[Call], Answer]]] = [
    (method, _compiled(path), answer) for method, path, answer in _ROUTES
]


class EmbeddedTransport(httpx.BaseTransport):
    """Answers as a Svix server does, also where it refuses. Errors of the database pass through as they are."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = _answer(request)
        except Refusal as refusal:
            return httpx.Response(refusal.status, json=refusal.body)
        if answer.content is None:
            return httpx.Response(answer.status)
        return httpx.Response(
            answer.status,
            content=answer.content.model_dump_json(by_alias=True),
            headers={"content-type": "application/json"},
        )


def _answer(request: httpx.Request) -> Answer:
    for method, pattern, answer in ROUTES:
        if method == request.method and (match := pattern.fullmatch(request.url.path)):
            try:
                return answer(Call(match.groupdict(), request.url.params, request.read()))
            except ValidationError as error:
                raise misshapen(error) from error
    raise not_found()
