"""Settling: taking what was used out of the credits that came in, by the difference to what the ledger knows of a day.

Usage adds up each day's credits as it is reported; here the ledger follows, every few minutes and whenever credits come
or go. As only differences are settled, late usage and corrections need no case of their own, doing it twice changes
nothing, and what a crash interrupted is done by the next run. What is left to use does not depend on it:
`Entitlement.credits_used` is bumped with each report, and the ceiling that it is compared with
(`settled − uncovered + balance`) stays as it is when credits are settled.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import LiteralString

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from accounts import prepared
from billing import allocation, meter_reports
from billing.allocation import ZERO, Pot
from billing.models import BILLED, BillingAccount, CreditEntry, SettlementMark
from usage import statements

logger = logging.getLogger(__name__)

BATCH = 1_000
# Usage that changed within it is looked at again, and as far back as the last pass that settled all it looked at; what
# a worker missed that stood still for longer, the nightly run settles.
LOOKED_BACK, FARTHEST = timedelta(hours=1), timedelta(days=1)

# The plan is looked up once the row is locked: a join would lose the row to whoever has just changed its plan.
_LOCK: LiteralString = """
SELECT a.organization_id, a.balance, a.settled, a.uncovered, a.overage_pending, a.is_invoiced, a.subscription_status,
       a.stripe_customer, a.stripe_subscription, a.period_start, a.period_end,
       (SELECT p.is_unlimited FROM billing_plan p WHERE p.id = a.plan_id)
FROM billing_billingaccount a
WHERE a.organization_id = ANY (%s::bigint[])
ORDER BY a.organization_id
FOR UPDATE
"""

_CHANGED: LiteralString = """
SELECT u.organization_id, u.day
FROM usage_usageday u
JOIN billing_billingaccount a ON a.organization_id = u.organization_id
LEFT JOIN billing_settledday s ON s.organization_id = u.organization_id AND s.day = u.day
WHERE (%(since)s::timestamptz IS NULL OR u.changed_at >= %(since)s) AND u.credits <> COALESCE(s.credits, 0)
ORDER BY u.organization_id, u.day
"""

_BEHIND: LiteralString = """
SELECT CASE WHEN newest >= settled_until THEN settled_until END
FROM (SELECT MAX(changed_at) AS newest, MIN(changed_at) AS oldest FROM usage_usageday) AS change
CROSS JOIN LATERAL (
    SELECT COALESCE((SELECT settled_until FROM billing_settlementmark WHERE id = 1), change.oldest) AS settled_until
) AS mark
"""

# With each day what was taken back of it, by a job that failed or by staff, and the ledger does not tell of yet. One
# statement, as a correction that is written meanwhile must be in both or in neither. Whichever zone cut a day, its
# records lie within these moments, by which PostgreSQL knows their partition.
_OF_DAYS: LiteralString = """
SELECT c.organization_id, c.day, c.change, c.overage, c.uncovered, r.returns
FROM (
    SELECT u.organization_id, u.day, u.credits - COALESCE(s.credits, 0) AS change, COALESCE(s.overage, 0) AS overage,
           COALESCE(s.uncovered, 0) AS uncovered
    FROM {which}
    JOIN usage_usageday u USING (organization_id, day)
    LEFT JOIN LATERAL (
        SELECT * FROM billing_settledday s WHERE s.organization_id = u.organization_id AND s.day = u.day
        OFFSET 0) s ON true  -- an index look-up for each, however many days there are
    WHERE u.credits <> COALESCE(s.credits, 0)) c
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(r.idempotency_key, r.job_id, (-r.credits)::text, r.reason) ORDER BY r.id)
           AS returns
    FROM usage_usagerecord r
    WHERE r.organization_id = c.organization_id AND r.day = c.day AND r.corrects <> '' AND r.credits < 0
        AND r.timestamp >= (c.day - 1)::timestamp AT TIME ZONE 'UTC'
        AND r.timestamp < (c.day + 2)::timestamp AT TIME ZONE 'UTC'
        AND NOT EXISTS (
            SELECT FROM billing_creditentry e
            WHERE e.organization_id = r.organization_id AND e.key = 'return:' || r.idempotency_key)) r ON true
