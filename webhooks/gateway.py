"""The one way to Svix: a hosted or self-hosted server when one is configured, the embedded engine otherwise.

Callers see the SDK and nothing else, so there is one code path. Errors are the SDK's own.
"""

import os
import re
from functools import cache
from typing import Any

import httpx
from django.conf import settings
from svix.api import Application, Endpoint, Message, MessageAttempt, Svix, SvixOptions
from svix.api.common import ApiBaseSync
from svix.exceptions import HttpError

from webhooks.embedded.transport import EmbeddedTransport

# The SDK puts ids into the path as they are: `../x?y=1` would reach another route with the operator's token.
_ID = re.compile(r"[a-z]{2,8}_[0-9A-Za-z]{1,64}")


class _Guarded(ApiBaseSync):
    """Answers an id that cannot be one as the server answers an unknown one, without asking it."""

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


class _Application(_Guarded, Application):
    pass


class _Endpoint(_Guarded, Endpoint):
    pass


class _Message(_Guarded, Message):
    pass


class _MessageAttempt(_Guarded, MessageAttempt):
    pass


class GuardedSvix(Svix):
    """The SDK's client with every id checked. A resource the project starts to use gets its line here."""

    @property
    def application(self) -> Application:
        return _Application(self._client, self._httpx_client)

    @property
    def endpoint(self) -> Endpoint:
        return _Endpoint(self._client, self._httpx_client)

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


def get_svix() -> Svix:
    """Return this process's client, made when it is first asked for: a fork shares no connection."""
    return _client(os.getpid(), settings.SVIX_SERVER_URL, settings.SVIX_AUTH_TOKEN)


@cache
def _client(process_id: int, server_url: str, token: str) -> Svix:
    if server_url and token:
        return GuardedSvix(token, SvixOptions(server_url=server_url))
    return EmbeddedSvix()
