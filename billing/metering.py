"""Sending reports of overage to Stripe's meter, and seeing to it that it counts what was sent.

A report is committed before it is sent, and sent until Stripe has it; what was sent twice it knows by its identifier.
The first report that waits of an organization stands for all of them: who holds it by a lease sends them one after
the other, as Stripe takes one call at a time for a customer. Calls are made with no transaction open.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

import stripe
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from accounts.models import Organization
from billing import credits, invoices, meter, meter_reports
from billing.models import BillingAccount, MeterDrift, MeterReport

logger = logging.getLogger(__name__)

State = MeterReport.State

LEASE = timedelta(minutes=5)
# Customers at a time.
AT_ONCE = 8
# Reports of a customer in one go: so many are sent well within a lease.
MOST = 50
# How long somebody waits for reports to be sent, and for the meter to have counted them, which may take hours.
PATIENCE = timedelta(seconds=20)
CONFIRMED_WITHIN = timedelta(seconds=5)
# The meter tells late what it counted.
LAG = timedelta(hours=2)
_POLL = 0.2


# ── Sending ──────────────────────────────────────────────────────────────────────────────────────────────────
def send_waiting(*, now: datetime | None = None) -> int:
    """Send the reports that are due. Returns how many Stripe has taken."""
    taken = 0
    while claimed := _claim(now or timezone.now(), limit=AT_ONCE * 4):
        outcomes = _send(claimed, now or timezone.now())
        taken += sum(outcome.is_sent for outcome in outcomes)
        if any(outcome.is_unreachable for outcome in outcomes):
            break  # the others would find out no more
    return taken


def flush(organization: Organization, *, within: timedelta = PATIENCE) -> bool:
    """Settle an organization's usage and send what it comes to now. Says whether Stripe has all of it."""
    give_up = time.monotonic() + within.total_seconds()
    with transaction.atomic():
        credits.lock(organization)
    waiting = MeterReport.objects.filter(organization=organization, state=State.WAITING)
    while waiting.exists():
        claimed = _claim(timezone.now(), organization=organization)
        if claimed:
            if not all(outcome.is_settled for outcome in _send(claimed, timezone.now())):
                return False
        elif time.monotonic() > give_up:
            return False
        else:  # another worker is at it
            time.sleep(_POLL)
    return True


def send_again(report: MeterReport) -> bool:
    """Let a report that was refused be sent again, after its reason was put right. Says whether it was refused."""
    refused = MeterReport.objects.filter(pk=report.pk, state=State.REFUSED)
    return bool(refused.update(state=State.WAITING, next_attempt_at=timezone.now(), last_error=""))


@dataclass
class Outcome:
    """What became of a report, or of its first try that failed."""

    report: MeterReport
    state: str
    problem: str = ""
    is_unreachable: bool = False

    @property
    def is_sent(self) -> bool:
        return self.state == State.SENT

    @property
    def is_settled(self) -> bool:
        return self.state != State.WAITING


def _claim(
    now: datetime, *, limit: int = 1, organization: Organization | None = None
) -> list[list[MeterReport]]:
    """Take the reports of organizations whose turn it is, by a lease. For one that is named, however soon after a
    failure."""
    waiting = MeterReport.objects.filter(state=State.WAITING)
    earlier = waiting.filter(organization=OuterRef("organization"), id__lt=OuterRef("id"))
    due = Q(next_attempt_at__lte=now)
    if organization:
        # A lease has no error yet; a failure has.
        due = Q(organization=organization) & (due | ~Q(last_error=""))
    with transaction.atomic():
        first = waiting.filter(due).filter(~Exists(earlier)).order_by("next_attempt_at", "id")
        held = list(first.select_for_update(skip_locked=True, of=("self",))[:limit])
        if not held:
            return []
        of_them = waiting.filter(organization__in=[report.organization_id for report in held])
        of_them.update(next_attempt_at=now + LEASE, attempts=F("attempts") + 1, last_error="")
        claimed = of_them.select_related("organization").order_by("organization", "id")
        return [list(group)[:MOST] for _, group in groupby(claimed, lambda report: report.organization_id)]


