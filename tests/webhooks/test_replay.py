"""What an endpoint missed is sent by a worker, all of it, and nothing that arrived."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from svix.api import MessageAttempt
from svix.models import EndpointPatch

from accounts.audit import Actor
from accounts.models import AuditEntry, Organization, User
from tests.webhooks.conftest import Receiver, deliver
from webhooks import deliveries, endpoints, erasure, outbox, relay, replays, retention
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import Unreachable, get_svix
from webhooks.models import Attempt, Message, Replay

Send = Callable[..., None]
Start = Callable[..., Replay]
State = Replay.State
HOUR = timedelta(hours=1)


def _switch(organization: Organization, endpoint_id: str, *, disabled: bool) -> None:
    changes = EndpointPatch(disabled=disabled)
    endpoints.update(organization=organization, endpoint_id=endpoint_id, changes=changes, actor=None)


@pytest.fixture
def start(organization: Organization, endpoint: NewEndpoint, owner: User) -> Start:
    """Ask for what the endpoint missed within the hour."""

    def start(endpoint_id: str = endpoint.endpoint.id, **times: Any) -> Replay:
        now = timezone.now()
        return replays.start(
            organization=organization,
            endpoint_id=endpoint_id,
            actor=Actor(owner),
            **({"since": now - HOUR, "until": now + HOUR} | times),
        )

    return start


@pytest.fixture
def missed(organization: Organization, endpoint: NewEndpoint, send: Send) -> None:
    """Five messages that were written while the endpoint was disabled."""
    _switch(organization, endpoint.endpoint.id, disabled=True)
    for number in range(5):
        send(f"job-{number}")
        deliver()
    _switch(organization, endpoint.endpoint.id, disabled=False)


def _arrived(receiver: Receiver) -> list[str]:
    return sorted(json.loads(arrival.body)["data"]["job_id"] for arrival in receiver.arrivals)


def _finish() -> Replay:
    """Let workers go on, and have delivered what they asked for."""
    while replays.go_on():
        pass
    deliver()
    return Replay.objects.latest("pk")


def test_what_was_missed_is_sent_and_what_arrived_or_went_elsewhere_is_not(
    organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Send, start: Start
) -> None:
    send("before")
    deliver()
    _switch(organization, endpoint.endpoint.id, disabled=True)
    for job_id in ("first", "second"):
        send(job_id)
        deliver()
    send("elsewhere", url=receiver.url + "own")
    deliver()
    _switch(organization, endpoint.endpoint.id, disabled=False)
    receiver.arrivals.clear()

    start()
    done = _finish()

    assert _arrived(receiver) == ["first", "second"]
    assert (done.state, done.sent, done.total) == (State.DONE, 2, 2)
    assert done.finished_at


def test_what_was_on_its_way_when_the_endpoint_was_turned_off_is_missed(
    organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Send, start: Start
) -> None:
    send("waiting")
    relay.hand_over()
    _switch(organization, endpoint.endpoint.id, disabled=True)
    deliver()
    _switch(organization, endpoint.endpoint.id, disabled=False)

    start()
    done = _finish()

    assert _arrived(receiver) == ["waiting"]
    assert (done.sent, done.total) == (1, 1)


def test_what_was_canceled_and_is_sent_again_is_not_missed_any_more(
    organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Send, start: Start
) -> None:
    send("waiting")
    relay.hand_over()
    _switch(organization, endpoint.endpoint.id, disabled=True)
    deliver()
    _switch(organization, endpoint.endpoint.id, disabled=False)
    start()
    while replays.go_on():
        pass

    start()
    again = _finish()

    assert (again.sent, again.total) == (0, 0)
    assert _arrived(receiver) == ["waiting"]


@pytest.mark.usefixtures("missed")
def test_again_there_is_nothing_missed(receiver: Receiver, start: Start) -> None:
    start()
    _finish()

    start()
    again = _finish()

    assert len(receiver.arrivals) == 5
    assert (again.state, again.sent, again.total) == (State.DONE, 0, 0)


@pytest.mark.usefixtures("missed")
def test_the_oldest_are_sent_first_over_all_parts_of_the_list(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "AT_ONCE", 2)
    asked: list[str] = []
    resend = MessageAttempt.resend

    def noted(self: Any, app: str, message: str, *others: Any) -> Any:
        asked.append(message)
        return resend(self, app, message, *others)

    monkeypatch.setattr(MessageAttempt, "resend", noted)

    start()
    done = _finish()

    assert asked == list(Message.objects.order_by("created_at").values_list("uid", flat=True))
    assert (done.sent, done.total) == (5, 5)
    assert len(receiver.arrivals) == 5


@pytest.mark.usefixtures("missed")
def test_only_what_was_missed_in_the_time_is_sent(receiver: Receiver, start: Start) -> None:
    written = [message.created_at for message in Message.objects.order_by("created_at")]

    start(since=written[1], until=written[3])
    _finish()

    assert _arrived(receiver) == ["job-1", "job-2"]


def test_types_and_channels_are_heeded(
    organization: Organization, receiver: Receiver, send: Send, start: Start
) -> None:
    made = endpoints.create(
        organization=organization,
        url=receiver.url,
        event_types=["job.completed"],
        channels=["emea"],
        actor=None,
    )
    _switch(organization, made.endpoint.id, disabled=True)
    receiver.is_down = True
    send("heard", channels=["emea", "apac"])
    send("other channel", channels=["apac"])
    send("no channel")
    outbox.send(
        organization=organization, event_type="job.failed", data={"job_id": "type"}, channels=["emea"]
    )
    deliver()
    receiver.is_down = False
    _switch(organization, made.endpoint.id, disabled=False)

    start(made.endpoint.id)
    _finish()

    assert _arrived(receiver) == ["heard"]


def test_what_arrived_is_not_missed_however_much_of_other_types_arrived_in_between(
    organization: Organization,
    receiver: Receiver,
    endpoint: NewEndpoint,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    types = ["job.failed", *["job.completed"] * 4, "job.failed"]
    for number, event_type in enumerate(types):
        outbox.send(organization=organization, event_type=event_type, data={"number": number})
    deliver()
    changes = EndpointPatch(event_types=["job.failed"])
    endpoints.update(organization=organization, endpoint_id=endpoint.endpoint.id, changes=changes, actor=None)
    monkeypatch.setattr(deliveries, "AT_ONCE", 2)

    start()
    done = _finish()

    assert (done.total, done.sent, len(receiver.arrivals)) == (0, 0, 6)


@pytest.mark.usefixtures("missed")
def test_one_at_a_time_is_sent_to_an_endpoint(start: Start) -> None:
    start()

    with pytest.raises(replays.UnderWay):
        start()

    assert Replay.objects.count() == 1
    assert AuditEntry.objects.filter(action="endpoint.replayed").count() == 1


def test_nothing_is_begun_for_a_disabled_endpoint(
    organization: Organization, endpoint: NewEndpoint, start: Start
) -> None:
    _switch(organization, endpoint.endpoint.id, disabled=True)

    with pytest.raises(deliveries.Disabled):
        start()

    assert not Replay.objects.exists()


@pytest.mark.usefixtures("missed")
def test_what_a_killed_worker_had_begun_is_gone_on_with_when_its_lease_has_ended(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    resend = MessageAttempt.resend
    asked: list[str] = []

    def killed_at_the_third(self: Any, app: str, message: str, *others: Any) -> Any:
        asked.append(message)
        if len(asked) == 3:
            raise Killed
        return resend(self, app, message, *others)

    start()
    monkeypatch.setattr(MessageAttempt, "resend", killed_at_the_third)
    with pytest.raises(Killed):
        replays.go_on()
    meanwhile = replays.go_on()
    Replay.objects.update(leased_until=timezone.now() - HOUR)

    done = _finish()

    assert not meanwhile
    assert _arrived(receiver) == [f"job-{number}" for number in range(5)]
    assert (done.state, done.sent, done.total) == (State.DONE, 5, 5)


@pytest.mark.usefixtures("missed")
def test_a_worker_whose_replay_was_taken_up_by_another_stops(start: Start, receiver: Receiver) -> None:
    start()
    claimed = replays._claim()
    Replay.objects.update(leased_until=timezone.now() - HOUR)
    assert claimed
    _finish()

    with pytest.raises(replays._Lost):
        replays._save(claimed, sent=0)

    assert Replay.objects.get().sent == len(receiver.arrivals) == 5


@pytest.mark.usefixtures("missed")
def test_after_its_turn_a_replay_lets_others_go_on(
    start: Start, organization: Organization, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = endpoints.create(organization=organization, url=f"{receiver.url}other", actor=None)
    first, second = start(), start(other.endpoint.id)
    monkeypatch.setattr(replays, "TURN", 0.0)

    replays.go_on()
    claimed = replays._claim()

    assert claimed == second != first


@pytest.mark.usefixtures("missed")
def test_while_the_engine_is_away_it_waits_and_after_a_day_it_is_given_up(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise Unreachable("unreachable", "away", status_code=503)

    start()
    monkeypatch.setattr(deliveries, "missed", away)
    replays.go_on()
    waiting = Replay.objects.get()
    long_ago = timezone.now() - timedelta(days=2)
    Replay.objects.update(leased_until=long_ago, created_at=long_ago)

    replays.go_on()

    assert not waiting.is_finished
    given_up = Replay.objects.get()
    assert given_up.state == State.FAILED
    assert "did not answer" in given_up.problem


@pytest.mark.usefixtures("missed")
def test_an_endpoint_turned_off_meanwhile_stops_it(
    organization: Organization, endpoint: NewEndpoint, start: Start
) -> None:
    start()
    _switch(organization, endpoint.endpoint.id, disabled=True)

    stopped = _finish()

    assert stopped.state == State.FAILED
    assert "turned off" in stopped.problem


@pytest.mark.usefixtures("missed")
def test_an_endpoint_turned_off_amid_the_last_part_is_not_told_as_done(
    organization: Organization, endpoint: NewEndpoint, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    resend = MessageAttempt.resend

    def turned_off(self: Any, app: str, message: str, *others: Any) -> Any:
        _switch(organization, endpoint.endpoint.id, disabled=True)
        return resend(self, app, message, *others)

    start()
    monkeypatch.setattr(MessageAttempt, "resend", turned_off)

    stopped = _finish()

    assert (stopped.state, Attempt.objects.count()) == (State.FAILED, 0)


@pytest.mark.usefixtures("missed")
def test_an_endpoint_deleted_meanwhile_stops_it(
    organization: Organization, endpoint: NewEndpoint, start: Start
) -> None:
    start()
    endpoints.delete(organization=organization, endpoint_id=endpoint.endpoint.id, actor=None)

    stopped = _finish()

    assert stopped.state == State.FAILED
    assert "deleted" in stopped.problem


@pytest.mark.usefixtures("missed")
def test_what_is_erased_is_left_out(organization: Organization, receiver: Receiver, start: Start) -> None:
    erased = Message.objects.earliest("created_at")
    get_svix().message.expunge_content(organization.uid, erased.uid)

    start()
    done = _finish()

    assert (done.state, done.sent, done.total) == (State.DONE, 4, 5)
    assert len(receiver.arrivals) == 4


@pytest.mark.usefixtures("missed")
def test_what_is_sent_is_told_as_sent_by_hand(start: Start) -> None:
    start()
    _finish()

    assert set(Attempt.objects.values_list("trigger", flat=True)) == {Attempt.Trigger.MANUAL}


def test_old_ones_are_pruned_and_those_of_an_erased_organization_too(
    organization: Organization, start: Start
) -> None:
    start()
    _finish()
    start(since=timezone.now() - 2 * HOUR)

    retention.prune(now=timezone.now() + timedelta(days=100))
    assert Replay.objects.count() == 1
    erasure.erase(organization)

    assert not Replay.objects.exists()
