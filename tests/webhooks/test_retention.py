"""What is past its time is deleted, and nothing else."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from tests.webhooks.conftest import Receiver, deliver
from webhooks import retention
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Endpoint, Message, OutboxMessage, RememberedAnswer

pytestmark = pytest.mark.django_db

Send = Callable[..., None]
IN_100_DAYS = timedelta(days=100)


def test_old_messages_go_with_their_deliveries_and_attempts(
    endpoint: NewEndpoint, send: Send, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for number in range(5):
        send(f"job-{number}")
    deliver()

    deleted = retention.prune(now=timezone.now() + IN_100_DAYS)

    assert deleted["messages"] == deleted["outbox messages"] == 5
    for model in (Message, Delivery, Attempt, OutboxMessage):
        assert not model._default_manager.exists()
    assert Endpoint.objects.exists()


def test_younger_ones_stay(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    send()
    deliver()

    call_command("prune")
    retention.prune(now=timezone.now() + timedelta(days=89))

    assert Message.objects.count() == Attempt.objects.count() == 1


def test_the_outbox_forgets_what_it_handed_over_days_ago(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    deliver()

    retention.prune(now=timezone.now() + timedelta(days=8))

    assert not OutboxMessage.objects.exists()
    assert Message.objects.exists()


def test_what_waits_stays_however_old(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    send("tried again later")
    receiver.answer(500)
    deliver()
    send("not handed over")

    retention.prune(now=timezone.now() + IN_100_DAYS)

    assert Message.objects.count() == Delivery.objects.count() == Attempt.objects.count() == 1
    assert OutboxMessage.objects.filter(handed_over_at=None).count() == 1


def test_what_was_refused_stays_as_long_as_messages(endpoint: NewEndpoint, send: Send) -> None:
    send()
    OutboxMessage.objects.get().refuse("too large")

    retention.prune(now=timezone.now() + timedelta(days=89))
    assert OutboxMessage.objects.exists()
    retention.prune(now=timezone.now() + IN_100_DAYS)
    assert not OutboxMessage.objects.exists()


def test_deleted_endpoints_go_after_their_attempts(
    endpoint: NewEndpoint, send: Send, receiver: Receiver
) -> None:
    send()
    deliver()
    Endpoint.objects.update(deleted_at=timezone.now())
    Message.objects.update(created_at=timezone.now() + timedelta(days=50))

    retention.prune(now=timezone.now() + IN_100_DAYS)
    assert Endpoint.objects.exists()
    retention.prune(now=timezone.now() + 2 * IN_100_DAYS)
    assert not Endpoint.objects.exists()


def test_remembered_answers_go_after_half_a_day() -> None:
    now = timezone.now()
    RememberedAnswer.objects.create(key="old", status=200, body="", created_at=now - timedelta(hours=13))
    RememberedAnswer.objects.create(key="young", status=200, body="", created_at=now - timedelta(hours=11))

    retention.prune(now=now)

    assert RememberedAnswer.objects.get().key == "young"
