"""The overview of the back office: what needs attention, today beside the same weekday, charts, movers, newcomers.

Everybody sees the numbers of the tables that they may see. What these are taken from is asked at most twice a minute,
and the page says as of when; how the processes do is asked every time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Min, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.admin_base import colleague
from accounts.models import Organization
from billing import revenue
from billing.models import BillingAccount, MeterDrift, MeterReport, StripeChange, Subscription
from config import health, task_runs, waiting
from config.waiting import Age
from usage import charts, entitlements, totals
from usage.charts import Chart, Series
from usage.models import Entitlement, UsageRecord, UsageTotal
from usage.price_list import dollars
from usage.totals import Mover
from webhooks.models import Endpoint

KEPT = 30  # seconds
_KEY = "back_office.home"
DAYS, MONEY_DAYS = 30, 14
NEWEST = 6
_MOST_COUNTED = 1_000
# From which share of failed jobs on it is worth a look, if there are so many of them, and twice the usual share.
_SHARE, _FAILED = 0.05, 20
# Without a task taken up for so long there is no worker: the most frequent ones come every 20 s.
_IDLE = timedelta(minutes=3)
_DAY = timedelta(days=1)

May = Callable[[str], bool]


@dataclass(frozen=True)
class Tile:
    """A number that leads to the list behind it."""

    label: str
    value: str
    note: str = ""
    url: str = ""
    is_bad: bool = False


@dataclass(frozen=True)
class Trouble:
    """What is wrong, since when, and what to do."""

    title: str
    advice: str
    url: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """What was found at a time, of all that the page tells."""

    at: datetime
    days: dict[date, UsageTotal]
    then: UsageTotal | None  # the same weekday, as it was at this time of day
    movers: totals.Movers | None
    names: dict[int, str]  # of the movers
    newest: list[Organization]
    paid: dict[date, Decimal]
    refused: dict[str, int]
    past_due: tuple[int, datetime | None]
    failing: tuple[int, datetime | None]
    disabled: int
    switched_off: int
    drifts: tuple[int, datetime | None]
    refused_reports: int
    stuck_changes: int
    unrated: int
    last_unrated: datetime | None
    ages: list[Age]


def context(request: HttpRequest, *, now: datetime | None = None) -> dict[str, Any]:
    """What the page shows to this colleague."""
    may = colleague(request).has_perm
    now = now or timezone.now()
    facts: Facts | None = cache.get(_KEY)
    if facts is None or facts.at > now:
        facts = gather(now=now)
        cache.set(_KEY, facts, KEPT)
    troubles = [*(_of_system(now) if may("accounts.view_system") else ()), *_of_facts(facts, may)]
    return {
        "as_of": facts.at,
        "troubles": troubles,
        "tiles": list(_today(facts, may)),
        "compared_with": _compared_with(facts) if may("usage.view_usagerecord") else "",
        "counts": list(_counts(facts, may)),
        "ages": [age for age in facts.ages if may(age.queue.permission)],
        "charts": list(_charts(facts, may)),
        "movers": _movers(facts)
        if may("usage.view_usagerecord") and may("accounts.view_organization")
        else None,
        "newest": facts.newest if may("accounts.view_organization") else [],
        "may_see_system": may("accounts.view_system"),
    }


def gather(*, now: datetime) -> Facts:
    """Ask for all of it: a fixed number of questions, however many organizations there are."""
    today = now.date()
    days = totals.of_days(start=today - timedelta(days=DAYS + 7), end=today, now=now)
    last = days.get(today)
    movers = totals.movers()
    moved = [mover.organization_id for mover in (*movers.up, *movers.down)] if movers else []
    endpoints = Endpoint.objects.unwell().aggregate(
        failing=Count("pk", filter=Q(disabled=False, failing_since__isnull=False)),
        since=Min("failing_since", filter=Q(disabled=False)),
        off=Count("pk", filter=Q(disabled=True)),
        switched_off=Count(
            "pk", filter=Q(disabled=True, disabled_at__gt=now - _DAY) & ~Q(disabled_reason="")
        ),
    )
    due = BillingAccount.objects.filter(
        subscription_status=Subscription.PAST_DUE, organization__deleted_at=None
    ).aggregate(count=Count("pk"), since=Min("past_due_since"))
    drifts = MeterDrift.objects.filter(settled_at=None).aggregate(count=Count("pk"), since=Min("found_at"))
    unrated = UsageRecord.objects.filter(unrated=True)
    refused = entitlements.refused(now=now)
    # Those first that are refused at all: they are few, and only of these their organization is looked up.
    calls = Entitlement.objects.filter(
        reduce(or_, refused.values()), organization__deleted_at=None
    ).aggregate(**{name: Count("pk", filter=condition) for name, condition in refused.items()})
    return Facts(
        at=now,
        days=days,
        then=totals.as_of(today - totals.WEEK, last.counted_at - totals.WEEK) if last else None,
        movers=movers,
        names=dict(Organization.objects.filter(pk__in=moved).values_list("pk", "name")),
        newest=list(Organization.objects.open().order_by("-pk")[:NEWEST]),
        paid=revenue.paid_by_day(start=today - timedelta(days=2 * DAYS - 1)),
        refused=calls,
        past_due=(due["count"], due["since"]),
        failing=(endpoints["failing"], endpoints["since"]),
        disabled=endpoints["off"],
        switched_off=endpoints["switched_off"],
        drifts=(drifts["count"], drifts["since"]),
        refused_reports=MeterReport.objects.filter(state=MeterReport.State.REFUSED).count(),
        stuck_changes=StripeChange.objects.filter(attempts__gt=0).count(),
        unrated=unrated[:_MOST_COUNTED].count(),
        last_unrated=unrated.order_by("-pk").values_list("timestamp", flat=True).first(),
        ages=waiting.ages(now=now),
    )


# ── Today ────────────────────────────────────────────────────────────────────────────────────────────────────
def _compared_with(facts: Facts) -> str:
    """In words, what stands beside today's numbers."""
    day = facts.at.date() - totals.WEEK
    if facts.then:
        return f"{day:%A %-d %B}, as it was at {facts.then.counted_at:%H:%M} UTC"
    return f"all of {day:%A %-d %B}, as nobody counted then" if day in facts.days else ""