ORDER BY c.organization_id, c.day
"""
_DAYS: LiteralString = _OF_DAYS.format(
    which="json_to_recordset(%s::json) AS x (organization_id bigint, day date)"
)
_ALL_DAYS: LiteralString = _OF_DAYS.format(
    which="(SELECT organization_id, day FROM usage_usageday WHERE organization_id = ANY (%s::bigint[])) x"
)

_UNCOVERED: LiteralString = """
SELECT organization_id, day, overage, uncovered FROM billing_settledday
WHERE organization_id = ANY (%s::bigint[]) AND uncovered > 0
"""

_DRAWN: LiteralString = """
SELECT e.organization_id, e.day, e.grant_id, -SUM(e.amount)
FROM json_to_recordset(%s::json) AS x (organization_id bigint, day date)
JOIN billing_creditentry e ON e.organization_id = x.organization_id AND e.day = x.day
WHERE e.grant_id IS NOT NULL
GROUP BY e.organization_id, e.day, e.grant_id HAVING SUM(e.amount) < 0
"""

# In the order in which they are used. Also spent ones, where something may go back to them.
_POTS: LiteralString = """
SELECT organization_id, id, remaining FROM billing_creditgrant
WHERE (organization_id = ANY (%s::bigint[]) AND is_open) OR id = ANY (%s::bigint[])
ORDER BY organization_id, priority, expires_at NULLS LAST, created_at, id
"""

_ENTRIES: LiteralString = """
INSERT INTO billing_creditentry (
    uid, organization_id, kind, amount, overage, balance, grant_id, day, job_id, meter_report_id, key, reason,
    created_at)
SELECT 'cre_' || replace(gen_random_uuid()::text, '-', ''), organization_id, kind, amount, overage, balance, grant_id,
       day, job_id, meter_report_id, key, reason, created_at
FROM json_to_recordset(%s::json) AS x (
    position int, organization_id bigint, kind text, amount numeric, overage numeric, balance numeric, grant_id bigint,
    day date, job_id text, meter_report_id bigint, key text, reason text, created_at timestamptz)
ORDER BY position
"""

_SETTLED: LiteralString = """
INSERT INTO billing_settledday AS s (organization_id, day, credits, overage, uncovered)
SELECT * FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, day date, credits numeric, overage numeric, uncovered numeric)
ON CONFLICT (organization_id, day) DO UPDATE SET
    credits = s.credits + excluded.credits, overage = excluded.overage, uncovered = excluded.uncovered
"""

_GRANTS: LiteralString = """
UPDATE billing_creditgrant g SET remaining = g.remaining + x.amount
FROM json_to_recordset(%s::json) AS x (id bigint, amount numeric) WHERE g.id = x.id
"""

_ACCOUNTS: LiteralString = """
UPDATE billing_billingaccount a SET
    balance = x.balance, settled = x.settled, uncovered = x.uncovered, overage_pending = x.overage_pending
FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, balance numeric, settled numeric, uncovered numeric, overage_pending numeric)
WHERE a.organization_id = x.organization_id
"""

# The organization first, as everybody does who changes what verify knows; one after the other, as ingest does.
_OUTDATED: LiteralString = """
SELECT o.id FROM accounts_organization o
WHERE o.id IN (
    SELECT e.organization_id FROM json_to_recordset(%s::json) AS x (organization_id bigint, ceiling numeric)
    JOIN usage_entitlement e USING (organization_id) WHERE e.credits_ceiling IS DISTINCT FROM x.ceiling)
ORDER BY o.id
FOR NO KEY UPDATE
"""

_CEILINGS: LiteralString = """
WITH x AS (SELECT * FROM json_to_recordset(%s::json) AS x (organization_id bigint, ceiling numeric)),
locked AS MATERIALIZED (
    SELECT e.organization_id FROM usage_entitlement e WHERE e.organization_id IN (SELECT organization_id FROM x)
    ORDER BY e.organization_id FOR UPDATE)
