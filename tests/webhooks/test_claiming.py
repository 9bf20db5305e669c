"""What a worker takes from the queue, and what it leaves."""

from collections.abc import Callable

from cryptography.fernet import Fernet
from django.utils import timezone

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import endpoints, relay
from webhooks.embedded import queue
from webhooks.endpoints import NewEndpoint
from webhooks.models import EXPIRED, Attempt, Delivery, Endpoint, Message, Status

Send = Callable[..., None]


def test_an_endpoint_whose_secret_cannot_be_read_holds_up_no_other(
    organization: Organization, receiver: Receiver, endpoint: NewEndpoint, send: Send
) -> None:
    lost = endpoints.create(organization=organization, url=f"{receiver.url}lost", actor=None).endpoint
    foreign = Fernet(Fernet.generate_key()).encrypt(b"whsec_").decode()
    Endpoint.objects.filter(uid=lost.id).update(stored_secret=foreign)
    send()

    deliver()

    assert [arrival.path for arrival in receiver.arrivals] == ["/"]
    waiting = Delivery.objects.get(next_attempt_at__isnull=False)
    assert (waiting.endpoint and waiting.endpoint.uid, Attempt.objects.count()) == (lost.id, 1)


def test_a_message_erased_while_it_is_asked_for_again_is_not_sent_and_stays_delivered(
    receiver: Receiver, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    deliver()
    Message.objects.update(payload=EXPIRED, expunged_at=timezone.now())
    Delivery.objects.update(next_attempt_at=timezone.now(), is_manual=True)
    let_time_pass()

    deliver()

    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.next_attempt_at) == (Status.SUCCESS, None)
    assert len(receiver.arrivals) == 1


def test_an_outcome_whose_recording_was_not_answered_is_one_attempt(
    endpoint: NewEndpoint, send: Send
) -> None:
    send()
    relay.hand_over()
    [claimed] = queue.claim(1)
    outcome = queue.Outcome(claimed, timezone.now(), duration_ms=1, reply=queue.Reply(500, ""))
    queue.record([outcome])
    waits_until = Delivery.objects.get().next_attempt_at

    queue.record([outcome])

    delivery = Delivery.objects.get()
    assert (delivery.attempts, delivery.next_attempt_at) == (1, waits_until)
    assert Attempt.objects.count() == 1
