"""Who gets no message any more, or never did. What endpoints filter is tested by the contract."""

from collections.abc import Callable
from typing import Any

import pytest
from svix.models import EndpointPatch

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import endpoints
from webhooks.endpoints import NewEndpoint
from webhooks.models import Delivery, Status

pytestmark = pytest.mark.django_db
Send = Callable[..., None]


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
def test_what_was_still_to_be_retried_is_canceled(
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
