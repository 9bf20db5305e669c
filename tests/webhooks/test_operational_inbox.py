"""What a Svix server tells of itself is told on to members, once, and only if the server has signed it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from svix.api import Svix
from svix.models import EndpointPatch
from svix.webhooks import Webhook

from accounts.models import AuditEntry, NoticeKind, Notification, Organization, User
from tests.webhooks.conftest import Receiver, deliver
from webhooks import endpoints, operational_inbox, retention
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import Unreachable, get_embedded
from webhooks.models import Application, Message, OperationalEvent

SECRET = "whsec_" + "c2VjcmV0" * 4
Tell = Callable[..., Any]


@pytest.fixture(autouse=True)
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded engine stands for the server that is asked: the SDK makes no difference between them."""
    settings.SVIX_OPERATIONAL_SECRET = SECRET


def _signed(
    body: str, *, id: str = "msg_1", at: datetime | None = None, secret: str = SECRET
) -> dict[str, str]:
    at = at or datetime.now(UTC)
    return {
        "svix-id": id,
        "svix-timestamp": str(int(at.timestamp())),
        "svix-signature": Webhook(secret).sign(id, at, body),
    }


def _post(body: str | bytes, headers: dict[str, str]) -> Any:
    client = Client(enforce_csrf_checks=True)
    return client.post("/webhooks/svix", body, content_type="application/json", headers=headers)


@pytest.fixture
def tell(organization: Organization, endpoint: NewEndpoint) -> Tell:
    """Post an event as the server does."""

    def tell(event_type: str, *, id: str = "msg_1", **data: Any) -> Any:
        about = {"appId": "app_1", "appUid": organization.uid, "endpointId": endpoint.endpoint.id} | data
        body = json.dumps({"type": event_type, "data": about})
        return _post(body, _signed(body, id=id))

    return tell


def _notices(user: User) -> list[Notification]:
    return list(Notification.objects.filter(user=user, kind=NoticeKind.WEBHOOKS).order_by("pk"))


def _fail(send: Callable[..., None], receiver: Receiver) -> None:
    receiver.answer(503, body=b"busy")
    send()
    deliver()


def test_a_message_that_keeps_failing_is_told_with_endpoint_types_and_errors(
    tell: Tell, owner: User, send: Callable[..., None], receiver: Receiver
) -> None:
    _fail(send, receiver)

    answer = tell("message.attempt.failing", msgId=Message.objects.get().uid)

    [notice] = _notices(owner)
    assert answer.status_code == 204
    assert "are failing" in notice.title
    assert receiver.url in notice.body
    assert "job.completed" in notice.body
    assert "First error: 503 Service Unavailable" in notice.body
    assert "Last error: 503 Service Unavailable" in notice.body


def test_further_failures_of_the_same_trouble_are_not_told_again(
    tell: Tell, owner: User, send: Callable[..., None], receiver: Receiver
) -> None:
    _fail(send, receiver)
    tell("message.attempt.failing", id="msg_1")
    _fail(send, receiver)

    tell("message.attempt.failing", id="msg_2")

    assert len(_notices(owner)) == 1


def test_a_new_trouble_after_a_success_is_told(
    tell: Tell, owner: User, send: Callable[..., None], receiver: Receiver
) -> None:
    _fail(send, receiver)
    tell("message.attempt.failing", id="msg_1")
    send()
    deliver()
    _fail(send, receiver)

    tell("message.attempt.failing", id="msg_2")

    assert len(_notices(owner)) == 2


def test_a_message_given_up_is_told(
    tell: Tell, owner: User, send: Callable[..., None], receiver: Receiver
) -> None:
    _fail(send, receiver)

    tell("message.attempt.exhausted")

    [notice] = _notices(owner)
    assert "were given up" in notice.title


def test_an_endpoint_turned_off_is_told_and_the_audit_trail_says_why(
    tell: Tell, owner: User, send: Callable[..., None], receiver: Receiver
) -> None:
    _fail(send, receiver)

    tell("endpoint.disabled", failSince="2026-03-01T10:00:00Z", trigger="automatic")

    [notice] = _notices(owner)
    entry = AuditEntry.objects.latest("pk")
    assert "are turned off" in notice.title
    assert "Every message has failed since 1 March 2026, 10:00 UTC." in notice.body
    assert (entry.action, entry.actor) == ("endpoint.updated", None)
    assert entry.after == {
        "disabled": True,
        "reason": "Every message has failed since 1 March 2026, 10:00 UTC.",
    }


def test_an_endpoint_that_somebody_turned_off_is_not_told(tell: Tell, owner: User) -> None:
    answer = tell("endpoint.disabled", trigger="manual")

    assert answer.status_code == 204
    assert _notices(owner) == []


def test_failures_of_an_endpoint_that_is_off_are_not_told(
    tell: Tell, owner: User, organization: Organization, endpoint: NewEndpoint
) -> None:
    endpoints.update(
        organization=organization,
        endpoint_id=endpoint.endpoint.id,
        changes=EndpointPatch(disabled=True),
        actor=None,
    )

    tell("message.attempt.exhausted")

    assert _notices(owner) == []


def test_an_endpoint_made_at_the_server_has_messages_written_for_it(
    tell: Tell, organization: Organization
) -> None:
    Application.objects.update(subscribed_at=None)

    tell("endpoint.created")

    assert Application.objects.get(organization=organization).subscribed_at