def _today(facts: Facts, may: May) -> Iterator[Tile]:
    """The numbers of the day beside those of the same weekday."""
    if not may("usage.view_usagerecord"):
        return
    today = facts.at.date()
    total = facts.days.get(today) or UsageTotal(
        day=today, organizations=0, requests=0, pages=0, credits=Decimal(0), cost=Decimal(0), jobs=0, failed=0
    )
    before = facts.then or facts.days.get(today - totals.WEEK)
    is_same_time = facts.then is not None
    records, jobs = _list("usage_usagerecord"), _list("usage_job")
    measures: tuple[tuple[str, Any, Any, Callable[[Any], str], str], ...] = (
        ("Requests", total.requests, before and before.requests, charts.plain, jobs),
        ("Pages", total.pages, before and before.pages, charts.plain, records),
        ("Credits", total.credits, before and before.credits, _whole, records),
        ("List cost of usage", total.cost, before and before.cost, _money, records),
        (
            "Active organizations",
            total.organizations,
            before and before.organizations,
            charts.plain,
            _list("accounts_organization"),
        ),
    )
    for label, value, other, write, url in measures:
        yield Tile(label, write(value), _note(value, other, write, is_same_time), url)
    note = f"{_percent(_share(total))} of {total.jobs:,} jobs"
    if before:
        note += f" · {_percent(_share(before))} before"
    yield Tile("Failed jobs", f"{total.failed:,}", note, f"{jobs}?status__exact=Failed", _fails_much(facts))


def _note(value: Any, other: Any, write: Callable[[Any], str], is_same_time: bool) -> str:
    if other is None:
        return ""
    change = f" ({_percent(float(value) / float(other) - 1, signed=True)})" if is_same_time and other else ""
    return f"{write(other)} before{change}"


def _share(total: UsageTotal) -> float:
    return total.failed / total.jobs if total.jobs else 0.0


def _fails_much(facts: Facts) -> bool:
    total = facts.days.get(facts.at.date())
    if total is None or total.failed < _FAILED or _share(total) < _SHARE:
        return False
    week = [day for day in facts.days.values() if timedelta() < total.day - day.day <= totals.WEEK]
    jobs, failed = sum(day.jobs for day in week), sum(day.failed for day in week)
    return not jobs or _share(total) > 2 * failed / jobs


def _whole(value: Any) -> str:
    return f"{value:,.0f}"


def _money(value: Any) -> str:
    return dollars(Decimal(value).quantize(Decimal("0.01")))


def _percent(share: float, *, signed: bool = False) -> str:
    percent = 100 * share
    digits = 0 if abs(percent) >= 10 or percent == 0 else 1
    return f"{percent:{'+' if signed else ''},.{digits}f}\N{NO-BREAK SPACE}%".replace("-", "−")


