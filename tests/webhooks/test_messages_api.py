"""Webhook messages and attempts by the API."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone
from svix.models import EndpointPatch

from accounts.models import ApiKey, AuditEntry, Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import endpoints, outbox, relay
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import get_svix
from webhooks.models import Message, OutboxMessage

API = "/api/v1/webhooks"
Send = Callable[..., None]


@pytest.fixture
def api(organization_key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"authorization": f"Bearer {organization_key[1]}"})


def _post(api: Client, address: str, body: Any) -> Any:
    return api.post(f"{API}/{address}", body, content_type="application/json")


def _the_message() -> Message:
    return Message.objects.latest("id")


def test_messages_are_listed_newest_first_and_by_cursor(
    api: Client, endpoint: NewEndpoint, send: Send
) -> None:
    for number in range(3):
        send(f"job-{number}")
    deliver()
    newest_first = list(Message.objects.order_by("-created_at", "-id").values_list("uid", flat=True))

    first = api.get(f"{API}/messages?limit=2").json()
    second = api.get(f"{API}/messages?limit=2&cursor={first['next_cursor']}").json()

    assert [line["id"] for line in first["data"] + second["data"]] == newest_first
    assert second["next_cursor"] is None
    assert {line["status"] for line in first["data"]} == {"delivered"}
    assert first["data"][0]["type"] == "job.completed"


def test_an_organization_that_never_had_an_endpoint_has_an_empty_list(api: Client) -> None:
    assert api.get(f"{API}/messages").json() == {"data": [], "next_cursor": None}


def test_more_are_listed_than_an_engine_lists_at_once(
    api: Client, endpoint: NewEndpoint, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.deliveries.AT_ONCE", 2)
    for number in range(5):
        send(f"job-{number}")
    deliver()

    page = api.get(f"{API}/messages?limit=5").json()

    assert len({line["id"] for line in page["data"]}) == 5
    assert page["next_cursor"] is None


def test_messages_are_found_by_type_status_time_and_job(
    api: Client, organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    receiver.answer(500)
    send("job-1", uid=outbox.uid_of_job(organization.pk, "job-1"))
    deliver()
    send("job-2")
    deliver()
    ahead = (timezone.now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def found(query: str) -> list[Any]:
        return api.get(f"{API}/messages?{query}").json()["data"]

    of_endpoint = f"endpoint_id={endpoint.endpoint.id}"
    assert [line["status"] for line in found(f"{of_endpoint}&status=retrying")] == ["retrying"]
    assert found(f"{of_endpoint}&status=failed") == []
    assert found("type=job.failed") == []
    assert found(f"since={ahead}") == []
    assert len(found(f"until={ahead}")) == 2
    assert [line["event_id"] for line in found("job_id=job-1")] == [
        outbox.uid_of_job(organization.pk, "job-1")
    ]
    assert found("job_id=unknown") == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("cursor=../x?y=1", "cursor"),
        ("cursor=%00", "cursor"),
        ("type=unknown", "type"),
        ("status=failed", "endpoint_id"),
        ("status=unknown&endpoint_id=ep_1", "status"),
        ("since=yesterday", "since"),
        ("since=2026-03-04T00:00:00Z&until=2026-03-01T00:00:00Z", "since"),
        ("job_id=%00", "job_id"),
    ],
)
def test_a_query_that_cannot_be_answered_names_the_parameter(
    api: Client, endpoint: NewEndpoint, query: str, param: str
) -> None:
    answer = api.get(f"{API}/messages?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("name", ["ep_unknown", "../x?y=1", "ép"])
def test_an_unknown_endpoint_to_list_by_is_not_found(api: Client, endpoint: NewEndpoint, name: str) -> None:
    assert api.get(f"{API}/messages", {"endpoint_id": name}).status_code == 404


def test_a_message_tells_its_payload_and_endpoints(
    api: Client, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    receiver.answer(500)
    send("job-1")
    deliver()

    message = api.get(f"{API}/messages/{_the_message().uid}").json()

    assert message["status"] == "retrying"
    assert message["payload"]["data"] == {"job_id": "job-1"}
    (receiver_line,) = message["endpoints"]
    assert receiver_line["id"] == endpoint.endpoint.id
    assert receiver_line["next_attempt_at"].endswith("Z")


def test_a_message_that_waits_is_told_by_its_event_id(api: Client, endpoint: NewEndpoint, send: Send) -> None:
    send()
    written = OutboxMessage.objects.get()
    written.postpone("The server is away.")

    message = api.get(f"{API}/messages/{written.uid}").json()

    assert (message["status"], message["problem"]) == ("waiting", "The server is away.")


def test_attempts_are_listed_newest_first_and_by_cursor(
    api: Client, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    receiver.answer(500, body=b"out of order")
    send()
    deliver()
    let_time_pass()
    deliver()
    address = f"{API}/messages/{_the_message().uid}/attempts"

    first = api.get(f"{address}?limit=1").json()
    second = api.get(f"{address}?limit=1&cursor={first['next_cursor']}").json()

    assert [line["status_code"] for line in first["data"] + second["data"]] == [200, 500]
    assert second["data"][0]["response"] == "out of order"
    assert second["data"][0]["trigger"] == "scheduled"
    assert second["next_cursor"] is None


def test_a_message_is_sent_again(api: Client, endpoint: NewEndpoint, receiver: Receiver, send: Send) -> None:
    send()
    deliver()
    uid = _the_message().uid

    answer = _post(api, f"messages/{uid}/resend", {"endpoint_id": endpoint.endpoint.id})
    deliver()

    assert answer.status_code == 200
    assert len(receiver.arrivals) == 2
    assert AuditEntry.objects.get(action="message.resent").api_key_uid


def test_what_failed_is_recovered(api: Client, endpoint: NewEndpoint, receiver: Receiver, send: Send) -> None:
    receiver.answer(500)
    send()
    deliver()
    since = (timezone.now() - timedelta(hours=1)).isoformat()

    answer = _post(api, f"endpoints/{endpoint.endpoint.id}/recover", {"since": since})
    deliver()

    assert answer.status_code == 200
    assert len(receiver.arrivals) == 2


def test_a_backlog_canceled_with_its_endpoint_is_recovered(
    api: Client, organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Send
) -> None:
    send()
    relay.hand_over()
    for disabled in (True, False):
        endpoints.update(
            organization=organization,
            endpoint_id=endpoint.endpoint.id,
            changes=EndpointPatch(disabled=disabled),
            actor=None,
        )
        deliver()
    since = (timezone.now() - timedelta(hours=1)).isoformat()

    _post(api, f"endpoints/{endpoint.endpoint.id}/recover", {"since": since})
    deliver()

    assert len(receiver.arrivals) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"since": None},
        {"since": ["now"]},
        {"since": "2001-01-01T00:00:00Z"},
        {"since": "9999-12-31T23:59:59Z"},
        {"since": "2026-03-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"},
        {"since": "2026-03-01T00:00:00Z", "untl": "2026-03-02T00:00:00Z"},
        [],
    ],
)
def test_a_time_that_cannot_be_recovered_is_refused(api: Client, endpoint: NewEndpoint, body: Any) -> None:
    answer = _post(api, f"endpoints/{endpoint.endpoint.id}/recover", body)

    assert answer.status_code == 400
    assert not AuditEntry.objects.filter(action="endpoint.recovered").exists()


def test_a_test_arrives_with_the_example_or_what_is_given(
    api: Client, endpoint: NewEndpoint, receiver: Receiver
) -> None:
    address = f"endpoints/{endpoint.endpoint.id}/test"

    first = _post(api, address, {"type": "job.failed"})
    second = _post(api, address, {"type": "job.failed", "payload": {"type": "job.failed", "data": {}}})
    deliver()

    assert [answer.status_code for answer in (first, second)] == [201, 201]
    assert first.json()["event_id"] is None
    assert '"type":"job.failed"' in receiver.arrivals[0].body
    assert receiver.arrivals[1].body == '{"type":"job.failed","data":{}}'


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "unknown"},
        {"type": ["job.failed"]},
        {"type": "job.failed", "payload": []},
        {"type": "job.failed", "payload": "x"},
        {"type": "job.failed", "payload": None},
        {"type": "job.failed", "payload": {"a": "x" * 100_001}},
        '{"type": "job.failed", "payload": {"a": "\\ud800"}}',
        '{"type": "job.failed", "payload": {"a": NaN}}',
    ],
)
def test_a_test_that_cannot_be_sent_is_refused(api: Client, endpoint: NewEndpoint, body: Any) -> None:
    answer = _post(api, f"endpoints/{endpoint.endpoint.id}/test", body)

    assert answer.status_code == 400
    assert not Message.objects.exists()


def test_a_disabled_endpoint_conflicts_with_sending(
    api: Client, organization: Organization, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    deliver()
    endpoint_id = endpoint.endpoint.id
    endpoints.update(
        organization=organization, endpoint_id=endpoint_id, changes=EndpointPatch(disabled=True), actor=None
    )

    answers = [
        _post(api, f"messages/{_the_message().uid}/resend", {"endpoint_id": endpoint_id}),
        _post(api, f"endpoints/{endpoint_id}/recover", {"since": timezone.now() - timedelta(hours=1)}),
        _post(api, f"endpoints/{endpoint_id}/test", {"type": "job.failed"}),
    ]

    assert [answer.status_code for answer in answers] == [409, 409, 409]


def test_erased_content_conflicts_with_sending_it_again(
    api: Client, organization: Organization, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    deliver()
    get_svix().message.expunge_content(organization.uid, _the_message().uid)

    answer = _post(api, f"messages/{_the_message().uid}/resend", {"endpoint_id": endpoint.endpoint.id})

    assert answer.status_code == 409
    assert api.get(f"{API}/messages/{_the_message().uid}").json()["payload"] == {"expired": True}


@pytest.mark.parametrize("name", ["msg_unknown", "evt_unknown", "x", "-"])
def test_an_unknown_message_is_not_found(api: Client, endpoint: NewEndpoint, name: str) -> None:
    answers = [
        api.get(f"{API}/messages/{name}"),
        api.get(f"{API}/messages/{name}/attempts"),
        _post(api, f"messages/{name}/resend", {"endpoint_id": endpoint.endpoint.id}),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]


def test_messages_of_another_organization_are_not_found(
    api: Client, other_organization: Organization, endpoint: NewEndpoint
) -> None:
    theirs = endpoints.create(organization=other_organization, url="https://example.com/hook", actor=None)
    outbox.send(organization=other_organization, event_type="job.failed", data={})
    written = OutboxMessage.objects.get()
    before = api.get(f"{API}/messages/{written.uid}")
    deliver()

    answers = [
        before,
        api.get(f"{API}/messages/{_the_message().uid}"),
        api.get(f"{API}/messages/{_the_message().uid}/attempts"),
        api.get(f"{API}/messages?endpoint_id={theirs.endpoint.id}"),
        _post(api, f"endpoints/{theirs.endpoint.id}/test", {"type": "job.failed"}),
    ]

    assert [answer.status_code for answer in answers] == [404] * 5


@override_settings(SVIX_SERVER_URL="http://127.0.0.1:9/", SVIX_AUTH_TOKEN="token")
def test_a_server_that_is_away_is_unavailable(api: Client, organization: Organization) -> None:
    answers = [
        api.get(f"{API}/messages"),
        api.get(f"{API}/messages/msg_1"),
        _post(api, "endpoints/ep_1/test", {"type": "job.failed"}),
    ]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert not AuditEntry.objects.filter(action="endpoint.tested").exists()
