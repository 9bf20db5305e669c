"""Settling: taking what was used out of the credits that came in, by the difference to what the ledger knows of a day.

Usage adds up each day's credits as it is reported; here the ledger follows, every few minutes and whenever credits come
or go. As only differences are settled, late usage and corrections need no case of their own, doing it twice changes
nothing, and what a crash interrupted is done by the next run. What is left to use does not depend on it:
`Entitlement.credits_used` is bumped with each report, and the ceiling that it is compared with
(`settled − uncovered + balance`) stays as it is when credits are settled.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, LiteralString

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from accounts import prepared
from billing import allocation, meter_reports
from billing.allocation import ZERO, Pot
from billing.models import BillingAccount, CreditEntry
from usage import statements

logger = logging.getLogger(__name__)

BATCH = 1_000
_encode = msgspec.json.Encoder().encode

_LOCK: LiteralString = """
SELECT a.organization_id, a.balance, a.settled, a.uncovered, a.overage_pending, a.is_invoiced, a.subscription_status,
       a.stripe_customer, a.stripe_subscription, a.period_start, a.period_end, p.is_unlimited
FROM billing_billingaccount a JOIN billing_plan p ON p.id = a.plan_id
WHERE a.organization_id = ANY (%s::bigint[])
ORDER BY a.organization_id
FOR UPDATE OF a
"""

_CHANGED: LiteralString = """
SELECT DISTINCT u.organization_id
FROM usage_usageday u
JOIN billing_billingaccount a ON a.organization_id = u.organization_id
LEFT JOIN billing_settledday s ON s.organization_id = u.organization_id AND s.day = u.day
WHERE (%(since)s::timestamptz IS NULL OR u.changed_at >= %(since)s) AND u.credits <> COALESCE(s.credits, 0)
ORDER BY u.organization_id
"""

_DAYS: LiteralString = """
SELECT u.organization_id, u.day, u.credits - COALESCE(s.credits, 0), COALESCE(s.overage, 0)
FROM usage_usageday u
LEFT JOIN billing_settledday s ON s.organization_id = u.organization_id AND s.day = u.day
WHERE u.organization_id = ANY (%s::bigint[]) AND u.credits <> COALESCE(s.credits, 0)
ORDER BY u.organization_id, u.day
"""

# What was taken back of these days, by a job that failed or by staff, and the ledger does not tell of yet.
_RETURNS: LiteralString = """
SELECT r.organization_id, r.day, r.idempotency_key, r.job_id, -r.credits, r.reason
FROM usage_usagerecord r
JOIN json_to_recordset(%s::json) AS x (organization_id bigint, day date)
    ON r.organization_id = x.organization_id AND r.day = x.day
WHERE r.corrects <> '' AND r.credits < 0 AND r.timestamp >= %s AND r.timestamp < %s AND NOT EXISTS (
    SELECT FROM billing_creditentry e
    WHERE e.organization_id = r.organization_id AND e.key = 'return:' || r.idempotency_key)
ORDER BY r.organization_id, r.day, r.id
"""

_POTS: LiteralString = """
SELECT organization_id, id, remaining FROM billing_creditgrant
WHERE organization_id = ANY (%s::bigint[]) AND remaining > 0
ORDER BY organization_id, priority, expires_at NULLS LAST, created_at, id
"""

_DRAWN: LiteralString = """
SELECT grant_id, -SUM(amount) FROM billing_creditentry
WHERE organization_id = %s AND day = %s AND grant_id IS NOT NULL
GROUP BY grant_id HAVING SUM(amount) < 0
ORDER BY MAX(id)
"""

_ENTRIES: LiteralString = """
INSERT INTO billing_creditentry (
    uid, organization_id, kind, amount, overage, balance, grant_id, day, job_id, meter_report_id, key, reason,
    created_at)
SELECT 'cre_' || replace(gen_random_uuid()::text, '-', ''), organization_id, kind, amount, overage, balance, grant_id,
       day, job_id, meter_report_id, key, reason, now()
FROM json_to_recordset(%s::json) AS x (
    position int, organization_id bigint, kind text, amount numeric, overage numeric, balance numeric, grant_id bigint,
    day date, job_id text, meter_report_id bigint, key text, reason text)
ORDER BY position
"""

_SETTLED: LiteralString = """
INSERT INTO billing_settledday AS s (organization_id, day, credits, overage)
SELECT * FROM json_to_recordset(%s::json) AS x (organization_id bigint, day date, credits numeric, overage numeric)
ON CONFLICT (organization_id, day) DO UPDATE SET
    credits = s.credits + excluded.credits, overage = s.overage + excluded.overage
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