# ── What is so now ───────────────────────────────────────────────────────────────────────────────────────────
def _counts(facts: Facts, may: May) -> Iterator[Tile]:
    today = facts.at.date()
    if may("billing.view_invoice"):
        last = _paid(facts, today - timedelta(days=DAYS - 1), today)
        before = _paid(facts, today - timedelta(days=2 * DAYS - 1), today - timedelta(days=DAYS))
        yield Tile(
            f"Paid in {DAYS} days",
            _money(last),
            f"{_money(before)} in the {DAYS} before · through Stripe",
            _list("billing_invoice"),
        )
    if may("usage.view_entitlement"):
        url = _list("usage_entitlement")
        for name, label in (
            ("suspended", "Suspended"),
            ("out_of_credits", "Out of credits"),
            ("capped", "At their cap"),
        ):
            yield Tile(label, f"{facts.refused[name]:,}", "organizations", f"{url}?calls={name}")
    if may("billing.view_billingaccount"):
        url = f"{_list('billing_billingaccount')}?subscription_status__exact={Subscription.PAST_DUE}"
        yield Tile("Past due", f"{facts.past_due[0]:,}", "organizations", url, bool(facts.past_due[0]))
    if may("webhooks.view_endpoint"):
        url = _list("webhooks_endpoint")
        failing = facts.failing[0]
        yield Tile("Failing endpoints", f"{failing:,}", "", f"{url}?health=failing", bool(failing))
        yield Tile(
            "Disabled endpoints",
            f"{facts.disabled:,}",
            f"{facts.switched_off:,} switched off since yesterday",
            f"{url}?health=disabled",
            bool(facts.switched_off),
        )
    if may("billing.view_meterdrift"):
        count = facts.drifts[0]
        yield Tile(
            "Meter drifts",
            f"{count:,}",
            "open",
            f"{_list('billing_meterdrift')}?settled_at__isempty=1",
            bool(count),
        )
    if may("billing.view_meterreport"):
        count = facts.refused_reports
        url = f"{_list('billing_meterreport')}?state__exact=refused"
        yield Tile("Refused meter reports", f"{count:,}", "", url, bool(count))
    if may("usage.view_usagerecord"):
        counted = f"{facts.unrated:,}" + ("+" if facts.unrated == _MOST_COUNTED else "")
        note = f"the last on {facts.last_unrated:%-d %b %Y}" if facts.last_unrated else "records"
        url = f"{_list('usage_usagerecord')}?unrated__exact=1"
        yield Tile("Unrated usage", counted, note, url, _lacks_rate(facts))


def _paid(facts: Facts, first: date, last: date) -> Decimal:
    return sum((amount for day, amount in facts.paid.items() if first <= day <= last), Decimal(0))


def _lacks_rate(facts: Facts) -> bool:
    return facts.last_unrated is not None and facts.last_unrated > facts.at - _DAY


def _list(model: str) -> str:
    return reverse(f"admin:{model}_changelist")


# ── What needs attention ─────────────────────────────────────────────────────────────────────────────────────
def _of_system(now: datetime) -> Iterator[Trouble]:
    """What is wrong with the processes. Where nobody works, that tasks are late is no news."""
    url = reverse("admin:system")
    if missing := health.missing_migrations():
        yield Trouble(f"{missing} migrations are not applied", "Run `python manage.py migrate`.", url)
    runs = task_runs.read(now=now)
    begun = runs.last_begun
    beat, deliver = (runs.processes.get(name) for name in (task_runs.BEAT, task_runs.DELIVER))
    is_idle = begun is None or begun < now - _IDLE
    if runs.is_silent(task_runs.BEAT, now=now):
        yield Trouble(
            "Beat gives no sign of life",
            "Start `celery --app config beat`.",
            url,
            beat.seen_at if beat else None,
        )
    if is_idle:
        yield Trouble("No worker takes up tasks", "Start `celery --app config worker`.", url, begun)
    if runs.is_silent(task_runs.DELIVER, now=now):
        advice = "No webhook is sent. Start `python manage.py deliver`."
        yield Trouble("Deliver gives no sign of life", advice, url, deliver.seen_at if deliver else None)
    for task in runs.tasks:
        if task.run and task.is_failing:
            yield Trouble(f"{task.title} fails", task.run.problem, url, task.run.failing_since)
        elif task.is_overdue and not is_idle:
            yield Trouble(
                f"{task.title} is overdue", "See whether the worker is busy, or run it now.", url, task.due_at
            )


