"""Support stories about jobs and money, from the mail to the fix: a message that never came, and what was charged."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from accounts.audit import Action
from accounts.models import Organization
from billing.models import CreditGrant
from config import staff_groups
from tests.billing.conftest import Use, use
from tests.billing.simulator_process import SimulatorProcess, own_simulator
from tests.billing.subscribed import own_till
from tests.billing.test_invoices import close_period, with_card
from tests.browser.desk import Desk, reason_of
from tests.browser.test_webhook_deliveries import deliver_beside
from tests.usage.conftest import data_plane, item, job, post_jobs, rates
from tests.webhooks.conftest import Receiver, endpoint, receiver
from usage.models import Entitlement, Job, UsageRecord
from webhooks.endpoints import NewEndpoint

__all__ = [
    "data_plane",
    "endpoint",
    "job",
    "own_simulator",
    "own_till",
    "post_jobs",
    "rates",
    "receiver",
    "use",
    "with_card",
]

DeskOf = Callable[[str], Desk]


def remaining(organization: Organization) -> Decimal:
    return Entitlement.objects.get(organization=organization).credits_remaining or Decimal(0)


def test_missing_webhook(
    desk_of: DeskOf,
    post_jobs: Callable[..., Any],
    job: Callable[..., Any],
    endpoint: NewEndpoint,
    receiver: Receiver,
) -> None:
    """We have never heard that doc-77 was done, although it was: where is our job.completed?"""
    receiver.answer(500, body=b"database is locked")
    post_jobs(job("doc-77"))
    deliver_beside()
    assert len(receiver.arrivals) == 1
    desk = desk_of(staff_groups.SUPPORT)

    desk.search("doc-77")
    desk.reads("500", "database is locked")
    desk.press("Send again…")
    desk.write("Reason", "Your server answers again").press("Enter")

    desk.ends("missing webhook", done=f"It is sent to {receiver.url} again.", at_most=3)
    deliver_beside()
    assert len(receiver.arrivals) == 2
    assert '"job_id":"doc-77"' in receiver.arrivals[1].body.replace(" ", "")
    assert reason_of(Action.MESSAGE_RESENT) == "Your server answers again"


def test_double_charge(
    desk_of: DeskOf,
    post_jobs: Callable[..., Any],
    job: Callable[..., Any],
    organization: Organization,
) -> None:
    """Job doc-77 had three pages, and you took six credits for it. That is twice!"""
    report = job("doc-77", usage=[item("doc-77:1"), item("doc-77:1 again")])
    post_jobs(report)
    post_jobs(report)  # by itself this counts once
    assert Job.objects.get(job_id="doc-77").credits == 6
    before = remaining(organization)
    desk = desk_of(staff_groups.BILLING_DESK)

    desk.search("doc-77")
    desk.reads("There is another charge like this one on the job.")
    desk.press("Void…")
    desk.write("Reason", "It was metered twice").press("Enter")

    desk.ends("double charge claim", done="Done.", at_most=3)
    assert Job.objects.get(job_id="doc-77").credits == 3
    assert remaining(organization) == before + 3
    assert UsageRecord.objects.filter(job_id="doc-77", credits__lt=0).count() == 1
    assert reason_of(Action.USAGE_RECORD_VOIDED) == "It was metered twice"


def test_wrong_invoice(
    desk_of: DeskOf,
    organization: Organization,
    with_card: object,
    own_till: SimulatorProcess,
    use: Use,
) -> None:
    """Your invoice (its number is in the subject) says 800 credits. We use 30 a day! I want that money back."""
    use(800)
    invoice = close_period(organization, own_till)
    desk = desk_of(staff_groups.BILLING_DESK)

    desk.search(invoice.number)
    desk.reads("$8.00", "800 credits on")
    desk.press("Give credits…")
    desk.write("Credits", "770")
    desk.write("Reason", f"Invoice {invoice.number}: a loop of your import, as a courtesy").press("Enter")

    desk.ends("wrong invoice", done="The credits are there.", at_most=3)
    given = CreditGrant.objects.get(organization=organization, kind="goodwill")
    assert given.remaining == Decimal(770)
    assert reason_of(Action.CREDITS_GRANTED).startswith(f"Invoice {invoice.number}:")
