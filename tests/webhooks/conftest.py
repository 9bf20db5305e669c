"""A receiver on loopback that answers as it is told, and the deliver command run until nothing is due."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts.models import Organization
from webhooks import endpoints, outbox
from webhooks.endpoints import NewEndpoint
from webhooks.models import Delivery, OutboxMessage

Worker = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Arrival:
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Receiver:
    """`answers` are given in turn as (status, body, headers); 200 when there are none left.

    `delay` and `keep_alive` are in seconds; a connection idle for longer than `keep_alive` is closed. While it is
    down, it closes connections without a word.
    """

    url: str = ""
    delay: float = 0.0
    keep_alive: float | None = None
    is_down: bool = False
    arrivals: list[Arrival] = field(default_factory=list)
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)

    def answer(self, *statuses: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.answers += [(status, body, headers or {}) for status in statuses]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if receiver.is_down:
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.arrivals.append(Arrival(self.path, headers, body))
            time.sleep(receiver.delay)
            self.connection.settimeout(receiver.keep_alive)
            status, content, extra = receiver.answers.pop(0) if receiver.answers else (200, b"", {})
            self.send_response(status)
            for name, value in {**extra, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            with contextlib.suppress(ConnectionError):  # who did not wait for the answer
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


@pytest.fixture
def endpoint(organization: Organization, receiver: Receiver) -> NewEndpoint:
    return endpoints.create(organization=organization, url=receiver.url, actor=None)


@pytest.fixture
def send(organization: Organization) -> Callable[..., None]:
    """Write one `job.completed` to the outbox."""

    def send(job_id: str = "job-1", **choices: Any) -> None:
        outbox.send(organization=organization, event_type="job.completed", data={"job_id": job_id}, **choices)

    return send


@pytest.fixture
def start() -> Iterator[Callable[[], Worker]]:
    """Start a worker on this test's database."""
    server, _ = os.environ["DATABASE_URL"].rsplit("/", 1)
    environment = os.environ | {"DATABASE_URL": f"{server}/{connection.settings_dict['NAME']}"}
    workers: list[Worker] = []

    def start() -> Worker:
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "deliver"]
        workers.append(subprocess.Popen(command, env=environment))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def deliver() -> None:
    call_command("deliver", once=True)


def let_time_pass() -> None:
    """Make everything due that waits for another try or for the end of a lease."""
    an_hour_ago = timezone.now() - timedelta(hours=1)
    OutboxMessage.objects.filter(handed_over_at=None).update(next_attempt_at=an_hour_ago)
    Delivery.objects.exclude(next_attempt_at=None).update(next_attempt_at=an_hour_ago)