def _send(claimed: Sequence[list[MeterReport]], now: datetime) -> list[Outcome]:
    """Send what was claimed, and write down what became of it. A crash before that only sends it again."""
    organizations = [reports[0].organization_id for reports in claimed]
    accounts = BillingAccount.objects.in_bulk(organizations)
    ready: list[list[MeterReport]] = []
    outcomes: list[Outcome] = []
    for reports in claimed:
        try:
            sendable = [
                report for report in reports if _prepare(report, accounts[report.organization_id], now)
            ]
        except stripe.StripeError as error:
            failed = Outcome(reports[0], State.WAITING, str(error), _is_unreachable(error))
            outcomes.append(_write(failed, now))
        else:
            ready.append(sendable)
    if len(ready) == 1:
        results = [_send_in_turn(ready[0])]
    else:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(_send_in_turn, ready))
    outcomes += [_write(outcome, now) for found in results for outcome in found]
    # Beyond what was sent in one go, the next may take its turn.
    left = MeterReport.objects.filter(organization__in=organizations, state=State.WAITING, last_error="")
    failed_of = {outcome.report.organization_id for outcome in outcomes if not outcome.is_settled}
    left.exclude(organization__in=failed_of).update(next_attempt_at=now)
    return outcomes


def _send_in_turn(reports: Sequence[MeterReport]) -> list[Outcome]:
    """Send a customer's reports one after the other, until one fails. Touches no database: it runs beside others."""
    outcomes = []
    for report in reports:
        try:
            meter.send(report)
        except meter.Refused as error:
            outcomes.append(Outcome(report, State.REFUSED, str(error)))
        except meter.TooOld:
            outcomes.append(Outcome(report, State.WAITING, _TOO_OLD))
            break
        except stripe.StripeError as error:
            outcomes.append(Outcome(report, State.WAITING, str(error) or repr(error), _is_unreachable(error)))
            break
        else:
            outcomes.append(Outcome(report, State.SENT))
    return outcomes


_TOO_OLD = "Its moment lies too far back for Stripe."


def _is_unreachable(error: stripe.StripeError) -> bool:
    return isinstance(error, stripe.APIConnectionError | stripe.AuthenticationError)


def _write(outcome: Outcome, now: datetime) -> Outcome:
    report = MeterReport.objects.filter(pk=outcome.report.pk)
    match outcome.state:
        case State.SENT:
            report.update(state=State.SENT, sent_at=now, last_error="")
        case State.REFUSED:
            logger.error("Stripe's meter refused %s: %s", outcome.report, outcome.problem)
            report.update(state=State.REFUSED, last_error=outcome.problem)
        case _:
            # The first one's turn is the turn of those after it.
            logger.warning("%s could not be sent: %s", outcome.report, outcome.problem)
            wait = timedelta(seconds=min(15 * 2 ** min(outcome.report.attempts, 10), 3600))
            report.update(next_attempt_at=now + wait, last_error=outcome.problem or "No answer.")
            if outcome.problem == _TOO_OLD:
                before = outcome.report.timestamp
                _move(outcome.report, BillingAccount.objects.get(pk=outcome.report.organization_id), now)
                # Where no later period is known yet it has not moved, and waits for one.
                if outcome.report.timestamp != before:
                    report.update(next_attempt_at=now)
    return outcome


def _prepare(report: MeterReport, account: BillingAccount, now: datetime) -> bool:
    """Make sure that a report may be sent as it is. Says whether it has to be."""
    if report.attempts > 1 and report.created_at < now - meter.REMEMBERED and _was_counted(report):
        # Whether all of it, the comparison with the meter will show.
        MeterReport.objects.filter(pk=report.pk).update(state=State.SENT, sent_at=now, last_error="")
        return False
    is_closed = account.period_start != report.period_start and (
        account.period_start is not None
        and invoices.billed(
            report.organization_id, report.stripe_subscription, report.period_start, account.period_start
        )
        is not None
    )
    if is_closed or report.timestamp < now - meter.OLDEST + timedelta(hours=1):
        _move(report, account, now)
    return True


def _was_counted(report: MeterReport) -> bool:
    """Whether the meter counts more in the report's minute than what is known to be sent."""
    start = meter.minute_of(report.timestamp)
    counted = meter.counted(report.stripe_customer, start, start + meter.MINUTE)
    return counted != _sum(_within(report.organization_id, start, start + meter.MINUTE))


def _move(report: MeterReport, account: BillingAccount, now: datetime) -> None:
    """Have a report that came too late for its period counted in the one that runs, if one does."""
    if account.is_subscribed and account.period_start:
        report.stripe_subscription = account.stripe_subscription
        report.period_start = account.period_start
        report.timestamp = meter_reports.moment(account.period_start, account.period_end, now)
    else:
        report.timestamp = now
    report.save(update_fields=["stripe_subscription", "period_start", "timestamp"])


