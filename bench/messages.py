"""What the pages of webhooks ask the database, over many messages of one organization.

One organization has all its messages in 28 days, each with a delivery and an attempt, another a hundredth of that.
Rows are made by SQL as the embedded engine leaves them. Pages are asked for in this process, with all middleware,
beside a page of nothing; what matters is that a page costs the large organization no more than the small one. Beside
the list's middle, asked for through the SDK, stands the bare query by OFFSET. Medians of the rounds, which take turns.

`--messages 1000000` is the default and takes some minutes and 2 GB.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bench._system import line, median, system
from bench.dashboard import NOTHING, add_page_of_nothing, vacuum

if TYPE_CHECKING:
    from accounts.models import Organization

DAYS = 28
JOB = "a-job-of-the-bench"
MOST = 25.0  # milliseconds that a page may take
SIZE_GOAL, OFFSET_GOAL = 1 / 1.5, 8.0

_MESSAGES = """
INSERT INTO webhooks_message (uid, organization_id, event_id, event_type, payload, created_at)
SELECT 'msg_' || %(organization)s || 'x' || n, %(organization)s,
    CASE WHEN n = %(messages)s / 2 THEN %(job)s ELSE 'evt_' || n END,
    CASE WHEN n %% %(rare)s = 7 THEN 'usage_alert.triggered' WHEN n %% 12 = 0 THEN 'job.failed'
        ELSE 'job.completed' END,
    '{"type":"job.completed","timestamp":"2026-01-01T00:00:00Z","data":{"job_id":"job-' || n || '","num_pages":12}}',
    %(end)s::timestamptz - n * (interval '1 day' * %(days)s / %(messages)s)
FROM generate_series(%(messages)s - 1, 0, -1) n
"""
# One in a hundred is given up, and the newest one is tried again.
_DELIVERIES = """
INSERT INTO webhooks_delivery
    (organization_id, message_id, endpoint_id, url, lane, status, attempts, next_attempt_at, created_at)
SELECT %(organization)s, id, %(endpoint)s, '', %(endpoint)s,
    CASE WHEN id = (SELECT max(id) FROM webhooks_message) THEN 3 WHEN id %% 100 = 0 THEN 2 ELSE 0 END, 1,
    CASE WHEN id = (SELECT max(id) FROM webhooks_message) THEN now() + interval '1 day' END, created_at
FROM webhooks_message
WHERE organization_id = %(organization)s AND (%(type)s = '' OR event_type = %(type)s) ORDER BY id
"""
# The newest fifth is still tried at an endpoint that is away.
_BACKLOG = """
INSERT INTO webhooks_delivery
    (organization_id, message_id, endpoint_id, url, lane, status, attempts, next_attempt_at, created_at)
SELECT %(organization)s, id, %(endpoint)s, '', %(endpoint)s, 3, 1, now() + interval '1 day', created_at
FROM webhooks_message WHERE organization_id = %(organization)s ORDER BY id DESC LIMIT %(messages)s / 5
"""
_ATTEMPTS = """
INSERT INTO webhooks_attempt (uid, organization_id, message_id, endpoint_id, url, status, status_code, response,
    duration_ms, trigger, timestamp)
SELECT 'atmpt_' || id, organization_id, message_id, endpoint_id, 'https://example.com/hook',
    CASE WHEN status = 0 THEN 0 ELSE 2 END, CASE WHEN status = 0 THEN 200 ELSE 503 END, 'ok', 20 + id %% 300, 0,
    created_at
