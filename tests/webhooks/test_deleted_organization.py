"""Nothing is sent for a deleted organization, from the moment of its deletion on."""

from collections.abc import Callable

import pytest
from svix.exceptions import HttpError

from accounts import organizations
from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import erasure, outbox
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import get_svix
from webhooks.models import Application, Attempt, Delivery, Message, OutboxMessage, Status


def test_what_waits_in_the_outbox_is_not_handed_over(
    organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Callable[..., None]
) -> None:
    OutboxMessage.objects.all().delete()
    send()
    send(url=receiver.url)
    organizations.delete(organization=organization, actor=None)

    deliver()

    assert receiver.arrivals == []
    assert not Message.objects.exists()
    assert OutboxMessage.objects.exclude(refused_at=None).count() == 2


def test_a_delivery_that_was_to_be_tried_again_is_not(
    organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Callable[..., None]
) -> None:
    OutboxMessage.objects.all().delete()
    receiver.answer(500)
    send()
    deliver()
    organizations.delete(organization=organization, actor=None)

    let_time_pass()
    deliver()

    assert len(receiver.arrivals) == 1
    assert Delivery.objects.get().status == Status.CANCELED


def test_nothing_new_is_written(organization: Organization, endpoint: NewEndpoint) -> None:
    organizations.delete(organization=organization, actor=None)

    assert outbox.subscribed([organization.pk]) == set()


def test_once_restored_its_endpoints_receive_again(
    organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Callable[..., None]
) -> None:
    OutboxMessage.objects.all().delete()
    organizations.delete(organization=organization, actor=None)
    organizations.restore(organization=organization, actor=None)

    send()
    deliver()

    assert len(receiver.arrivals) == 1


def test_erasing_leaves_nothing_and_can_be_repeated(
    organization: Organization, endpoint: NewEndpoint, receiver: Receiver, send: Callable[..., None]
) -> None:
    send()
    send(url=receiver.url)
    deliver()
    assert Attempt.objects.exists()

    erasure.erase(organization)
    erasure.erase(organization)

    for model in (OutboxMessage, Attempt, Delivery, Message, Application):
        assert not model._default_manager.filter(organization=organization).exists()


def test_an_application_is_deleted_through_the_sdk_once(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    get_svix().application.delete(organization.uid)

    with pytest.raises(HttpError) as refused:
        get_svix().application.delete(organization.uid)
    assert refused.value.status_code == 404


def test_a_server_that_cannot_delete_now_is_asked_again_later(
    organization: Organization, endpoint: NewEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Busy:
        def delete(self, app_id: str) -> None:
            raise HttpError(code="busy", detail="Busy", status_code=503)

    class Server:
        application = Busy()

    monkeypatch.setattr(erasure, "get_svix", Server)

    with pytest.raises(HttpError):
        erasure.erase(organization)

    assert Application.objects.exists()
