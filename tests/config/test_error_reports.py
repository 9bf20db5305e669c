"""What Sentry is sent: that something broke and where, and no secret. Nothing at all without `SENTRY_DSN`."""

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import sentry_sdk
from django.apps import apps
from django.conf import settings
from pytest_django import Settings

import config
from accounts import secrets
from config import error_reports

# Has a view fail on a request that is full of secrets.
BREAKING = """
import logging, sys
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory
from django.urls import path

key = sys.argv[1]
def broken(request):
    local = key
    logging.getLogger("x").warning("about to fail with %s", key)
    raise ValueError(f"cannot use {key}")
urlpatterns = [path("broken", broken)]
settings.ROOT_URLCONF = __name__
application = get_wsgi_application()
headers = {"Authorization": "Bearer " + key, "Cookie": "sessionid=abc", "Host": "localhost"}
headers["X-Request-ID"] = "0af7651916cd43dd8448eb211c80319c"
application(RequestFactory().get("/broken?token=in-the-query", headers=headers).environ, lambda *_: None)

import sentry_sdk
sentry_sdk.flush(5)
"""


@pytest.fixture
def received() -> Iterator[tuple[str, list[str]]]:
    """The address of a Sentry on this machine, and what it was sent."""
    bodies: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append((gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://public@127.0.0.1:{server.server_port}/1", bodies
        server.shutdown()
        thread.join()


def run(script: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_an_error_is_sent_without_secrets(received: tuple[str, list[str]]) -> None:
    dsn, bodies = received
    key = secrets.generate("production")

    run(BREAKING, key.plaintext, SENTRY_DSN=dsn, SENTRY_RELEASE="1.2", SENTRY_ENVIRONMENT="staging")

    sent = "".join(bodies)
    for secret in (key.plaintext, key.plaintext[-20:], "in-the-query", "sessionid", "Bearer"):
        assert secret not in sent
    [event] = [item for item in map(json.loads, sent.splitlines()) if "exception" in item]
    error = event["exception"]["values"][-1]
    assert (error["type"], error["value"]) == ("ValueError", f"cannot use {key.prefix}…")
    assert event["request"] == {"method": "GET", "url": "http://localhost/broken"}
    assert (event["release"], event["environment"]) == ("1.2", "staging")
    assert event["tags"]["request_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert len(event["event_id"]) == 32
    assert all("vars" not in frame for frame in error["stacktrace"]["frames"])


@pytest.mark.parametrize(("dsn", "is_loaded"), [("", False), ("http://public@127.0.0.1:1/1", True)])
def test_only_with_an_address_sentrys_sdk_is_loaded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, dsn: str, is_loaded: bool
) -> None:
    settings.SENTRY_DSN = dsn
    monkeypatch.setattr(sentry_sdk, "init", lambda *_, **__: None)
    monkeypatch.delitem(sys.modules, "config.error_reports")
    monkeypatch.delattr(config, "error_reports")

    apps.get_app_config("config").ready()

    assert ("config.error_reports" in sys.modules) is is_loaded


def test_no_call_of_ours_bears_headers_of_sentrys(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr(sentry_sdk, "init", lambda dsn, **given: options.update(given))

    error_reports.start("http://public@127.0.0.1:1/1")

    assert (options["propagate_traces"], options["trace_propagation_targets"]) == (False, [])
