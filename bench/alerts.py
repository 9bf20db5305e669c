"""How long it takes to find the alerts that are due: 100,000 organizations with three alerts and 35 days of usage each.

All of them at once, the 2,000 that changed since the last run, and beside them in the same run a loop that asks about
one alert after the other by the ORM (a sample of it). Medians of the rounds.
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bench._system import line, median, system

DAYS, CHANGED = 35, 2_000
# The limits we mean to keep; every run says whether they are.
SECONDS_GOAL, PEER_GOAL = 1.0, 150.0

# Thresholds that few have reached.
_FILL = """
INSERT INTO accounts_organization (
    id, uid, name, billing_email, time_zone, next_time_zone, default_region, only_owner_manages_keys, support_may_look,
    created_at, access_version, access_changed_at)
SELECT n, 'org_' || n, 'Organization ' || n, '', 'UTC', '', '', false, true, now(), 1, now()
FROM generate_series(1, %(organizations)s) n;
INSERT INTO usage_usagealert (
    uid, organization_id, name, metric, threshold, period, product, is_enabled, created_at,
    in_force_from)
SELECT 'alr_' || n || '_' || a, n, '', (array['pages', 'credits', 'cost'])[a], (array[990, 6500, 2000])[a],
       (array['daily', 'weekly', 'monthly'])[a], '', true, now(), current_date - 60
FROM generate_series(1, %(organizations)s) n, generate_series(1, 3) a;
INSERT INTO usage_usageday (organization_id, day, requests, pages, credits, cost, changed_at)
SELECT n, %(today)s - d, 100, (random() * 1000)::int, (random() * 1000)::int, (random() * 100)::int,
       now() - interval '60 days'
FROM generate_series(0, %(days)s - 1) d, generate_series(1, %(organizations)s) n;
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--organizations", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=2_000, help="how many alerts the loop asks about")
    options = parser.parse_args()
    with system("config.settings"):
        measure(options.rounds, options.organizations, options.sample)


def measure(rounds: int, organizations: int, sample: int) -> None:
    from usage import firings

    now = datetime.now(UTC)
    fill(organizations, now)
    firings.evaluate(now=now)  # it sets the mark
    alerts = 3 * organizations
    every, again, changed, loop = [], [], [], []
    for _ in range(rounds):
        forget()
        every.append(seconds(firings.evaluate_all, now=now))
        again.append(seconds(firings.evaluate_all, now=now))
        forget()
        touch(min(CHANGED, organizations))
        changed.append(seconds(firings.evaluate, now=now))
        untouch()
        forget()
        loop.append(seconds(one_by_one, sample, now) * alerts / sample)
    print(f"{organizations:,} organizations, {alerts:,} alerts, {organizations * DAYS:,} days of usage")
    took = median(every)
    line(
        "all alerts in one statement",
        f"{took:.2f} s",
        SECONDS_GOAL / took,
        1.0,
        f"{alerts / took:,.0f} alerts/s",
    )
    line("the same again: nothing new fires", f"{median(again):.2f} s")
    line(f"{CHANGED:,} organizations that changed", f"{median(changed):.3f} s")
    line(
        "one after the other, by the ORM",
        f"{median(loop):.0f} s",
        median(loop) / took,
        PEER_GOAL,
        "times as long as one statement",
    )


def fill(organizations: int, now: datetime) -> None:
    execute(_FILL, {"organizations": organizations, "days": DAYS, "today": now.date()})
    for table in ("usage_usageday", "usage_usagealert", "accounts_organization"):
        execute(f"VACUUM ANALYZE {table}")


def execute(query: str, values: Any = None) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query, values)


def forget() -> None:
    execute("TRUNCATE usage_triggeredalert")


def touch(organizations: int) -> None:
    """As if these had used something just now."""
    execute(
        "UPDATE usage_usageday SET changed_at = now() WHERE organization_id <= %s AND day = %s",
        [organizations, datetime.now(UTC).date()],
    )


def untouch() -> None:
    execute(
        "UPDATE usage_usageday SET changed_at = now() - interval '60 days' "
        "WHERE changed_at > now() - interval '1 day'"
    )


def seconds(work: Callable[..., Any], *values: Any, **named: Any) -> float:
    start = time.perf_counter()
    work(*values, **named)
    return time.perf_counter() - start


def one_by_one(sample: int, now: datetime) -> None:
    """What somebody writes who does not know how many alerts there will be."""
    from django.db.models import Sum

    from usage import alert_periods
    from usage.models import TriggeredAlert, UsageAlert, UsageDay

    for alert in UsageAlert.objects.filter(is_enabled=True).select_related("organization")[:sample]:
        period = alert_periods.current(alert.organization, alert.period, now=now)
        days = UsageDay.objects.filter(
            organization_id=alert.organization_id, day__gte=period.start, day__lt=period.next
        )
        value = days.aggregate(sum=Sum(alert.metric))["sum"] or 0
        if value >= alert.threshold:
            TriggeredAlert.objects.get_or_create(
                alert=alert,
                period_start=period.start,
                period=alert.period,
                metric=alert.metric,
                scope="",
                threshold=alert.threshold,
                defaults={"organization": alert.organization, "value": value},
            )


if __name__ == "__main__":
    main()
