"""How long the oldest of each queue has waited. Each app says it of its own; here they stand side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from accounts import notifications
from billing import inbox, metering, settlement
from usage import export_files, firings, margins
from webhooks import outbox
from webhooks.embedded import queue


@dataclass(frozen=True)
class Queue:
    """Something that waits for a process. Waiting longer than `limit` means that something is wrong."""

    name: str
    label: str
    limit: timedelta
    worked_by: str
    permission: str
    url: str
    oldest: Callable[[], datetime | None]


QUEUES = (
    Queue(
        "outbox",
        "Webhook messages to hand over",
        timedelta(minutes=1),
        "deliver",
        "webhooks.view_outboxmessage",
        "admin:webhooks_outboxmessage_changelist",
        outbox.oldest_waiting,
    ),
    Queue(
        "deliveries",
        "Webhook deliveries due",
        timedelta(minutes=2),
        "deliver",
        "webhooks.view_message",
        "admin:webhooks_message_changelist",
        queue.oldest_due,
    ),
    Queue(
        "alerts",
        "Usage to look at for alerts and caps",
        timedelta(minutes=3),
        "worker",
        "usage.view_triggeredalert",
        "admin:usage_triggeredalert_changelist",
        firings.behind_since,
    ),
    Queue(
        "settlement",
        "Usage to settle in the ledger",
        timedelta(minutes=15),
        "worker",
        "billing.view_creditentry",
        "admin:billing_creditentry_changelist",
        settlement.oldest_unsettled,
    ),
    Queue(
        "margins",
        "Days to fold for pages and exports",
        timedelta(minutes=10),
        "worker",
        "usage.view_usagerecord",
        "admin:usage_usagerecord_changelist",
        margins.oldest_unfolded,
    ),
    Queue(
        "exports",
        "Usage exports to make",
        timedelta(minutes=10),
        "worker",
        "usage.view_job",
        "",
        export_files.oldest_waiting,
    ),
    Queue(
        "mails",
        "Notices to mail",
        timedelta(minutes=5),
        "worker",
        "accounts.view_user",
        "",
        notifications.oldest_due,
    ),
    Queue(
        "stripe",
        "Stripe events to apply",
        timedelta(minutes=5),
        "worker",
        "billing.view_billingaccount",
        "",
        inbox.oldest_change,
    ),
    Queue(
        "meter",
        "Meter reports to send to Stripe",
        timedelta(minutes=15),
        "worker",
        "billing.view_meterreport",
        "admin:billing_meterreport_changelist",
        metering.oldest_waiting,
    ),
)


@dataclass(frozen=True)
class Age:
    queue: Queue
    since: datetime | None
    age: timedelta

    @property
    def is_old(self) -> bool:
        return self.age > self.queue.limit


def read(*, now: datetime | None = None) -> list[Age]:
    """The age of each queue's oldest; 0 where nothing waits. One question a queue."""
    now = now or timezone.now()
    return [
        Age(each, since, max(now - since, timedelta()) if since else timedelta())
        for each in QUEUES
        for since in [each.oldest()]
    ]
