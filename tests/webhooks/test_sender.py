"""What the sender keeps between its steps, and how it ends."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import relay
from webhooks.embedded import delivery
from webhooks.embedded.delivery import Sender
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Status

Send = Callable[..., None]


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a receiver that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def _deliver(sender: Sender) -> None:
    relay.hand_over()
    while sender.step():
        pass


def test_a_connection_that_the_receiver_closed_while_idle_is_not_used_again(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    receiver.keep_alive = 0.3
    with Sender() as sender:
        send("first")
        _deliver(sender)
        time.sleep(1)

        send("second")
        _deliver(sender)

    assert [attempt.status_code for attempt in Attempt.objects.all()] == [200, 200]


def test_its_farewell_cuts_off_what_takes_too_long_and_that_is_sent_again(
    silent: str, send: Send, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "FAREWELL", 0.3)
    send(url=silent)
    relay.hand_over()

    with Sender() as sender:
        sender.step()
        started = time.monotonic()

    assert time.monotonic() - started < 5
    assert not Attempt.objects.exists()
    Delivery.objects.update(url=receiver.url)
    let_time_pass()
    deliver()
    assert Delivery.objects.get().status == Status.SUCCESS
