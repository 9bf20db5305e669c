"""Payloads and times of callers that no engine takes: refused in words, never with an error of ours."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiKey
from webhooks.endpoints import NewEndpoint
from webhooks.models import Message


def _nested(depth: int) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for _ in range(depth):
        payload = {"a": payload}
    return payload


@pytest.mark.parametrize("depth", [150, 220, 300, 600])
def test_a_test_that_is_nested_too_deep_is_refused_or_sent(
    depth: int, client: Client, organization_key: tuple[ApiKey, str], endpoint: NewEndpoint
) -> None:
    response = client.post(
        f"/api/v1/webhooks/endpoints/{endpoint.endpoint.id}/test",
        {"type": "job.failed", "payload": _nested(depth)},
        content_type="application/json",
        headers={"authorization": f"Bearer {organization_key[1]}"},
    )

    assert response.status_code in (201, 400)
    assert Message.objects.count() == (response.status_code == 201)


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-01-01T00:00:00Z"]
)
@pytest.mark.parametrize("name", ["since", "until"])
def test_times_at_the_ends_of_the_calendar_are_answered(
    name: str, moment: str, client: Client, organization_key: tuple[ApiKey, str], endpoint: NewEndpoint
) -> None:
    headers = {"authorization": f"Bearer {organization_key[1]}"}

    listed = client.get("/api/v1/webhooks/messages", {name: moment}, headers=headers)
    recovered = client.post(
        f"/api/v1/webhooks/endpoints/{endpoint.endpoint.id}/recover",
        {"since": "2026-01-01T00:00:00Z"} | {name: moment},
        content_type="application/json",
        headers=headers,
    )

    assert listed.status_code in (200, 400)
    assert recovered.status_code == 400
