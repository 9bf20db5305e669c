"""How long it takes to settle what was used: 100,000 organizations in one pass, with three grants and a new day each.

A few of them also have something taken back. Beside it the pass where nothing has changed since the last one, one where
2,000 have, and a loop that settles one organization after the other by the ORM (a sample of it). Medians of the rounds.
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bench._system import line, median, system

DAYS, CHANGED, CORRECTED = 35, 2_000, 50  # one of so many has a record taken back
# The limits we mean to keep; every run says whether they are.
SECONDS_GOAL, PEER_GOAL = 15.0, 20.0

# Everybody is on Pro, invoiced by hand, and has used days that the ledger knows of; a tenth comes to a grant's end.
_FILL = """
INSERT INTO accounts_organization (
    id, uid, name, billing_email, time_zone, next_time_zone, default_region, only_owner_manages_keys, support_may_look,
    created_at, access_version, access_changed_at)
SELECT n, 'org_' || n, 'Organization ' || n, '', 'UTC', '', '', false, true, now(), 1, now()
FROM generate_series(1, %(organizations)s) n;
INSERT INTO billing_billingaccount (
    organization_id, plan_id, is_invoiced, interval, stripe_customer, stripe_subscription, subscription_status, anchor,
    next_interval, card, balance, settled, uncovered, overage_pending, grants, readings, last_reading, created_at)
SELECT n, (SELECT id FROM billing_plan WHERE slug = 'pro'), true, 'month', '', '', '', now(), '', '', 600,
    100 * (%(days)s - 1), 0, 0, 3, 0, 0, now()
FROM generate_series(1, %(organizations)s) n;
INSERT INTO usage_entitlement (
    organization_id, plan, may_call, reason, requests_per_minute, credit_price, credits_used, credits_ceiling,
    overage_allowed, retention_days)
SELECT n, 'pro', true, '', 100, 0.01, 100 * %(days)s, 100 * (%(days)s - 1) + 600, true, 0
FROM generate_series(1, %(organizations)s) n;
INSERT INTO billing_creditgrant (
    uid, organization_id, kind, key, amount, remaining, priority, expires_at, reason, stripe_object, created_at)
SELECT 'grt_' || n || '_' || g, n, (array['included', 'free', 'purchased'])[g], 'g' || g, 550,
    CASE WHEN n %% 10 = 0 THEN (array[30, 20, 550])[g] ELSE (array[500, 50, 50])[g] END,
    (array[10, 20, 40])[g], CASE WHEN g = 1 THEN now() + interval '20 days' END, '', '', now()
FROM generate_series(1, %(organizations)s) n, generate_series(1, 3) g;
INSERT INTO usage_usageday (organization_id, day, requests, pages, credits, cost, changed_at)
SELECT n, %(today)s - d, 100, 100, 100, 1, now() - interval '60 days'
FROM generate_series(0, %(days)s - 1) d, generate_series(1, %(organizations)s) n;
INSERT INTO billing_settledday (organization_id, day, credits, overage, uncovered)
SELECT organization_id, day, 100, 0, 0 FROM usage_usageday WHERE day < %(today)s;
INSERT INTO usage_usagerecord (
    organization_id, idempotency_key, job_id, api_key_id, product, feature, file_type, region, priority, requests,
    pages, quantity, credits, cost, rate_id, unrated, corrects, reason, day, timestamp, attributes)
SELECT n, 'correction:' || n, 'job-' || n, 1, 'parse', 'standard', 'pdf', '', 'standard', -1, -7, NULL, -7, -0.07, NULL,
    false, 'item-' || n, 'The job failed.', %(today)s, %(today)s + interval '1 hour', NULL
