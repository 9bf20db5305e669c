"""What became of messages, and sending them again: cases 33–38, 41 and 43 of the conformance table."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from svix.api import (
    EndpointGetStatsOptions,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
)
from svix.exceptions import HTTPValidationError
from svix.models import (
    EndpointPatch,
    EndpointSecretRotateIn,
    EventExampleIn,
    MessageAttemptTriggerType,
    MessageStatus,
    RecoverIn,
    StatusCodeClass,
)

from tests.contract.conftest import Engine, Receiver, in_the_past, refused

Told = list[tuple[str, dict[str, Any]]]


def _tried(engine: Engine, app: str, message_id: str) -> list[tuple[int, int]]:
    """The status and trigger of each attempt, the oldest first."""
    found = engine.svix.message_attempt.list_by_msg(
        app, message_id, MessageAttemptListByMsgOptions(limit=250)
    )
    return [(int(attempt.status), int(attempt.trigger_type)) for attempt in reversed(found.data)]


def _with_status(engine: Engine, app: str, endpoint_id: str, status: MessageStatus) -> list[str]:
    options = MessageAttemptListAttemptedMessagesOptions(status=status)
    found = engine.svix.message_attempt.list_attempted_messages(app, endpoint_id, options)
    return [message.id for message in found.data]


def test_case_33_in_the_middle_of_the_schedule_a_message_is_sending_and_its_attempts_are_failed(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url, description="Billing")
    receiver.answer(500)
    message = engine.send(app)

    engine.deliver(lambda: _tried(engine, app, message.id))

    [found] = engine.svix.message_attempt.list_attempted_messages(app, endpoint.id).data
    assert (found.id, found.status, found.status_text) == (message.id, MessageStatus.SENDING, "sending")
    assert found.next_attempt is not None
    assert found.next_attempt > message.timestamp
    [destination] = engine.svix.message_attempt.list_attempted_destinations(app, message.id).data
    assert (destination.id, destination.description) == (endpoint.id, "Billing")
    assert destination.next_attempt == found.next_attempt
    assert _tried(engine, app, message.id) == [(2, 0)]
    assert _with_status(engine, app, endpoint.id, MessageStatus.SENDING) == [message.id]
    assert _with_status(engine, app, endpoint.id, MessageStatus.FAIL) == []


def test_case_34_what_failed_and_then_succeeded_is_a_success(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    receiver.answer(500)
    message = engine.send(app)

    engine.deliver(lambda: _tried(engine, app, message.id))
    engine.retry(1, lambda: len(_tried(engine, app, message.id)) == 2)

    assert _tried(engine, app, message.id) == [(2, 0), (0, 0)]
    assert _with_status(engine, app, endpoint.id, MessageStatus.SUCCESS) == [message.id]
    assert _with_status(engine, app, endpoint.id, MessageStatus.SENDING) == []
    [found] = engine.svix.message_attempt.list_attempted_messages(app, endpoint.id).data
    assert (found.status, found.next_attempt) == (MessageStatus.SUCCESS, None)


def test_case_35_a_resend_is_one_manual_attempt_whatever_the_endpoint_filters(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url, event_types=["job.failed"], channels=["a"])
    message = engine.send(app)
    engine.deliver()
    assert receiver.arrivals == []
    receiver.answer(500)

    engine.svix.message_attempt.resend(app, message.id, endpoint.id)
    engine.deliver(lambda: _tried(engine, app, message.id))

    engine.retry(1)
    assert _tried(engine, app, message.id) == [(2, MessageAttemptTriggerType.MANUAL)]
    assert _with_status(engine, app, endpoint.id, MessageStatus.FAIL) == [message.id]


def test_case_35_a_success_can_be_sent_again(engine: Engine, app: str, receiver: Receiver) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    message = engine.send(app)
    engine.deliver(lambda: _tried(engine, app, message.id))
    receiver.answer(500)

    engine.svix.message_attempt.resend(app, message.id, endpoint.id)
    engine.deliver(lambda: len(_tried(engine, app, message.id)) == 2)

    engine.retry(1)
    assert _tried(engine, app, message.id) == [(0, 0), (2, 1)]
    assert {arrival.headers["svix-id"] for arrival in receiver.arrivals} == {message.id}
    assert _with_status(engine, app, endpoint.id, MessageStatus.SUCCESS) == [message.id]
    assert _with_status(engine, app, endpoint.id, MessageStatus.FAIL) == []


def test_case_35_a_resend_to_a_disabled_endpoint_is_taken_and_does_nothing(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    message = engine.send(app)
    engine.deliver(lambda: _tried(engine, app, message.id))
    engine.svix.endpoint.patch(app, endpoint.id, EndpointPatch(disabled=True))

    engine.svix.message_attempt.resend(app, message.id, endpoint.id)

    engine.deliver()
    assert len(receiver.arrivals) == 1
    assert _with_status(engine, app, endpoint.id, MessageStatus.SUCCESS) == [message.id]


def test_case_36_a_resend_takes_the_place_of_the_retries_that_wait(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    receiver.answer(500, 500)
    message = engine.send(app)
    engine.deliver(lambda: _tried(engine, app, message.id))

    engine.svix.message_attempt.resend(app, message.id, endpoint.id)
    engine.deliver(lambda: len(_tried(engine, app, message.id)) == 2)

    engine.retry(1)
    assert _tried(engine, app, message.id) == [(2, 0), (2, 1)]
    assert _with_status(engine, app, endpoint.id, MessageStatus.FAIL) == [message.id]
    assert _with_status(engine, app, endpoint.id, MessageStatus.SENDING) == []


def test_case_37_what_failed_since_then_is_recovered_by_one_manual_attempt_each(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    receiver.answer(*[500] * (1 + len(engine.schedule)))
    failed = engine.send(app)
    engine.deliver(lambda: _tried(engine, app, failed.id))
    for number, _ in enumerate(engine.schedule, 1):
        engine.retry(number, lambda: len(_tried(engine, app, failed.id)) > number)  # noqa: B023
    failures = _tried(engine, app, failed.id)
    succeeded = engine.send(app)
    engine.deliver(lambda: _tried(engine, app, succeeded.id))
    now = datetime.now(failed.timestamp.tzinfo)

    engine.svix.endpoint.recover(app, endpoint.id, RecoverIn(since=now))
    engine.deliver()
    assert _tried(engine, app, failed.id) == failures
    task = engine.svix.endpoint.recover(app, endpoint.id, RecoverIn(since=now - timedelta(hours=1)))
    engine.deliver(lambda: len(_tried(engine, app, failed.id)) > len(failures))

    engine.retry(1)
    assert task.task == "endpoint.recover"
    assert _tried(engine, app, failed.id) == [*failures, (0, 1)]
    assert _tried(engine, app, succeeded.id) == [(0, 0)]


def test_case_37_two_weeks_are_recovered_at_most(engine: Engine, app: str) -> None:
    endpoint = engine.endpoint(app)

    engine.svix.endpoint.recover(app, endpoint.id, RecoverIn(since=in_the_past(days=14)))
    with pytest.raises(HTTPValidationError):
        engine.svix.endpoint.recover(app, endpoint.id, RecoverIn(since=in_the_past(days=15)))
    until = in_the_past(days=15)
    engine.svix.endpoint.recover(app, endpoint.id, RecoverIn(since=in_the_past(days=20), until=until))


def test_case_38_statistics_count_attempts(engine: Engine, app: str, receiver: Receiver) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    receiver.answer(500)
    for number in (1, 2):
        engine.send(app)
        engine.deliver(lambda: len(receiver.arrivals) == number)  # noqa: B023
    engine.retry(1, lambda: len(receiver.arrivals) == 3)

    engine.deliver(lambda: engine.svix.endpoint.get_stats(app, endpoint.id).success == 2)
    stats = engine.svix.endpoint.get_stats(app, endpoint.id)
    assert (stats.success, stats.fail, stats.pending, stats.sending, stats.canceled) == (2, 1, 0, 0, 0)
    earlier = EndpointGetStatsOptions(since=in_the_past(days=27), until=in_the_past(days=1))
    assert engine.svix.endpoint.get_stats(app, endpoint.id, earlier).success == 0


def test_case_38_statistics_are_of_four_weeks_at_most_and_of_the_past(engine: Engine, app: str) -> None:
    endpoint = engine.endpoint(app)

    def refusal(**options: datetime) -> int:
        given = EndpointGetStatsOptions(**options)
        return refused(lambda: engine.svix.endpoint.get_stats(app, endpoint.id, given))[0]

    engine.svix.endpoint.get_stats(app, endpoint.id, EndpointGetStatsOptions(since=in_the_past(days=28)))
    assert refusal(since=in_the_past(days=29)) == 400
    assert refusal(until=in_the_past(days=-1)) == 400


def test_case_39_attempts_and_attempted_messages_come_in_pages_too(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    sent: list[str] = []
    for _ in range(3):
        sent.insert(0, engine.send(app).id)
        engine.deliver(lambda: _tried(engine, app, sent[0]))

    def attempts(**options: Any) -> Any:
        return engine.svix.message_attempt.list_by_endpoint(
            app, endpoint.id, MessageAttemptListByEndpointOptions(**options)
        )

    def messages(**options: Any) -> Any:
        return engine.svix.message_attempt.list_attempted_messages(
            app, endpoint.id, MessageAttemptListAttemptedMessagesOptions(**options)
        )

    first, of_messages = attempts(limit=2), messages(limit=2)
    rest = attempts(limit=2, iterator=first.iterator)
    assert [attempt.msg_id for attempt in (*first.data, *rest.data)] == sent
    assert (first.done, rest.done) == (False, True)
    assert attempts(limit=2, iterator=rest.prev_iterator).data == first.data
    rest = messages(limit=2, iterator=of_messages.iterator)
    assert [message.id for message in (*of_messages.data, *rest.data)] == sent
    assert [one.id for one in messages(limit=2, iterator=rest.prev_iterator).data] == sent[:2]


def test_attempts_are_filtered_by_what_came_of_them_and_of_which_messages(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    other = engine.endpoint(app, "http://127.0.0.1:9/", event_types=["job.failed"])
    receiver.answer(404)
    first = engine.send(app, channels=["a"])
    engine.deliver(lambda: _tried(engine, app, first.id))
    second = engine.send(app, event_type="job.failed")
    engine.deliver(lambda: len(_tried(engine, app, second.id)) == 2)

    def of_endpoint(endpoint_id: str, **options: Any) -> list[str]:
        found = engine.svix.message_attempt.list_by_endpoint(
            app, endpoint_id, MessageAttemptListByEndpointOptions(**options)
        )
        return [attempt.msg_id for attempt in found.data]

    def of_message(message_id: str, **options: Any) -> list[str]:
        found = engine.svix.message_attempt.list_by_msg(
            app, message_id, MessageAttemptListByMsgOptions(**options)
        )
        return [attempt.endpoint_id for attempt in found.data]

    assert of_endpoint(endpoint.id) == [second.id, first.id]
    assert of_endpoint(endpoint.id, status=MessageStatus.FAIL) == [first.id]
    assert of_endpoint(endpoint.id, status=MessageStatus.SUCCESS) == [second.id]
    assert of_endpoint(endpoint.id, status_code_class=StatusCodeClass.CODE2XX) == [second.id]
    assert of_endpoint(endpoint.id, status_code_class=StatusCodeClass.CODE4XX) == [first.id]
    assert of_endpoint(other.id, status_code_class=StatusCodeClass.CODE_NONE) == [second.id]
    assert of_endpoint(endpoint.id, event_types=["job.failed"]) == [second.id]
    assert of_endpoint(endpoint.id, channel="a") == [first.id]
    assert of_endpoint(endpoint.id, before=in_the_past(minutes=5)) == []
    assert of_endpoint(endpoint.id, after=in_the_past(minutes=5)) == [second.id, first.id]
    assert sorted(of_message(second.id)) == sorted([endpoint.id, other.id])
    assert of_message(second.id, endpoint_id=other.id) == [other.id]
    assert of_message(second.id, status=MessageStatus.SUCCESS) == [endpoint.id]


def test_case_41_an_example_is_sent_to_one_endpoint(engine: Engine, app: str, receiver: Receiver) -> None:
    engine.endpoint(app, f"{receiver.url}other")
    endpoint = engine.endpoint(app, receiver.url)

    message = engine.svix.endpoint.send_example(app, endpoint.id, EventExampleIn(event_type="svix.ping"))
    engine.deliver(lambda: receiver.arrivals)

    engine.deliver()
    [arrival] = receiver.arrivals
    assert (arrival.path, arrival.headers["svix-id"]) == ("/", message.id)
    assert json.loads(arrival.body) == {"success": True}
    unknown = EventExampleIn(event_type="no.such.type")
    assert refused(lambda: engine.svix.endpoint.send_example(app, endpoint.id, unknown))[0] == 404


def test_case_43_the_operator_is_told_of_changed_endpoints(engine: Engine, app: str, told: Told) -> None:
    endpoint = engine.endpoint(app, uid="billing")
    engine.svix.endpoint.patch(app, endpoint.id, EndpointPatch(description="Billing"))
    engine.svix.endpoint.rotate_secret(app, endpoint.id, EndpointSecretRotateIn())
    engine.svix.endpoint.delete(app, endpoint.id)

    assert [event_type for event_type, _ in told] == [
        "endpoint.created",
        "endpoint.updated",
        "endpoint.updated",
        "endpoint.deleted",
    ]
    about = {
        "appId": engine.svix.application.get(app).id,
        "appUid": app,
        "endpointId": endpoint.id,
        "endpointUid": "billing",
    }
    assert [data for _, data in told] == [about] * 4


def test_case_43_the_operator_is_told_of_the_fourth_failure_and_of_the_last(
    engine: Engine, app: str, told: Told, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    told.clear()
    receiver.answer(*[500] * 20)
    message = engine.send(app, event_id="evt-1")
    engine.deliver(lambda: _tried(engine, app, message.id))
    for _ in range(2):
        engine.retry(1)
    assert told == []

    engine.retry(1)
    assert [event_type for event_type, _ in told] == ["message.attempt.failing"]
    for _ in engine.schedule[3:]:
        engine.retry(1)

    assert [event_type for event_type, _ in told] == ["message.attempt.failing", "message.attempt.exhausted"]
    data = told[-1][1]
    assert (data["appUid"], data["endpointId"]) == (app, endpoint.id)
    assert (data["msgId"], data["msgEventId"]) == (message.id, "evt-1")
    assert data["lastAttempt"]["responseStatusCode"] == 500


def test_case_43_the_operator_is_told_that_a_failing_message_has_arrived(
    engine: Engine, app: str, told: Told, receiver: Receiver
) -> None:
    engine.endpoint(app, receiver.url)
    told.clear()
    receiver.answer(*[500] * 4)
    message = engine.send(app)
    engine.deliver(lambda: _tried(engine, app, message.id))
    for _ in range(4):
        engine.retry(1)

    assert [event_type for event_type, _ in told] == ["message.attempt.failing", "message.attempt.recovered"]
