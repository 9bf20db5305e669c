"""Under zero data retention details are never stored where nothing is to be delivered, and gone once it is."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver, receiver
from usage import retention
from usage.models import Entitlement, Job, PipelineConfig
from webhooks import endpoints
from webhooks.models import EXPIRED, Attempt, Delivery, Message, OutboxMessage

__all__ = ["receiver"]

pytestmark = pytest.mark.django_db(transaction=True)

Json = dict[str, Any]
Post = Callable[..., Json]
Make = Callable[..., Json]

DETAILS: Json = {"config": {"ocr": True}, "source": "a.pdf", "metadata": {"customer": "4711"}}


@pytest.fixture(autouse=True)
def nothing_kept(organization: Organization, rates: None) -> None:
    Entitlement.objects.filter(organization=organization).update(retention_days=0)


def details() -> tuple[Any, ...]:
    job = Job.objects.get()
    return job.config_sha256, job.source, job.webhook, job.metadata, job.error


GONE = ("", None, None, None, None)


def run_later() -> None:
    retention.erase_due(now=timezone.now() + timedelta(minutes=10))


def test_details_of_an_ended_job_are_never_stored(post_jobs: Post, job: Make) -> None:
    post_jobs(job(**DETAILS))

    assert details() == GONE
    assert not PipelineConfig.objects.exists()
    found = Job.objects.get()
    assert found.erased == ["configuration", "source", "metadata"]
    assert (found.erased_under, found.erased_at is not None) == (0, True)


def test_they_are_delivered_all_the_same(
    organization: Organization, post_jobs: Post, job: Make, receiver: Receiver
) -> None:
    endpoints.create(organization=organization, url=receiver.url, actor=None)

    post_jobs(job(**DETAILS, status="Failed", error="It broke."))
    deliver()

    data = json.loads(receiver.arrivals[0].body)["data"]
    assert (data["metadata"], data["error"]) == ({"customer": "4711"}, "It broke.")
    assert details() == GONE


def test_what_an_end_will_deliver_is_kept_until_then(post_jobs: Post, job: Make, receiver: Receiver) -> None:
    begun = job(**DETAILS, webhook={"mode": "direct", "url": receiver.url})
    post_jobs(begun | {"status": "InProgress", "usage": []})
    run_later()
    assert details() == ("", None, {"mode": "direct", "url": receiver.url}, {"customer": "4711"}, None)

    post_jobs({**job(), "created_at": begun["created_at"]})
    deliver()

    assert json.loads(receiver.arrivals[0].body)["data"]["metadata"] == {"customer": "4711"}
    assert details() == GONE
    assert set(Job.objects.get().erased or []) == {"configuration", "source", "metadata", "webhook"}


def test_a_job_that_tells_nobody_keeps_nothing_while_it_runs(post_jobs: Post, job: Make) -> None:
    post_jobs(job(**DETAILS, status="Pending", usage=[], error="Hm.", webhook={"mode": "disabled"}))

    assert details() == ("", None, {"mode": "disabled"}, None, None)


def test_a_job_that_never_ends_is_given_a_day(post_jobs: Post, job: Make) -> None:
    post_jobs(job(**DETAILS, status="Pending", usage=[]))

    retention.erase_due(now=timezone.now() + timedelta(hours=23))
    assert details()[3] == {"customer": "4711"}
    retention.erase_due(now=timezone.now() + timedelta(hours=25))

    assert details() == GONE


def test_messages_lose_their_contents_once_delivered(
    organization: Organization, post_jobs: Post, job: Make, receiver: Receiver
) -> None:
    endpoints.create(organization=organization, url=receiver.url, actor=None)
    post_jobs(job(**DETAILS))
    run_later()
    assert "4711" in OutboxMessage.objects.get().payload

    deliver()
    assert OutboxMessage.objects.get().payload == EXPIRED
    run_later()

    assert "4711" in receiver.arrivals[0].body
    message = Message.objects.get()
    assert (message.payload, message.expunged_at is not None) == (EXPIRED, True)


def test_messages_keep_their_contents_while_they_are_tried_and_lose_them_when_given_up(
    organization: Organization, post_jobs: Post, job: Make, receiver: Receiver
) -> None:
    endpoints.create(organization=organization, url=receiver.url, actor=None)
    receiver.answer(500)
    post_jobs(job(**DETAILS))
    deliver()

    run_later()
    assert "4711" in Message.objects.get().payload
    Delivery.objects.update(next_attempt_at=None)
    run_later()

    assert Message.objects.get().payload == EXPIRED


def test_nothing_tells_any_more_where_a_job_had_its_message_sent_or_what_was_answered(
    post_jobs: Post, job: Make, receiver: Receiver
) -> None:
    post_jobs(job(**DETAILS, webhook={"mode": "direct", "url": receiver.url}))
    deliver()
    assert receiver.url == Attempt.objects.get().url

    run_later()

    for model in (OutboxMessage, Message, Delivery, Attempt):
        assert receiver.url not in str(model.objects.values())
    assert (Attempt.objects.get().response, Attempt.objects.get().status_code) == ("", 200)


def test_a_message_that_the_engine_refused_loses_its_content(
    organization: Organization, post_jobs: Post, job: Make, receiver: Receiver
) -> None:
    post_jobs(job(**DETAILS, webhook={"mode": "direct", "url": receiver.url}))
    OutboxMessage.objects.update(refused_at=timezone.now())

    run_later()

    assert OutboxMessage.objects.get().payload == EXPIRED
    assert receiver.url not in str(OutboxMessage.objects.values())


def test_messages_of_those_who_keep_details_keep_their_contents(
    organization: Organization, post_jobs: Post, job: Make, receiver: Receiver
) -> None:
    Entitlement.objects.filter(organization=organization).update(retention_days=30)
    endpoints.create(organization=organization, url=receiver.url, actor=None)
    post_jobs(job(**DETAILS))
    deliver()

    retention.erase_due(now=timezone.now() + timedelta(days=29))
    assert "4711" in Message.objects.get().payload
    retention.erase_due(now=timezone.now() + timedelta(days=31))

    assert Message.objects.get().payload == EXPIRED
