"""Svix's HTTP API served in this process: an httpx transport that routes calls to functions."""

import re
from collections import defaultdict
from collections.abc import Callable

import httpx
from pydantic import ValidationError

from webhooks.embedded import applications, attempts, endpoints, event_types, idempotency, messages
from webhooks.embedded.calls import Answer, Call, Refusal, misshapen, not_found

LONGEST_BODY = 2 * 1024 * 1024  # bytes, as a Svix server takes

_ROUTES = [
    ("POST", "/app/{app}/msg", messages.create),
    ("GET", "/app/{app}/msg", messages.list_),
    ("GET", "/app/{app}/msg/{message}", messages.get),
    ("DELETE", "/app/{app}/msg/{message}/content", messages.expunge),
    ("GET", "/app/{app}/msg/{message}/attempt/{attempt}", attempts.get),
    ("GET", "/app/{app}/msg/{message}/endpoint", attempts.list_attempted_destinations),
    ("POST", "/app/{app}/msg/{message}/endpoint/{endpoint}/resend", attempts.resend),
    ("GET", "/app/{app}/attempt/msg/{message}", attempts.list_by_message),
    ("GET", "/app/{app}/attempt/endpoint/{endpoint}", attempts.list_by_endpoint),
    ("GET", "/app/{app}/endpoint", endpoints.list_),
    ("POST", "/app/{app}/endpoint", endpoints.create),
    ("GET", "/app/{app}/endpoint/{endpoint}", endpoints.get),
    ("PUT", "/app/{app}/endpoint/{endpoint}", endpoints.upsert),
    ("PATCH", "/app/{app}/endpoint/{endpoint}", endpoints.patch),
    ("DELETE", "/app/{app}/endpoint/{endpoint}", endpoints.delete),
    ("GET", "/app/{app}/endpoint/{endpoint}/msg", attempts.list_attempted_messages),
    ("GET", "/app/{app}/endpoint/{endpoint}/secret", endpoints.get_secret),
    ("POST", "/app/{app}/endpoint/{endpoint}/secret/rotate", endpoints.rotate_secret),
    ("GET", "/app/{app}/endpoint/{endpoint}/headers", endpoints.get_headers),
    ("PUT", "/app/{app}/endpoint/{endpoint}/headers", endpoints.set_headers),
    ("PATCH", "/app/{app}/endpoint/{endpoint}/headers", endpoints.patch_headers),
    ("GET", "/app/{app}/endpoint/{endpoint}/stats", endpoints.get_stats),
    ("POST", "/app/{app}/endpoint/{endpoint}/recover", endpoints.recover),
    ("POST", "/app/{app}/endpoint/{endpoint}/send-example", messages.send_example),
    ("POST", "/app", applications.create),
    ("GET", "/app/{app}", applications.get),
    ("DELETE", "/app/{app}", applications.delete),
    ("POST", "/auth/app-portal-access/{app}", applications.open_portal),
    ("GET", "/event-type", event_types.list_),
    ("POST", "/event-type", event_types.create),
    ("GET", "/event-type/{event_type}", event_types.get),
    ("PUT", "/event-type/{event_type}", event_types.upsert),
    ("PATCH", "/event-type/{event_type}", event_types.patch),
    ("DELETE", "/event-type/{event_type}", event_types.delete),
]


def _compiled(path: str) -> re.Pattern[str]:
    return re.compile("/api/v1" + re.sub(r"\{(\w+)\}", r"(?P<\1>[a-zA-Z0-9\-_.]{1,256})", path) + "/?")


ROUTES: dict[str, list[tuple[re.Pattern[str], Callable[[Call], Answer]]]] = defaultdict(list)
for _method, _path, _function in _ROUTES:
    ROUTES[_method].append((_compiled(_path), _function))


class EmbeddedTransport(httpx.BaseTransport):
    """Answers as a Svix server does, also where it refuses. Errors of the database pass through as they are."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            if key := idempotency.key_of(request):
                return idempotency.once(key, lambda: _response(request))
            return _response(request)
        except Refusal as refusal:
            return httpx.Response(refusal.status, json=refusal.body)


def _response(request: httpx.Request) -> httpx.Response:
    answer = _answer(request)
    if answer.content is None:
        return httpx.Response(answer.status)
    return httpx.Response(
        answer.status,
        content=answer.content.model_dump_json(by_alias=True),
        headers={"content-type": "application/json"},
    )


def _answer(request: httpx.Request) -> Answer:
    body = request.read()
    if len(body) > LONGEST_BODY:
        raise Refusal(413, {"code": "payload_too_large", "detail": "Request payload is too large."})
    for pattern, answer in ROUTES[request.method]:
        if match := pattern.fullmatch(request.url.path):
            try:
                return answer(Call(match.groupdict(), request.url.params, body))
            except ValidationError as error:
                raise misshapen(error) from error
    raise not_found()
