"""Messages: cases 19–26 of the conformance table."""

from typing import Any

import pytest
from svix.api import MessageCreateOptions, MessageGetOptions, MessageListOptions
from svix.exceptions import HTTPValidationError
from svix.models import ApplicationIn, EndpointPatch, MessageIn

from tests.contract.conftest import PAYLOAD, Engine, Receiver, refused


def test_case_19_only_endpoints_that_want_the_type_get_it(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    engine.endpoint(app, f"{receiver.url}all")
    engine.endpoint(app, f"{receiver.url}completed", event_types=["job.completed"])
    engine.endpoint(app, f"{receiver.url}failed", event_types=["job.failed"])
    engine.send(app)

    engine.deliver(lambda: len(receiver.arrivals) >= 2)

    engine.deliver()
    assert sorted(arrival.path for arrival in receiver.arrivals) == ["/all", "/completed"]


@pytest.mark.parametrize(
    ("of_endpoint", "of_message", "arrives"),
    [
        (None, None, True),
        (None, ["a"], True),
        (["a", "b"], ["b", "c"], True),
        (["a"], ["b"], False),
        (["a"], None, False),
    ],
)
def test_case_20_channels_must_overlap_where_an_endpoint_has_some(
    of_endpoint: list[str] | None,
    of_message: list[str] | None,
    arrives: bool,
    engine: Engine,
    app: str,
    receiver: Receiver,
) -> None:
    engine.endpoint(app, f"{receiver.url}always")
    engine.endpoint(app, f"{receiver.url}asked", channels=of_endpoint)
    engine.send(app, channels=of_message)

    engine.deliver(lambda: len(receiver.arrivals) >= 1 + arrives)

    engine.deliver()
    assert sorted(arrival.path for arrival in receiver.arrivals) == ["/always", "/asked"][: 1 + arrives]


def test_case_21_a_disabled_or_deleted_endpoint_gets_nothing_and_the_message_is_taken(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    disabled = engine.endpoint(app, f"{receiver.url}disabled")
    engine.svix.endpoint.patch(app, disabled.id, EndpointPatch(disabled=True))
    deleted = engine.endpoint(app, f"{receiver.url}deleted")
    engine.svix.endpoint.delete(app, deleted.id)
    born_disabled = engine.endpoint(app, f"{receiver.url}born-disabled", disabled=True)

    message = engine.send(app)

    engine.deliver()
    assert receiver.arrivals == []
    assert born_disabled.disabled
    assert engine.svix.message.get(app, message.id).id == message.id


def test_case_22_an_event_id_is_taken_once_in_an_application(engine: Engine, app: str) -> None:
    engine.send(app, event_id="evt-1")

    assert refused(lambda: engine.send(app, event_id="evt-1"))[0] == 409
    assert len(engine.svix.message.list(app).data) == 1


def test_case_23_a_message_may_bring_its_application_along(engine: Engine) -> None:
    uid = engine.new_uid()

    assert refused(lambda: engine.send(uid)) == (404, "not_found")
    with pytest.raises(HTTPValidationError):
        engine.send(uid, application=ApplicationIn(uid=engine.new_uid(), name="Another"))
    engine.send(uid, application=ApplicationIn(uid=uid, name="Brought along"))
    engine.send(uid, application=ApplicationIn(uid=uid, name="Not changed"))

    assert engine.svix.application.get(uid).name == "Brought along"
    assert len(engine.svix.message.list(uid).data) == 2


@pytest.mark.parametrize(("with_content", "payload"), [(False, {}), (True, PAYLOAD)])
def test_case_24_the_payload_comes_back_only_with_content(
    with_content: bool, payload: dict[str, Any], engine: Engine, app: str
) -> None:
    message = MessageIn(event_type="job.completed", payload=PAYLOAD)

    made = engine.svix.message.create(app, message, MessageCreateOptions(with_content=with_content))

    found = engine.svix.message.get(app, made.id, MessageGetOptions(with_content=with_content))
    [listed] = engine.svix.message.list(app, MessageListOptions(with_content=with_content)).data
    assert made.payload == found.payload == listed.payload == payload


def test_case_25_an_expunged_message_has_no_payload_and_is_not_sent_again(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    message = engine.send(app)
    engine.deliver(lambda: receiver.arrivals)

    engine.svix.message.expunge_content(app, message.id)

    found = engine.svix.message.get(app, message.id, MessageGetOptions(with_content=True))
    assert found.payload == {"expired": True}
    assert refused(lambda: engine.svix.message_attempt.resend(app, message.id, endpoint.id)) == (
        400,
        "missing_payload",
    )


def test_case_26_a_message_of_eight_megabytes_is_too_large(engine: Engine, app: str) -> None:
    status, _ = refused(lambda: engine.send(app, payload={"data": "x" * 8 * 1024 * 1024}))

    assert status == 413
    assert engine.svix.message.list(app).data == []


def test_messages_are_listed_by_type_channel_and_time(engine: Engine, app: str) -> None:
    first = engine.send(app, channels=["a"])
    second = engine.send(app, event_type="job.failed", channels=["a", "b"])
    third = engine.send(app, event_type="job.failed")

    def listed(**options: Any) -> list[str]:
        return [one.id for one in engine.svix.message.list(app, MessageListOptions(**options)).data]

    assert listed() == [third.id, second.id, first.id]
    assert listed(event_types=["job.failed"]) == [third.id, second.id]
    assert listed(event_types=["job.failed", "job.completed"]) == [third.id, second.id, first.id]
    assert listed(channel="b") == [second.id]
    assert listed(before=third.timestamp) == [second.id, first.id]
    assert listed(after=first.timestamp, before=third.timestamp) == [second.id]
    assert listed(after=first.timestamp, limit=1) == [second.id]
    assert listed(limit=1, iterator=f"-{first.id}") == [second.id]