@pytest.mark.parametrize(
    "event_type", ["endpoint.updated", "endpoint.deleted", "message.attempt.recovered", "x"]
)
def test_what_members_need_not_hear_of_is_taken_and_nothing_follows(
    tell: Tell, owner: User, event_type: str
) -> None:
    answer = tell(event_type)

    assert answer.status_code == 204
    assert _notices(owner) == []
    assert not OperationalEvent.objects.exists()


@pytest.mark.parametrize(
    "data",
    [
        {"appUid": "org_unknown"},
        {"appUid": None},
        {"appUid": 7},
        {"endpointId": "ep_unknown"},
        {"endpointId": "../x"},
    ],
)
def test_what_is_unknown_here_is_passed_over(tell: Tell, owner: User, data: dict[str, Any]) -> None:
    answer = tell("endpoint.disabled", **data)

    assert answer.status_code == 204
    assert _notices(owner) == []


def test_the_same_event_again_changes_nothing(tell: Tell, owner: User) -> None:
    tell("endpoint.disabled", failSince="2026-03-01T10:00:00Z")
    entries = AuditEntry.objects.count()

    answer = tell("endpoint.disabled", failSince="2026-03-02T10:00:00Z")

    assert answer.status_code == 204
    assert len(_notices(owner)) == 1
    assert AuditEntry.objects.count() == entries


def _body(organization: Organization, endpoint: NewEndpoint) -> str:
    data = {"appUid": organization.uid, "endpointId": endpoint.endpoint.id}
    return json.dumps({"type": "endpoint.disabled", "data": data})


def _old(body: str) -> dict[str, str]:
    return _signed(body, at=datetime.now(UTC) - timedelta(minutes=6))


@pytest.mark.parametrize(
    "headers",
    [
        lambda body: {},
        lambda body: _signed(body, secret="whsec_" + "b3RoZXJz" * 4),
        lambda body: _signed(body + " "),
        lambda body: _old(body),
        lambda body: _signed(body) | {"svix-id": "msg_2"},
        lambda body: _old(body) | {"svix-timestamp": str(int(datetime.now(UTC).timestamp()))},
        lambda body: _signed(body) | {"svix-signature": "v1"},
        lambda body: _signed(body) | {"svix-signature": "v1,x"},
        lambda body: _signed(body) | {"svix-signature": "v1,é"},
        lambda body: _signed(body) | {"svix-timestamp": "1e400"},
        lambda body: _signed(body) | {"svix-timestamp": "soon"},
    ],
)
def test_what_the_server_did_not_sign_just_now_changes_nothing(
    organization: Organization,
    endpoint: NewEndpoint,
    owner: User,
    headers: Callable[[str], dict[str, str]],
) -> None:
    body = _body(organization, endpoint)

    answer = _post(body, headers(body))

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_signature"
    assert _notices(owner) == []
    assert not OperationalEvent.objects.exists()


@pytest.mark.parametrize("body", [b"\xff", b"\x00"])
def test_a_body_that_is_no_text_is_forged_or_unreadable(db: None, body: bytes) -> None:
    answer = _post(body, _signed(body.decode(errors="replace")))

    assert answer.status_code in (400, 401)


@pytest.mark.parametrize(
    "body", ["", "[]", "{", '{"type": "endpoint.disabled"}', '{"data": []}', "[" * 100_000]
)
def test_what_is_signed_and_no_event_is_refused(db: None, body: str) -> None:
    answer = _post(body, _signed(body))

    assert answer.status_code == 400


def test_a_body_that_is_too_large_is_not_looked_at(db: None) -> None:
    body = " " * (256 * 1024 + 1)

    assert _post(body, _signed(body)).status_code == 413


def test_a_secret_that_is_none_lets_nobody_in(db: None, settings: Settings) -> None:
    for secret in ("whsec_", "whsec_é", "whsec_a"):
        settings.SVIX_OPERATIONAL_SECRET = secret

        assert _post("{}", _signed("{}")).status_code == 401


def test_without_the_setting_there_is_no_such_address(db: None, settings: Settings) -> None:
    settings.SVIX_OPERATIONAL_SECRET = ""

    assert _post("{}", _signed("{}")).status_code == 404


def test_it_is_posted(db: None) -> None:
    answer = Client().get("/webhooks/svix")

    assert (answer.status_code, answer["Allow"]) == (405, "POST")


def test_while_the_server_cannot_be_asked_it_is_to_send_it_again(
    tell: Tell, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: Any) -> Svix:
        raise Unreachable("unreachable", "away", status_code=503)

    monkeypatch.setattr(operational_inbox, "get_svix", away)
    first = tell("endpoint.disabled")
    monkeypatch.setattr(operational_inbox, "get_svix", lambda **_: get_embedded())

    second = tell("endpoint.disabled")

    assert (first.status_code, second.status_code) == (503, 204)
    assert len(_notices(owner)) == 1


def test_what_was_heeded_long_ago_is_forgotten(tell: Tell) -> None:
    tell("endpoint.disabled")

    retention.prune(now=timezone.now() + timedelta(days=29))
    assert OperationalEvent.objects.exists()
    retention.prune(now=timezone.now() + timedelta(days=31))

    assert not OperationalEvent.objects.exists()
