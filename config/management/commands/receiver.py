import json
import signal
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import connection
from django.template.loader import render_to_string
from svix.webhooks import Webhook, WebhookVerificationError

from accounts.models import Organization
from config.demo.build import receiver_url
from webhooks import endpoints
from webhooks.events import utc

KEPT = 200
LARGEST_BODY = 1 << 20
STATIC_FILES = {
    "app.css": "text/css",
    "shared.js": "text/javascript",
    "app.js": "text/javascript",
    "favicon.svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Arrival:
    received_at: datetime
    organization: str
    organization_id: str
    message_id: str
    event_type: str
    job_id: str
    verified: bool


@dataclass(frozen=True)
class Customer:
    """An organization as its own server knows it: by name, with the secrets it was given."""

    name: str
    secrets: list[str]

    def verifies(self, body: bytes, headers: Mapping[str, str]) -> bool:
        return any(_verifies(secret, body, dict(headers)) for secret in self.secrets)


class Receiver(ThreadingHTTPServer):
    """Verifies what is posted to /hooks/<organization> and remembers the last arrivals."""

    def __init__(self, address: tuple[str, int], out: OutputWrapper) -> None:
        super().__init__(address, Handler)
        self.out = out
        self.arrivals: deque[Arrival] = deque(maxlen=KEPT)
        self._customers: dict[str, Customer] = {}
        self._lock = threading.Lock()

    def receive(self, organization_id: str, headers: Mapping[str, str], body: bytes) -> Arrival | None:
        """Check and remember a message. None when there is no such organization."""
        customer = self._customer(organization_id)
        if customer is None:
            return None
        verified = customer.verifies(body, headers)
        if not verified and (customer := self._customer(organization_id, afresh=True)):
            verified = customer.verifies(body, headers)
        content = _content(body) if verified else {}
        data = content.get("data")
        arrival = Arrival(
            received_at=datetime.now(UTC),
            organization=customer.name if customer else organization_id,
            organization_id=organization_id,
            message_id=headers.get("svix-id", ""),
            event_type=str(content.get("type", "")),
            job_id=str(data.get("job_id", "")) if isinstance(data, dict) else "",
            verified=verified,
        )
        self.arrivals.appendleft(arrival)
        said = "verified" if verified else "NOT VERIFIED"
        self.out.write(f"{said} {arrival.event_type} {arrival.organization} {arrival.job_id}")
        self.out.flush()
        return arrival

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in one line what went wrong with a connection; whoever sent something sends it again."""
        self.out.write(f"A connection failed: {sys.exception()!r}")

    def _customer(self, organization_id: str, *, afresh: bool = False) -> Customer | None:
        """Read a customer's secrets once, and again when one of them may be new."""
        with self._lock:
            if afresh or organization_id not in self._customers:
                try:
                    organization = Organization.objects.filter(uid=organization_id).first()
                    if organization is None:
                        return None
                    secrets = endpoints.signing_secrets(organization=organization)
                    self._customers[organization_id] = Customer(organization.name, secrets)
                finally:
                    connection.close()  # every caller has a thread of its own
            return self._customers[organization_id]


class Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            self.close_connection = True
            return self._answer(413, "text/plain", "A body of at most 1 MiB, with its length, please.\n")
        body = self.rfile.read(int(length))
        folder, _, organization_id = urlsplit(self.path).path.strip("/").partition("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        arrival = self.server.receive(organization_id, headers, body) if folder == "hooks" else None
        if arrival is None:
            return self._answer(404, "text/plain", "No such organization.\n")
        if not arrival.verified:
            return self._answer(401, "text/plain", "The signature does not verify.\n")
        return self._answer(200, "text/plain", "Thank you.\n")

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        arrivals = list(self.server.arrivals)
        if path == "/":
            context = {
                "arrivals": arrivals,
                "kept": KEPT,
                "json": "/received.json",
                "brand": settings.BRAND,
                "home": settings.BASE_URL,
            }
            page = render_to_string("demo/receiver.html", context)
            return self._answer(200, "text/html", page, refresh="3")
        if path == "/received.json":
            listed = [asdict(arrival) | {"received_at": utc(arrival.received_at)} for arrival in arrivals]
            return self._answer(200, "application/json", json.dumps({"data": listed}, indent=2))
        name = path.removeprefix(settings.STATIC_URL)
        if name in STATIC_FILES:
            return self._answer(200, STATIC_FILES[name], (settings.BASE_DIR / "static" / name).read_text())
        return self._answer(404, "text/plain", "Nothing here.\n")

    def _answer(self, status: int, kind: str, text: str, **headers: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("content-type", f"{kind}; charset=utf-8")
        self.send_header("content-length", str(len(content)))
        for name, value in {"cache-control": "no-store", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests; arrivals have their line."""


class Command(BaseCommand):
    help = "Be a customer's server in the demo: receive webhooks, verify them, and show what arrived."

    def handle(self, *args: Any, **options: Any) -> None:
        port = urlsplit(receiver_url()).port or 0
        try:
            server = Receiver(("127.0.0.1", port), self.stdout)
        except OSError as error:
            raise CommandError(
                f"The receiver cannot listen on port {port} ({error}): set RECEIVER_PORT"
            ) from None
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.stdout.write(f"Receiving webhooks at {receiver_url()}")
        self.stdout.flush()
        with server:
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                self.stdout.write("Stopped.")


def _verifies(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except (WebhookVerificationError, ValueError):  # ValueError: headers or a body of no sensible form
        return False
    return True


def _content(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