FROM generate_series(1, %(organizations)s, %(corrected)s) n;
"""
TABLES = (
    "accounts_organization",
    "billing_billingaccount",
    "billing_creditentry",
    "billing_creditgrant",
    "billing_settledday",
    "usage_entitlement",
    "usage_usageday",
    "usage_usagerecord",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--organizations", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=1_000, help="how many organizations the loop settles")
    options = parser.parse_args()
    with system("config.settings"):
        measure(options.rounds, options.organizations, options.sample)


def measure(rounds: int, organizations: int, sample: int) -> None:
    from billing import settlement

    now = datetime.now(UTC)
    every, again, changed, swept, loop = [], [], [], [], []
    for _ in range(rounds):
        fill(organizations, now)
        touch(organizations, now)
        since = now - timedelta(days=1)
        settled, took = timed(settlement.settle_changed, since=since, now=now)
        assert settled == organizations, settled
        every.append(took)
        untouch()
        again.append(timed(settlement.settle_changed, since=since, now=now)[1])
        swept.append(timed(settlement.settle_changed, now=now)[1])
        use_more(min(CHANGED, organizations), now)
        settled, took = timed(settlement.settle_changed, since=since, now=now)
        assert settled == min(CHANGED, organizations), settled
        changed.append(took)
        agrees()
        fill(organizations, now)
        loop.append(timed(one_by_one, sample, now)[1] * organizations / sample)
    print(
        f"{organizations:,} organizations, {organizations * DAYS:,} days of usage, {3 * organizations:,} grants"
    )
    took = median(every)
    line(
        "all of them, settled in one pass",
        f"{took:.2f} s",
        SECONDS_GOAL / took,
        1.0,
        f"{organizations / took:,.0f} organizations/s",
    )
    line("nothing has changed since the last pass", f"{median(again) * 1000:.1f} ms")
    line("a sweep over all days: nothing to settle", f"{median(swept):.2f} s")
    line(f"{CHANGED:,} organizations that changed", f"{median(changed):.2f} s")
    line(
        "one after the other, by the ORM",
        f"{median(loop):.0f} s",
        median(loop) / took,
        PEER_GOAL,
        "times as long as one pass",
    )


def fill(organizations: int, now: datetime) -> None:
    from usage import partitions

    this = partitions.month_of(now)
    partitions.ensure([this])
    execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
    values = {"organizations": organizations, "days": DAYS, "today": now.date(), "corrected": CORRECTED}
    execute(_FILL, values)
    for table in TABLES:
        execute(f"VACUUM ANALYZE {table}")


def execute(query: str, values: Any = None) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query, values)


def touch(organizations: int, now: datetime) -> None:
    """As if these had used something just now."""
    execute(
        "UPDATE usage_usageday SET changed_at = now() WHERE organization_id <= %s AND day = %s",
        [organizations, now.date()],
    )


def untouch() -> None:
    execute(
        "UPDATE usage_usageday SET changed_at = now() - interval '60 days' "
        "WHERE changed_at > now() - interval '1 day'"
    )


def use_more(organizations: int, now: datetime) -> None:
    execute(
        "UPDATE usage_usageday SET changed_at = now(), credits = credits + 3 WHERE organization_id <= %s AND day = %s",
        [organizations, now.date()],
    )
    execute(
        "UPDATE usage_entitlement SET credits_used = credits_used + 3 WHERE organization_id <= %s",
        [organizations],
    )


def agrees() -> None:
    """The passes did what they are measured for: balances are the sums of the ledger, and all usage is known."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT SUM(balance) FROM billing_billingaccount),"
            " (SELECT SUM(remaining) FROM billing_creditgrant),"
            " (SELECT SUM(amount) FROM billing_creditentry) + 600 * (SELECT COUNT(*) FROM billing_billingaccount),"
            " (SELECT COUNT(*) FROM usage_usageday u LEFT JOIN billing_settledday s USING (organization_id, day)"
            "  WHERE u.credits IS DISTINCT FROM s.credits)"
        )
        balance, remaining, entered, unsettled = cursor.fetchone()
    assert balance == remaining == entered
    assert unsettled == 0


def timed(work: Callable[..., Any], *values: Any, **named: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    answer = work(*values, **named)
    return answer, time.perf_counter() - start


def one_by_one(sample: int, now: datetime) -> None:
    """What somebody writes who does not know how many organizations there will be."""
    from django.db import transaction

    from billing.models import BillingAccount, CreditEntry, CreditGrant, SettledDay
    from usage.models import Entitlement, UsageDay, UsageRecord

    today = now.date()
    for pk in BillingAccount.objects.order_by("pk").values_list("pk", flat=True)[:sample]:
        with transaction.atomic():
            account = BillingAccount.objects.select_for_update().get(pk=pk)
            settled, _ = SettledDay.objects.get_or_create(
                organization_id=pk, day=today, defaults={"credits": Decimal(0)}
            )
            total = UsageDay.objects.get(organization_id=pk, day=today).credits
            used = total - settled.credits
            for record in UsageRecord.objects.filter(
                organization=pk, day=today, credits__lt=0, timestamp__gte=now - timedelta(days=2)
            ).exclude(corrects=""):
                account.balance -= record.credits
                CreditEntry.objects.create(
                    organization_id=pk,
                    kind="return",
                    amount=-record.credits,
                    balance=account.balance,
                    day=today,
                    job_id=record.job_id,
                    key=f"return:{record.idempotency_key}",
                    reason=record.reason,
                )
                used -= record.credits
            left = used
            for grant in CreditGrant.objects.filter(organization=pk).open().in_burn_order():
                part = min(left, grant.remaining)
                if not part:
                    break
                left -= part
                grant.remaining -= part
                grant.save(update_fields=["remaining"])
                account.balance -= part
                CreditEntry.objects.create(
                    organization_id=pk,
                    kind="usage",
                    amount=-part,
                    balance=account.balance,
                    grant=grant,
                    day=today,
                )
            account.settled += total - settled.credits
            settled.credits = total
            settled.save(update_fields=["credits"])
            account.save(update_fields=["balance", "settled"])
            Entitlement.objects.filter(pk=pk).update(credits_ceiling=account.settled + account.balance)


if __name__ == "__main__":
    main()
