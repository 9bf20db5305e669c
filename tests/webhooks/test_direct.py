"""Messages for a URL that a job named."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from svix.webhooks import Webhook

from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Organization, User
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import contents, deliveries, endpoints
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Message, Status

Send = Callable[..., None]
Resend = Callable[..., Any]
ENGINES = ["embedded", "server"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, settings: Settings, receiver: Receiver) -> str:
    """The embedded engine, or beside a Svix server that knows nothing of such messages."""
    if request.param == "server":
        settings.SVIX_SERVER_URL, settings.SVIX_AUTH_TOKEN = f"{receiver.url}svix", "token"
    return str(request.param)


@pytest.fixture
def resend(organization_key: tuple[ApiKey, str]) -> Resend:
    """Ask by the API to have the only message sent again."""

    def resend(message_id: str = "", **body: Any) -> Any:
        return Client().post(
            f"/api/v1/webhooks/messages/{message_id or Message.objects.get().uid}/resend",
            body,
            content_type="application/json",
            headers={"authorization": f"Bearer {organization_key[1]}"},
        )

    return resend


def test_it_goes_there_alone(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    send(url=f"{receiver.url}mine")

    deliver()

    assert [arrival.path for arrival in receiver.arrivals] == ["/mine"]


def test_it_is_signed_with_a_secret_of_the_organization(
    organization: Organization, send: Send, receiver: Receiver
) -> None:
    for _ in range(2):
        send(url=receiver.url)

    deliver()

    [secret] = endpoints.signing_secrets(organization=organization)
    assert len(receiver.arrivals) == 2
    for arrival in receiver.arrivals:
        Webhook(secret).verify(arrival.body, arrival.headers)


def test_it_is_retried_like_any_other(send: Send, receiver: Receiver) -> None:
    send(url=receiver.url)
    receiver.answer(500)

    deliver()
    let_time_pass()
    deliver()

    assert [attempt.status_code for attempt in Attempt.objects.order_by("id")] == [500, 200]
    assert Delivery.objects.get().status == Status.SUCCESS


@pytest.mark.parametrize("url", ["mailto:a@example.com", "http://", "//x", "http://exa mple", "http://[::1"])
def test_what_is_not_a_url_is_a_failed_attempt(url: str, send: Send) -> None:
    send(url=url)

    deliver()

    assert Attempt.objects.get().status_code == 0


def test_it_is_sent_again_by_hand_and_recorded(
    organization: Organization, send: Send, receiver: Receiver, engine: str, resend: Resend
) -> None:
    receiver.answer(500)
    send(url=f"{receiver.url}mine")
    deliver()

    answer = resend()
    deliver()

    message = Message.objects.get()
    first, again = Attempt.objects.order_by("id")
    assert answer.status_code == 200
    assert answer.json() == {"message_id": message.uid, "endpoint_id": None}
    assert (first.trigger, again.trigger) == (Attempt.Trigger.SCHEDULED, Attempt.Trigger.MANUAL)
    assert Delivery.objects.get().status == Status.SUCCESS
    entry = AuditEntry.objects.get(action="message.resent")
    assert (entry.target_uid, entry.after) == (
        message.uid,
        {"event_type": "job.completed", "url": f"{receiver.url}mine"},
    )


def test_sent_again_by_hand_it_is_tried_once(send: Send, receiver: Receiver, resend: Resend) -> None:
    receiver.answer(500, 500)
    send(url=receiver.url)
    deliver()

    resend()
    deliver()

    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.next_attempt_at) == (Status.FAIL, None)


def test_it_is_named_by_its_event_id_too(send: Send, receiver: Receiver, resend: Resend) -> None:
    send(url=receiver.url)
    deliver()

    answer = resend(str(Message.objects.get().event_id))
    deliver()

    assert answer.status_code == 200
    assert len(receiver.arrivals) == 2


def test_erased_it_cannot_be_sent_again(
    organization: Organization, send: Send, receiver: Receiver, engine: str, resend: Resend
) -> None:
    send(url=receiver.url)
    deliver()
    contents.expunge(organization.pk, before=timezone.now())

    answer = resend()
    deliver()

    assert answer.status_code == 409
    assert "erased" in answer.json()["error"]["message"]
    assert len(receiver.arrivals) == 1
    assert not AuditEntry.objects.filter(action="message.resent").exists()


def test_pruned_meanwhile_it_cannot_be_sent_again(
    organization: Organization, owner: User, send: Send, receiver: Receiver
) -> None:
    send(url=receiver.url)
    deliver()
    delivery = Delivery.objects.get()
    Message.objects.all().delete()

    with pytest.raises(deliveries.Expired):
        deliveries.resend_to_url(organization=organization, delivery=delivery, actor=Actor(owner))


def test_it_goes_to_no_endpoint(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, resend: Resend
) -> None:
    send(url=receiver.url)
    deliver()

    answer = resend(endpoint_id=endpoint.endpoint.id)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "endpoint_id"
    assert Delivery.objects.get().next_attempt_at is None


def test_what_goes_to_endpoints_asks_for_one(endpoint: NewEndpoint, send: Send, resend: Resend) -> None:
    send()
    deliver()

    answer = resend()

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "endpoint_id"


def test_that_of_another_organization_is_not_found(
    other_organization: Organization, send: Send, receiver: Receiver, resend: Resend
) -> None:
    send(url=receiver.url)
    deliver()
    Message.objects.update(organization=other_organization)

    assert resend().status_code == 404
    assert not Delivery.objects.exclude(next_attempt_at=None).exists()


def test_its_page_has_it_sent_again(
    client: Client, organization: Organization, admin: User, send: Send, receiver: Receiver
) -> None:
    receiver.answer(500)
    send(url=receiver.url)
    deliver()
    client.force_login(admin)
    address = f"/o/{organization.uid}/webhooks/messages/{Message.objects.get().uid}/"
    before = client.get(address)

    answer = client.post(f"{address}resend/", follow=True)
    deliver()
    after = client.get(address)

    assert "Retrying" in before.text
    assert "Send again" in before.text
    assert "It is sent again now" in answer.text
    assert "Delivered" in after.text
    assert [each.is_manual for each in after.context["tries"]] == [True, False]
