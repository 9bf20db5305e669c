"""A worker killed at any of its requests to Stripe, before Stripe acts or after, costs nobody anything."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
import stripe
from django.utils import timezone

from accounts.models import Organization
from billing import credits, customers, late_usage, metering, subscriptions, top_ups
from billing.gateway import get_stripe
from billing.models import CreditPack, MeterReport, TopUp
from tests.billing.conftest import Use, agrees, settle
from tests.billing.simulator_process import SimulatorProcess
from tests.billing.subscribed import account_of, counted, invoices_of, subscribe, till, till_process
from usage.models import Entitlement

__all__ = ["till", "till_process"]

pytestmark = pytest.mark.django_db

# More requests than any of this makes.
MOST = 40


class Killed(Exception):
    """The process is gone."""


@contextmanager
def killed_at(number: int, *, after: bool) -> Iterator[list[str]]:
    """Be killed at a request, counted from 1: before it is sent, or after it was answered. Yields what was asked."""
    asked: list[str] = []
    real = stripe.RequestsClient.request

    def request(self: stripe.RequestsClient, method: str, url: str, *args: Any, **options: Any) -> Any:
        asked.append(f"{method} {url}")
        if len(asked) == number and not after:
            raise Killed
        answer = real(self, method, url, *args, **options)
        if len(asked) == number:
            raise Killed
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stripe.RequestsClient, "request", request)
        yield asked


def at_each_request(work: Callable[[], object], after: bool, prepare: Callable[[], object]) -> Iterator[int]:
    """Prepare something and be killed while doing it, at the first request, then at the second, up to the last."""
    for number in range(1, MOST):
        prepare()
        with killed_at(number, after=after) as asked:
            try:
                work()
            except Killed:
                yield number
                continue
        assert 1 < len(asked) < number
        return
    raise AssertionError("it makes more requests than that")


@pytest.mark.parametrize("after", [False, True])
def test_a_pack_is_charged_once_wherever_its_worker_is_killed(
    organization: Organization, till: SimulatorProcess, use: Use, after: bool
) -> None:
    till.set_card(customers.ensure(organization))
    subscriptions.sync(organization)
    top_ups.configure(
        organization=organization,
        threshold=Decimal(50),
        pack=CreditPack.objects.get(slug="1000"),
        monthly_limit=Decimal(100_000),
        actor=None,
    )
    # Each time all but 40 of the credits are used.
    used = [60]

    def prepare() -> None:
        use(used.pop() if used else 1_000)
        top_ups.begin_due()

    for number in at_each_request(top_ups.finish_waiting, after, prepare):
        top_ups.finish_waiting(now=timezone.now() + top_ups.LEASE * 2)

        assert charged(organization) == number
        assert Entitlement.objects.get(organization=organization).credits_remaining == 1_040
    assert set(TopUp.objects.values_list("state", flat=True)) == {"paid"}
    agrees(organization)


def charged(organization: Organization) -> int:
    params: Any = {"customer": account_of(organization).stripe_customer, "limit": 100}
    return sum(charge.amount for charge in get_stripe().v1.charges.list(params).data) // 1_000


@pytest.mark.parametrize("after", [False, True])
def test_a_report_counts_once_wherever_its_worker_is_killed(
    organization: Organization, till: SimulatorProcess, use: Use, after: bool
) -> None:
    account = subscribe(organization, till)
    credits.deduct(organization, amount=account.balance, key="used", reason="Used up")
    for number in (1, 2):
        use(10)
        settle(organization)
        with killed_at(1, after=after), pytest.raises(Killed):
            metering.send_waiting()

        metering.send_waiting(now=timezone.now() + metering.LEASE * 1.1)

        assert counted(organization) == number * 10


@pytest.mark.parametrize("after", [False, True])
def test_late_usage_is_billed_once_wherever_its_worker_is_killed(
    organization: Organization, till: SimulatorProcess, use: Use, after: bool
) -> None:
    account = subscribe(organization, till)
    credits.deduct(organization, amount=account.balance, key="used", reason="Used up")
    ended: list[str] = []

    def prepare() -> None:
        """Use something that no invoice bills."""
        account = subscribe(organization, till) if ended else account_of(organization)
        use(100)
        metering.flush(organization)
        get_stripe().v1.subscriptions.cancel(account.stripe_subscription)
        subscriptions.sync(organization)
        ended.append(account.stripe_subscription)

    for number in at_each_request(lambda: late_usage.bill(organization, ended[-1]), after, prepare):
        late_usage.bill_due()
        late_usage.bill_due()

        bills = [invoice for invoice in invoices_of(organization) if invoice.total]
        assert [(invoice.total, invoice.status) for invoice in bills] == [(100, "paid")] * number
    assert MeterReport.objects.exclude(billed_by="").count() == len(ended)
