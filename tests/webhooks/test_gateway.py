import importlib.metadata

import httpx
import pytest
import svix
from django.test import override_settings
from svix.exceptions import HttpError

from webhooks.embedded.transport import EmbeddedTransport
from webhooks.gateway import EmbeddedSvix, get_svix


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