_CEILINGS: LiteralString = """
UPDATE usage_entitlement e SET credits_ceiling = x.ceiling
FROM json_to_recordset(%s::json) AS x (organization_id bigint, ceiling numeric)
WHERE e.organization_id = x.organization_id AND e.credits_ceiling IS DISTINCT FROM x.ceiling
RETURNING e.organization_id
"""

_BUMP: LiteralString = """
UPDATE accounts_organization SET access_version = access_version + 1, access_changed_at = now()
WHERE id = ANY (%s::bigint[])
"""


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
    entries: list[dict[str, Any]] = field(default_factory=list)
    days: "dict[date, Day]" = field(default_factory=dict)
    grants: dict[int, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    @property
    def bills_overage(self) -> bool:
        return BillingAccount(
            is_invoiced=self.is_invoiced, subscription_status=self.subscription_status
        ).bills_overage

    def enter(self, kind: CreditEntry.Kind, amount: Decimal = ZERO, **facts: Any) -> None:
        self.balance += amount
        if grant := facts.get("grant_id"):
            self.grants[grant] += amount
        self.entries.append(
            {
                "organization_id": self.organization_id,
                "kind": kind,
                "amount": amount,
                "overage": ZERO,
                "balance": self.balance,
                "grant_id": None,
                "day": None,
                "job_id": "",
                "meter_report_id": None,
                "key": "",
                "reason": "",
            }
            | facts
        )

    def bill(self, credits: Decimal, **facts: Any) -> None:
        """Have credits billed as overage; below 0, no longer billed."""
        self.overage_pending += credits
        self.enter(CreditEntry.Kind.OVERAGE, overage=credits, **facts)
        if day := facts.get("day"):
            self.days[day].billed += credits


@dataclass
class Day:
    """What is new of a day, what of it was billed before, and what of it is billed now; all in credits."""

    change: Decimal
    overage: Decimal
    billed: Decimal = ZERO


@dataclass(frozen=True)
class Return:
    """Credits of one record that was taken back, and why."""

    idempotency_key: str
    job_id: str
    credits: Decimal
    reason: str


def settle_changed(*, since: datetime | None = None, now: datetime | None = None) -> int:
    """Settle all organizations whose usage changed since then, or at all. Returns how many had something to settle."""
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_CHANGED, {"since": since})
        changed = [organization for (organization,) in cursor.fetchall()]
    return sum(_settle_each(changed[start : start + BATCH], now) for start in range(0, len(changed), BATCH))


def _settle_each(organizations: Sequence[int], now: datetime) -> int:
    """Settle a batch in one transaction; should one organization spoil it, by halves, so that it spoils no other."""
    try:
        with transaction.atomic():
            return settle(organizations, now=now)
    except Exception:  # one organization must not keep the others
        if len(organizations) == 1:
            logger.exception("organization %s could not be settled", organizations[0])
            return 0
    middle = len(organizations) // 2
    return _settle_each(organizations[:middle], now) + _settle_each(organizations[middle:], now)


def settle(organizations: Collection[int], *, now: datetime) -> int:
    """Lock these organizations' accounts and settle their usage, in the transaction that is open.

    Returns how many had something to settle. Whoever gives or takes credits, or changes who pays for what, settles
    first, so that each credit is used by the rules of its time.
    """
    accounts = {row[0]: Account(*row) for row in prepared.fetch(_LOCK, [sorted(organizations)])}
    days = prepared.fetch(_DAYS, [list(accounts)]) if accounts else []
    busy = sorted({row[0] for row in days} | {key for key, account in accounts.items() if account.uncovered})
    if not busy:
        return 0
    returns = _returns(days)
    pots: dict[int, list[Pot]] = defaultdict(list)
    for organization, grant, left in prepared.fetch(_POTS, [busy]):
        pots[organization].append(Pot(grant, left))
    for organization in busy:
        _cover(accounts[organization], pots[organization])
    for organization, day, change, overage in days:
        account = accounts[organization]
        account.days[day] = Day(change, overage)
        _settle_day(account, pots[organization], day, returns.get((organization, day), []))
    _write([accounts[organization] for organization in busy], now)
    return len(busy)


