"""Deliveries and what is signed: cases 13–17, 27–30 and 42 of the conformance table."""

import base64
import json
import time
from datetime import UTC, datetime

import pytest
from svix.api import MessageAttemptListByMsgOptions
from svix.exceptions import HTTPValidationError
from svix.models import EndpointHeadersIn, EndpointSecretRotateIn, MessageAttemptOut
from svix.webhooks import Webhook, WebhookVerificationError

from tests.contract.conftest import PAYLOAD, Engine, Receiver, refused


def _attempts(engine: Engine, app: str, message_id: str) -> list[MessageAttemptOut]:
    options = MessageAttemptListByMsgOptions(with_content=True, limit=250)
    return engine.svix.message_attempt.list_by_msg(app, message_id, options).data


def test_case_13_delivery_is_a_post_that_the_sdk_verifies(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, f"{receiver.url}hook?a=b")
    message = engine.send(app)

    engine.deliver(lambda: receiver.arrivals)

    [arrival] = receiver.arrivals
    assert arrival.path == "/hook?a=b"
    assert arrival.headers["content-type"] == "application/json"
    assert arrival.headers["svix-id"] == message.id
    Webhook(engine.svix.endpoint.get_secret(app, endpoint.id).key).verify(arrival.body, arrival.headers)
    assert json.loads(arrival.body) == PAYLOAD


def test_case_14_what_is_signed_is_what_is_sent(engine: Engine, app: str, receiver: Receiver) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    payload = {
        "text": "büro ☂ \u2028 </script> \\u0041",
        "number": 0.1,
        "whole": 12345678901234567,
        "none": None,
    }
    engine.send(app, payload=payload)

    engine.deliver(lambda: receiver.arrivals)

    [arrival] = receiver.arrivals
    Webhook(engine.svix.endpoint.get_secret(app, endpoint.id).key).verify(arrival.body, arrival.headers)
    assert json.loads(arrival.body) == payload


