"""Where an organization stands with its plan, credits and payments: what the overview and the API say."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from billing import access, balance
from billing.access import Terms
from billing.balance import Balance, Included, Left, Period
from billing.calls import Calls, has_ended
from billing.models import BillingAccount, Subscription

# States beside those of Stripe's subscriptions.
PREPAID, INVOICED, ENDING, CANCELLED = "prepaid", "invoiced", "ending", "cancelled"
STATES = [PREPAID, INVOICED, "trialing", "active", ENDING, "past_due", "unpaid", "paused", CANCELLED]


@dataclass(frozen=True)
class Summary:
    account: BillingAccount
    terms: Terms
    state: str
    balance: Balance
    grants: list[Left]
    included: Included | None
    period: Period | None
    # While a payment is due: until when calls go on.
    calls_end_at: datetime | None

    @property
    def resets_at(self) -> datetime | None:
        """When the credits that the plan includes come anew, or else when overage is next invoiced."""
        if self.included:
            return self.included.resets_at
        return self.period.end if self.period else None


def of(calls: Calls, *, now: datetime | None = None) -> Summary:
    now = now or timezone.now()
    account = calls.account
    terms = access.terms(account, now=now)
    credits = balance.of(account)
    grants = balance.grants(account.organization, credits)
    return Summary(
        account=account,
        terms=terms,
        state=state(account),
        balance=credits,
        grants=grants,
        included=balance.included(account, terms, grants, now=now),
        period=balance.period(account, terms, credits, now=now),
        calls_end_at=calls.ends_at,
    )


def state(account: BillingAccount) -> str:
    """How an account pays, in one word: a state of Stripe's subscription, or one of those above."""
    status = account.subscription_status
    if account.is_invoiced:
        return INVOICED
    if has_ended(account):
        return CANCELLED
    if not account.is_subscribed:  # a first payment that was never made leaves an account as it was
        return PREPAID
    if account.ends_at and status in {Subscription.ACTIVE, Subscription.TRIALING}:
        return ENDING
    return str(status)