def _within(organization_pk: int, start: datetime, end: datetime) -> QuerySet[MeterReport]:
    return MeterReport.objects.filter(
        organization=organization_pk, state=State.SENT, timestamp__gte=start, timestamp__lt=end
    )


def _sum(reports: QuerySet[MeterReport]) -> int:
    return int(reports.aggregate(sum=Sum("quantity"))["sum"] or 0)


# ── Whether the meter counts what was sent ───────────────────────────────────────────────────────────────────
def confirm(organization: Organization, *, within: timedelta = CONFIRMED_WITHIN) -> bool:
    """Wait until the meter counts all that was sent of the period that runs. Says whether it does, in that time."""
    account = BillingAccount.objects.get(organization=organization)
    if not account.period_start or not account.stripe_customer:
        return True
    give_up = time.monotonic() + within.total_seconds()
    start = meter.minute_of(account.period_start)
    sent = MeterReport.objects.filter(organization=organization, state=State.SENT, timestamp__gte=start)
    latest = sent.order_by("-timestamp").values_list("timestamp", flat=True).first()
    end = meter.minute_of(max(latest or start, timezone.now())) + meter.MINUTE
    while meter.counted(account.stripe_customer, start, end) != _sum(sent.filter(timestamp__lt=end)):
        if time.monotonic() > give_up:
            return False
        time.sleep(_POLL)
    return True


def reconcile(now: datetime | None = None) -> int:
    """Compare what the meter counts with what it was sent, of each period that runs and the one before it.

    Where they differ, a drift is noted, and repaired by one report with an identifier of its own. Returns how many
    drifts are open.
    """
    now = now or timezone.now()
    accounts = BillingAccount.objects.exclude(stripe_customer="").exclude(period_start=None)
    for account in accounts.select_related("organization", "plan").order_by("pk").iterator(500):
        if not account.is_subscribed:
            continue
        for period in _periods(account):
            try:
                _compare(account, period, now)
            except (stripe.StripeError, meter.NoMeter):  # one customer must not keep the others
                logger.exception("the meter of organization %s could not be compared", account.pk)
    return MeterDrift.objects.filter(settled_at=None).count()


@dataclass(frozen=True)
class _Period:
    """A period that usage is billed in. `is_over` says that another one has begun, at its end."""

    subscription: str
    start: datetime
    end: datetime
    is_over: bool


def _periods(account: BillingAccount) -> list[_Period]:
    assert account.period_start
    end = account.period_end or account.period_start + timedelta(days=366)
    periods = [_Period(account.stripe_subscription, account.period_start, end, is_over=False)]
    before = MeterReport.objects.filter(organization=account.pk, period_start__lt=account.period_start)
    last = before.order_by("-period_start").values_list("stripe_subscription", "period_start").first()
    if last and last[0] == account.stripe_subscription:  # else `late_usage` has settled it
        periods.append(_Period(*last, account.period_start, is_over=True))
    return periods


def _compare(account: BillingAccount, period: _Period, now: datetime) -> None:
    drift = MeterDrift.objects.filter(organization=account.pk, period_start=period.start).first()
    of_period = MeterReport.objects.filter(
        organization=account.pk, timestamp__gte=period.start, timestamp__lt=period.end
    ).exclude(state=State.REFUSED)
    unsure = Q(state=State.WAITING) | Q(sent_at__gt=now - LAG)
    if drift and drift.repairs.filter(unsure).exists():
        return
    billed = None
    if period.is_over:
        billed = invoices.billed(account.pk, period.subscription, period.start, period.end)
    if billed is not None:
        # What counts from now on is what was billed.
        start, end, counted = period.start, period.end, Decimal(billed)
        if of_period.filter(state=State.WAITING).exists():
            return
    else:
        start = meter.minute_of(period.start)
        if _within(account.pk, start, period.start).exists():  # it is the other period's minute as well
            start += meter.MINUTE
        end = meter.minute_of(period.end if period.is_over else now) + (
            timedelta() if period.is_over else meter.MINUTE
        )
        latest = of_period.order_by("-timestamp").values_list("timestamp", flat=True).first()
        if latest and not period.is_over:
            end = max(end, meter.minute_of(latest) + meter.MINUTE)
        # Up to where it is sure to have counted what it got.
        recent = of_period.filter(unsure).order_by("timestamp").values_list("timestamp", flat=True).first()
        if recent:
            end = min(end, meter.minute_of(recent))
        if end <= start:
            return
        counted = meter.counted(account.stripe_customer, start, end)
    within = _within(account.pk, start, end)
    sent = _sum(within.filter(repairs=None))
    if drift:
        repaired = drift.repairs.filter(state=State.SENT)
        counted += _sum(repaired.exclude(timestamp__gte=start, timestamp__lt=end))
        counted -= _sum(within.exclude(repairs=None).exclude(repairs=drift))
    else:
        counted -= _sum(within.exclude(repairs=None))
    _note(account, period, drift, sent, counted, now, is_billed=billed is not None)


