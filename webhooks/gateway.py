"""The one way to Svix: a hosted or self-hosted server when one is configured, the embedded engine otherwise.

Callers see the SDK and nothing else, so there is one code path. Errors are the SDK's own, also those that the SDK
itself does not foresee: an answer that cannot be read, and none at all.
"""

import json
import os
import re
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import httpx
import pydantic
from django.conf import settings
from pydantic_core import PydanticSerializationError
from svix.api import (
    Application,
    Authentication,
    Endpoint,
    EndpointRotateSecretOptions,
    EventType,
    Message,
    MessageAttempt,
    Svix,
    SvixOptions,
)
from svix.api.common import ApiBaseSync, WrappedResponse
from svix.exceptions import HttpError
from svix.models import EndpointSecretOut, EndpointSecretRotateIn

from webhooks.embedded.transport import EmbeddedTransport

# Seconds for each part of a request: connecting, sending, waiting for the answer.
TIMEOUT = 5.0
RETRIES = [0.1]  # seconds to wait before each
# The SDK puts ids into the path as they are: `../x?y=1` would reach another route with the operator's token.
_ID = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9\-_.]{1,256}")


class Unreachable(HttpError):
    """There was no answer: the server is down, too slow, or the network is."""


class _Guarded(ApiBaseSync):
    """Calls of the SDK that raise nothing but its HttpError and HTTPValidationError for what a server does.

    An id that cannot be one is answered as the server answers an unknown one, without asking it.
    """

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return _readable(found) if callable(found) and not name.startswith("_") else found

    def _get_httpx_kwargs(
        self,
        method: str,
        path: str,
        path_params: dict[str, str] | None,
        query_params: dict[str, str] | None,
        header_params: dict[str, str] | None,
        json_body: str | None,
    ) -> dict[str, Any]:
        if not all(map(_ID.fullmatch, (path_params or {}).values())):
            raise HttpError(code="not_found", detail="Entity not found", status_code=404)
        return super()._get_httpx_kwargs(method, path, path_params, query_params, header_params, json_body)

    def _attempt_request(self, httpx_kwargs: dict[str, Any]) -> WrappedResponse:
        wrapped = super()._attempt_request(httpx_kwargs)
        if wrapped.response is not None and not wrapped.response.is_success:
            wrapped.response = _explained(wrapped.response)
        return wrapped


def _readable(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def readable(*args: Any, **options: Any) -> Any:
        try:
            return call(*args, **options)
        except httpx.RequestError as error:
            raise Unreachable("unreachable", str(error) or type(error).__name__, status_code=503) from error
        except (json.JSONDecodeError, pydantic.ValidationError) as error:
            raise HttpError("unexpected_answer", "The answer cannot be read.", status_code=502) from error
        except PydanticSerializationError as error:  # nested too deep, or half a character
            raise HttpError("validation", "This cannot be sent as JSON.", status_code=400) from error

    return readable


def _explained(response: httpx.Response) -> httpx.Response:
    """Return a refusal in the form that the SDK reads: a proxy's page or an unknown route has another."""
    try:
        body = response.json()
    except ValueError:
        body = None
    detail = body.get("detail") if isinstance(body, dict) else None
    if response.status_code != 422:
        if isinstance(detail, str):
            return response
        message = f"The server answered {response.status_code} and did not say why."
        return httpx.Response(response.status_code, json={"code": "unexpected_answer", "detail": message})
    if isinstance(detail, list) and all(isinstance(item, dict) for item in detail):
        return response
    message = detail if isinstance(detail, str) else "The server did not say why."
    item = {"loc": ["body"], "msg": message, "type": "value_error"}
    return httpx.Response(422, json={"detail": [item]})


class _Application(_Guarded, Application):
    pass


class _Authentication(_Guarded, Authentication):
    pass


class _Endpoint(_Guarded, Endpoint):
    def rotate_secret(
        self,
        app_id: str,
        endpoint_id: str,
        endpoint_secret_rotate_in: EndpointSecretRotateIn,
        options: EndpointRotateSecretOptions = EndpointRotateSecretOptions(),  # noqa: B008 (as the SDK has it)
    ) -> EndpointSecretOut:
        """The open-source server answers nothing, where the SDK expects the new secret."""
        try:
            return super().rotate_secret(app_id, endpoint_id, endpoint_secret_rotate_in, options)
        except json.JSONDecodeError:
            return self.get_secret(app_id, endpoint_id)


class _EventType(_Guarded, EventType):
    pass


class _Message(_Guarded, Message):
    pass


class _MessageAttempt(_Guarded, MessageAttempt):
    pass


class GuardedSvix(Svix):
    """The SDK's client with every call guarded. A resource the project starts to use gets its line here."""

    @property
    def application(self) -> Application:
        return _Application(self._client, self._httpx_client)

    @property
    def authentication(self) -> Authentication:
        return _Authentication(self._client, self._httpx_client)

    @property
    def endpoint(self) -> Endpoint:
        return _Endpoint(self._client, self._httpx_client)

    @property
    def event_type(self) -> EventType:
        return _EventType(self._client, self._httpx_client)

    @property
    def message(self) -> Message:
        return _Message(self._client, self._httpx_client)

    @property
    def message_attempt(self) -> MessageAttempt:
        return _MessageAttempt(self._client, self._httpx_client)


class EmbeddedSvix(GuardedSvix):
    """The same client, answered in this process."""

    def __init__(self) -> None:
        super().__init__("embedded", SvixOptions(server_url="http://svix.embedded", retry_schedule=[]))
        self._httpx_client = httpx.Client(transport=EmbeddedTransport())


def get_svix(*, patience: float | None = None) -> Svix:
    """Return this process's client, made when it is first asked for: a fork shares no connection.

    With `patience`, in seconds, it waits no longer than that for a server, and does not ask it again.
    """
    return _client(os.getpid(), settings.SVIX_SERVER_URL, settings.SVIX_AUTH_TOKEN, patience)


def is_embedded() -> bool:
    """Whether the engine is the embedded one, for want of a server."""
    return not (settings.SVIX_SERVER_URL and settings.SVIX_AUTH_TOKEN)


def get_embedded() -> Svix:
    """Return the embedded engine's client: with any engine it sends what goes to URLs that jobs named."""
    return _client(os.getpid(), "", "", None)


@cache
def _client(process_id: int, server_url: str, token: str, patience: float | None) -> Svix:
    if not (server_url and token):
        return EmbeddedSvix()
    options = SvixOptions(server_url=server_url, timeout=TIMEOUT, retry_schedule=RETRIES)
    if patience is not None:
        options = SvixOptions(server_url=server_url, timeout=patience, retry_schedule=[])
    return GuardedSvix(token, options)
