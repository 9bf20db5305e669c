"""Receivers that hang do not take the places of those that answer, and the cap of each holds over all workers."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from django.db.models import Count

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, Worker, until
from webhooks import endpoints, outbox, relay
from webhooks.embedded import delivery, queue
from webhooks.embedded.delivery import Sender
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Endpoint, OutboxMessage, Status

Send = Callable[..., None]

HANGING = 20


@pytest.fixture(autouse=True)
def _end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FAREWELL", 0)


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs does so for longer than a busy machine takes for the rest of the test."""
    monkeypatch.setattr(delivery, "TIMEOUT", 120.0)
    monkeypatch.setattr(queue, "LEASE", 180.0)


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a receiver that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_000) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def _subscribe_others(url: str, count: int = HANGING) -> list[Organization]:
    others = [Organization.objects.create(name=f"Hanging {number}") for number in range(count)]
    for each in others:
        endpoints.create(organization=each, url=url, actor=None)
    return others


def _send(organizations: list[Organization], count: int) -> None:
    for organization in organizations:
        for number in range(count):
            outbox.send(
                organization=organization, event_type="job.completed", data={"job_id": f"job-{number}"}
            )


def _run(sender: Sender, successes: int) -> None:
    """Hand over and send until so many have arrived."""
    while Attempt.objects.filter(status=Status.SUCCESS).count() < successes:
        relay.hand_over()
        sender.step(wait=0.01)


def _under_way() -> Counter[str]:
    lanes = Delivery.objects.filter(is_under_way=True).values("endpoint__url").annotate(count=Count("pk"))
    return Counter({lane["endpoint__url"]: lane["count"] for lane in lanes})


@pytest.mark.usefixtures("_patient")
def test_endpoints_that_hang_get_one_place_each_and_others_are_served_meanwhile(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, silent: str
) -> None:
    _send(_subscribe_others(silent), 30)
    for number in range(100):
        send(f"job-{number}")

    with Sender() as sender:
        _run(sender, successes=100)

        assert not Attempt.objects.filter(status=Status.FAIL).exists()  # none has come to its timeout
        assert _under_way() == {silent: HANGING}


