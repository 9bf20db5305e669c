"""Where Stripe's meter and our reports part, it is noted, put right once, and settled when they agree."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
import stripe
from django.core.management import call_command
from django.utils import timezone

from accounts.models import Organization
from billing import credits, invoices, meter, metering, subscriptions, thin_events
from billing.models import BillingAccount, MeterDrift, MeterReport
from tests.billing.conftest import Use, settle
from tests.billing.simulator_process import SimulatorProcess, own_simulator
from tests.billing.subscribed import (
    account_of,
    counted,
    invoices_of,
    lose,
    own_till,
    subscribe,
    till,
    till_process,
)
from tests.billing.test_metering import report_of, subscribed

__all__ = ["own_simulator", "own_till", "subscribed", "till", "till_process"]

pytestmark = pytest.mark.django_db

State = MeterReport.State


def drift() -> MeterDrift:
    return MeterDrift.objects.get()


def reconcile_later(now: datetime | None = None) -> int:
    """Compare when the meter has surely counted what was sent so far."""
    MeterReport.objects.filter(state=State.SENT).update(sent_at=timezone.now() - timedelta(hours=3))
    return metering.reconcile(now)


def repair_and_wait() -> None:
    """Find the drift, send its repair, and look again."""
    reconcile_later()
    metering.send_waiting()
    reconcile_later()


def test_nothing_is_noted_while_meter_and_reports_agree(subscribed: BillingAccount) -> None:
    report_of(subscribed, 30)
    metering.send_waiting()

    assert reconcile_later() == 0

    assert not MeterDrift.objects.exists()


def test_what_the_meter_has_lost_is_reported_once_more(
    subscribed: BillingAccount, organization: Organization
) -> None:
    lose(report_of(subscribed, 30))

    assert reconcile_later() == 1
    assert reconcile_later() == 1
    metering.send_waiting()

    assert counted(organization) == 30
    repair = drift().repairs.get()
    assert (repair.quantity, repair.state) == (30, State.SENT)
    assert ":fix" in repair.identifier
    assert repair.identifier in drift().repair


def test_a_drift_is_settled_when_the_meter_has_counted_the_repair(subscribed: BillingAccount) -> None:
    lose(report_of(subscribed, 30))

    repair_and_wait()

    assert drift().settled_at is not None
    assert (drift().reported, drift().counted) == (30, 30)
    assert reconcile_later() == 0


def test_what_the_meter_counts_too_often_is_taken_off(
    subscribed: BillingAccount, organization: Organization
) -> None:
    sent = report_of(subscribed, 30)
    metering.send_waiting()
    sent.identifier = "by-somebody-else"
    meter.send(sent)

    repair_and_wait()

    assert counted(organization) == 30
    assert drift().settled_at is not None


def test_what_the_meter_could_not_take_after_all_is_reported_once_more(
    subscribed: BillingAccount, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = report_of(subscribed, 30)
    lose(report)
    sample = {"request": {"identifier": report.identifier}, "error_message": "No such customer"}
    kind = {"code": "meter_event_customer_not_found", "error_count": 1, "sample_errors": [sample]}
    event = stripe.StripeObject.construct_from({"data": {"reason": {"error_types": [kind]}}}, None)
    monkeypatch.setattr(
        thin_events,
        "get_stripe",
        lambda: SimpleNamespace(
            v2=SimpleNamespace(core=SimpleNamespace(events=SimpleNamespace(retrieve=lambda _: event)))
        ),
    )

    assert thin_events.note("evt_1") == 1

    report.refresh_from_db()
    assert (report.state, report.last_error) == ("sent", "No such customer")
    repair_and_wait()
    assert counted(organization) == 30


def test_a_repair_that_is_lost_as_well_is_left_to_staff(
    subscribed: BillingAccount, organization: Organization
) -> None:
    lose(report_of(subscribed, 30))
    reconcile_later()
    lose(drift().repairs.get())

    for _ in range(2):
        reconcile_later()

    assert drift().repairs.count() == 1
    assert drift().settled_at is None


def test_what_was_sent_just_now_is_not_compared_yet(subscribed: BillingAccount) -> None:
    lose(report_of(subscribed, 30))

    assert metering.reconcile(timezone.now()) == 0


def test_another_drift_of_the_same_period_is_repaired_as_well(
    subscribed: BillingAccount, organization: Organization
) -> None:
    lose(report_of(subscribed, 30))
    repair_and_wait()
    lose(report_of(subscribed, 5, 2))

    reconcile_later()
    metering.send_waiting()

    assert counted(organization) == 35


def test_what_an_invoice_has_left_out_is_billed_by_the_next(
    organization: Organization, own_till: SimulatorProcess, use: Use
) -> None:
    account = subscribe(organization, own_till)
    credits.deduct(organization, amount=account.balance, key="used", reason="Used up")
    use(30)
    metering.flush(organization)
    use(20)
    with_lost = lost_of(organization)
    advance_past(own_till, account.period_end)
    subscriptions.sync(organization)
    invoices.record_all(account.stripe_customer)

    reconcile_later(now_of(own_till))
    metering.send_waiting(now=now_of(own_till))
    advance_past(own_till, account_of(organization).period_end)

    assert with_lost.quantity == 20
    assert [invoice.total for invoice in invoices_of(organization)] == [20, 30]
    repair = drift().repairs.get()
    assert repair.period_start == account_of(organization).period_start


def lost_of(organization: Organization) -> MeterReport:
    """Settle what was used, and lose its report."""
    settle(organization)
    report = MeterReport.objects.get(state=State.WAITING)
    lose(report)
    return report


def advance_past(till: SimulatorProcess, end: datetime | None) -> None:
    """To three hours after a period's end: its invoice is final."""
    assert end
    till.advance(to=int(end.timestamp()) + 3 * 3600)


def now_of(till: SimulatorProcess) -> datetime:
    return datetime.fromtimestamp(till.now, UTC)


def test_usage_reported_after_its_invoice_is_final_counts_in_the_next_period(
    organization: Organization, own_till: SimulatorProcess, use: Use
) -> None:
    account = subscribe(organization, own_till)
    use(130)
    settle(organization)
    advance_past(own_till, account.period_end)
    subscriptions.sync(organization)
    invoices.record_all(account.stripe_customer)

    metering.send_waiting()
    advance_past(own_till, account_of(organization).period_end)

    assert [invoice.total for invoice in invoices_of(organization)] == [30, 0]


def test_one_customer_that_stripe_does_not_know_keeps_no_other(
    subscribed: BillingAccount, other_organization: Organization, till: SimulatorProcess
) -> None:
    other = subscribe(other_organization, till)
    BillingAccount.objects.filter(pk=subscribed.pk).update(stripe_customer="cus_gone")
    lose(report_of(other, 5))

    reconcile_later()

    assert drift().organization == other_organization


def test_the_list_of_drifts_is_csv(subscribed: BillingAccount, organization: Organization) -> None:
    lose(report_of(subscribed, 30))
    reconcile_later()
    written = StringIO()

    call_command("meter_drift", stdout=written)

    header, row = written.getvalue().splitlines()
    assert header.split(",") == list(metering.DRIFT_COLUMNS)
    assert row.startswith(f"{organization.uid},Northwind,")
    assert ",30,0,-30," in row