def _note(
    account: BillingAccount,
    period: _Period,
    drift: MeterDrift | None,
    sent: int,
    counted: Decimal,
    now: datetime,
    *,
    is_billed: bool,
) -> None:
    if sent == counted:
        if drift and drift.settled_at is None:
            MeterDrift.objects.filter(pk=drift.pk).update(reported=sent, counted=counted, settled_at=now)
        return
    logger.error(
        "the meter of organization %s counts %s credits since %s, of %s sent",
        account.pk,
        counted,
        period.start,
        sent,
    )
    with transaction.atomic():
        credits.lock(account.organization)
        account.refresh_from_db()
        drift, _ = MeterDrift.objects.get_or_create(
            organization=account.organization,
            period_start=period.start,
            defaults={
                "period_end": period.end,
                "reported": sent,
                "counted": counted,
                "found_at": now,
            },
        )
        if drift.settled_at:
            drift.found_at, drift.settled_at, drift.repair = now, None, ""
        drift.reported, drift.counted, drift.period_end = sent, counted, period.end
        # Once: what a repair does not put right is for staff to see.
        if not drift.repairs.filter(created_at__gte=drift.found_at).exists():
            drift.repair = _repair(account, period, drift, now, is_billed=is_billed)
        drift.save()


def _repair(
    account: BillingAccount, period: _Period, drift: MeterDrift, now: datetime, *, is_billed: bool
) -> str:
    """Write the report that puts a drift right, in the period that is still to be billed. Says what was done."""
    assert account.period_start
    quantity = int(drift.reported - drift.counted)
    start, end = (account.period_start, account.period_end) if is_billed else (period.start, period.end)
    if quantity < 0 and is_billed:
        quantity = max(quantity, -_sum(_within(account.pk, start, end or now)))
    if not quantity:
        return ""
    hour = now.replace(minute=0, second=0, microsecond=0)
    number = drift.repairs.count() + 1
    report = MeterReport.objects.create(
        organization=account.organization,
        hour=hour,
        sequence=MeterReport.objects.filter(organization=account.pk, hour=hour).count(),
        quantity=quantity,
        identifier=f"cr:{account.pk}:{period.start:%Y%m%d%H}:fix{number}",
        stripe_customer=account.stripe_customer,
        stripe_subscription=account.stripe_subscription,
        period_start=start,
        timestamp=meter_reports.moment(start, end, now),
        next_attempt_at=now,
        repairs=drift,
        created_at=now,
    )
    return f"{quantity:+,} credits reported as {report.identifier}"


# ── The list of drifts ───────────────────────────────────────────────────────────────────────────────────────
DRIFT_COLUMNS = (
    "organization",
    "name",
    "period_start",
    "period_end",
    "reported",
    "counted",
    "difference",
    "found_at",
    "repair",
    "settled_at",
)


def oldest_waiting() -> datetime | None:
    """When the report was written that has waited longest to be sent."""
    waiting = MeterReport.objects.filter(state=State.WAITING)
    return waiting.order_by("created_at").values_list("created_at", flat=True).first()


def drifts() -> QuerySet[MeterDrift]:
    """All drifts, the open ones first, then the newest."""
    found = MeterDrift.objects.select_related("organization")
    return found.order_by(F("settled_at").asc(nulls_first=True), "-found_at", "-id")


def drift_rows() -> Iterator[list[Any]]:
    """The rows of their list, by `DRIFT_COLUMNS`."""
    for drift in drifts().iterator(500):
        moments = {
            name: f"{moment:%Y-%m-%dT%H:%M:%SZ}" if (moment := getattr(drift, name)) else ""
            for name in ("period_start", "period_end", "found_at", "settled_at")
        }
        yield [
            drift.organization.uid,
            drift.organization.name,
            moments["period_start"],
            moments["period_end"],
            drift.reported,
            _number(drift.counted),
            _number(drift.counted - drift.reported),
            moments["found_at"],
            drift.repair,
            moments["settled_at"],
        ]


def _number(credits: Decimal) -> int | Decimal:
    return int(credits) if credits == int(credits) else credits.normalize()
