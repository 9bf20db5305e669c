"""A job's own choice of webhook, from the data plane's report to the receiver."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from svix.webhooks import Webhook

from accounts.models import ApiKey, Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass, receiver
from usage.ingest import LARGEST_DETAILS
from usage.models import Entitlement, Job
from webhooks import endpoints
from webhooks.events import EVENT_TYPES
from webhooks.models import Message, OutboxMessage

__all__ = ["receiver"]

pytestmark = pytest.mark.django_db(transaction=True)

Json = dict[str, Any]
Post = Callable[..., Json]
Make = Callable[..., Json]


@pytest.fixture
def listening(organization: Organization, receiver: Receiver) -> None:
    """The organization has an endpoint for everything, and one on the channel `orders`."""
    for path, channels in (("all", None), ("orders", ["orders"])):
        endpoints.create(
            organization=organization, url=f"{receiver.url}{path}", channels=channels, actor=None
        )


def paths(receiver: Receiver) -> list[str]:
    return sorted(arrival.path for arrival in receiver.arrivals)


def data(receiver: Receiver) -> Json:
    """What the first arrival told, which is as its schema says."""
    payload = json.loads(receiver.arrivals[0].body)
    told: Json = payload["data"]
    jsonschema.validate(told, EVENT_TYPES[payload["type"]].schema)
    return told


@pytest.mark.parametrize(
    ("webhook", "reached"),
    [
        (None, ["/all"]),
        ({"mode": "svix"}, ["/all"]),
        ({"mode": "svix", "channels": []}, ["/all"]),
        ({"mode": "svix", "channels": None, "url": None}, ["/all"]),
        ({"mode": "svix", "channels": ["orders"]}, ["/all", "/orders"]),
        ({"mode": "svix", "channels": ["returns"]}, ["/all"]),
        ({"mode": "disabled"}, []),
        ({"mode": "disabled", "channels": ["orders"], "url": None}, []),
    ],
)
def test_a_job_says_who_hears_of_its_end(
    webhook: Json | None, reached: list[str], post_jobs: Post, job: Make, listening: None, receiver: Receiver
) -> None:
    answer = post_jobs(job(webhook=webhook))
    deliver()

    assert answer["accepted"] == 1
    assert paths(receiver) == reached


def test_a_url_of_its_own_hears_of_it_alone(
    post_jobs: Post, job: Make, listening: None, receiver: Receiver
) -> None:
    post_jobs(job(webhook={"mode": "direct", "url": f"{receiver.url}mine", "channels": None}))

    deliver()

    assert paths(receiver) == ["/mine"]


def test_a_url_of_its_own_needs_no_endpoint_and_is_signed_and_retried(
    organization: Organization, post_jobs: Post, job: Make, receiver: Receiver
) -> None:
    post_jobs(job(status="Failed", error="It broke.", webhook={"mode": "direct", "url": receiver.url}))
    receiver.answer(500)

    deliver()
    let_time_pass()
    deliver()

    first, second = receiver.arrivals
    assert first.headers["svix-id"] == second.headers["svix-id"]
    [secret] = endpoints.signing_secrets(organization=organization)
    for arrival in (first, second):
        Webhook(secret).verify(arrival.body, arrival.headers)
    assert data(receiver)["error"] == "It broke."


def test_the_choice_made_when_a_job_began_holds_at_its_end(
    post_jobs: Post, job: Make, listening: None, receiver: Receiver
) -> None:
    choice = {"mode": "direct", "url": f"{receiver.url}mine"}
    post_jobs(job(status="InProgress", usage=[], webhook=choice, metadata={"order": 7}))

    post_jobs(job())
    deliver()

    assert paths(receiver) == ["/mine"]
    assert data(receiver)["metadata"] == {"order": 7}


@pytest.mark.parametrize("metadata", [{"order": 7, "café": [1, None]}, ["a", 1], "order 7", 7, False])
def test_the_callers_metadata_comes_back_unchanged(
    metadata: object, post_jobs: Post, job: Make, listening: None, receiver: Receiver
) -> None:
    post_jobs(job(metadata=metadata))

    deliver()

    assert data(receiver)["metadata"] == metadata
    assert Job.objects.get().metadata == metadata


def test_metadata_may_come_with_the_webhook(post_jobs: Post, job: Make, receiver: Receiver) -> None:
    webhook = {"mode": "direct", "url": receiver.url, "metadata": {"order": 7}}

    post_jobs(job(webhook=webhook))
    deliver()

    assert data(receiver)["metadata"] == {"order": 7}
    saved = Job.objects.get()
    assert (saved.metadata, saved.webhook) == ({"order": 7}, {"mode": "direct", "url": receiver.url})


def test_large_details_are_a_link_to_the_job(
    post_jobs: Post, job: Make, listening: None, receiver: Receiver, organization_key: tuple[ApiKey, str]
) -> None:
    large = {"text": "x" * LARGEST_DETAILS}

    post_jobs(job("job/1 ü", status="Failed", error="It broke.", metadata=large))
    deliver()

    told = data(receiver)
    assert (told["metadata"], told["error"]) == (None, None)
    assert len(receiver.arrivals[0].body) < 1_000
    reader = Client(headers={"Authorization": f"Bearer {organization_key[1]}"})
    answer = reader.get(told["details_url"].removeprefix(settings.BASE_URL)).json()
    assert (answer["job_id"], answer["metadata"], answer["error"]) == ("job/1 ü", large, "It broke.")


def test_details_just_small_enough_are_sent(
    post_jobs: Post, job: Make, listening: None, receiver: Receiver
) -> None:
    largest = "x" * (LARGEST_DETAILS - len('["",null]'))

    post_jobs(job(metadata=largest))
    deliver()

    assert data(receiver)["metadata"] == largest
    assert "details_url" not in data(receiver)


def test_where_details_are_not_kept_there_is_no_link_to_them(
    organization: Organization, post_jobs: Post, job: Make, listening: None, receiver: Receiver
) -> None:
    Entitlement.objects.filter(organization=organization).update(retention_days=0)
    large = {"text": "x" * LARGEST_DETAILS}

    post_jobs(job(metadata=large))
    deliver()

    assert data(receiver)["metadata"] == large


def test_a_jobs_end_is_told_once_however_often_it_is_reported(
    post_jobs: Post, job: Make, listening: None, receiver: Receiver
) -> None:
    report = job()

    for status in ("InProgress", "Completed", "InProgress", "Failed", "Completed"):
        post_jobs(report | {"status": status})
        deliver()

    assert paths(receiver) == ["/all"]
    assert OutboxMessage.objects.count() == 1


def test_a_jobs_page_in_the_back_office_leads_to_what_was_sent_of_it(
    back_office: Client, post_jobs: Post, job: Make, listening: None
) -> None:
    post_jobs(job("told"), job("silent", webhook={"mode": "disabled"}))
    deliver()

    def page(job_id: str) -> str:
        url = reverse("admin:usage_job_change", args=[Job.objects.get(job_id=job_id).pk])
        return back_office.get(url).content.decode()

    written = OutboxMessage.objects.get()
    assert reverse("admin:webhooks_outboxmessage_change", args=[written.pk]) in page("told")
    assert "job.completed" not in page("silent")
    written.delete()
    assert reverse("admin:webhooks_message_change", args=[Message.objects.get().pk]) in page("told")
