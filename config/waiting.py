"""What waits for a process, how much of it, and since when: for the back office, and as numbers for `/metrics`.

Each app says of its own since when. Every question goes through an index that what waits has to itself, or stops
counting at `MOST`; none may take longer than `PATIENCE`, and a database that hangs is left after `LONGEST`. So all can
be asked every few seconds, also while something is wrong.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from threading import Timer
from time import monotonic
from typing import Any, LiteralString

import psycopg
from django.db import Error, connection, connections, transaction
from django.utils import timezone

from accounts import notifications, volatile
from billing import inbox, metering, settlement
from config.celery import app
from usage import export_files, firings, margins
from webhooks import outbox
from webhooks.embedded import queue

logger = logging.getLogger(__name__)

MOST = 10_000  # rows counted of what waits
PATIENCE = 2_000  # milliseconds for one question
LONGEST = 3.0  # seconds for all of them; with a try to connect anew less than Prometheus waits


@dataclass(frozen=True)
class Queue:
    """Something that waits for a process. Waiting longer than `limit` means that something is wrong.

    `metric` is the number of seconds that `/metrics` tells, and `meaning` what it says.
    """

    name: str
    label: str
    limit: timedelta
    worked_by: str
    permission: str
    url: str
    oldest: Callable[[], datetime | None]
    metric: str
    meaning: str


QUEUES = (
    Queue(
        "outbox",
        "Webhook messages to hand over",
        timedelta(minutes=1),
        "deliver",
        "webhooks.view_outboxmessage",
        "admin:webhooks_outboxmessage_changelist",
        outbox.oldest_waiting,
        "outbox_oldest_seconds",
        "Since the oldest message that is not handed to the webhook engine was written.",
    ),
    Queue(
        "deliveries",
        "Webhook deliveries due",
        timedelta(minutes=2),
        "deliver",
        "webhooks.view_message",
        "admin:webhooks_message_changelist",
        queue.oldest_due,
        "deliveries_oldest_due_seconds",
        "Since the delivery of a webhook that has been due longest was due.",
    ),
    Queue(
        "alerts",
        "Usage to look at for alerts and caps",
        timedelta(minutes=2),
        "worker",
        "usage.view_triggeredalert",
        "admin:usage_triggeredalert_changelist",
        firings.behind_since,
        "alert_lag_seconds",
        "Since when changes of usage have not been looked at for alerts and caps.",
    ),
    Queue(
        "settlement",
        "Usage to settle in the ledger",
        timedelta(minutes=15),
        "worker",
        "billing.view_creditentry",
        "admin:billing_creditentry_changelist",
        settlement.behind_since,
        "settlement_lag_seconds",
        "Since when changes of usage have not been settled in the ledger of credits.",
    ),
    Queue(
        "margins",
        "Days to fold for pages and exports",
        timedelta(minutes=10),
        "worker",
        "usage.view_usagerecord",
        "admin:usage_usagerecord_changelist",
        margins.oldest_unfolded,
        "rollup_lag_seconds",
        "Since the oldest change of a day's totals that is not folded into its margins yet.",
    ),
    Queue(
        "exports",
        "Usage exports to make",
        timedelta(minutes=10),
        "worker",
        "usage.view_job",
        "",
        export_files.oldest_waiting,
        "exports_oldest_seconds",
        "Since the oldest export that no worker has taken was asked for.",
    ),
    Queue(
        "mails",
        "Notices to mail",
        timedelta(minutes=5),
        "worker",
        "accounts.view_user",
        "",
        notifications.oldest_due,
        "mail_oldest_seconds",
        "Since the letter that has been due longest was due.",
    ),
    Queue(
        "stripe",
        "Stripe events to apply",
        timedelta(minutes=5),
        "worker",
        "billing.view_billingaccount",
        "",
        inbox.oldest_change,
        "stripe_changes_oldest_seconds",
        "Since the first event about the object of Stripe's that has waited longest.",
    ),
    Queue(
        "meter",
        "Meter reports to send to Stripe",
        timedelta(minutes=15),
        "worker",
        "billing.view_meterreport",
        "admin:billing_meterreport_changelist",
        metering.oldest_waiting,
        "meter_reports_oldest_seconds",
        "Since the oldest report of usage that Stripe has not got was written.",
    ),
)

# How much waits, by the number of `/metrics` that tells it.
_COUNTS: dict[str, LiteralString] = {
    "outbox_waiting": """
        SELECT COUNT(*) FROM (
            SELECT FROM webhooks_outboxmessage WHERE handed_over_at IS NULL AND refused_at IS NULL LIMIT %s
        ) AS waiting
    """,
    "endpoints_failing": """
        SELECT COUNT(*) FROM (
            SELECT FROM webhooks_endpoint
            WHERE failing_since IS NOT NULL AND NOT disabled AND deleted_at IS NULL LIMIT %s
        ) AS failing
    """,
    "stripe_changes_waiting": """
        SELECT COUNT(*) FROM (SELECT FROM billing_stripechange LIMIT %s) AS waiting
    """,
    "mail_waiting": """
        SELECT COUNT(*) FROM (
            SELECT FROM accounts_notification WHERE by_mail AND emailed_at IS NULL LIMIT %s
        ) AS waiting
    """,
}

# By name, what each number says. All are of the moment, and seconds are 0 where nothing waits.
MEANINGS = {each.metric: each.meaning for each in QUEUES} | {
    "outbox_waiting": f"Messages not handed to the webhook engine yet; counted up to {MOST}.",
    "endpoints_failing": f"Endpoints, not turned off, that have failed since their last success; up to {MOST}.",
    "stripe_changes_waiting": f"Objects of Stripe's that events told of and are not applied; up to {MOST}.",
    "mail_waiting": f"Notices that are to be mailed and are not; counted up to {MOST}.",
    "queue_length": "Tasks in the queue that no worker has taken.",
}


# ── For people ───────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Age:
    """How long the oldest of a queue has waited: 0 where nothing waits. It may not be known, at a bad moment."""

    queue: Queue
    since: datetime | None
    age: timedelta
    is_known: bool = True

    @property
    def is_old(self) -> bool:
        return self.age > self.queue.limit


def ages(*, now: datetime | None = None) -> list[Age]:
    """The age of each queue's oldest."""
    now = now or timezone.now()
    found = _ask({each.metric: each.oldest for each in QUEUES})
    return [_age(each, found, now) for each in QUEUES]


