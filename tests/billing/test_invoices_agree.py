"""Random months of usage, corrections and gifts: each invoice bills what an independent count of them says."""

import os
import random
from collections.abc import Callable
from decimal import Decimal

import pytest

from accounts.audit import Actor
from accounts.models import Organization, User
from billing import credits, invoices, plans, tasks
from billing.models import CreditGrant, Invoice
from tests.billing.conftest import agrees
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.stripe_at_hand import account_of, subscribe
from usage import corrections
from usage.models import UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

MONTHS, STEPS = 3, 8


class Count:
    """What is left of gifts, what of all that was used is billed, and what of it in the month that runs.

    What is taken back was billed, as far as there is anything billed; then it goes back to the gifts. All of it is used
    on one day, for the months are the simulator's.
    """

    def __init__(self, gifts: int) -> None:
        self.gifts, self.billed, self.of_month = gifts, 0, 0

    def use(self, number: int) -> None:
        beyond = max(number - self.gifts, 0)
        self.gifts -= number - beyond
        self.bill(beyond)

    def take_back(self, number: int) -> None:
        billed = min(number, self.billed)
        self.bill(-billed)
        self.gifts += number - billed

    def bill(self, number: int) -> None:
        self.billed += number
        self.of_month += number

    def end_month(self) -> int:
        """What the month's invoice bills; what was taken back beyond it is made up for in the next one."""
        quantity = max(self.of_month, 0)
        self.of_month -= quantity
        return quantity


def test_each_invoice_bills_what_was_used_beyond_what_was_given(
    with_events: SimulatorProcess, organization: Organization, staff: User, use: Callable[..., str]
) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    chance = random.Random(seed)
    count = Count(100)
    subscribe(with_events, organization, plans.PAY_AS_YOU_GO, "")
    jobs: dict[str, int] = {}

    def tick() -> None:
        tasks.catch_up_with_stripe()
        tasks.settle_changed()
        tasks.send_meter_reports()
        agrees(organization)

    for month in range(MONTHS):
        for step in range(STEPS):
            match chance.choice(["use", "use", "use", "take back", "give"]):
                case "take back" if jobs:
                    name = chance.choice(list(jobs))
                    count.take_back(jobs.pop(name))
                    record = UsageRecord.objects.get(job_id=name, corrects="")
                    corrections.correct(record=record, reason="Counted twice.", actor=Actor(staff))
                case "give":
                    number = chance.randint(1, 80)
                    count.gifts += number
                    credits.grant(
                        organization,
                        kind=CreditGrant.Kind.GOODWILL,
                        amount=Decimal(number),
                        key=f"gift:{month}:{step}",
                        reason="Sorry",
                    )
                case _:
                    number = chance.randint(1, 300)
                    count.use(number)
                    jobs[use(number)] = number
            tick()
        ends = account_of(organization).period_end
        assert ends
        with_events.advance(to=int(ends.timestamp()) + 1)
        tick()
        with_events.advance(2 * 3_600)
        tick()
        newest = Invoice.objects.filter(organization=organization, reason="subscription_cycle").latest(
            "created_at"
        )
        lines = [line for line in invoices.lines(newest) if line.kind == invoices.OVERAGE]
        assert sum(line.quantity or 0 for line in lines) == count.end_month(), f"SEED={seed}, month {month}"
        for line in lines:
            behind = invoices.usage_behind(line)
            assert sum(entry.overage for entry in behind.entries) + behind.carried == line.quantity
