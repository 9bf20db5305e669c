"""What was missed is sent again, and nothing that arrived."""

import pytest
from svix.models import EndpointPatch

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver
from webhooks import deliveries, endpoints, outbox
from webhooks.endpoints import NewEndpoint
from webhooks.models import Message


def _send(organization: Organization, event_type: str, number: int) -> None:
    outbox.send(organization=organization, event_type=event_type, data={"number": number})


def test_what_arrived_is_not_missed_however_much_of_other_types_arrived_in_between(
    organization: Organization, receiver: Receiver, endpoint: NewEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    _send(organization, "job.failed", 1)
    for number in range(4):
        _send(organization, "job.completed", number)
    _send(organization, "job.failed", 2)
    deliver()
    changed = endpoints.update(
        organization=organization,
        endpoint_id=endpoint.endpoint.id,
        changes=EndpointPatch(event_types=["job.failed"]),
        actor=None,
    )
    monkeypatch.setattr(deliveries, "AT_ONCE", 2)
    written = [message.created_at for message in Message.objects.order_by("created_at")]

    done = deliveries.replay(
        organization=organization,
        endpoint_id=changed.id,
        since=written[0] - deliveries._INSTANT,
        until=written[-1] + deliveries._INSTANT,
        actor=None,
    )
    deliver()

    assert (done.sent, len(receiver.arrivals)) == (0, 6)