UPDATE usage_entitlement e SET credits_ceiling = x.ceiling
FROM x JOIN locked USING (organization_id) WHERE e.organization_id = x.organization_id
"""

_BUMP: LiteralString = """
UPDATE accounts_organization SET access_version = access_version + 1, access_changed_at = now()
WHERE id = ANY (%s::bigint[])
"""


class Entry(msgspec.Struct):
    """A line to be, with the columns of `_ENTRIES`."""

    organization_id: int
    kind: str
    amount: Decimal
    overage: Decimal
    balance: Decimal
    grant_id: int | None
    day: date | None
    job_id: str
    key: str
    reason: str
    meter_report_id: int | None = None
    position: int = 0
    created_at: datetime | None = None


@dataclass
class Day:
    """A day of an organization: what is new of it, and of the whole what is billed, and what nobody paid for; credits.

    `drawn` is what it took out of grants so far, where something goes back to them.
    """

    change: Decimal
    overage: Decimal
    uncovered: Decimal
    returns: "list[Return]"
    drawn: dict[int, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    is_touched: bool = True


@dataclass(frozen=True)
class Return:
    """Credits of one record that was taken back, and why."""

    idempotency_key: str
    job_id: str
    credits: Decimal
    reason: str


@dataclass
class Account:
    """What settling knows of an organization, whose row is locked, and what it has found to write."""

    organization_id: int
    balance: Decimal
    settled: Decimal
    uncovered: Decimal
    overage_pending: Decimal
    is_invoiced: bool
    subscription_status: str
    stripe_customer: str
    stripe_subscription: str
    period_start: datetime | None
    period_end: datetime | None
    is_unlimited: bool
    days: dict[date, Day] = field(default_factory=dict)
    pots: list[Pot] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    grants: dict[int, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    @property
    def bills_overage(self) -> bool:
        return self.is_invoiced or self.subscription_status in BILLED

    @property
    def has_changed(self) -> bool:
        return any(each.is_touched for each in self.days.values()) or (
            self.is_metered and self.overage_pending >= 1
        )

    @property
    def is_metered(self) -> bool:
        """Whether what is billed goes to Stripe's meter."""
        return bool(
            self.subscription_status in BILLED
            and not self.is_invoiced
            and self.stripe_subscription
            and self.period_start
        )

    def enter(
        self,
        kind: CreditEntry.Kind,
        day: date,
        amount: Decimal = ZERO,
        *,
        overage: Decimal = ZERO,
        grant: int | None = None,
        told: Return | None = None,
        key: str = "",
        reason: str = "",
    ) -> None:
        """Write a line about a day; `told` is the record that it is about, if it is about one."""
        self.balance += amount
        if grant:
            self.grants[grant] += amount
            self.days[day].drawn[grant] -= amount
        job_id, reason = (told.job_id, told.reason) if told else ("", reason)
        self.entries.append(
            Entry(
                self.organization_id,
                kind.value,
                amount,
                overage,
                self.balance,
                grant,
                day,
                job_id,
                key,
                reason,
            )
        )

    def bill(self, credits: Decimal, day: date, *, told: Return | None = None, reason: str = "") -> None:
        """Have credits billed as overage; below 0, no longer billed."""
        self.days[day].overage += credits
        if not self.is_invoiced:
            self.overage_pending += credits
        self.enter(CreditEntry.Kind.OVERAGE, day, overage=credits, told=told, reason=reason)


def follow(*, now: datetime | None = None) -> int:
    """Settle what changed lately. Returns how many organizations had something.

    The mark moves last, and only if nothing was left: a pass that is cut short is followed by one that looks again.
    """
    now = now or timezone.now()
    mark = SettlementMark.objects.filter(pk=1).first()
    since = now - LOOKED_BACK
    if mark and mark.settled_until < since:
        since = max(mark.settled_until, now - FARTHEST)
    settled, is_all = _settle_since(since, now)
    if is_all:
        SettlementMark.objects.update_or_create(pk=1, defaults={"settled_until": now})
    return settled


def settle_changed(*, since: datetime | None = None, now: datetime | None = None) -> int:
    """Settle all days whose usage changed since then, or at all. Returns how many organizations had something."""
    return _settle_since(since, now or timezone.now())[0]