def _age(queue: Queue, found: dict[str, Any], now: datetime) -> Age:
    since = found.get(queue.metric)
    return Age(queue, since, max(now - since, timedelta()) if since else timedelta(), queue.metric in found)


# ── For `/metrics` ───────────────────────────────────────────────────────────────────────────────────────────
def in_database() -> dict[str, float] | None:
    """What the database tells, by name, without what it did not tell in time; None where it does not answer."""
    questions: dict[str, Callable[[], Any]] = {each.metric: each.oldest for each in QUEUES}
    questions |= {name: partial(_count, query) for name, query in _COUNTS.items()}
    found = _ask(questions)
    return {name: _number(value) for name, value in found.items()} or None


def _count(query: LiteralString) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, [MOST])
        return int(cursor.fetchone()[0])


def _number(value: datetime | int | None) -> float:
    if isinstance(value, datetime):
        return max(0.0, (timezone.now() - value).total_seconds())
    return float(value or 0)


def in_queue() -> int | None:
    """How many tasks wait for a worker; None where Redis does not answer."""
    try:
        return int(volatile.ask(lambda: volatile.client().llen(app.conf.task_default_queue)))
    except volatile.Unavailable as error:
        logger.warning("The length of the queue cannot be read: %s", error)
        return None


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────
def _ask(questions: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """The answers, by the questions' names, without those that were not given in time."""
    found: dict[str, Any] = {}
    end = monotonic() + LONGEST
    with _cut_at(end):
        for name, question in questions.items():
            left = int(1000 * (end - monotonic()))
            if left <= 0:
                logger.warning("The database was given up on before it told of %s", name)
                break
            try:
                with transaction.atomic():
                    _be_brief(min(PATIENCE, left))
                    found[name] = question()
            except Error as error:
                logger.warning("What waits cannot be read: %s: %s", name, error)
                if connection.connection is None:  # it could not be reached
                    break
    return found


def _be_brief(milliseconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = %s", [milliseconds])


@contextmanager
def _cut_at(end: float) -> Iterator[None]:
    """Cut the connection at this moment, if it is still waited for: a server that hangs keeps no time itself."""
    wrapper = connections["default"]  # this thread's, which the timer's thread could not look up

    def cut() -> None:
        if wrapper.connection:
            with (
                suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(wrapper.connection.pgconn.socket)) as line,
            ):
                line.shutdown(socket.SHUT_RDWR)

    timer = Timer(end - monotonic(), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
