"""The API of endpoints."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import reverse

from accounts import keys
from accounts.audit import Action, Actor
from accounts.models import AuditEntry, Organization, User
from accounts.permissions import Scope
from webhooks import endpoints
from webhooks.endpoints import NewEndpoint
from webhooks.events import EVENT_TYPES
from webhooks.models import Endpoint

ALL = "/api/v1/webhooks/endpoints"
URL = "https://example.com/hook"

Call = Callable[..., Any]


@pytest.fixture
def secret(organization: Organization, owner: User) -> str:
    _, secret = keys.create_organization_key(
        organization=organization, name="checkout", scopes=[Scope.WEBHOOKS], actor=Actor(owner)
    )
    return secret


@pytest.fixture
def call(client: Client, secret: str) -> Call:
    def call(method: str, address: str, body: Any = None, **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {secret}"} | headers
        return client.generic(
            method,
            address,
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers=sent,
        )

    return call


@pytest.fixture
def without_svix() -> Iterator[None]:
    with override_settings(SVIX_SERVER_URL="http://127.0.0.1:9/", SVIX_AUTH_TOKEN="token"):
        yield


def test_one_is_added_shown_changed_and_deleted(call: Call, organization: Organization) -> None:
    body = {
        "url": URL,
        "description": "Production",
        "event_types": ["job.completed"],
        "channels": ["acme"],
        "throttle_rate": 5,
        "headers": {"X-Source": "billing", "Authorization": "Bearer abc"},
    }

    made = call("POST", ALL, body)
    address = f"{ALL}/{made.json()['id']}"
    shown = call("GET", address)
    changed = call("PATCH", address, {"event_types": None, "disabled": True, "headers": {"x-source": None}})
    deleted = call("DELETE", address)

    assert (made.status_code, shown.status_code, deleted.status_code) == (201, 200, 204)
    assert shown.json() == made.json()
    assert {name: shown.json()[name] for name in body} == body | {"headers": {"X-Source": "billing"}}
    assert shown.json()["sensitive_headers"] == ["Authorization"]
    assert changed.json() | {"updated_at": ""} == shown.json() | {
        "event_types": None,
        "disabled": True,
        "headers": {},
        "updated_at": "",
    }
    assert call("GET", address).status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://me:secret@example.com"}, "url"),
        ({"url": ["https://example.com"]}, "url"),
        ({"url": "https://exa\0mple.com"}, "url"),
        ({"url": URL, "event_types": []}, "event_types"),
        ({"url": URL, "event_types": ["no.such"]}, "event_types"),
        ({"url": URL, "event_types": "job.completed"}, "event_types"),
        ({"url": URL, "channels": ["a b"]}, "channels"),
        ({"url": URL, "channels": [str(number) for number in range(11)]}, "channels"),
        ({"url": URL, "throttle_rate": 0}, "throttle_rate"),
        ({"url": URL, "throttle_rate": 10**30}, "throttle_rate"),
        ({"url": URL, "headers": {"Content-Type": "text/plain"}}, "headers"),
        ({"url": URL, "headers": {"X-A": "one\r\ntwo"}}, "headers"),
        ({"url": URL, "headers": ["X-A"]}, "headers"),
        ({"url": URL, "description": "one\ntwo"}, "description"),
        ({"url": URL, "disabled": "maybe"}, "disabled"),
        ({"url": URL, "filter_types": ["job.completed"]}, "filter_types"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(body: Any, param: str, call: Call) -> None:
    response = call("POST", ALL, body)

    assert response.status_code == 400, response.json()
    assert response.json()["error"]["param"] == param
    assert not Endpoint.objects.exists()


def test_a_change_that_is_wrong_changes_nothing(call: Call, endpoint: NewEndpoint) -> None:
    response = call(
        "PATCH", f"{ALL}/{endpoint.endpoint.id}", {"description": "new", "headers": {"Host": "elsewhere"}}
    )

    assert (response.status_code, response.json()["error"]["param"]) == (400, "headers")
    assert Endpoint.objects.get().description == ""


def test_the_list_goes_on_page_by_page(call: Call, organization: Organization) -> None:
    made = [
        endpoints.create(organization=organization, url=f"{URL}/{number}", actor=None).endpoint.id
        for number in range(3)
    ]

    first = call("GET", f"{ALL}?limit=2").json()
    second = call("GET", f"{ALL}?limit=2&cursor={first['next_cursor']}").json()

    assert [line["id"] for line in first["data"] + second["data"]] == made[::-1]
    assert second["next_cursor"] is None


def test_an_organization_without_any_has_an_empty_list(call: Call) -> None:
    assert call("GET", ALL).json() == {"data": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=501", "limit"), ("cursor=-ep_1", "cursor"), ("cursor=../x", "cursor")],
)
def test_a_wrong_place_in_the_list_is_named(
    query: str, param: str, call: Call, endpoint: NewEndpoint
) -> None:
    response = call("GET", f"{ALL}?{query}")

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_more_than_svix_lists_at_once_may_be_asked_for(call: Call, endpoint: NewEndpoint) -> None:
    assert len(call("GET", f"{ALL}?limit=500").json()["data"]) == 1


def test_the_secret_is_answered_and_recorded(call: Call, endpoint: NewEndpoint) -> None:
    response = call("GET", f"{ALL}/{endpoint.endpoint.id}/secret")

    assert response.json() == {"secret": endpoint.secret}
    assert response["Cache-Control"] == "no-store"
    assert AuditEntry.objects.newest_first()[0].action == Action.ENDPOINT_SECRET_REVEALED


def test_a_key_never_reveals_more_than_its_maker_may_see(
    client: Client, organization: Organization, member: User, endpoint: NewEndpoint
) -> None:
    _, secret = keys.create_personal_key(
        user=member, organization=organization, name="laptop", scopes=Scope.values
    )

    headers = {"Authorization": f"Bearer {secret}"}
    shown = client.get(f"{ALL}/{endpoint.endpoint.id}", headers=headers)
    refused = client.get(f"{ALL}/{endpoint.endpoint.id}/secret", headers=headers)

    assert (shown.status_code, refused.status_code) == (200, 403)


def test_rotating_answers_the_endpoint_and_the_secret_is_another(call: Call, endpoint: NewEndpoint) -> None:
    address = f"{ALL}/{endpoint.endpoint.id}"

    response = call("POST", f"{address}/rotate-secret", {"grace_seconds": 60})

    assert response.json()["id"] == endpoint.endpoint.id
    assert call("GET", f"{address}/secret").json()["secret"] != endpoint.secret
    assert len(Endpoint.objects.get().old_secrets) == 1


@pytest.mark.parametrize("grace", [-1, 604801, "soon", 10**30])
def test_a_grace_that_is_none_is_refused(grace: object, call: Call, endpoint: NewEndpoint) -> None:
    response = call("POST", f"{ALL}/{endpoint.endpoint.id}/rotate-secret", {"grace_seconds": grace})

    assert (response.status_code, response.json()["error"]["param"]) == (400, "grace_seconds")
    assert Endpoint.objects.get().secret == endpoint.secret


@pytest.mark.parametrize("endpoint_id", ["ep_1", "msg_1", "-", "a" * 300])
@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/secret"), ("POST", "/rotate-secret")],
)
def test_what_is_unknown_is_not_there(
    method: str, rest: str, endpoint_id: str, call: Call, endpoint: NewEndpoint
) -> None:
    assert call(method, f"{ALL}/{endpoint_id}{rest}", {}).status_code == 404


def test_foreign_endpoints_are_not_there(call: Call, other_organization: Organization) -> None:
    foreign = endpoints.create(organization=other_organization, url=URL, actor=None)

    assert call("GET", f"{ALL}/{foreign.endpoint.id}/secret").status_code == 404
    assert call("DELETE", f"{ALL}/{foreign.endpoint.id}").status_code == 404
    assert Endpoint.objects.existing().exists()


def test_without_svix_it_is_told_to_try_again(
    call: Call, without_svix: None, caplog: pytest.LogCaptureFixture
) -> None:
    response = call("GET", ALL)

    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "Svix answered 503" in caplog.text


def test_the_event_types_are_those_of_the_catalogue(call: Call) -> None:
    answer = call("GET", "/api/v1/webhooks/event-types").json()

    assert [line["name"] for line in answer["data"]] == list(EVENT_TYPES)
    assert answer["data"][0]["example"] == EVENT_TYPES["job.completed"].example


@pytest.mark.parametrize("accept", ["application/json", "text/plain", "image/png", "*/*", "nonsense"])
def test_the_link_to_the_pages_is_the_bare_body_whatever_is_accepted(
    accept: str, call: Call, client: Client, owner: User, organization: Organization
) -> None:
    response = call("POST", "/api/v1/configure_webhook", {}, Accept=accept)

    assert response["Content-Type"] == "text/plain; charset=utf-8"
    client.force_login(owner)
    led = client.get(response.content.decode())
    assert led["Location"] == reverse("webhooks:endpoints", args=[organization.uid])