def behind_since() -> datetime | None:
    """Since when changes of usage have not been settled; None while the newest has been looked at.

    A day at work changes all the time, and would never look old by its own moment.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BEHIND)
        [moment] = cursor.fetchone()
    return moment  # type: ignore[no-any-return]


def _settle_since(since: datetime | None, now: datetime) -> tuple[int, bool]:
    """How many organizations had something, and whether all of them could be settled."""
    changed: dict[int, list[date]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_CHANGED, {"since": since})
        for organization, day in cursor.fetchall():
            changed[organization].append(day)
    return _settle_in_parts(changed, BATCH, now)


def _settle_in_parts(changed: dict[int, list[date]], size: int, now: datetime) -> tuple[int, bool]:
    each = list(changed.items())
    parts = [dict(each[start : start + size]) for start in range(0, len(each), size)]
    found = [_settle_each(part, now) for part in parts]
    return sum(settled for settled, _ in found), all(is_all for _, is_all in found)


def _settle_each(changed: dict[int, list[date]], now: datetime) -> tuple[int, bool]:
    """Settle a batch in one transaction; should one organization spoil it, by halves, so that it spoils no other."""
    try:
        with transaction.atomic():
            return settle(changed, days=changed, now=now), True
    except Exception:  # one organization must not keep the others
        if len(changed) == 1:
            logger.exception("organization %s could not be settled", *changed)
            return 0, False
    return _settle_in_parts(changed, (len(changed) + 1) // 2, now)


def settle(
    organizations: Collection[int], *, now: datetime, days: Mapping[int, Sequence[date]] | None = None
) -> int:
    """Lock these organizations' accounts and settle their usage, in the transaction that is open.

    All of it, or only those days. Returns how many had something to settle. Whoever gives or takes credits, or changes
    who pays for what, settles first, so that each credit is used by the rules of its time.
    """
    accounts = {row[0]: Account(*row) for row in prepared.fetch(_LOCK, [sorted(organizations)])}
    if not accounts:
        return 0
    busy = _look_up(accounts, days)
    for account in busy:
        _cover(account)
        for day, each in sorted(account.days.items()):
            _settle_day(account, day, each)
        # What came back pays for what was not covered.
        _cover(account)
    changed = [account for account in busy if account.has_changed]
    if changed:
        _write(changed, now)
    return len(changed)


def _look_up(accounts: dict[int, Account], days: Mapping[int, Sequence[date]] | None) -> list[Account]:
    """Find those that have something to settle, and hand them their days and grants."""
    if days is None:
        changed = prepared.fetch(_ALL_DAYS, [list(accounts)])
    else:
        changed = statements.run(
            _DAYS, [{"organization_id": key, "day": day} for key in accounts for day in days[key]]
        )
    for organization, day, change, overage, uncovered, told in changed:
        returns = [Return(key, job, Decimal(credits), why) for key, job, credits, why in told or ()]
        accounts[organization].days[day] = Day(change, overage, uncovered, returns)
    if short := [key for key, account in accounts.items() if account.uncovered]:
        for organization, day, overage, uncovered in prepared.fetch(_UNCOVERED, [short]):
            of = accounts[organization].days
            if day not in of:
                of[day] = Day(ZERO, overage, uncovered, [], is_touched=False)
    busy = [
        account
        for account in accounts.values()
        if account.days or (account.is_metered and account.overage_pending >= 1)
    ]
    drawn = _drawn(busy)
    pots = {account.organization_id: account.pots for account in busy}
    if pots:
        for organization, grant, left in prepared.fetch(_POTS, [list(pots), drawn]):
            pots[organization].append(Pot(grant, left))
    return busy


def _drawn(accounts: Sequence[Account]) -> list[int]:
    """Look up what days took out of grants where some of it goes back. Returns which grants these are."""
    wanted = [
        {"organization_id": account.organization_id, "day": day}
        for account in accounts
        for day, each in account.days.items()
        if each.returns or each.change < 0
    ]
    if not wanted:
        return []
    of = {account.organization_id: account.days for account in accounts}
    grants = set()
    for organization, day, grant, credits in statements.run(_DRAWN, wanted):
        of[organization][day].drawn[grant] = credits
        grants.add(grant)
    return sorted(grants)


def _cover(account: Account) -> None:
    """Have what was used without credits paid by those that came since, or billed, if somebody is billed by now."""
    if not account.uncovered or not (account.bills_overage or any(pot.left for pot in account.pots)):
        return
    for day, each in sorted(account.days.items()):
        if not each.uncovered:
            continue
        each.is_touched = True
        account.uncovered -= each.uncovered
        taken, each.uncovered = allocation.burn(each.uncovered, account.pots)
        for grant, part in taken:
            account.enter(
                CreditEntry.Kind.USAGE, day, -part, grant=grant, reason="Used before these credits came"
            )
        if each.uncovered and account.bills_overage:
            account.bill(each.uncovered, day, reason="Used before the subscription began")
            each.uncovered = ZERO
        account.uncovered += each.uncovered


def _settle_day(account: Account, day: date, each: Day) -> None:
    """Settle a day's difference: what was taken back of it is told by record, what was used in one sum."""
    account.settled += each.change
    used = each.change + sum((one.credits for one in each.returns), ZERO)
    if used > 0:
        taken, rest = allocation.burn(used, account.pots)
        for grant, part in taken:
            account.enter(CreditEntry.Kind.USAGE, day, -part, grant=grant)
        if rest and account.bills_overage:
            account.bill(rest, day)
        elif rest:
            account.uncovered += rest
            each.uncovered += rest
    elif used < 0:
        _give_back(account, day, each, Return("", "", -used, "Corrected usage"))
    for one in each.returns:
        _give_back(account, day, each, one)


