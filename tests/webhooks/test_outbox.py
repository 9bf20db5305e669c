import json
from datetime import UTC, datetime
from unittest import mock

import pytest
from django.db import transaction

from accounts import prepared
from accounts.models import Organization
from webhooks import endpoints, outbox
from webhooks.endpoints import NewEndpoint
from webhooks.models import OutboxMessage


def _draft(organization: Organization, job_id: str = "job-1") -> outbox.Draft:
    return outbox.Draft(
        organization_id=organization.pk,
        event_type="job.completed",
        data={"job_id": job_id},
        timestamp=datetime(2026, 3, 4, 9, 30, tzinfo=UTC),
    )


def test_nothing_is_written_for_an_organization_that_never_had_an_endpoint(
    organization: Organization,
) -> None:
    was_written = outbox.send(organization=organization, event_type="job.completed", data={})

    assert not was_written
    assert not OutboxMessage.objects.exists()


def test_a_job_that_names_a_url_needs_no_endpoint(organization: Organization) -> None:
    assert outbox.send(
        organization=organization, event_type="job.completed", data={}, url="https://example.com"
    )


def test_an_organization_stays_subscribed_when_its_endpoint_is_gone(
    organization: Organization, other_organization: Organization, endpoint: NewEndpoint
) -> None:
    endpoints.delete(organization=organization, endpoint_id=endpoint.endpoint.id, actor=None)

    assert outbox.subscribed([organization.pk, other_organization.pk]) == {organization.pk}


def test_many_are_written_in_their_order(organization: Organization) -> None:
    drafts = [_draft(organization, f"job-{number}") for number in range(20)]

    with mock.patch.object(prepared, "fetch", wraps=prepared.fetch) as statements:
        written = outbox.send_many(drafts)

    assert written == 20
    assert statements.call_count == 1
    payloads = OutboxMessage.objects.order_by("id").values_list("payload", flat=True)
    assert [json.loads(payload)["data"]["job_id"] for payload in payloads] == [
        draft.data["job_id"] for draft in drafts
    ]


def test_the_payload_has_the_form_of_standard_webhooks(organization: Organization) -> None:
    outbox.send_many([_draft(organization)])

    assert json.loads(OutboxMessage.objects.get().payload) == {
        "type": "job.completed",
        "timestamp": "2026-03-04T09:30:00.000000Z",
        "data": {"job_id": "job-1"},
    }


def test_a_message_is_undone_with_its_fact(organization: Organization) -> None:
    with transaction.atomic():
        outbox.send_many([_draft(organization)])
        transaction.set_rollback(True)

    assert not OutboxMessage.objects.exists()


def test_only_events_of_the_catalogue_are_written(organization: Organization) -> None:
    with pytest.raises(KeyError):
        outbox.send(organization=organization, event_type="job.lost", data={}, url="https://example.com")
