"""Since when the oldest of each queue has waited, as each app says it."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from accounts import notifications
from accounts.models import ApiKey, NoticeKind, Notification, Organization, User
from billing import inbox, settlement
from config import ages
from tests.usage.rows import daily_usage
from usage import export_files, margins
from usage.models import UsageDay, UsageExportFile
from webhooks.embedded import queue
from webhooks.models import Delivery, Message


@pytest.fixture
def usage(organization_key: tuple[ApiKey, str]) -> UsageDay:
    daily_usage(organization_key[0], timezone.now().date())
    return UsageDay.objects.get()


def test_usage_waits_to_be_settled_since_it_changed(usage: UsageDay) -> None:
    assert settlement.oldest_unsettled() == usage.changed_at


def test_what_is_settled_does_not_wait(usage: UsageDay) -> None:
    settlement.settle_changed()

    assert settlement.oldest_unsettled() is None


def test_what_was_found_is_kept_for_a_while(usage: UsageDay) -> None:
    settlement.oldest_unsettled()
    settlement.settle_changed()

    assert settlement.oldest_unsettled() == usage.changed_at
    cache.clear()
    assert settlement.oldest_unsettled() is None


def test_a_day_waits_to_be_folded_until_it_is(usage: UsageDay) -> None:
    assert margins.oldest_unfolded() == usage.changed_at

    margins.fold(now=timezone.now() + timedelta(minutes=5))

    assert margins.oldest_unfolded() is None


@pytest.mark.parametrize("state", ["waiting", "done"])
def test_only_exports_that_nobody_has_begun_wait(organization: Organization, owner: User, state: str) -> None:
    export = UsageExportFile.objects.create(
        organization=organization, created_by=owner, kind="jobs", state=state
    )

    assert export_files.oldest_waiting() == (export.created_at if state == "waiting" else None)


def test_a_letter_waits_from_when_it_is_due(owner: User) -> None:
    Notification.objects.all().delete()
    due = timezone.now() - timedelta(minutes=7)
    for minutes, key in ((0, "due"), (20, "later")):
        Notification.objects.create(
            user=owner,
            kind=NoticeKind.TEAM,
            key=key,
            title="Something happened",
            next_mail_at=due + timedelta(minutes=minutes),
        )

    assert notifications.oldest_due() == due


@pytest.mark.django_db
def test_an_event_of_stripes_waits_to_be_applied() -> None:
    assert inbox.oldest_change() is None

    inbox.note("cus_1")

    assert inbox.oldest_change()


def test_the_delivery_that_has_been_due_longest_counts_whichever_its_lane(organization: Organization) -> None:
    now = timezone.now()
    message = Message.objects.create(organization=organization, event_type="job.completed", payload="{}")
    for lane, minutes in ((-1, 3), (-2, 9), (-3, -5)):
        Delivery.objects.create(
            organization=organization,
            message=message,
            url="https://example.com",
            lane=lane,
            next_attempt_at=now - timedelta(minutes=minutes),
        )

    assert queue.oldest_due() == now - timedelta(minutes=9)


@pytest.mark.django_db
def test_where_nothing_waits_nothing_is_old() -> None:
    found = ages.read()

    assert len(found) == len(ages.QUEUES)
    assert not [age for age in found if age.is_old]
