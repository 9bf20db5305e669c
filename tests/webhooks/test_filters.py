"""Which endpoints get a message: cases 19–21 of the conformance table."""

from collections.abc import Callable
from typing import Any

import pytest
from svix.models import EndpointPatch

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import endpoints
from webhooks.endpoints import NewEndpoint
from webhooks.models import Delivery, Message, Status

pytestmark = pytest.mark.django_db
Send = Callable[..., None]


@pytest.mark.parametrize(
    ("event_types", "arrives"), [(None, True), (["job.completed"], True), (["job.failed"], False)]
)
def test_19_only_endpoints_of_the_type_get_it(
    event_types: list[str] | None,
    arrives: bool,
    organization: Organization,
    send: Send,
    receiver: Receiver,
) -> None:
    endpoints.create(organization=organization, url=receiver.url, event_types=event_types, actor=None)
    send()

    deliver()

    assert bool(receiver.arrivals) == arrives


@pytest.mark.parametrize(
    ("of_endpoint", "of_message", "arrives"),
    [
        (None, None, True),
        (None, ["a"], True),
        (["a", "b"], ["b", "c"], True),
        (["a"], ["b"], False),
        (["a"], None, False),
    ],
)
def test_20_channels_must_overlap(
    of_endpoint: list[str] | None,
    of_message: list[str] | None,
    arrives: bool,
    organization: Organization,
    send: Send,
    receiver: Receiver,
) -> None:
    endpoints.create(organization=organization, url=receiver.url, channels=of_endpoint, actor=None)
    send(channels=of_message)

    deliver()

    assert bool(receiver.arrivals) == arrives


def _disable(organization: Organization, endpoint: NewEndpoint) -> None:
    endpoints.update(
        organization=organization,
        endpoint_id=endpoint.endpoint.id,
        changes=EndpointPatch(disabled=True),
        actor=None,
    )


def _delete(organization: Organization, endpoint: NewEndpoint) -> None:
    endpoints.delete(organization=organization, endpoint_id=endpoint.endpoint.id, actor=None)


@pytest.mark.parametrize("stop", [_disable, _delete])
def test_21_a_disabled_or_deleted_endpoint_gets_nothing_and_the_message_is_kept(
    stop: Any, organization: Organization, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    stop(organization, endpoint)
    send()

    deliver()

    assert receiver.arrivals == []
    assert Message.objects.count() == 1


@pytest.mark.parametrize("stop", [_disable, _delete])
def test_21_what_was_still_to_be_retried_is_canceled(
    stop: Any, organization: Organization, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    receiver.answer(500)
    deliver()
    stop(organization, endpoint)
    let_time_pass()

    deliver()

    assert len(receiver.arrivals) == 1
    assert Delivery.objects.get().status == Status.CANCELED


def test_another_organizations_messages_never_arrive(
    other_organization: Organization, endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    endpoints.create(organization=other_organization, url=f"{receiver.url}other", actor=None)
    send()

    deliver()

    assert [arrival.path for arrival in receiver.arrivals] == ["/"]
