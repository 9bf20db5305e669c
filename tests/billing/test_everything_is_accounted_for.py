"""Whatever is used, given, taken back, expires or changes, in whatever order: the books agree with a model of them.

The model below is plain Python and calls nothing of billing. After every step the ledger, the balance of each grant,
what nobody paid for, what is billed, the meter's reports and what verify reads are the model's, to the last millionth.
Now and then a step dies somewhere inside first, and is then done again.
"""

import json
import logging
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from accounts import keys, prepared
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from billing import access, credits, plans, settlement
from billing.models import (
    BillingAccount,
    CreditEntry,
    CreditGrant,
    EntitlementOverride,
    MeterReport,
    Plan,
    SettledDay,
)
from tests.billing.conftest import agrees
from usage import corrections, ingest, reports_in
from usage.corrections import AlreadyCorrected, Amendment, TakesBack
from usage.models import CreditRate, Entitlement, UsageRecord

logger = logging.getLogger(__name__)
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rates", "odd_rate")]

STEPS = 70
ZERO = Decimal(0)
PRICES = {"parse": Decimal(1), "extract": Decimal(2), "edit": Decimal("0.12345")}
BATCH = {"parse": Decimal("0.8"), "extract": Decimal("0.8"), "edit": Decimal(1)}
RANKS = {"included": 10, "free": 20, "promotional": 20, "goodwill": 30, "purchased": 40}
FAR = datetime(9999, 1, 1, tzinfo=UTC)


# ── The model ────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class Given:
    """Credits that came in."""

    kind: str
    expires: datetime | None
    number: int
    left: Decimal


@dataclass
class Record:
    """Usage of one item, and whether it still counts."""

    day: date
    job: str
    credits: Decimal
    is_void: bool = False


@dataclass
class Line:
    kind: str
    amount: Decimal
    overage: Decimal
    balance: Decimal
    grant: str | None
    day: date | None = None
    job: str = ""