def _of_facts(facts: Facts, may: May) -> Iterator[Trouble]:
    for age in facts.ages:
        if age.is_old and may(age.queue.permission):
            advice = f"The oldest waits longer than it should: see whether {age.queue.worked_by} runs and keeps up."
            yield Trouble(age.queue.label, advice, reverse(age.queue.url) if age.queue.url else "", age.since)
    if may("usage.view_job") and _fails_much(facts):
        total = facts.days[facts.at.date()]
        yield Trouble(
            f"{_percent(_share(total))} of today's jobs failed",
            "That is more than twice the week's share: see what they have in common.",
            f"{_list('usage_job')}?status__exact=Failed",
        )
    count, since = facts.drifts
    if count and may("billing.view_meterdrift"):
        advice = "What the repair did not put right is to be put right at Stripe by hand."
        url = f"{_list('billing_meterdrift')}?settled_at__isempty=1"
        yield Trouble(f"Stripe's meter differs for {_of(count, 'organization')}", advice, url, since)
    if facts.refused_reports and may("billing.view_meterreport"):
        url = f"{_list('billing_meterreport')}?state__exact=refused"
        title = f"Stripe refused {_of(facts.refused_reports, 'meter report')}"
        yield Trouble(title, "Read its error, and send it again once that is put right.", url)
    if facts.stuck_changes and may("billing.view_billingaccount"):
        title = f"{_of(facts.stuck_changes, 'event')} of Stripe's could not be applied"
        yield Trouble(title, "They are tried again by themselves; the log says why they fail.")
    if _lacks_rate(facts) and may("usage.view_usagerecord"):
        advice = "Publish a rate for what has none, and amend the records."
        yield Trouble(
            "Usage came in without a rate",
            advice,
            f"{_list('usage_usagerecord')}?unrated__exact=1",
            facts.last_unrated,
        )
    count, since = facts.failing
    if count and may("webhooks.view_endpoint"):
        advice = "Their owners are told. See whether the failures have a cause of ours."
        yield Trouble(
            f"{_of(count, 'endpoint')} failing", advice, f"{_list('webhooks_endpoint')}?health=failing", since
        )
    if facts.switched_off and may("webhooks.view_endpoint"):
        title = f"{_of(facts.switched_off, 'endpoint')} switched off since yesterday"
        yield Trouble(
            title,
            "Nothing arrived there for days. Their owners are told.",
            f"{_list('webhooks_endpoint')}?health=disabled",
        )
    count, since = facts.past_due
    if count and may("billing.view_billingaccount"):
        url = f"{_list('billing_billingaccount')}?subscription_status__exact={Subscription.PAST_DUE}"
        yield Trouble(
            f"{_of(count, 'organization')} past due", "Calls go on while there is grace.", url, since
        )


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


# ── Charts and lists ─────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Titled:
    id: str
    title: str
    chart: Chart


def _charts(facts: Facts, may: May) -> Iterator[Titled]:
    today = facts.at.date()
    if may("usage.view_usagerecord"):
        days = [today - timedelta(days=number) for number in reversed(range(DAYS))]
        slots = [charts.day(day) for day in days]
        found = [facts.days.get(day) for day in days]
        for id, title, unit in (("requests", "Requests", "requests"), ("credits", "Credits", "credits")):
            values = [_rounded(getattr(total, id)) if total else 0 for total in found]
            yield Titled(id, title, charts.stacked_bars(slots, [Series(title, values, 1)], unit=unit))
        failed = [total.failed if total else 0 for total in found]
        yield Titled(
            "errors",
            "Failed jobs",
            charts.stacked_bars(slots, [Series("Failed jobs", failed, 5)], unit="jobs"),
        )
    if may("billing.view_invoice") and may("usage.view_usagerecord"):
        days = [today - timedelta(days=number) for number in reversed(range(MONEY_DAYS))]
        cost = [total.cost if (total := facts.days.get(day)) else Decimal(0) for day in days]
        paid = [facts.paid.get(day, Decimal(0)) for day in days]
        series = [Series("List cost of usage", cost, 1), Series("Paid", paid, 2)]
        footer = [_money(sum(cost, Decimal(0))), _money(sum(paid, Decimal(0)))]
        slots = [charts.day(day) for day in days]
        yield Titled(
            "revenue",
            f"Revenue of {MONEY_DAYS} days",
            charts.lines(slots, series, write=_money, footer=footer, unit="$"),
        )


def _rounded(value: int | Decimal) -> int | Decimal:
    return value if isinstance(value, int) else value.quantize(Decimal(1))


@dataclass(frozen=True)
class Moved:
    name: str
    url: str
    used: str
    usual: str
    change: str
    is_yesterday: bool


def _movers(facts: Facts) -> dict[str, Any] | None:
    if facts.movers is None:
        return None

    def shown(movers: list[Mover]) -> list[Moved]:
        return [
            Moved(
                facts.names[mover.organization_id],
                reverse("admin:accounts_organization_change", args=[mover.organization_id]),
                _whole(mover.credits.today),
                _whole(mover.credits.usual_by_now),
                _signed(mover.credits.change),
                mover.is_yesterday,
            )
            for mover in movers
            if mover.organization_id in facts.names
        ]

    return {
        "found_at": facts.movers.found_at,
        "lists": [("More than usual", shown(facts.movers.up)), ("Less than usual", shown(facts.movers.down))],
    }


def _signed(percent: int | None) -> str:
    return "–" if percent is None else f"{percent:+,}\N{NO-BREAK SPACE}%".replace("-", "−")
