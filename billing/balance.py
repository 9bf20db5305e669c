"""What an organization has of credits at this moment, down to what is left of each grant.

The ledger follows usage some minutes later. What was used since is told beside it, so that everything adds up to what
verify goes by.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Sum

from accounts.models import Organization
from billing import access, allocation, plans
from billing.allocation import ZERO, Pot
from billing.models import BillingAccount, CreditEntry, CreditGrant, MeterReport
from usage.models import Entitlement


@dataclass(frozen=True)
class Balance:
    """Credits of one moment: `settled` is the ledger's balance, `unsettled` what was used since the ledger followed.

    `uncovered` is what the ledger knows was used without credits, and waits for new ones.
    """

    settled: Decimal
    uncovered: Decimal
    unsettled: Decimal
    is_unlimited: bool = False

    @property
    def remaining(self) -> Decimal:
        """What is left, as verify has it."""
        return max(self.settled - self.uncovered - self.unsettled, ZERO)

    @property
    def beyond(self) -> Decimal:
        """What was used beyond all credits: it is billed as overage, or new credits pay for it first."""
        return max(self.uncovered + self.unsettled - self.settled, ZERO)

    @property
    def given_back(self) -> Decimal:
        """What comes back once corrections are settled."""
        return max(-self.unsettled, ZERO)


def of(account: BillingAccount) -> Balance:
    """Of an account that came with its organization's entitlement in one question (`calls.of`)."""
    entitlement: Entitlement | None = getattr(account.organization, "entitlement", None)
    # Less than nothing where a correction is not settled yet: those credits come back.
    unsettled = entitlement.credits_used - account.settled if entitlement else ZERO
    return Balance(account.balance, account.uncovered, unsettled, account.plan.is_unlimited)


@dataclass(frozen=True)
class Left:
    """A grant, and what is left of it once what is not yet settled is taken from it."""

    grant: CreditGrant
    left: Decimal


def grants(organization: Organization, balance: Balance) -> list[Left]:
    """The grants that have credits left, in the order in which they are used up. Together they are what is left."""
    found = list(CreditGrant.objects.filter(organization=organization).open().in_burn_order())
    pots = [Pot(grant.pk, grant.remaining) for grant in found]
    used = sum((pot.left for pot in pots), ZERO) - balance.remaining
    if used > 0:
        allocation.burn(used, pots)
    return [Left(grant, pot.left) for grant, pot in zip(found, pots, strict=True)]


@dataclass(frozen=True)
class Included:
    """What is left of the credits that the plan includes each month, and when the next ones come."""

    amount: Decimal
    left: Decimal
    resets_at: datetime


def included(
    account: BillingAccount, terms: access.Terms, left: list[Left], *, now: datetime
) -> Included | None:
    """None for a plan that includes none, and where none come any more."""
    if not terms.included_credits or not account.bills_overage:
        return None
    ours = [each for each in left if each.grant.kind == CreditGrant.Kind.INCLUDED]
    # Stripe's clock may be ahead of ours, by a second or, where it is simulated, by months.
    then = now if account.is_invoiced else max(now, account.period_start or now)
    _, end = plans.month_of(account.anchor, then)
    return Included(terms.included_credits, sum((each.left for each in ours), ZERO), end)


@dataclass(frozen=True)
class Period:
    """What is billed as overage in the period that runs; its end is when that is invoiced."""

    start: datetime
    end: datetime
    overage: Decimal
    price: Decimal

    @property
    def cost(self) -> Decimal:
        """Dollars."""
        return self.overage * self.price


def period(account: BillingAccount, terms: access.Terms, balance: Balance, *, now: datetime) -> Period | None:
    """The period that overage is billed in; None where nobody bills it."""
    if not account.bills_overage:
        return None
    if account.period_start and account.period_end and not account.is_invoiced:
        start, end = account.period_start, account.period_end
        # What Stripe's meter counts, and what waits to be a whole credit.
        reports = MeterReport.objects.filter(organization=account.organization_id, period_start=start)
        counted = reports.exclude(state=MeterReport.State.REFUSED).aggregate(sum=Sum("quantity"))["sum"] or 0
        overage = counted + account.overage_pending
    else:
        start, end = plans.month_of(account.anchor, now)
        entries = CreditEntry.objects.filter(organization=account.organization_id, created_at__gte=start)
        overage = entries.aggregate(sum=Sum("overage"))["sum"] or ZERO
    return Period(start, end, max(overage, ZERO) + balance.beyond, terms.credit_price)