@dataclass
class Books:
    """What an organization's books should say. It knows the rules of credits, and nothing of how they are kept."""

    plan: Plan
    anchor: datetime
    status: str = ""
    by_hand: bool = False
    subscription: str = ""
    period: tuple[datetime, datetime] | None = None
    agreed: Decimal | None = None
    records: dict[str, Record] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    untold: list[tuple[date, str, Decimal]] = field(default_factory=list)
    used: dict[date, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    known: dict[date, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    unpaid: dict[date, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    billed: dict[date, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    drawn: dict[tuple[date, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    grants: dict[str, Given] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    pending: Decimal = ZERO
    reports: list[tuple[int, datetime, datetime]] = field(default_factory=list)

    @property
    def balance(self) -> Decimal:
        return sum((grant.left for grant in self.grants.values()), ZERO)

    @property
    def is_billed(self) -> bool:
        return self.by_hand or self.status in ("trialing", "active", "past_due")

    @property
    def included(self) -> Decimal:
        return self.plan.included_credits if self.agreed is None else self.agreed

    def in_order(self) -> list[str]:
        def place(key: str) -> tuple[Any, ...]:
            grant = self.grants[key]
            return RANKS[grant.kind], grant.expires or FAR, grant.number

        return sorted(self.grants, key=place)

    def use(self, key: str, day: date, job: str, amount: Decimal) -> None:
        amount = ZERO if job in self.failed else amount
        self.records[key] = Record(day, job, amount)
        self.used[day] += amount

    def take_back(self, key: str) -> None:
        record = self.records[key]
        if record.is_void:
            return
        record.is_void = True
        self.used[record.day] -= record.credits
        if record.credits:
            self.untold.append((record.day, record.job, record.credits))

    def fail(self, job: str) -> None:
        self.failed.add(job)
        for key in sorted(key for key, record in self.records.items() if record.job == job):
            self.take_back(key)

    def line(self, kind: str, amount: Decimal, grant: str | None = None, **facts: Any) -> None:
        if grant:
            self.grants[grant].left += amount
        self.lines.append(Line(kind, amount, facts.pop("overage", ZERO), self.balance, grant, **facts))

    def settle(self, now: datetime) -> None:
        self.pay_debts()
        for day in sorted(day for day in self.used if self.used[day] != self.known[day]):
            told = [(job, amount) for of, job, amount in self.untold if of == day]
            self.untold = [one for one in self.untold if one[0] != day]
            new = self.used[day] - self.known[day] + sum((amount for _, amount in told), ZERO)
            self.known[day] = self.used[day]
            rest = self.spend(day, new)
            if rest and self.is_billed:
                self.bill(day, rest)
            else:
                self.unpaid[day] += rest
            for job, amount in told:
                self.give_back(day, job, amount)
        self.pay_debts()
        self.report(now)

    def spend(self, day: date, amount: Decimal) -> Decimal:
        for key in self.in_order():
            part = min(amount, self.grants[key].left)
            if part:
                self.drawn[day, key] += part
                amount -= part
                self.line("usage", -part, key, day=day)
        return amount

    def bill(self, day: date, amount: Decimal, job: str = "") -> None:
        self.billed[day] += amount
        self.pending += ZERO if self.by_hand else amount
        self.line("overage", ZERO, overage=amount, day=day, job=job)

    def pay_debts(self) -> None:
        for day in sorted(self.unpaid):
            self.unpaid[day] = self.spend(day, self.unpaid[day])
            if self.unpaid[day] and self.is_billed:
                self.bill(day, self.unpaid[day])
                self.unpaid[day] = ZERO

    def give_back(self, day: date, job: str, amount: Decimal) -> None:
        forgiven = min(amount, self.unpaid[day])
        self.unpaid[day] -= forgiven
        credited = min(amount - forgiven, self.billed[day])
        if credited:
            self.bill(day, -credited, job)
        left = amount - forgiven - credited
        lines = 0
        for key in reversed(self.in_order()):
            part = min(left, self.drawn[day, key])
            if part:
                self.drawn[day, key] -= part
                left -= part
                lines += 1
                self.line("return", part, key, day=day, job=job)
        assert left == 0, "a day gives back what it took, and no more"
        if not lines:
            self.line("return", ZERO, day=day, job=job)

    def report(self, now: datetime) -> None:
        if not (self.period and self.subscription) or self.by_hand or not self.is_billed:
            return
        start, end = self.period
        whole = int(self.pending)
        if whole < 0:
            whole = -min(-whole, sum(quantity for quantity, of, _ in self.reports if of == start))
        if whole:
            self.pending -= whole
            # The meter counts by minutes: nothing is told of the one in which the next period begins.
            last = end.replace(second=0, microsecond=0) - timedelta(seconds=1)
            self.reports.append((whole, start, max(start, min(now, last))))

    def grant(self, now: datetime, key: str, kind: str, amount: Decimal, expires: datetime | None) -> None:
        self.settle(now)
        if key in self.grants:
            return
        self.grants[key] = Given(kind, expires, len(self.grants), ZERO)
        self.line("grant", amount, key)
        self.settle(now)

    def expire(self, now: datetime) -> None:
        if not any(self.is_over(key, now) for key in self.grants):
            return
        self.settle(now)
        self.write_off(now)

    def is_over(self, key: str, now: datetime) -> bool:
        expires = self.grants[key].expires
        return self.grants[key].left > 0 and expires is not None and expires <= now

    def write_off(self, now: datetime) -> None:
        for key in [key for key in self.in_order() if self.is_over(key, now)]:
            self.line("expiry", -self.grants[key].left, key)

    def renew(self, now: datetime) -> None:
        self.settle(now)
        if not (self.by_hand or self.status in ("trialing", "active")) or self.included <= 0:
            return
        start, end = self.anchor, months_after(self.anchor, 1)
        while end <= now:
            start, end = end, months_after(self.anchor, months_between(self.anchor, end) + 1)
        key = f"included:{self.subscription or 'invoiced'}:{start:%Y-%m-%dT%H:%M}"
        if key in self.grants:
            return
        for grant in self.grants.values():
            if grant.kind == "included" and grant.left and grant.expires and grant.expires > now:
                grant.expires = now
        self.write_off(now)
        self.grant(now, key, "included", self.included, end)

    def renew_due(self, now: datetime) -> None:
        runs = any(
            grant.kind == "included" and grant.expires and grant.expires > now
            for grant in self.grants.values()
        )
        if not runs and (self.plan.included_credits > 0 or (self.agreed or ZERO) > 0):
            self.renew(now)


def months_after(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    last = (datetime(year + (month == 11), (month + 1) % 12 + 1, 1, tzinfo=UTC) - timedelta(days=1)).day
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last))


def months_between(first: datetime, then: datetime) -> int:
    return (then.year - first.year) * 12 + then.month - first.month


# ── The steps ────────────────────────────────────────────────────────────────────────────────────────────────
class Crash(BaseException):
    """The process died here."""


@contextmanager
def dying(after: int) -> Iterator[None]:
    """Within it, nothing reaches the database any more after so many statements."""
    left = after

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    def wrapped(execute: Callable[..., Any], query: str, *values: Any) -> Any:
        if "SAVEPOINT" not in query:  # by which this test undoes what a dead connection would
            count()
        return execute(query, *values)

    fetch = prepared._fetch

    def counted(*values: Any) -> Any:
        count()
        return fetch(*values)

    with pytest.MonkeyPatch.context() as patch, connection.execute_wrapper(wrapped):
        patch.setattr(prepared, "_fetch", counted)
        yield


@dataclass
class Customer:
    """An organization, its key, what its books should say, and the clock that all of them go by."""

    organization: Organization
    key: ApiKey
    books: Books
    chance: random.Random
    now: datetime
    jobs: list[str] = field(default_factory=list)
    under_way: list[str] = field(default_factory=list)
    number: int = 0

    def next(self, name: str) -> str:
        self.number += 1
        return f"{name}-{self.number}"

    def report(self, job: str, status: str, usage: list[dict[str, Any]]) -> None:
        told = {
            "job_id": job,
            "api_key_id": self.key.uid,
            "type": "Parse",
            "status": status,
            "created_at": (self.now - timedelta(hours=1)).isoformat(),
            "usage": usage,
        }
        items = reports_in.read_json(json.dumps({"jobs": [told]}).encode())
        assert not ingest.ingest(items, now=self.now).rejected

    def use(self, job: str | None = None) -> None:
        """A job with some usage of these days, or more of a job, perhaps after its end."""
        new = job is None
        job = job or self.next("job")
        usage = []
        for _ in range(self.chance.randint(1, 3)):
            product = self.chance.choice(list(PRICES))
            pages = self.chance.choice([1, 7, 30, 113, 20_011])
            moment = self.now - timedelta(days=self.chance.choice([0, 0, 1, 2, 5, 40]), minutes=5)
            batch = self.chance.random() < 0.3
            key = self.next("item")
            usage.append(
                {
                    "idempotency_key": key,
                    "product": product,
                    "feature": "standard",
                    "file_type": "pdf",
                    "pages": pages,
                    "priority": "batch" if batch else "standard",
                    "timestamp": moment.isoformat(),
                }
            )
            price = PRICES[product] * (BATCH[product] if batch else 1)
            self.books.use(key, moment.date(), job, pages * price)
        status = self.chance.choice(["InProgress", "Completed"]) if new else "InProgress"
        self.report(job, status, usage)
        if new:
            self.jobs.append(job)
            self.under_way += [job] * (status == "InProgress")

    def use_late(self) -> None:
        if self.jobs:
            self.use(self.chance.choice(self.jobs))

    def fail(self) -> None:
        """A job fails that was under way; what it used is given back."""
        if self.under_way:
            job = self.under_way.pop(self.chance.randrange(len(self.under_way)))
            self.report(job, "Failed", [])
            self.books.fail(job)

    def correct(self) -> None:
        """Staff take a record back, or put another in its stead."""
        if not self.books.records:
            return
        key = self.chance.choice(list(self.books.records))
        record = UsageRecord.objects.get(organization=self.organization, idempotency_key=key)
        pages = self.chance.choice([None, 2, 40_000])
        amendment = None if pages is None else Amendment("edit", "standard", pages, None)
        with suppress(AlreadyCorrected, TakesBack, ValidationError):
            rows = corrections.correct(
                record=record, reason="Metered wrongly.", actor=None, amendment=amendment
            )
            self.books.take_back(key)
            if pages is not None:
                factor = BATCH["edit"] if record.priority == "batch" else 1
                self.books.use(
                    rows[-1].idempotency_key, record.day, record.job_id, pages * PRICES["edit"] * factor
                )

    def settle(self) -> None:
        settlement.settle_changed(now=self.now)

    def grant(self) -> Callable[[], None]:
        kind = self.chance.choice(list(RANKS))
        key = self.chance.choice([self.next("grant"), "grant-again"])
        amount = Decimal(self.chance.choice([1, 50, 333.333333, 25_000])).quantize(Decimal("0.000001"))
        expires = self.chance.choice([None, self.now + timedelta(days=self.chance.choice([1, 3, 20]))])

        def give() -> None:
            credits.grant(
                self.organization,
                kind=CreditGrant.Kind(kind),
                amount=amount,
                key=key,
                reason="Given",
                expires_at=expires,
                now=self.now,
            )

        self.books.grant(self.now, key, kind, amount, expires)
        return give

    def refund(self) -> Callable[[], None]:
        key, name = self.chance.choice(list(self.books.grants)), self.next("refund")
        amount = Decimal(self.chance.choice([1, 40, 5_000]))

        def take_back() -> None:
            granted = CreditGrant.objects.get(organization=self.organization, key=key)
            credits.take_back(granted, amount=amount, key=name, reason="Refunded", now=self.now)

        self.books.settle(self.now)
        if taken := min(amount, self.books.grants[key].left):
            self.books.line("correction", -taken, key)
        return take_back

    def deduct(self) -> Callable[[], None]:
        amount, name = Decimal(self.chance.choice(["0.5", "60", "2000"])), self.next("deduction")

        def take() -> None:
            with suppress(credits.NotEnough):
                credits.deduct(self.organization, amount=amount, key=name, reason="Taken", now=self.now)

        before = deepcopy(self.books)
        self.books.settle(self.now)
        if (rest := amount) > self.books.balance:
            self.books, rest = before, ZERO  # refused: nothing happened at all
        for key in self.books.in_order():
            if part := min(rest, self.books.grants[key].left):
                rest -= part
                self.books.line("correction", -part, key)
        return take

    def put_on(self) -> Callable[[], None]:
        """Staff put it on a plan by hand, where Stripe bills nothing."""
        books, plan = self.books, plans.named(self.chance.choice(["pay_as_you_go", "pro", "enterprise"]))

        def put() -> None:
            with suppress(plans.StripeBills):
                plans.put_on(self.organization, plan, actor=None, now=self.now)

        if books.status in ("trialing", "active", "past_due", "unpaid", "paused"):
            return put  # refused
        books.settle(self.now)
        if books.plan.slug != plan.slug or books.status:
            books.plan, books.by_hand = plan, plan.slug != "pay_as_you_go"
            books.status = books.subscription = ""
            books.anchor = self.now
            books.renew(self.now)
        return put

    def hear(self, **facts: Any) -> Callable[[], None]:
        """What a synchronization with Stripe does: settle by what was known, write what is known now, renew."""
        books, known = self.books, dict(facts)

        def synchronize() -> None:
            with transaction.atomic():
                credits.lock(self.organization, now=self.now)
                BillingAccount.objects.filter(pk=self.organization.pk).update(**known)
                access.recompute(self.organization, now=self.now)
                plans.renew(self.organization, now=self.now)

        books.settle(self.now)
        books.plan = facts.get("plan", books.plan)
        books.status = facts.get("subscription_status", books.status)
        books.subscription = facts.get("stripe_subscription", books.subscription)
        books.by_hand = facts.get("is_invoiced", books.by_hand)
        books.anchor = facts.get("anchor", books.anchor)
        if "period_start" in facts:
            books.period = facts["period_start"], facts["period_end"]
        books.renew(self.now)
        return synchronize

    def subscribe(self) -> Callable[[], None]:
        """It pays by Stripe from now on, for Pro or for what it uses; or changes between these."""
        return self.hear(
            plan=plans.named(self.chance.choice(["pay_as_you_go", "pro"])),
            is_invoiced=False,
            stripe_customer=f"cus_{self.organization.pk}",
            stripe_subscription=self.books.subscription
            if self.books.status == "active"
            else f"sub_{self.organization.pk}_{self.next('s')}",
            subscription_status="active",
            anchor=self.now,
            period_start=self.now,
            period_end=months_after(self.now, 1),
        )

    def pay_or_not(self) -> Callable[[], None] | None:
        if not self.books.subscription:
            return None
        return self.hear(subscription_status=self.chance.choice(["active", "past_due", "unpaid", "canceled"]))

    def bill_period(self) -> Callable[[], None] | None:
        """Stripe's next period begins."""
        if not self.books.period or self.now < self.books.period[1] or not self.books.subscription:
            return None
        start = self.books.period[1]
        return self.hear(period_start=start, period_end=months_after(start, 1))

    def agree(self) -> Callable[[], None]:
        """Staff agree other included credits, or end that."""
        amount = self.chance.choice([None, Decimal(0), Decimal(500)])

        def write() -> None:
            with transaction.atomic():
                credits.lock(self.organization, now=self.now)
                EntitlementOverride.objects.filter(organization=self.organization).delete()
                if amount is not None:
                    EntitlementOverride.objects.create(
                        organization=self.organization, included_credits=amount, reason="Agreed"
                    )
                access.recompute(self.organization, now=self.now)

        self.books.settle(self.now)
        self.books.agreed = amount
        return write

    # ── What is to be seen of it ─────────────────────────────────────────────────────────────────────────────
    def check(self, lines_before: int) -> None:
        books, pk = self.books, self.organization.pk
        entries = CreditEntry.objects.filter(organization=pk).order_by("id").select_related("grant")
        assert [
            Line(
                entry.kind,
                entry.amount,
                entry.overage,
                entry.balance,
                entry.grant.key if entry.grant else None,
                entry.day,
                entry.job_id,
            )
            for entry in entries[lines_before:]
        ] == books.lines[lines_before:]
        left = dict(CreditGrant.objects.filter(organization=pk).values_list("key", "remaining"))
        assert left == {key: grant.left for key, grant in books.grants.items()}
        account = BillingAccount.objects.select_related("plan").get(pk=pk)
        assert (account.balance, account.uncovered, account.overage_pending, account.settled) == (
            books.balance,
            sum(books.unpaid.values()),
            books.pending,
            sum(books.known.values()),
        )
        days = SettledDay.objects.filter(organization_id=pk)
        assert {
            day: (settled, billed, unpaid)
            for day, settled, billed, unpaid in days.values_list("day", "credits", "overage", "uncovered")
            if settled or billed or unpaid
        } == {
            day: (settled, books.billed[day], books.unpaid[day])
            for day, settled in books.known.items()
            if settled or books.billed[day] or books.unpaid[day]
        }
        reports = MeterReport.objects.filter(organization=pk).order_by("id")
        assert list(reports.values_list("quantity", "period_start", "timestamp")) == books.reports
        entitlement = Entitlement.objects.get(pk=pk)
        used = sum(books.used.values(), ZERO)
        assert entitlement.credits_used == used
        left_over = books.balance - sum(books.unpaid.values()) - (used - sum(books.known.values()))
        assert entitlement.credits_remaining == (None if books.plan.is_unlimited else max(left_over, ZERO)), (
            "what is left is right the moment a report is answered, settled or not"
        )
        assert (entitlement.plan, entitlement.overage_allowed) == (books.plan.slug, books.is_billed)


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    logger.info("SEED=%s does the same again", seed)
    return random.Random(seed)


@pytest.fixture
def odd_rate(rates: None) -> None:
    """A price that fills all six places."""
    CreditRate.objects.create(
        product="edit",
        feature="standard",
        credits_per_unit=PRICES["edit"],
        batch_factor=BATCH["edit"],
        effective_from=datetime(2020, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def customers(
    chance: random.Random,
    organization: Organization,
    owner: User,
    other_organization: Organization,
    outsider: User,
) -> list[Customer]:
    now = timezone.now()
    found = []
    for each, person in ((organization, owner), (other_organization, outsider)):
        key, _ = keys.create_organization_key(organization=each, name="production", actor=Actor(person))
        account = BillingAccount.objects.select_related("plan").get(pk=each.pk)
        books = Books(account.plan, account.anchor)
        books.grant(now, "sign_up", "free", Decimal(100), None)
        found.append(Customer(each, key, books, chance, now))
    return found


def settle_all(customers: list[Customer]) -> Callable[[], None]:
    for customer in customers:
        customer.books.settle(customer.now)
    return customers[0].settle


def time_passes(customers: list[Customer], chance: random.Random) -> Callable[[], None]:
    """Days go by, then grants lapse and months begin, wherever they do."""
    passed = timedelta(hours=chance.choice([1, 30, 100, 800]), microseconds=1)
    for customer in customers:
        customer.now += passed
    now = customers[0].now
    for customer in customers:
        customer.books.expire(now)
        customer.books.renew_due(now)

    def sweep() -> None:
        credits.expire_due(now=now)
        plans.renew_due(now=now)

    return sweep


ACTS = [
    *[Customer.use] * 6,
    *[Customer.use_late] * 2,
    *[Customer.fail] * 2,
    *[Customer.correct] * 4,
    *[Customer.grant] * 3,
    Customer.refund,
    Customer.deduct,
    Customer.put_on,
    *[Customer.subscribe] * 2,
    Customer.pay_or_not,
    *[Customer.bill_period] * 2,
    Customer.agree,
]


@pytest.mark.parametrize("_round", range(3))
def test_the_books_agree_with_a_model_after_every_step(
    customers: list[Customer], chance: random.Random, _round: int
) -> None:
    done = []
    for _ in range(STEPS):
        customer = chance.choice(customers)
        before = [len(each.books.lines) for each in customers]
        work: Callable[[], None] | None
        match chance.randrange(8):
            case 0 | 1:
                done.append("settle")
                work = settle_all(customers)
            case 2:
                done.append("time passes")
                work = time_passes(customers, chance)
            case _:
                act = chance.choice(ACTS)
                done.append(act.__name__)
                work = act(customer)
        if work is not None:
            if chance.random() < 0.4:
                with suppress(Crash), dying(chance.randrange(1, 40)):
                    work()
                for each in customers:
                    agrees(each.organization)
            work()
        try:
            for each, lines in zip(customers, before, strict=True):
                each.check(lines)
        except AssertionError:
            logger.info("after %s", ", ".join(done))
            raise
