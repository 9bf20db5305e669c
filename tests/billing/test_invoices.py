"""Invoices as they were last read, with what is behind each line; what is shown as spent is what is billed."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import stripe

from accounts.models import Organization
from billing import credits, invoices, metering, plans, subscriptions
from billing.gateway import get_stripe
from billing.models import BillingAccount, CreditEntry, CreditGrant, Invoice, MeterReport
from tests.billing.conftest import Use
from tests.billing.simulator_process import SimulatorProcess, own_simulator
from tests.billing.subscribed import account_of, invoices_of, own_till, subscribe, till, till_process
from usage import alert_periods, corrections, spending
from usage.models import UsageRecord

__all__ = ["own_simulator", "own_till", "till", "till_process"]

pytestmark = pytest.mark.django_db


def close_period(organization: Organization, till: SimulatorProcess) -> Invoice:
    """Go on to where the invoice of the period that runs is paid, and return it."""
    account = account_of(organization)
    assert account.period_end
    metering.flush(organization)
    till.advance(to=int(account.period_end.timestamp()) + 2 * 3600)
    subscriptions.sync(organization)
    invoices.record_all(account.stripe_customer)
    return Invoice.objects.filter(organization=organization).latest("created_at")


@pytest.fixture
def with_card(organization: Organization, own_till: SimulatorProcess) -> BillingAccount:
    """Pay-as-you-go with a card, and no credits left."""
    account = subscribe(organization, own_till)
    credits.deduct(organization, amount=account.balance, key="used", reason="Used up")
    return account


def test_what_was_spent_is_what_is_billed(
    with_card: BillingAccount, organization: Organization, own_till: SimulatorProcess, use: Use
) -> None:
    use(230)
    voided = use(20)
    corrections.correct(record=UsageRecord.objects.get(job_id=voided), reason="Twice", actor=None)
    use(1_000)
    period = alert_periods.current(organization, alert_periods.Kind.MONTHLY)

    invoice = close_period(organization, own_till)

    assert spending.spend(organization, period) == invoice.total == Decimal("12.30")


def test_on_pro_what_was_spent_beyond_included_credits_is_billed(
    organization: Organization, own_till: SimulatorProcess, use: Use
) -> None:
    account = subscribe(organization, own_till, plans.PRO)
    free = CreditGrant.objects.get(organization=organization, kind="free")
    credits.take_back(free, amount=free.remaining, key="gone", reason="Gone")
    use(100_250)
    period = alert_periods.current(organization, alert_periods.Kind.MONTHLY)

    invoice = close_period(organization, own_till)

    overage = [line for line in invoices.lines(invoice) if line.kind == invoices.OVERAGE]
    included = account.plan.included_credits * account.plan.credit_price
    assert sum(line.amount for line in overage) == spending.spend(organization, period) - included == 2.5


def test_lines_say_what_they_are_for(organization: Organization, own_till: SimulatorProcess) -> None:
    subscribe(organization, own_till, plans.PRO)

    [invoice] = invoices.record_all(account_of(organization).stripe_customer)

    recorded = Invoice.objects.get(stripe_id=invoice.id)
    line = next(line for line in invoices.lines(recorded) if line.kind == invoices.PLAN)
    assert (line.price, line.plan, line.amount, line.quantity) == ("pro_monthly", "pro", 799, 1)
    assert (recorded.status, recorded.total, recorded.reason) == ("paid", 799, "subscription_create")
    assert invoices.description(recorded) == "Plan"
    assert recorded.receipt_url.endswith(".pdf")
    assert recorded.pdf_url


def test_the_usage_behind_a_line_adds_up_to_it(
    with_card: BillingAccount, organization: Organization, own_till: SimulatorProcess, use: Use
) -> None:
    use(30, days_ago=1)
    metering.flush(organization)
    use(12)

    [line] = invoices.lines(close_period(organization, own_till))
    behind = invoices.usage_behind(line)

    assert line.quantity == 42
    assert sum(report.quantity for report in behind.reports) == 42
    assert sum(entry.overage for entry in behind.entries) == 42
    assert [amount for _, amount in behind.days] == [30, 12]
    assert behind.carried == 0


def test_fractions_of_credits_behind_a_line_are_carried(
    with_card: BillingAccount, organization: Organization, own_till: SimulatorProcess, use: Use
) -> None:
    entry = {"organization": organization, "kind": CreditEntry.Kind.OVERAGE, "balance": 0}
    CreditEntry.objects.create(overage=Decimal("0.4"), **entry)
    BillingAccount.objects.filter(pk=with_card.pk).update(overage_pending=Decimal("0.4"))
    use(7)
    BillingAccount.objects.filter(pk=with_card.pk).update(overage_pending=Decimal("0.9"))

    [line] = invoices.lines(close_period(organization, own_till))
    behind = invoices.usage_behind(line)

    assert sum(entry.overage for entry in behind.entries) + behind.carried == line.quantity == 7
    assert [entry.overage for entry in behind.entries] == [Decimal("0.4"), 7]


def test_a_plans_line_leads_to_the_credits_it_included(
    organization: Organization, own_till: SimulatorProcess
) -> None:
    subscribe(organization, own_till, plans.PRO)
    invoices.record_all(account_of(organization).stripe_customer)
    line = invoices.lines(Invoice.objects.get())[0]

    behind = invoices.usage_behind(line)

    assert [(grant.kind, grant.amount) for grant in behind.grants] == [("included", 100_000)]


def test_a_stale_reading_never_takes_an_invoice_back(
    organization: Organization, till: SimulatorProcess
) -> None:
    account = subscribe(organization, till, plans.PRO)
    [read] = invoices_of(organization)
    stale = stripe.Invoice.construct_from(read.to_dict() | {"status": "open", "amount_paid": 0}, None)

    invoices.record(read)
    invoices.record(stale)
    invoices.record(read)

    kept = Invoice.objects.get(organization=account.organization)
    assert (kept.status, kept.amount_paid) == ("paid", 799)


def test_an_invoice_of_an_unknown_customer_is_left_alone(
    organization: Organization, till: SimulatorProcess
) -> None:
    customer = get_stripe().v1.customers.create({"name": "Somebody"})
    invoice = get_stripe().v1.invoices.create({"customer": customer.id})

    assert invoices.record(invoice) is None

    assert not Invoice.objects.exists()


def test_drafts_are_not_listed(organization: Organization, till: SimulatorProcess) -> None:
    account = subscribe(organization, till)
    draft = get_stripe().v1.invoices.create({"customer": account.stripe_customer})
    invoices.record(draft)

    assert not invoices.of(organization).exists()

    invoices.forget(str(draft.id))
    assert not Invoice.objects.filter(status="draft").exists()


def test_invoices_are_csv(organization: Organization, till: SimulatorProcess) -> None:
    account = subscribe(organization, till, plans.PRO)
    invoices.record_all(account.stripe_customer)

    [row] = csv.DictReader(io.StringIO("".join(invoices.csv(organization))))

    assert list(row) == [column.name for column in invoices.COLUMNS]
    assert (row["status"], row["total"], row["description"]) == ("paid", "799.00", "Plan")
    assert row["created_at"].endswith("Z")


def test_the_next_invoice_is_foreseen(
    with_card: BillingAccount, organization: Organization, use: Use
) -> None:
    use(30)
    metering.flush(organization)

    foreseen = invoices.upcoming(organization)

    assert foreseen is not None
    assert (foreseen.total, foreseen.is_available) == (Decimal("0.30"), True)
    assert foreseen.at and foreseen.at > datetime.now(UTC) + timedelta(days=27)
    assert [line.kind for line in foreseen.lines] == [invoices.OVERAGE]


def test_without_a_subscription_no_invoice_comes(organization: Organization, till: SimulatorProcess) -> None:
    assert invoices.upcoming(organization) is None


def test_while_stripe_is_down_nothing_is_foreseen_and_that_is_said(
    with_card: BillingAccount,
    organization: Organization,
    own_till: SimulatorProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_till.kill()

    foreseen = invoices.upcoming(organization)
    own_till.start()

    assert foreseen is not None
    assert not foreseen.is_available
    again = invoices.upcoming(organization)
    assert again is not None and again.is_available


def test_what_is_foreseen_is_kept_for_a_while(with_card: BillingAccount, organization: Organization) -> None:
    first = invoices.upcoming(organization)
    MeterReport.objects.all().delete()
    BillingAccount.objects.filter(pk=with_card.pk).update(stripe_customer="cus_gone")

    assert invoices.upcoming(organization) == first
