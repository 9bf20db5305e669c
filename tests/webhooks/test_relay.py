"""From the outbox to the engine: in order, once, and one organization's trouble stays its own."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone
from pytest_django import Settings
from svix.api import Message as MessageApi
from svix.exceptions import HttpError

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import endpoints, outbox, relay
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import get_embedded
from webhooks.models import Message, OutboxMessage

Send = Callable[..., None]


@pytest.fixture
def engine(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Callable[[Callable[[Any], Exception | None]], None]:
    """Have a server that fails for messages of which the given function returns an error."""
    create = MessageApi.create

    def break_for(error_of: Callable[[Any], Exception | None]) -> None:
        settings.SVIX_SERVER_URL, settings.SVIX_AUTH_TOKEN = "http://127.0.0.1:9", "token"

        def failing(self: MessageApi, app_id: str, message_in: Any, *rest: Any) -> Any:
            if error := error_of(message_in):
                raise error
            return create(get_embedded().message, app_id, message_in, *rest)

        monkeypatch.setattr(MessageApi, "create", failing)

    return break_for


def _job_of(message_in: Any) -> str:
    return str(message_in.payload["data"]["job_id"])


def _taken() -> list[str]:
    return [json.loads(message.payload)["data"]["job_id"] for message in Message.objects.order_by("id")]


def test_messages_of_an_organization_arrive_in_order(endpoint: NewEndpoint, send: Send) -> None:
    jobs = [f"job-{number}" for number in range(2 * relay.OF_ONE_ORGANIZATION + 1)]
    for job in jobs:
        send(job)

    while relay.hand_over():
        pass

    assert _taken() == jobs


def test_a_message_handed_over_before_is_handed_over_once(endpoint: NewEndpoint, send: Send) -> None:
    send()
    relay.hand_over()
    OutboxMessage.objects.update(handed_over_at=None)
    let_time_pass()

    relay.hand_over()

    assert Message.objects.count() == 1
    assert OutboxMessage.objects.get().handed_over_at


def test_one_that_fails_keeps_its_place_and_is_tried_again(
    endpoint: NewEndpoint, send: Send, engine: Any
) -> None:
    for job in ("a", "b", "c"):
        send(job)
    error = HttpError(code="server_error", detail="try later", status_code=500)
    engine(lambda message: error if _job_of(message) == "b" else None)

    relay.hand_over()
    relay.hand_over()

    waiting = OutboxMessage.objects.filter(handed_over_at=None).order_by("id")
    assert _taken() == ["a"]
    assert [message.attempts for message in waiting] == [1, 0]
    assert "try later" in waiting[0].last_error
    assert waiting[0].next_attempt_at > timezone.now()

    engine(lambda message: None)
    let_time_pass()
    relay.hand_over()
    assert _taken() == ["a", "b", "c"]


def test_one_that_is_refused_for_good_is_passed_by(endpoint: NewEndpoint, send: Send, engine: Any) -> None:
    for job in ("a", "b", "c"):
        send(job)
    error = HttpError(code="too_large", detail="too large", status_code=413)
    engine(lambda message: error if _job_of(message) == "b" else None)

    relay.hand_over()

    assert _taken() == ["a", "c"]
    refused = OutboxMessage.objects.exclude(refused_at=None).get()
    assert "too large" in refused.last_error


def test_the_embedded_engine_refuses_one_and_takes_the_rest_in_order(
    other_organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    endpoints.create(organization=other_organization, url=receiver.url, actor=None)
    outbox.send(organization=other_organization, event_type="job.completed", data={"job_id": "other"})
    send("a")
    send("b", channels=["not a channel"])
    send("c")

    relay.hand_over()

    assert sorted(_taken()) == ["a", "c", "other"]
    assert [job for job in _taken() if job != "other"] == ["a", "c"]
    refused = OutboxMessage.objects.exclude(refused_at=None).get()
    assert "channels" in refused.last_error
    assert not OutboxMessage.objects.filter(handed_over_at=None, refused_at=None).exists()


def test_the_embedded_engine_refuses_what_is_nested_too_deep(endpoint: NewEndpoint, send: Send) -> None:
    data: dict[str, Any] = {}
    for _ in range(300):
        data = {"a": data}
    send("deep", channels=None)
    OutboxMessage.objects.update(payload=json.dumps({"type": "job.completed", "data": data}))

    relay.hand_over()

    assert OutboxMessage.objects.get().refused_at
    assert not Message.objects.exists()


def test_a_worker_leaves_the_outbox_to_the_one_that_is_about_it(endpoint: NewEndpoint, send: Send) -> None:
    send()
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtext('webhooks.relay'))")

        assert relay.hand_over() == 0

        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('webhooks.relay'))")
        assert relay.hand_over() == 1
    finally:
        other.close()


def test_one_bad_message_does_not_hold_up_other_organizations(
    organization: Organization,
    other_organization: Organization,
    endpoint: NewEndpoint,
    receiver: Receiver,
    engine: Any,
) -> None:
    endpoints.create(organization=other_organization, url=receiver.url, actor=None)
    for each in (organization, other_organization):
        outbox.send(organization=each, event_type="job.completed", data={"job_id": each.name})
    error = HttpError(code="server_error", detail="", status_code=500)
    engine(lambda message: error if _job_of(message) == organization.name else None)

    relay.hand_over()

    assert _taken() == [other_organization.name]


def test_while_the_engine_is_away_everything_waits_and_nothing_is_lost(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    for job in ("a", "b"):
        send(job)

    with override_settings(SVIX_SERVER_URL="http://127.0.0.1:9", SVIX_AUTH_TOKEN="token"):
        relay.hand_over()
        assert (
            OutboxMessage.objects.filter(handed_over_at=None, next_attempt_at__gt=timezone.now()).count() == 2
        )
    let_time_pass()
    deliver()

    assert {json.loads(arrival.body)["data"]["job_id"] for arrival in receiver.arrivals} == {"a", "b"}


def test_a_row_whose_worker_died_falls_due_again(endpoint: NewEndpoint, send: Send) -> None:
    send()
    relay._claim()

    assert relay.hand_over() == 0
    let_time_pass()
    assert relay.hand_over() == 1
    assert Message.objects.count() == 1


def test_what_an_organization_left_behind_is_removed(organization: Organization, receiver: Receiver) -> None:
    draft = outbox.Draft(organization.pk + 1_000_000, "job.completed", {"job_id": "job-1"}, timezone.now())
    outbox.send_many([draft])

    relay.hand_over()

    assert not OutboxMessage.objects.exists()