FROM webhooks_delivery WHERE organization_id = %(organization)s ORDER BY id
"""
_OFFSET = """
SELECT * FROM webhooks_message WHERE organization_id = %s ORDER BY created_at DESC, id DESC OFFSET %s LIMIT 50
"""

Question = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=1_000_000, help="of the large organization")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with system("config.settings"):
        measure(options.messages, options.rounds)


def measure(messages: int, rounds: int) -> None:
    from django.utils import timezone

    from webhooks.embedded import attempt_counts

    asked = {
        "large": questions(make_rows("Large", messages)),
        "small": questions(make_rows("Small", messages // 100)),
    }
    begin = time.perf_counter()
    hours = attempt_counts.fold(now=timezone.now())
    folding = time.perf_counter() - begin
    vacuum()
    add_page_of_nothing()
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 2):
        for size, each in asked.items():
            for name, question in each.items():
                begin = time.perf_counter()
                question()
                # Not measured: what is first read, planned or imported.
                if number >= 2:
                    times[f"{name}, {size}"].append(time.perf_counter() - begin)
    report({name: median(values) * 1000 for name, values in times.items()}, list(asked["large"]), messages)
    line("counting attempts of an hour", f"{folding * 1000 / hours:,.2f} ms", note=f"{hours:,} hours")


def make_rows(name: str, messages: int) -> "Organization":
    """An organization with an endpoint that gets everything, two that get one type, and one that is away."""
    from django.db import connection
    from django.utils import timezone

    from accounts import organizations
    from accounts.models import User
    from webhooks import endpoints, outbox
    from webhooks.models import Endpoint

    owner = User.objects.create_user(f"{name.lower()}@example.com")
    organization = organizations.create(name=name, owner=owner)
    wanted: list[str] = ["", "job.failed", "usage_alert.triggered"]
    values: dict[str, Any] = {
        "organization": organization.pk,
        "messages": messages,
        "rare": max(messages // 20, 20),
        "days": DAYS,
        "end": timezone.now() - timedelta(minutes=1),
        "job": outbox.uid_of_job(organization.pk, JOB),
    }
    with connection.cursor() as cursor:
        cursor.execute(_MESSAGES, values)
        for path in (*wanted, "away"):
            made = endpoints.create(organization=organization, url=f"https://example.com/{path}", actor=None)
            row = Endpoint.objects.get(uid=made.endpoint.id)
            query = _BACKLOG if path == "away" else _DELIVERIES
            cursor.execute(query, values | {"endpoint": row.pk, "type": path})
        cursor.execute(_ATTEMPTS, values)
    return organization


def questions(organization: "Organization") -> dict[str, Question]:
    """What is measured, by name."""
    from django.conf import settings
    from django.db import connection
    from django.test import Client

    from webhooks.models import Endpoint, Message

    browser = Client(HTTP_HOST=settings.ALLOWED_HOSTS[0])
    browser.force_login(organization.memberships.get().user)
    messages = Message.objects.filter(organization=organization).order_by("-created_at", "-id")
    count = messages.count()
    deep, failed = messages[count // 2], messages.filter(pk__in=_failed(organization))[0]
    everything, _, rare, away = Endpoint.objects.filter(organization=organization).order_by("pk")
    day = (deep.created_at - timedelta(days=1)).date()

    def page(address: str, rows: int | None = None) -> Question:
        def ask() -> object:
            response = browser.get(address)
            assert response.status_code == 200, response.status_code
            found = response.content.count(b"/webhooks/messages/msg_")
            assert rows is None or found == rows, found
            return response

        return ask

    def offset() -> object:
        with connection.cursor() as cursor:
            cursor.execute(_OFFSET, [organization.pk, count // 2])
            return cursor.fetchall()

    def middle() -> object:
        from svix.api import MessageListOptions

        from webhooks.gateway import get_svix

        return get_svix().message.list(organization.uid, MessageListOptions(limit=50, iterator=deep.uid))

    under = f"/o/{organization.uid}/webhooks"
    listed = f"{under}/messages/"
    of_all = f"{listed}?endpoint={everything.uid}"
    return {
        "no page": page(NOTHING),
        "the list's middle, OFFSET": offset,
        "the list's middle": middle,
        "messages": page(listed, min(50, count)),
        "messages, in the middle": page(f"{listed}?place={deep.uid}", 50),
        "messages, the last": page(f"{listed}?place={messages.reverse()[50].uid}", 50),
        "of a type": page(f"{listed}?type=job.failed"),
        "of a rare type": page(f"{listed}?type=usage_alert.triggered"),
        "of days": page(f"{listed}?since={day}&until={day}"),
        "since a day": page(f"{listed}?since={day}"),
        "of an endpoint": page(of_all, min(50, count)),
        "of an endpoint, in the middle": page(f"{of_all}&place={deep.uid}", 50),
        "of an endpoint and a rare type": page(f"{of_all}&type=usage_alert.triggered"),
        "of an endpoint with few": page(f"{listed}?endpoint={rare.uid}"),
        "delivered": page(f"{of_all}&state=delivered"),
        "failed": page(f"{of_all}&state=failed"),
        "failed, of days": page(f"{of_all}&state=failed&since={day}&until={day}"),
        "failed, of a rare type": page(f"{of_all}&state=failed&type=usage_alert.triggered"),
        "retrying": page(f"{of_all}&state=retrying"),
        "retrying, a fifth of all": page(f"{listed}?endpoint={away.uid}&state=retrying"),
        "waiting, a fifth retrying": page(f"{listed}?endpoint={away.uid}&state=waiting"),
        "cancelled": page(f"{of_all}&state=cancelled"),
        "of a job": page(f"{listed}?name={quote(JOB)}", 1),
        "a message": page(f"{listed}{deep.uid}/"),
        "a message that failed": page(f"{listed}{failed.uid}/"),
        "what waits": page(f"{under}/waiting/"),
        "endpoints": page(f"{under}/"),
        "an endpoint": page(f"{under}/endpoints/{everything.uid}/"),
        "an endpoint that is away": page(f"{under}/endpoints/{away.uid}/"),
        "recover": page(f"{under}/endpoints/{everything.uid}/recover/"),
        "replay": page(f"{under}/endpoints/{everything.uid}/replay/"),
    }


def _failed(organization: "Organization") -> Any:
    from webhooks.models import Delivery, Status

    return Delivery.objects.filter(organization=organization, status=Status.FAIL).values("message")


def report(found: dict[str, float], names: list[str], messages: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (version,) = cursor.fetchone()
    print(
        f"{messages:,} messages in {DAYS} days of one organization, {messages // 100:,} of another, "
        f"PostgreSQL {version}"
    )

    def of(name: str, ratio: float | None = None, goal: float | None = None, note: str = "") -> None:
        line(name, f"{found[name]:,.2f} ms", ratio, goal, note)

    of("no page, large")
    of("the list's middle, OFFSET, large")
    middle = "the list's middle, large"
    of(middle, found["the list's middle, OFFSET, large"] / found[middle], OFFSET_GOAL, "OFFSET")
    for name in names[3:]:
        of(f"{name}, small")
        of(f"{name}, large", found[f"{name}, small"] / found[f"{name}, large"], SIZE_GOAL, "small")
        of(f"{name}, large", MOST / found[f"{name}, large"], 1, f"of {MOST:g} ms")


if __name__ == "__main__":
    main()
