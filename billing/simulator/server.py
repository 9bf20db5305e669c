"""The HTTP server, on loopback only: the API, the clock, and the pages."""

import json
import logging
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from billing.simulator import api, control, pages
from billing.simulator.clock import Ticker
from billing.simulator.errors import StripeError
from billing.simulator.simulator import Simulator
from billing.simulator.webhooks_out import Sender

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
LARGEST_BODY = 4 * 1024 * 1024


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, data: Path, *, strict: bool = False, ago: int = 0) -> None:
        super().__init__((HOST, port), Handler)
        self.own_hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.sim = Simulator(data, f"http://{HOST}:{self.server_port}", strict=strict, ago=ago)
        self.sender = Sender(self.sim)
        self.ticker = Ticker(self.sim)
        self.sim.on_event = self.sender.wake

    def run(self) -> None:
        self.sender.start()
        self.ticker.start()
        try:
            self.serve_forever(poll_interval=0.1)
        finally:
            self.ticker.end()
            self.sender.end()
            self.server_close()
            self.sim.store.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what broke; callers that hang up are none of our business."""
        if not isinstance(sys.exception(), ConnectionError):
            logger.exception("A request from %s failed", client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "simulator"
    server: Server
    timeout = 60
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def do_GET(self) -> None:
        self._respond()

    do_HEAD = do_POST = do_DELETE = do_GET  # one way in for all

    def _respond(self) -> None:
        given = self.headers.get("Content-Length") or "0"
        length = int(given) if given.isdecimal() else LARGEST_BODY + 1
        if length > LARGEST_BODY:
            self.close_connection = True
            self._send(413, "text/plain", b"Too large\n")
            return
        body = self.rfile.read(length).decode(errors="replace")
        # A page elsewhere whose name was pointed at this machine must not reach the simulator, nor post forms to it.
        own = self.server.own_hosts
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in own or (origin is not None and urlsplit(origin).netloc not in own):
            self._send(403, "text/plain", b"Asked by another host or site\n")
            return
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path.startswith(("/v1/", "/v2/")):
            self._api(path, parts.query, body)
        elif path.startswith("/simulator/"):
            self._control(path, body)
        else:
            self._page(path, parts.query, body)

    def _api(self, path: str, query: str, body: str) -> None:
        answer = api.answer(self.server.sim, self.command, path, query, body, self.headers)  # type: ignore[arg-type]
        self._send_json(answer.status, answer.body, answer.headers)

    def _control(self, path: str, body: str) -> None:
        try:
            self._send_json(200, control.answer(self.server.sim, self.command, path, body))
        except StripeError as error:
            self._send_json(error.status, error.body())

    def _page(self, path: str, query: str, body: str) -> None:
        form = dict(parse_qsl(body if self.command == "POST" else query, keep_blank_values=True))
        try:
            page = pages.answer(self.server.sim, self.command, path, form)
        except Exception:  # the browser is told, and the log has the reason
            logger.exception("%s %s", self.command, path)
            page = pages.broken()
        self._send(page.status, page.kind, page.body, page.headers)

    def _send_json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(body, indent=2).encode(), headers)

    def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
