"""Reports of overage reach Stripe's meter, once each, whatever happens on the way."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Organization
from billing import credits, meter, metering
from billing.models import BillingAccount, CreditEntry, MeterReport
from tests.billing.conftest import Use, settle
from tests.billing.simulator_process import SimulatorProcess, own_simulator
from tests.billing.subscribed import counted, own_till, subscribe, till, till_process

__all__ = ["own_simulator", "own_till", "till", "till_process"]

pytestmark = pytest.mark.django_db

State = MeterReport.State


@pytest.fixture
def subscribed(organization: Organization, till: SimulatorProcess) -> BillingAccount:
    """Pay-as-you-go with a card, and its free credits used up."""
    account = subscribe(organization, till)
    credits.deduct(organization, amount=account.balance, key="used", reason="Used up")
    return account


def reports() -> list[tuple[int, str]]:
    return list(MeterReport.objects.order_by("id").values_list("quantity", "state"))


def report_of(account: BillingAccount, quantity: int, number: int = 0, **values: Any) -> MeterReport:
    now = timezone.now()
    return MeterReport.objects.create(
        organization=account.organization,
        hour=now.replace(minute=0, second=0, microsecond=0),
        sequence=number,
        quantity=quantity,
        identifier=f"cr:{account.pk}:{account.stripe_customer}:{number}",
        stripe_customer=account.stripe_customer,
        stripe_subscription=account.stripe_subscription,
        **{"period_start": account.period_start, "timestamp": max(now, account.period_start or now)} | values,
    )


def test_whole_credits_of_overage_reach_the_meter(
    subscribed: BillingAccount, organization: Organization, use: Use
) -> None:
    use(30)
    settle(organization)

    assert metering.send_waiting() == 1

    assert reports() == [(30, State.SENT)]
    assert counted(organization) == 30


def test_what_is_taken_back_is_taken_off_the_meter(
    subscribed: BillingAccount, organization: Organization
) -> None:
    report_of(subscribed, 30, 0)
    report_of(subscribed, -10, 1)

    metering.send_waiting()

    assert counted(organization) == 20


def test_a_report_whose_worker_died_after_sending_counts_once(
    subscribed: BillingAccount, organization: Organization, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(30)
    settle(organization)
    die(monkeypatch, "_write")
    with pytest.raises(Died):
        metering.send_waiting()
    monkeypatch.undo()
    assert reports() == [(30, State.WAITING)]

    assert metering.send_waiting() == 0  # its lease runs
    assert metering.send_waiting(now=timezone.now() + metering.LEASE * 1.1) == 1

    assert counted(organization) == 30


def test_a_report_whose_worker_died_before_sending_is_sent_later(
    subscribed: BillingAccount, organization: Organization, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(30)
    settle(organization)
    die(monkeypatch, "_send")
    with pytest.raises(Died):
        metering.send_waiting()
    monkeypatch.undo()

    metering.send_waiting(now=timezone.now() + metering.LEASE * 1.1)

    assert counted(organization) == 30


def test_reports_wait_while_stripe_is_down_and_lose_nothing(
    organization: Organization, own_till: SimulatorProcess, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing.gateway.RETRIES", 0)
    subscribe(organization, own_till)
    use(130)
    settle(organization)
    own_till.kill()

    assert metering.send_waiting() == 0
    report = MeterReport.objects.get()
    own_till.start()
    assert metering.send_waiting() == 0  # not at once again
    assert metering.flush(organization)

    assert (report.state, report.attempts) == (State.WAITING, 1)
    assert report.last_error
    assert counted(organization) == 30


def test_a_report_that_stripe_refuses_is_kept_and_seen(subscribed: BillingAccount) -> None:
    bad = report_of(subscribed, 10**17)
    report_of(subscribed, 7, 1)

    metering.send_waiting()

    assert reports() == [(10**17, State.REFUSED), (7, State.SENT)]
    assert "whole number" in MeterReport.objects.get(pk=bad.pk).last_error


def test_a_refused_report_is_sent_again_when_staff_say_so(subscribed: BillingAccount) -> None:
    refused = report_of(subscribed, 5, state=State.REFUSED, last_error="No such meter")

    assert metering.send_again(refused)
    metering.send_waiting()

    assert reports() == [(5, State.SENT)]


def test_customers_have_one_call_at_a_time(
    subscribed: BillingAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        report_of(subscribed, 1, number)
    claimed = []

    def meanwhile(report: MeterReport) -> None:
        claimed.append(metering._claim(timezone.now(), limit=10))

    monkeypatch.setattr(meter, "send", meanwhile)

    metering.send_waiting()

    assert claimed == [[], [], []]


def test_what_may_have_been_sent_a_day_ago_is_looked_for_before_it_is_sent_again(
    subscribed: BillingAccount, organization: Organization
) -> None:
    yesterday = timezone.now() - timedelta(hours=25)
    report = report_of(subscribed, 5, timestamp=yesterday, created_at=yesterday, attempts=1)
    meter.send(report)
    MeterReport.objects.filter(pk=report.pk).update(identifier="forgotten-by-stripe")

    metering.send_waiting()

    assert counted(organization) == 5
    assert reports() == [(5, State.SENT)]


def test_what_was_not_counted_a_day_ago_is_sent_again(
    subscribed: BillingAccount, organization: Organization
) -> None:
    yesterday = timezone.now() - timedelta(hours=25)
    report_of(subscribed, 5, timestamp=yesterday, created_at=yesterday, attempts=1)

    metering.send_waiting()

    assert counted(organization) == 5


@pytest.mark.parametrize("days", [34, 36, 60])
def test_what_is_too_old_for_the_meter_counts_in_the_period_that_runs(
    subscribed: BillingAccount, organization: Organization, days: int
) -> None:
    report = report_of(subscribed, 5, timestamp=timezone.now() - timedelta(days=days))

    metering.send_waiting()

    report.refresh_from_db()
    assert (report.state, report.period_start) == (State.SENT, subscribed.period_start)
    assert counted(organization) == 5


def test_what_is_too_old_waits_where_no_later_period_is_known_yet(
    subscribed: BillingAccount, organization: Organization
) -> None:
    start, end = (timezone.now() - timedelta(days=days) for days in (75, 45))
    BillingAccount.objects.filter(pk=organization.pk).update(period_start=start, period_end=end)
    report = report_of(subscribed, 5, timestamp=start, period_start=start)

    assert metering.send_waiting() == 0

    report.refresh_from_db()
    assert report.state == State.WAITING
    assert report.next_attempt_at > timezone.now()


def test_flush_settles_and_sends_at_once(
    subscribed: BillingAccount, organization: Organization, use: Use
) -> None:
    use(30)

    assert metering.flush(organization)
    assert metering.confirm(organization)

    assert counted(organization) == 30


def test_flush_waits_no_longer_than_it_was_told_for_another_worker(
    subscribed: BillingAccount, organization: Organization
) -> None:
    report_of(subscribed, 5, next_attempt_at=timezone.now() + metering.LEASE)

    assert not metering.flush(organization, within=timedelta(seconds=0.3))


def test_confirm_says_that_something_is_missing(
    subscribed: BillingAccount, organization: Organization
) -> None:
    report_of(subscribed, 5, state=State.SENT, sent_at=timezone.now())

    assert not metering.confirm(organization, within=timedelta(seconds=0.3))


def test_entries_name_their_report(subscribed: BillingAccount, organization: Organization, use: Use) -> None:
    use(30)
    settle(organization)

    report = MeterReport.objects.get()
    assert [entry.overage for entry in report.entries.all()] == [30]
    assert CreditEntry.objects.filter(meter_report=None, kind="overage").count() == 0


class Died(Exception):
    """The worker was killed here."""


def die(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Died

    monkeypatch.setattr(metering, name, killed)


def test_a_batch_of_customers_is_sent_side_by_side(
    subscribed: BillingAccount, other_organization: Organization, till: SimulatorProcess
) -> None:
    other = subscribe(other_organization, till)
    report_of(subscribed, 3)
    report_of(other, 4)

    assert metering.send_waiting() == 2

    assert (counted(subscribed.organization), counted(other_organization)) == (3, 4)