@pytest.mark.usefixtures("_patient")
def test_endpoints_that_answered_quickly_and_then_hang_leave_places_to_others(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PLACES", 64)
    others = _subscribe_others(receiver.url, count=8)
    with Sender() as sender:
        _send(others, 1)
        _run(sender, successes=8)
        Endpoint.objects.exclude(uid=endpoint.endpoint.id).update(url=silent)
        for lane in Endpoint.objects.values_list("pk", flat=True):
            sender._places[lane] = queue.AT_ONCE_IN_LANE
        _send(others, queue.AT_ONCE_IN_LANE)
        while OutboxMessage.objects.filter(handed_over_at=None).exists():
            relay.hand_over()
        while _under_way()[silent] < delivery.PLACES:  # all that quick ones may take
            sender.step(wait=0.01)
        for number in range(100):
            send(f"job-{number}")

        _run(sender, successes=8 + 100)

        assert not Attempt.objects.filter(status=Status.FAIL).exists()


@pytest.mark.django_db
def test_endpoints_known_to_be_slow_leave_half_of_the_places_to_others(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PLACES", HANGING // 2)
    _send(_subscribe_others(silent), 2)
    while OutboxMessage.objects.filter(handed_over_at=None).exists():
        relay.hand_over()
    with Sender() as sender:
        sender._places = dict.fromkeys(Endpoint.objects.values_list("pk", flat=True), 1)

        for _ in range(3):
            sender.step(wait=0.01)

        assert _under_way() == {silent: HANGING // 2}


@pytest.mark.usefixtures("_patient")
def test_new_endpoints_that_hang_however_many_leave_places_to_those_that_answer(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PLACES", 4)
    monkeypatch.setattr(delivery, "MOST", 12)
    monkeypatch.setattr(delivery, "LONG", 0.0)
    _send(_subscribe_others(silent), 1)
    while OutboxMessage.objects.filter(handed_over_at=None).exists():
        relay.hand_over()
    with Sender() as sender:
        for _ in range(6):
            sender.step(wait=0.01)
        assert _under_way() == {silent: 8}
        for number in range(10):
            send(f"job-{number}")
        sender._places[Endpoint.objects.get(uid=endpoint.endpoint.id).pk] = queue.AT_ONCE_IN_LANE

        _run(sender, successes=10)

        assert not Attempt.objects.filter(status=Status.FAIL).exists()


def test_a_lane_gets_no_more_at_once_from_two_workers_than_from_one(
    endpoint: NewEndpoint, send: Send
) -> None:
    for number in range(2 * queue.AT_ONCE_IN_LANE):
        send(f"job-{number}")
    relay.hand_over()

    first, second = queue.claim(64), queue.claim(64)

    assert (len(first), len(second)) == (queue.AT_ONCE_IN_LANE, 0)


def test_a_lane_of_which_a_worker_knows_nothing_gets_one_place(endpoint: NewEndpoint, send: Send) -> None:
    for number in range(3):
        send(f"job-{number}")
    relay.hand_over()

    assert len(queue.claim(64, slow_limit=64, places={})) == 1
    assert queue.claim(64, slow_limit=64, places={}) == []


def test_what_a_dead_worker_had_under_way_takes_no_places_after_its_lease(
    endpoint: NewEndpoint, send: Send
) -> None:
    for number in range(2 * queue.AT_ONCE_IN_LANE):
        send(f"job-{number}")
    relay.hand_over()
    dead = queue.claim(64)
    Delivery.objects.filter(pk__in=[each.delivery_id for each in dead]).update(
        next_attempt_at=dead[0].lease - 2 * (dead[0].lease - Delivery.objects.earliest("pk").created_at)
    )

    assert len(queue.claim(64)) == queue.AT_ONCE_IN_LANE


@pytest.mark.django_db(transaction=True)
def test_two_workers_together_keep_to_an_endpoints_places(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, start: Callable[[], Worker]
) -> None:
    receiver.delay = 0.05
    for number in range(200):
        send(f"job-{number}")
    most = 0

    def is_done() -> bool:
        nonlocal most
        most = max(most, _under_way()[receiver.url])
        return Attempt.objects.filter(status=Status.SUCCESS).count() == 200

    workers = [start(), start()]
    until(is_done)

    assert len(workers) == 2
    assert 1 < most <= queue.AT_ONCE_IN_LANE


def test_hosts_that_jobs_named_share_sixteen_lanes_of_their_organization(
    organization: Organization, send: Send
) -> None:
    other = Organization.objects.create(name="Other")
    for number in range(40):
        for host in (f"host-{number}.example", f"HOST-{number}.example"):
            send(url=f"https://{host}/{number}")
    outbox.send(organization=other, event_type="job.completed", data={}, url="https://host-1.example/")
    while OutboxMessage.objects.filter(handed_over_at=None).exists():
        relay.hand_over()

    lanes = dict(Delivery.objects.filter(organization=organization).values_list("url", "lane"))

    assert 8 < len(set(lanes.values())) <= 16
    assert all(lanes[url] == lanes[url.replace("HOST", "host")] for url in lanes)
    assert Delivery.objects.get(organization=other).lane not in lanes.values()


@pytest.mark.usefixtures("_patient")
def test_a_url_of_a_job_that_hangs_does_not_hold_up_another_host(
    send: Send, receiver: Receiver, silent: str
) -> None:
    for number in range(20):
        send(f"job-{number}", url=silent)
    for number in range(20):
        send(f"job-{number}", url=receiver.url)
    while OutboxMessage.objects.filter(handed_over_at=None).exists():
        relay.hand_over()
    # As if their names fell into different parts, which those of this machine may not.
    Delivery.objects.filter(url=silent).update(lane=-1)
    Delivery.objects.filter(url=receiver.url).update(lane=-2)

    with Sender() as sender:
        _run(sender, successes=20)

        assert not Attempt.objects.filter(status=Status.FAIL).exists()
