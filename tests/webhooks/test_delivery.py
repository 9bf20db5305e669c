"""A message on its way to an endpoint: cases 13–15 and 27–30 of the conformance table."""

import json
import time
from collections.abc import Callable

import pytest
from svix.webhooks import Webhook

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import endpoints
from webhooks.embedded.queue import SCHEDULE
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Message, OutboxMessage, Status

pytestmark = pytest.mark.django_db
Send = Callable[..., None]


def test_13_delivery_is_a_post_that_the_sdk_verifies(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()

    deliver()

    [arrival] = receiver.arrivals
    Webhook(endpoint.secret).verify(arrival.body, arrival.headers)
    assert arrival.headers["content-type"] == "application/json"
    assert arrival.headers["svix-id"] == arrival.headers["webhook-id"] == Message.objects.get().uid
    assert json.loads(arrival.body)["data"] == {"job_id": "job-1"}


def test_14_signed_text_is_sent_text(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    send("büro \x00 ☂ \u2028 1e400")

    deliver()

    [arrival] = receiver.arrivals
    Webhook(endpoint.secret).verify(arrival.body, arrival.headers)
    assert json.loads(arrival.body)["data"] == {"job_id": "büro \x00 ☂ \u2028 1e400"}


def test_15_the_id_is_stable_across_retries_and_the_signature_new(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    receiver.answer(500)

    deliver()
    time.sleep(1)  # timestamps are in seconds
    let_time_pass()
    deliver()

    first, second = receiver.arrivals
    assert first.headers["svix-id"] == second.headers["svix-id"]
    assert first.headers["svix-timestamp"] != second.headers["svix-timestamp"]
    assert first.headers["svix-signature"] != second.headers["svix-signature"]
    for arrival in (first, second):
        Webhook(endpoint.secret).verify(arrival.body, arrival.headers)


def test_27_a_success_is_one_attempt(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    send()
    receiver.answer(204)

    deliver()
    let_time_pass()
    deliver()

    assert len(receiver.arrivals) == 1
    assert [(a.status, a.status_code) for a in Attempt.objects.all()] == [(Status.SUCCESS, 204)]
    assert OutboxMessage.objects.get().handed_over_at


@pytest.mark.parametrize("status", [403, 500])
def test_28_a_failure_is_retried_to_the_end_of_the_schedule(
    status: int, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    receiver.answer(*[status] * 20)

    for _ in range(len(SCHEDULE) + 3):
        deliver()
        let_time_pass()

    assert [a.status_code for a in Attempt.objects.all()] == [status] * (1 + len(SCHEDULE))
    assert Delivery.objects.get().status == Status.FAIL
    assert Delivery.objects.get().next_attempt_at is None


def test_29_a_redirect_is_recorded_and_not_followed(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    receiver.answer(308, headers={"location": f"{receiver.url}elsewhere"})

    deliver()

    assert [arrival.path for arrival in receiver.arrivals] == ["/"]
    assert Attempt.objects.get().status_code == 308


def test_30_a_refused_connection_has_code_0_and_says_why(organization: Organization, send: Send) -> None:
    endpoints.create(organization=organization, url="http://127.0.0.1:9/", actor=None)
    send()

    deliver()

    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.status_code) == (Status.FAIL, 0)
    assert "127.0.0.1:9" in attempt.response


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b"x" * 30_000, "x" * 20_000),
        (b"\xff\xfe", "//4="),
        (b"a\x00b", "YQBi"),
    ],
)
def test_42_a_response_is_stored_up_to_20_000_bytes_and_in_base64_if_it_is_not_text(
    body: bytes, stored: str, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    receiver.answer(200, body=body)

    deliver()

    assert Attempt.objects.get().response == stored
