"""The work of a deleted organization was done: reports of it count, and nobody is told."""

from collections.abc import Callable
from typing import Any

from accounts import organizations
from accounts.models import Organization
from usage.models import UsageRecord
from webhooks.models import OutboxMessage


def test_late_reports_are_accepted_and_send_nothing(
    post_jobs: Callable[..., Any], job: Callable[..., Any], organization: Organization
) -> None:
    report = job(webhook={"mode": "direct", "url": "https://example.com/hook"})
    organizations.delete(organization=organization, actor=None)
    OutboxMessage.objects.all().delete()

    outcome = post_jobs(report)

    assert outcome["accepted"] == 1
    assert UsageRecord.objects.get().credits == 3
    assert not OutboxMessage.objects.exists()
