"""Real `deliver` processes: several at once, killed, told to stop, and cut off from the database."""

import signal
import socket
from collections.abc import Callable

import pytest
from django.db import connection

from tests.webhooks.conftest import Receiver, Worker, deliver, let_time_pass, until
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Status

pytestmark = pytest.mark.django_db(transaction=True)

Send = Callable[..., None]


def test_two_at_once_deliver_each_message_once(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, start: Callable[[], Worker]
) -> None:
    for number in range(300):
        send(f"job-{number}")

    workers = [start(), start()]
    until(lambda: Delivery.objects.filter(status=Status.SUCCESS).count() == 300)
    for worker in workers:
        worker.terminate()

    assert [worker.wait(timeout=30) for worker in workers] == [0, 0]
    assert len(receiver.arrivals) == 300
    assert len({arrival.headers["svix-id"] for arrival in receiver.arrivals}) == 300
    assert Attempt.objects.count() == 300


def test_what_a_killed_worker_was_sending_is_sent_again_when_its_lease_ends(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, start: Callable[[], Worker]
) -> None:
    receiver.delay = 2
    send()
    worker = start()
    until(lambda: bool(receiver.arrivals))
    worker.kill()
    worker.wait()
    receiver.delay = 0

    deliver()
    assert len(receiver.arrivals) == 1
    let_time_pass()
    deliver()

    first, second = receiver.arrivals
    assert first.headers["svix-id"] == second.headers["svix-id"]
    assert [attempt.status for attempt in Attempt.objects.all()] == [Status.SUCCESS]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_told_to_stop_finishes_what_it_is_sending(
    number: int, endpoint: NewEndpoint, send: Send, receiver: Receiver, start: Callable[[], Worker]
) -> None:
    receiver.delay = 1
    send()
    worker = start()
    until(lambda: bool(receiver.arrivals))

    worker.send_signal(number)

    assert worker.wait(timeout=30) == 0
    assert [attempt.status for attempt in Attempt.objects.all()] == [Status.SUCCESS]


def test_a_worker_outlives_the_loss_of_its_database(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, start: Callable[[], Worker]
) -> None:
    send("before")
    worker = start()
    until(lambda: Attempt.objects.count() == 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    send("after")

    until(lambda: Attempt.objects.count() == 2)
    assert worker.poll() is None
    assert len(receiver.arrivals) == 2


def test_a_worker_leaves_a_database_that_only_reads_since_a_failover(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, start: Callable[[], Worker]
) -> None:
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    others = (
        "FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid()"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            worker = start()
            until(lambda: _count(f"SELECT count(*) {others}") > 0)
        finally:
            cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

    send()
    until(lambda: Delivery.objects.filter(status=Status.SUCCESS).exists())

    assert worker.poll() is None


def _count(query: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def test_a_silent_receiver_does_not_hold_up_others(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, start: Callable[[], Worker]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for _ in range(20):
            send(url=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        for number in range(50):
            send(f"job-{number}")

        start()

        until(lambda: Attempt.objects.filter(status=Status.SUCCESS).count() == 50)
        assert not Attempt.objects.filter(status=Status.FAIL).exists()
