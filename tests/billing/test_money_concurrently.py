"""Eight workers at once send, buy and bill no more than one would."""

import threading
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Organization
from billing import credits, customers, late_usage, metering, subscriptions, top_ups
from billing.gateway import get_stripe
from billing.models import CreditPack, MeterDrift, MeterReport, TopUp
from tests.billing.conftest import Use, agrees, settle
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.subscribed import account_of, counted, invoices_of, lose, subscribe, till, till_process
from tests.billing.test_metering import report_of
from tests.billing.test_reconciling import reconcile_later
from usage.models import Entitlement

__all__ = ["till", "till_process"]

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(work: Callable[[], object], workers: int = 8) -> None:
    """Do the same in several threads that begin together."""
    barrier = threading.Barrier(workers)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            barrier.wait()
            work()
        except BaseException as error:  # noqa: BLE001 (told by the test's own thread)
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_reports_are_counted_once(organization: Organization, till: SimulatorProcess) -> None:
    account = subscribe(organization, till)
    for number in range(12):
        report_of(account, 5, number)

    at_once(metering.send_waiting)
    assert metering.flush(organization)

    assert counted(organization) == 60
    assert set(MeterReport.objects.values_list("state", "attempts")) == {("sent", 1)}


def test_one_pack_is_bought(organization: Organization, till: SimulatorProcess, use: Use) -> None:
    till.set_card(customers.ensure(organization))
    subscriptions.sync(organization)
    top_ups.configure(
        organization=organization,
        threshold=Decimal(50),
        pack=CreditPack.objects.get(slug="1000"),
        monthly_limit=Decimal(1_000),
        actor=None,
    )
    use(60)

    def tick() -> None:
        top_ups.begin_due()
        top_ups.finish_waiting()

    at_once(tick)

    charges = get_stripe().v1.charges.list({"customer": account_of(organization).stripe_customer}).data
    assert [charge.amount for charge in charges] == [1_000]
    assert [top_up.state for top_up in TopUp.objects.all()] == ["paid"]
    assert Entitlement.objects.get(organization=organization).credits_remaining == 1_040
    agrees(organization)


def test_a_drift_is_repaired_once(organization: Organization, till: SimulatorProcess) -> None:
    lose(report_of(subscribe(organization, till), 30))
    MeterReport.objects.update(sent_at=timezone.now() - metering.LAG * 2)

    at_once(metering.reconcile)

    assert MeterDrift.objects.get().repairs.count() == 1
    metering.send_waiting()
    assert counted(organization) == 30
    assert reconcile_later() == 0


def test_late_usage_is_billed_once(organization: Organization, till: SimulatorProcess, use: Use) -> None:
    account = subscribe(organization, till)
    credits.deduct(organization, amount=account.balance, key="used", reason="Used up")
    use(130)
    settle(organization)
    get_stripe().v1.subscriptions.cancel(account.stripe_subscription)
    subscriptions.sync(organization)

    at_once(late_usage.bill_due)
    late_usage.bill_due()

    assert [invoice.total for invoice in invoices_of(organization) if invoice.total] == [130]
    assert [invoice.status for invoice in invoices_of(organization) if invoice.total] == ["paid"]