def _give_back(account: Account, day: date, each: Day, told: Return) -> None:
    back = allocation.give_back(
        told.credits, uncovered=each.uncovered, overage=each.overage, drawn=each.drawn, pots=account.pots
    )
    account.uncovered -= back.to_uncovered
    each.uncovered -= back.to_uncovered
    # Of a day before the ledger began it does not know; otherwise there is no rest.
    if billed := back.to_overage + back.rest:
        account.bill(-billed, day, told=told)
    # One line at least, whose key says that this was told.
    key = f"return:{told.idempotency_key}" if told.idempotency_key else ""
    parts: list[tuple[int | None, Decimal]] = [*back.to_grants] or [(None, ZERO)]
    for grant, part in parts:
        account.enter(CreditEntry.Kind.RETURN, day, part, grant=grant, told=told, key=key)
        key = ""


def _write(accounts: Sequence[Account], now: datetime) -> None:
    meter_reports.write(accounts, now)
    entries = [entry for account in accounts for entry in account.entries]
    for position, entry in enumerate(entries):
        entry.position, entry.created_at = position, now
    grants = {grant: amount for account in accounts for grant, amount in account.grants.items() if amount}
    days = [
        {
            "organization_id": account.organization_id,
            "day": day,
            "credits": each.change,
            "overage": each.overage,
            "uncovered": each.uncovered,
        }
        for account in accounts
        for day, each in account.days.items()
        if each.is_touched
    ]
    with prepared.pipeline():
        statements.run(_GRANTS, [{"id": grant, "amount": amount} for grant, amount in sorted(grants.items())])
        statements.run(_ENTRIES, entries)
        statements.run(_SETTLED, days)
        statements.run(
            _ACCOUNTS,
            [
                {
                    "organization_id": account.organization_id,
                    "balance": account.balance,
                    "settled": account.settled,
                    "uncovered": account.uncovered,
                    "overage_pending": account.overage_pending,
                }
                for account in accounts
            ],
        )
    raise_ceilings(
        {account.organization_id: None if account.is_unlimited else _ceiling(account) for account in accounts}
    )


def ceiling(account: BillingAccount) -> Decimal | None:
    """Up to which total an organization may use credits; None where nothing limits them."""
    return None if account.plan.is_unlimited else _ceiling(account)


def _ceiling(account: Account | BillingAccount) -> Decimal:
    return account.settled - account.uncovered + account.balance


def raise_ceilings(ceilings: dict[int, Decimal | None]) -> None:
    """Let verify know what organizations (by id) may use up to, where that has changed."""
    rows = [
        {"organization_id": organization, "ceiling": ceiling}
        for organization, ceiling in sorted(ceilings.items())
    ]
    outdated = {organization for (organization,) in statements.run(_OUTDATED, rows)}
    if outdated:
        statements.run(_CEILINGS, [row for row in rows if row["organization_id"] in outdated])
        prepared.fetch(_BUMP, [sorted(outdated)])