def test_case_15_the_id_stays_across_retries_and_each_is_signed_anew(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    receiver.answer(500)
    message = engine.send(app)

    engine.deliver(lambda: receiver.arrivals)
    time.sleep(1)  # timestamps are in seconds
    engine.retry(1, lambda: len(receiver.arrivals) == 2)

    first, second = (arrival.headers for arrival in receiver.arrivals)
    assert first["svix-id"] == second["svix-id"] == message.id
    assert first["svix-timestamp"] != second["svix-timestamp"]
    assert first["svix-signature"] != second["svix-signature"]
    secret = engine.svix.endpoint.get_secret(app, endpoint.id).key
    for arrival in receiver.arrivals:
        Webhook(secret).verify(arrival.body, arrival.headers)


def test_case_16_after_a_rotation_the_new_secret_signs_first_and_the_old_one_too(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    secrets = [engine.svix.endpoint.get_secret(app, endpoint.id).key]
    for _ in range(2):
        secrets.append(engine.svix.endpoint.rotate_secret(app, endpoint.id, EndpointSecretRotateIn()).key)
    engine.send(app)

    engine.deliver(lambda: receiver.arrivals)

    [arrival] = receiver.arrivals
    signatures = arrival.headers["svix-signature"].split(" ")
    assert len(signatures) == len(secrets) == 3
    assert signatures[0] == _signature(secrets[-1], arrival.headers, arrival.body)
    for secret in secrets:
        Webhook(secret).verify(arrival.body, arrival.headers)


def test_case_17_after_a_rotation_without_grace_only_the_new_secret_signs(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    old = engine.svix.endpoint.get_secret(app, endpoint.id).key
    given = "whsec_" + base64.b64encode(b"n" * 32).decode()
    rotation = EndpointSecretRotateIn(key=given, grace_period_seconds=0)
    new = engine.svix.endpoint.rotate_secret(app, endpoint.id, rotation).key
    engine.send(app)

    engine.deliver(lambda: receiver.arrivals)

    [arrival] = receiver.arrivals
    assert new == given
    Webhook(new).verify(arrival.body, arrival.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(arrival.body, arrival.headers)


@pytest.mark.parametrize("seconds", [-1, 604_801])
def test_case_17_grace_is_a_week_at_most(seconds: int, engine: Engine, app: str) -> None:
    endpoint = engine.endpoint(app)
    before = engine.svix.endpoint.get_secret(app, endpoint.id)

    with pytest.raises(HTTPValidationError):
        engine.svix.endpoint.rotate_secret(
            app, endpoint.id, EndpointSecretRotateIn(grace_period_seconds=seconds)
        )

    assert engine.svix.endpoint.get_secret(app, endpoint.id) == before


def test_case_27_a_success_is_one_attempt(engine: Engine, app: str, receiver: Receiver) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    receiver.answer(204)
    message = engine.send(app)

    engine.deliver(lambda: _attempts(engine, app, message.id))

    engine.retry(len(engine.schedule) + 1)
    [attempt] = _attempts(engine, app, message.id)
    assert (attempt.status, attempt.response_status_code, attempt.trigger_type) == (0, 204, 0)
    assert (attempt.msg_id, attempt.endpoint_id, attempt.url) == (message.id, endpoint.id, receiver.url)
    assert len(receiver.arrivals) == 1


@pytest.mark.parametrize("status", [403, 500])
def test_case_28_a_failure_is_tried_again_to_the_end_of_the_schedule(
    status: int, engine: Engine, app: str, receiver: Receiver
) -> None:
    engine.endpoint(app, receiver.url)
    receiver.answer(*[status] * 20)
    message = engine.send(app)

    engine.deliver(lambda: len(_attempts(engine, app, message.id)) == 1)
    for number, _ in enumerate(engine.schedule, 1):
        engine.retry(number, lambda: len(_attempts(engine, app, message.id)) > number)  # noqa: B023

    engine.retry(len(engine.schedule) + 1)
    attempts = _attempts(engine, app, message.id)
    assert {(attempt.status, attempt.response_status_code) for attempt in attempts} == {(2, status)}
    assert len(attempts) == len(receiver.arrivals) == 1 + len(engine.schedule)


def test_case_29_a_redirect_is_recorded_and_not_followed(
    engine: Engine, app: str, receiver: Receiver
) -> None:
    engine.endpoint(app, receiver.url)
    receiver.answer(308, headers={"location": f"{receiver.url}elsewhere"})
    message = engine.send(app)

    engine.deliver(lambda: _attempts(engine, app, message.id))

    [attempt] = _attempts(engine, app, message.id)
    assert (attempt.status, attempt.response_status_code) == (2, 308)
    assert [arrival.path for arrival in receiver.arrivals] == ["/"]


def test_case_30_a_refused_connection_has_code_0_and_says_why(engine: Engine, app: str) -> None:
    engine.endpoint(app, "http://127.0.0.1:9/")
    message = engine.send(app)

    engine.deliver(lambda: _attempts(engine, app, message.id))

    [attempt] = _attempts(engine, app, message.id)
    assert (attempt.status, attempt.response_status_code) == (2, 0)
    assert attempt.response


def test_case_40_headers_go_with_every_message(engine: Engine, app: str, receiver: Receiver) -> None:
    endpoint = engine.endpoint(app, receiver.url)
    headers = {"x-team": "billing", "authorization": "Bearer secret"}
    engine.svix.endpoint.set_headers(app, endpoint.id, EndpointHeadersIn(headers=headers))
    engine.send(app)

    engine.deliver(lambda: receiver.arrivals)

    [arrival] = receiver.arrivals
    assert {name: arrival.headers[name] for name in headers} == headers


@pytest.mark.parametrize(
    ("body", "stored"),
    [(b"x" * 30_000, "x" * 20_000), (b"\xff\xfe", "//4="), ("grüße".encode(), "grüße"), (b"", "")],
)
def test_case_42_a_response_is_kept_up_to_20_000_bytes_and_in_base64_if_it_is_not_text(
    body: bytes, stored: str, engine: Engine, app: str, receiver: Receiver
) -> None:
    engine.endpoint(app, receiver.url)
    receiver.answer(200, body=body)
    message = engine.send(app)

    engine.deliver(lambda: _attempts(engine, app, message.id))

    [attempt] = _attempts(engine, app, message.id)
    assert attempt.response == stored
    without = engine.svix.message_attempt.list_by_msg(app, message.id).data[0]
    assert without.response == "{}"
    assert engine.svix.message_attempt.get(app, message.id, attempt.id).response == stored
    assert refused(lambda: engine.svix.message_attempt.get(app, message.id, "atmpt_unknown"))[0] == 404


def _signature(secret: str, headers: dict[str, str], body: str) -> str:
    moment = datetime.fromtimestamp(int(headers["svix-timestamp"]), UTC)
    return Webhook(secret).sign(headers["svix-id"], moment, body)
