"""One suite for two engines: the embedded one, or the Svix server at SVIX_TEST_URL, for which SVIX_TEST_TOKEN speaks.

Of a server is expected that it may reach loopback (`SVIX_WHITELIST_SUBNETS`) and is not busy with anything else. Its
`SVIX_RETRY_SCHEDULE` is told again in SVIX_TEST_SCHEDULE, in seconds; what would take longer than a minute is skipped.
"""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from svix.api import Svix, SvixOptions
from svix.exceptions import HttpError
from svix.models import ApplicationIn, EndpointIn, EndpointOut, EventTypeIn, MessageIn, MessageOut

from accounts import organizations
from accounts.ids import new_uid
from tests.conftest import person
from tests.webhooks.conftest import Receiver, receiver
from webhooks import operational
from webhooks.embedded.queue import SCHEDULE
from webhooks.gateway import GuardedSvix, get_svix
from webhooks.models import Delivery

__all__ = ["receiver"]

SERVER = os.environ.get("SVIX_TEST_URL", "")
TOKEN = os.environ.get("SVIX_TEST_TOKEN", "")

EVENT_TYPES = ("job.completed", "job.failed")
LONGEST_WAIT = 60  # seconds
PAYLOAD = {"type": "job.completed", "data": {"job_id": "job-1"}}


class Engine:
    """The embedded engine, and what the tests ask of an engine besides the calls of the SDK."""

    is_embedded = True
    schedule: tuple[float, ...] = SCHEDULE

    def __init__(self) -> None:
        self.svix: Svix = get_svix()

    def new_uid(self) -> str:
        """A uid that an application may have."""
        founder = person(new_uid("user"))
        return organizations.create(name="Northwind", owner=founder).uid

    def deliver(self, until: Callable[[], Any] = lambda: True) -> None:
        """Have delivered what is due, until something has come of it."""
        call_command("deliver", once=True)
        assert until()

    def retry(self, number: int, until: Callable[[], Any] = lambda: True) -> None:
        """Have the failed tried again: the retry of this number, from 1."""
        Delivery.objects.exclude(next_attempt_at=None).update(
            next_attempt_at=timezone.now() - timedelta(hours=1)
        )
        self.deliver(until)

    def application(self) -> str:
        uid = self.new_uid()
        self.svix.application.create(ApplicationIn(uid=uid, name="Northwind"))
        return uid

    def endpoint(self, app: str, url: str = "https://example.com/hook", **fields: Any) -> EndpointOut:
        return self.svix.endpoint.create(app, EndpointIn(url=url, **fields))

    def send(self, app: str, **fields: Any) -> MessageOut:
        return self.svix.message.create(
            app, MessageIn(**({"event_type": "job.completed", "payload": PAYLOAD} | fields))
        )


class Server(Engine):
    """A Svix server, which delivers by itself."""

    is_embedded = False
    schedule = tuple(
        float(part)
        for part in os.environ.get("SVIX_TEST_SCHEDULE", "5,300,1800,7200,18000,36000,36000").split(",")
    )

    def __init__(self) -> None:
        self.svix = GuardedSvix(TOKEN, SvixOptions(server_url=SERVER))
        for name in EVENT_TYPES:
            try:
                self.svix.event_type.create(EventTypeIn(name=name, description=name))
            except HttpError as error:
                if error.status_code != 409:
                    raise

    def new_uid(self) -> str:
        return new_uid("org")

    def send(self, app: str, **fields: Any) -> MessageOut:
        time.sleep(0.01)  # a server tells the order of what it took in by the millisecond
        return super().send(app, **fields)

    def deliver(self, until: Callable[[], Any] | None = None) -> None:
        if until is None:  # to see that nothing comes
            time.sleep(3)
            return
        self._wait(until, 10)

    def retry(self, number: int, until: Callable[[], Any] = lambda: True) -> None:
        wait = self.schedule[number - 1] if number <= len(self.schedule) else 3
        if wait > LONGEST_WAIT:
            pytest.skip(f"The server retries after {wait:.0f} s")
        self._wait(until, wait * 1.5 + 10)

    def _wait(self, until: Callable[[], Any], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end
            time.sleep(0.2)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if not SERVER:
        request.getfixturevalue("db")
        yield Engine()
        return
    server = Server()
    yield server
    server.svix._httpx_client.close()


@pytest.fixture
def app(engine: Engine) -> str:
    return engine.application()


@pytest.fixture
def other_app(engine: Engine) -> str:
    return engine.application()


@pytest.fixture
def told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """The operational events. A server sends them to an application of its operator."""
    if not engine.is_embedded:
        pytest.skip("A server tells them to its operator")
    events: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        operational, "emit", lambda organization_id, event_type, data: events.append((event_type, data))
    )
    yield events


def refused(call: Callable[[], Any]) -> tuple[int, str]:
    """The status and code of the refusal that a call meets."""
    with pytest.raises(HttpError) as error:
        call()
    return error.value.status_code, error.value.code


def in_the_past(**ago: float) -> datetime:
    return datetime.now(UTC) - timedelta(**ago)


__all__ += ["PAYLOAD", "Engine", "Receiver", "in_the_past", "refused"]
