"""The catalogue goes to a Svix server as its event types."""

import json
from collections.abc import Iterator

import httpx
import pytest
import svix
from django.core.management import CommandError, call_command

from webhooks import publishing
from webhooks.events import EVENT_TYPES
from webhooks.gateway import GuardedSvix
from webhooks.publishing import INTERVAL, RETRY, Publisher


class Server:
    """Takes event types, unless it is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.requests: list[httpx.Request] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.is_away:
            raise httpx.ConnectError("away")
        times = {"createdAt": "2026-03-04T09:30:00Z", "updatedAt": "2026-03-04T09:30:00Z"}
        given = json.loads(request.content) | {"name": request.url.path.rpartition("/")[2]}
        return httpx.Response(200, json=given | times)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    client = GuardedSvix("token", svix.SvixOptions(server_url="http://svix.example", retry_schedule=[]))
    client._httpx_client = httpx.Client(transport=httpx.MockTransport(server.answer))
    monkeypatch.setattr(publishing, "get_svix", lambda **_: client)
    return server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr(publishing, "monotonic", lambda: now[0])
    yield now


def test_every_type_is_put_there_with_its_schema_and_example(server: Server) -> None:
    publishing.publish()

    assert {request.method for request in server.requests} == {"PUT"}
    put = {request.url.path.rpartition("/")[2]: json.loads(request.content) for request in server.requests}
    assert put.keys() == EVENT_TYPES.keys()
    for name, body in put.items():
        assert body["description"] == EVENT_TYPES[name].description
        assert body["groupName"] == EVENT_TYPES[name].group
        assert body["schemas"]["1"]["properties"]["data"] == EVENT_TYPES[name].schema
        assert body["schemas"]["1"]["examples"]


def test_what_others_made_there_is_left_alone(server: Server) -> None:
    publishing.publish()

    assert not [request for request in server.requests if request.method != "PUT"]


def test_it_is_done_at_once_and_then_every_hour(server: Server, clock: list[float]) -> None:
    publisher = Publisher()

    publisher.step()
    clock[0] += INTERVAL - 1
    publisher.step()
    assert len(server.requests) == len(EVENT_TYPES)
    clock[0] += 1
    publisher.step()

    assert len(server.requests) == 2 * len(EVENT_TYPES)


def test_a_server_that_is_away_is_asked_once_and_again_in_a_minute(
    server: Server, clock: list[float]
) -> None:
    server.is_away = True
    publisher = Publisher()

    for _ in range(2):
        publisher.step()
    assert len(server.requests) == 1
    server.is_away = False
    clock[0] += RETRY
    publisher.step()

    assert len(server.requests) == 1 + len(EVENT_TYPES)


def test_the_embedded_engine_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("sync_event_types")

    assert "nothing to do" in capsys.readouterr().out


def test_the_command_says_what_it_did(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("sync_event_types")

    assert f"{len(EVENT_TYPES)} event types" in capsys.readouterr().out


def test_the_command_fails_where_the_server_does(server: Server) -> None:
    server.is_away = True

    with pytest.raises(CommandError, match="away"):
        call_command("sync_event_types")
