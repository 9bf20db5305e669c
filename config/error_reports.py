"""Errors sent to Sentry, where `SENTRY_DSN` names one: what broke and where, never what was in the request.

This module is imported only then. Sentry's own variables say the rest: `SENTRY_ENVIRONMENT`, `SENTRY_RELEASE`.
"""

from typing import Any

import sentry_sdk
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration

from accounts.redaction import redacted
from config import logs

# Of a request, what says where it went. Bodies, cookies and queries are the customers'.
_KEPT_OF_REQUEST = ("method", "url")
# Arguments of tasks, `sys.argv`, what was logged before and which addresses were called: nothing of these goes.
_LEFT_OUT = ("extra", "breadcrumbs", "user")
# By which Sentry knows events, and we requests; they look like words of links.
_IDS = ("event_id", "trace_id", "span_id", "parent_span_id", "request_id")


def start(dsn: str) -> None:
    """Have what is logged as an error, or raised by a view or a task, sent from now on."""
    sentry_sdk.init(
        dsn,
        send_default_pii=False,
        max_request_body_size="never",
        include_local_variables=False,  # keys are among them
        auto_enabling_integrations=False,
        integrations=[DjangoIntegration(), CeleryIntegration()],
        auto_session_tracking=False,
        # Or each call to Stripe and each webhook would bear headers of Sentry's.
        propagate_traces=False,
        trace_propagation_targets=[],
        before_send=scrubbed,
    )


def scrubbed(event: Any, hint: object) -> Any:
    """The event as it may leave: with no more of its request than where it went, and no secret in any text."""
    if request := event.get("request"):
        event["request"] = {name: request[name] for name in _KEPT_OF_REQUEST if name in request}
    for name in _LEFT_OUT:
        event.pop(name, None)
    if own_id := logs.request_id():
        event["tags"] = dict(event.get("tags") or {}) | {"request_id": own_id}
    return _without_secrets(event)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {name: each if name in _IDS else _without_secrets(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(each) for each in value]
    return value
