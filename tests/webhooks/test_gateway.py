import importlib.metadata

import httpx
import pytest
import svix
from django.test import override_settings
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import EndpointIn, EndpointSecretRotateIn

from webhooks.embedded.transport import LONGEST_BODY, EmbeddedTransport
from webhooks.gateway import RETRIES, TIMEOUT, EmbeddedSvix, GuardedSvix, Unreachable, get_svix


def test_the_sdk_is_the_version_whose_private_parts_are_used() -> None:
    assert importlib.metadata.version("svix").startswith("2.9.")
    client = EmbeddedSvix()
    assert isinstance(client, svix.Svix)
    assert isinstance(client._httpx_client._transport, EmbeddedTransport)
    assert client.endpoint._httpx_client is client._httpx_client


def test_there_is_one_client_a_process() -> None:
    assert get_svix() is get_svix()


@override_settings(SVIX_SERVER_URL="http://127.0.0.1:9/", SVIX_AUTH_TOKEN="token")
def test_a_configured_server_takes_the_engines_place() -> None:
    client = get_svix()

    assert not isinstance(client, EmbeddedSvix)
    assert client._client.base_url == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "hostile",
    ["../x?y=1", "..", ".", "", "ep_1/secret", "ep_1?x=1", "ep_1#", "ep_1%2fsecret", "ep_1\n", "ép_1"],
)
@override_settings(SVIX_SERVER_URL="http://127.0.0.1:9/", SVIX_AUTH_TOKEN="token")
def test_an_id_that_cannot_be_one_is_not_found_and_asks_nobody(hostile: str) -> None:
    client = get_svix()

    for call in (
        lambda: client.endpoint.get("org_1", hostile),
        lambda: client.endpoint.get(hostile, "ep_1"),
        lambda: client.message.get(hostile, "msg_1"),
        lambda: client.message_attempt.list_by_msg("org_1", hostile),
        lambda: client.application.get(hostile),
    ):
        with pytest.raises(HttpError) as error:
            call()
        assert error.value.status_code == 404


def test_an_unknown_route_is_not_found() -> None:
    with httpx.Client(transport=EmbeddedTransport()) as client:
        answer = client.get("http://svix.embedded/api/v1/app/org_1/nothing")

    assert answer.status_code == 404
    assert answer.json() == {"code": "not_found", "detail": "Entity not found"}


def test_a_body_that_is_not_json_is_unprocessable() -> None:
    with httpx.Client(transport=EmbeddedTransport()) as client:
        answer = client.post("http://svix.embedded/api/v1/app", content=b"{")

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]


def _answering(*answers: httpx.Response | Exception) -> GuardedSvix:
    """A client whose server gives these answers in turn."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        given = left.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    client = GuardedSvix("token", svix.SvixOptions(server_url="http://svix.example", retry_schedule=[]))
    client._httpx_client = httpx.Client(transport=httpx.MockTransport(answer))
    return client


def test_a_rotation_that_answers_nothing_is_followed_by_a_look_at_the_new_secret() -> None:
    client = _answering(httpx.Response(204), httpx.Response(200, json={"key": "whsec_new"}))

    assert client.endpoint.rotate_secret("org_1", "ep_1", EndpointSecretRotateIn()).key == "whsec_new"


def test_a_rotation_that_answers_the_new_secret_asks_no_more() -> None:
    client = _answering(httpx.Response(200, json={"key": "whsec_new"}))

    assert client.endpoint.rotate_secret("org_1", "ep_1", EndpointSecretRotateIn()).key == "whsec_new"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (httpx.Response(404), 404),
        (httpx.Response(404, html="<h1>Not found</h1>"), 404),
        (httpx.Response(502, html="<h1>Bad gateway</h1>"), 502),
        (httpx.Response(500, json="broken"), 500),
        (httpx.Response(503, json={"error": "down"}), 503),
        (httpx.Response(302, headers={"location": "http://elsewhere.example/"}), 302),
        (httpx.Response(200, html="<h1>Welcome</h1>"), 502),
        (httpx.Response(200), 502),
        (httpx.Response(200, json={"unlike": "an endpoint"}), 502),
    ],
)
def test_an_answer_that_the_sdk_cannot_read_is_an_error_of_the_sdk(
    answer: httpx.Response, status: int
) -> None:
    with pytest.raises(HttpError) as error:
        _answering(answer).endpoint.get("org_1", "ep_1")

    assert (error.value.code, error.value.status_code) == ("unexpected_answer", status)


@pytest.mark.parametrize(
    "answer", [httpx.Response(422, html="<p>"), httpx.Response(422, json={"detail": "no"})]
)
def test_a_validation_error_of_another_form_is_one_of_the_sdk(answer: httpx.Response) -> None:
    with pytest.raises(HTTPValidationError) as error:
        _answering(answer).endpoint.get("org_1", "ep_1")

    assert error.value.detail[0].loc == ["body"]


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.RemoteProtocolError("cut")]
)
def test_a_server_that_does_not_answer_is_unreachable(failure: Exception) -> None:
    with pytest.raises(Unreachable) as error:
        _answering(failure).endpoint.get("org_1", "ep_1")

    assert error.value.status_code == 503


def test_what_is_asked_again_carries_the_same_key() -> None:
    keys = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        return httpx.Response(503 if len(keys) == 1 else 201, json={"detail": "", "id": "x"})

    client = GuardedSvix("token", svix.SvixOptions(server_url="http://svix.example", retry_schedule=[0.0]))
    client._httpx_client = httpx.Client(transport=httpx.MockTransport(answer))

    with pytest.raises(HttpError):
        client.endpoint.create("org_1", EndpointIn(url="https://example.com/"))

    assert len(keys) == 2
    assert len(set(keys)) == 1


@override_settings(SVIX_SERVER_URL="http://127.0.0.1:9/", SVIX_AUTH_TOKEN="token")
def test_a_server_is_not_waited_for_without_end() -> None:
    client = get_svix()

    assert client._client.get_timeout() == TIMEOUT
    assert client._client.retry_schedule == RETRIES


def test_a_body_of_more_than_two_megabytes_is_too_large() -> None:
    with httpx.Client(transport=EmbeddedTransport()) as client:
        answer = client.post("http://svix.embedded/api/v1/app", content=b" " * (LONGEST_BODY + 1))

    assert answer.status_code == 413