def _returns(days: Sequence[tuple[Any, ...]]) -> dict[tuple[int, date], list[Return]]:
    found: dict[tuple[int, date], list[Return]] = defaultdict(list)
    if not days:
        return found
    # Whichever zone cut a day, its records lie within these moments, for which there are partitions.
    first, last = min(row[1] for row in days), max(row[1] for row in days)
    begin, end = (datetime.combine(day, time(), tzinfo=UTC) for day in (first, last))
    wanted = _encode([{"organization_id": row[0], "day": row[1]} for row in days]).decode()
    bounds = [begin - timedelta(days=1), end + timedelta(days=2)]
    for organization, day, *facts in prepared.fetch(_RETURNS, [wanted, *bounds]):
        found[organization, day].append(Return(*facts))
    return found


def _cover(account: Account, pots: list[Pot]) -> None:
    """Have what was used without credits paid by those that came since, or billed, if somebody is billed by now."""
    if not account.uncovered:
        return
    reason = "Used before these credits came"
    taken, rest = allocation.burn(account.uncovered, pots)
    for grant, part in taken:
        account.enter(CreditEntry.Kind.USAGE, -part, grant_id=grant, reason=reason)
    account.uncovered = rest
    _bill_uncovered(account, reason="Used before the subscription began")


def _bill_uncovered(account: Account, *, day: date | None = None, reason: str = "") -> None:
    if account.uncovered and account.bills_overage:
        account.bill(account.uncovered, day=day, reason=reason)
        account.uncovered = ZERO


def _settle_day(account: Account, pots: list[Pot], day: date, returns: Sequence[Return]) -> None:
    """Settle a day's difference: what was taken back of it is told by record, what was used in one sum."""
    settled = account.days[day]
    account.settled += settled.change
    used = settled.change + sum((each.credits for each in returns), ZERO)
    if used > 0:
        taken, rest = allocation.burn(used, pots)
        for grant, part in taken:
            account.enter(CreditEntry.Kind.USAGE, -part, grant_id=grant, day=day)
        account.uncovered += rest
        _bill_uncovered(account, day=day)
    elif used < 0:  # a correction that was written while this was looked at: the next time names it
        returns = [Return("", "", -used, "Corrected usage"), *returns]
    for each in returns:
        _give_back(account, pots, day, each)


def _give_back(account: Account, pots: list[Pot], day: date, given: Return) -> None:
    settled = account.days[day]
    back = allocation.give_back(
        given.credits,
        uncovered=account.uncovered,
        overage=settled.overage + settled.billed,
        drawn=_drawn(account, day),
    )
    facts = {"day": day, "job_id": given.job_id, "reason": given.reason}
    account.uncovered -= back.to_uncovered
    # Nothing else can be owed: what a day's usage was not drawn from, it was billed as.
    if billed := back.to_overage + back.rest:
        account.bill(-billed, **facts)
    # One line at least, whose key says that this was told.
    key = f"return:{given.idempotency_key}" if given.idempotency_key else ""
    parts: list[tuple[int | None, Decimal]] = [*back.to_grants] or [(None, ZERO)]
    for grant, part in parts:
        account.enter(CreditEntry.Kind.RETURN, part, grant_id=grant, key=key, **facts)
        key = ""
        for pot in pots:
            if pot.grant == grant:
                pot.left += part
                break
        else:
            if grant:
                pots.append(Pot(grant, part))


def _drawn(account: Account, day: date) -> list[tuple[int, Decimal]]:
    """What a day's usage was taken from and not yet given back, the last grant first."""
    drawn: dict[int, Decimal] = dict(prepared.fetch(_DRAWN, [account.organization_id, day]))
    for entry in account.entries:
        if entry["day"] == day and entry["grant_id"]:
            grant = entry["grant_id"]
            # The newest goes last for now, whatever it was before.
            drawn[grant] = drawn.pop(grant, ZERO) - entry["amount"]
    return [(grant, part) for grant, part in reversed(drawn.items()) if part > 0]


def _write(accounts: Sequence[Account], now: datetime) -> None:
    meter_reports.write(accounts, now)
    entries = [entry for account in accounts for entry in account.entries]
    for position, entry in enumerate(entries):
        entry["position"] = position
    grants = {grant: amount for account in accounts for grant, amount in account.grants.items() if amount}
    days = [
        {
            "organization_id": account.organization_id,
            "day": day,
            "credits": each.change,
            "overage": each.billed,
        }
        for account in accounts
        for day, each in account.days.items()
    ]
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
    changed = [organization for (organization,) in statements.run(_CEILINGS, rows)]
    if changed:
        prepared.fetch(_BUMP, [sorted(changed)])
