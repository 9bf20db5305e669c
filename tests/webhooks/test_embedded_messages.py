"""What the embedded engine makes of messages, beyond what the contract asks of every engine."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from svix.api import (
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageCreateOptions,
    MessageListOptions,
)
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import (
    EndpointPatch,
    EventExampleIn,
    EventTypePatch,
    EventTypeUpsertIn,
    MessageIn,
    MessageOut,
    MessageStatus,
)

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks.embedded import attempts, idempotency
from webhooks.endpoints import NewEndpoint
from webhooks.events import EVENT_TYPES
from webhooks.gateway import get_svix
from webhooks.models import Delivery, Message, RememberedAnswer, Status

PAYLOAD = {"type": "job.completed", "data": {"job_id": "job-1"}}


def _send(organization: Organization, key: str | None = None, **fields: Any) -> MessageOut:
    message = MessageIn(**({"event_type": "job.completed", "payload": PAYLOAD} | fields))
    return get_svix().message.create(organization.uid, message, MessageCreateOptions(idempotency_key=key))


@pytest.mark.parametrize(
    "fields",
    [
        {"deliver_at": timezone.now() + timedelta(hours=1)},
        {"tags": ["a"]},
        {"transformations_params": {"rawPayload": "x"}},
        {"payload_retention_period": 5},
    ],
)
def test_what_the_engine_does_not_do_is_refused_rather_than_dropped(
    fields: dict[str, Any], organization: Organization, endpoint: NewEndpoint
) -> None:
    with pytest.raises(HTTPValidationError):
        _send(organization, **fields)

    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "options", [{"channel": "\x00"}, {"event_types": ["\x00"]}, {"event_types": ["two words"]}, {"tag": "a"}]
)
def test_filters_that_name_nothing_are_refused(
    options: dict[str, Any], organization: Organization, endpoint: NewEndpoint
) -> None:
    with pytest.raises(HTTPValidationError):
        get_svix().message.list(organization.uid, MessageListOptions(**options))


def test_what_waits_to_be_sent_of_an_expunged_message_is_canceled(
    organization: Organization, endpoint: NewEndpoint, receiver: Receiver
) -> None:
    message = _send(organization)
    receiver.answer(500)
    deliver()

    get_svix().message.expunge_content(organization.uid, message.id)
    let_time_pass()
    deliver()

    assert len(receiver.arrivals) == 1
    assert Delivery.objects.get().status == Status.CANCELED
    assert Message.objects.get().expunged_at
    options = MessageAttemptListAttemptedMessagesOptions(status=MessageStatus.CANCELED)
    found = get_svix().message_attempt.list_attempted_messages(
        organization.uid, endpoint.endpoint.id, options
    )
    assert [one.id for one in found.data] == [message.id]


def test_an_example_is_what_the_catalogue_says_or_what_is_given(
    organization: Organization, endpoint: NewEndpoint, receiver: Receiver
) -> None:
    svix, uid = get_svix(), endpoint.endpoint.id
    svix.endpoint.patch(organization.uid, uid, EndpointPatch(event_types=["job.failed"]))

    svix.endpoint.send_example(organization.uid, uid, EventExampleIn(event_type="job.completed"))
    svix.endpoint.send_example(
        organization.uid, uid, EventExampleIn(event_type="job.completed", payload={"edited": True})
    )
    deliver()

    bodies = [json.loads(arrival.body) for arrival in receiver.arrivals]
    [example] = [body for body in bodies if "data" in body]
    assert example["type"] == "job.completed"
    assert example["data"] == EVENT_TYPES["job.completed"].example
    assert {"edited": True} in bodies


def test_the_catalogue_is_there_and_stays(organization: Organization) -> None:
    svix = get_svix()

    put = svix.event_type.upsert("job.completed", EventTypeUpsertIn(description="Something else"))

    assert put.description == EVENT_TYPES["job.completed"].description
    assert set(EVENT_TYPES) <= {one.name for one in svix.event_type.list().data}
    for call in (
        lambda: svix.event_type.patch("job.completed", EventTypePatch(description="Something else")),
        lambda: svix.event_type.delete("job.completed"),
    ):
        with pytest.raises(HttpError) as error:
            call()
        assert error.value.status_code == 409


def test_a_key_is_remembered_for_twelve_hours(organization: Organization, endpoint: NewEndpoint) -> None:
    first = _send(organization, "key-1")
    RememberedAnswer.objects.update(created_at=timezone.now() - timedelta(hours=11, minutes=59))
    again = _send(organization, "key-1")
    RememberedAnswer.objects.update(created_at=timezone.now() - timedelta(hours=12))
    later = _send(organization, "key-1")

    assert again == first
    assert later.id != first.id
    assert Message.objects.count() == 2


def test_what_is_too_old_to_be_asked_for_is_pruned(organization: Organization, endpoint: NewEndpoint) -> None:
    _send(organization, "key-1")
    RememberedAnswer.objects.update(created_at=timezone.now() - timedelta(hours=12))
    _send(organization, "key-2")

    assert idempotency.prune() == 1

    assert RememberedAnswer.objects.count() == 1


def test_a_key_stands_for_one_path(
    organization: Organization, other_organization: Organization, endpoint: NewEndpoint
) -> None:
    _send(organization, "key-1")

    with pytest.raises(HttpError) as error:
        _send(other_organization, "key-1")

    assert error.value.status_code == 404


def test_requests_without_a_key_of_their_own_are_not_remembered(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    _send(organization)

    assert not RememberedAnswer.objects.exists()


def test_lists_ask_as_much_for_one_row_as_for_many(
    organization: Organization,
    endpoint: NewEndpoint,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    svix, uid = get_svix(), endpoint.endpoint.id
    messages = [_send(organization).id for _ in range(5)]
    deliver()

    for call in (
        lambda: svix.message.list(organization.uid),
        lambda: svix.endpoint.list(organization.uid),
        lambda: svix.message_attempt.list_by_endpoint(
            organization.uid, uid, MessageAttemptListByEndpointOptions(with_msg=True, with_content=True)
        ),
        lambda: svix.message_attempt.list_by_msg(organization.uid, messages[0]),
        lambda: svix.message_attempt.list_attempted_messages(organization.uid, uid),
        lambda: svix.message_attempt.list_attempted_destinations(organization.uid, messages[0]),
    ):
        with django_assert_max_num_queries(3):
            assert call().data


@pytest.mark.parametrize("few", [0, 1, 500])
def test_what_waits_is_listed_be_it_few_or_many(
    organization: Organization,
    endpoint: NewEndpoint,
    receiver: Receiver,
    send: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    few: int,
) -> None:
    monkeypatch.setattr(attempts, "FEW", few)
    receiver.answer(500, 500)
    for number in range(3):
        send(f"job-{number}")
        deliver()

    options = MessageAttemptListAttemptedMessagesOptions(status=MessageStatus.SENDING)
    listed = get_svix().message_attempt.list_attempted_messages(
        organization.uid, endpoint.endpoint.id, options
    )

    newest_first = Message.objects.order_by("-created_at").values_list("uid", flat=True)
    assert [message.id for message in listed.data] == list(newest_first)[1:]
