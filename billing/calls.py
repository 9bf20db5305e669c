"""Whether an organization may call now, in words for its members, and what they can do about it.

`of` answers with one question; every page of an organization asks it, for the notice at its top.
"""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from accounts.models import Organization
from billing import access
from billing.models import BillingAccount, Subscription
from usage.models import Entitlement

# Nothing is left of these that could be paid.
_OVER = {Subscription.CANCELED, Subscription.INCOMPLETE_EXPIRED}


@dataclass(frozen=True)
class Calls:
    """An account, and what it may do now. `refusal` is verify's code, empty where calls are let through."""

    account: BillingAccount
    entitlement: Entitlement | None
    refusal: str
    # Whose doing a suspension is: its state of payment ("pay" what is due, or choose a "plan"), or "support".
    way_out: str = ""
    # While a payment is due: until when calls go on.
    ends_at: datetime | None = None

    @property
    def reason(self) -> str:
        """Why it is suspended, as a sentence."""
        reason = self.entitlement.reason.strip() if self.entitlement else ""
        return reason if not reason or reason[-1] in ".!?…" else f"{reason}."

    @property
    def owes(self) -> bool:
        """Whether a payment is what keeps it from calling, or soon will."""
        return self.way_out == "pay" or self.ends_at is not None

    @property
    def can_pay(self) -> bool:
        return can_pay()


def of(organization: Organization, *, now: datetime | None = None) -> Calls | None:
    """None for an organization without an account, which there is only before it is complete."""
    now = now or timezone.now()
    found = BillingAccount.objects.filter(pk=organization.pk)
    account = found.select_related(
        "plan",
        "next_plan",
        "organization__entitlement",
        "organization__auto_top_up__pack",
        "organization__spend_cap",
    ).first()
    if account is None:
        return None
    entitlement: Entitlement | None = getattr(account.organization, "entitlement", None)
    refusal = entitlement.refusal(now) if entitlement else ""
    past_due = account.subscription_status == Subscription.PAST_DUE and not account.is_invoiced
    return Calls(
        account=account,
        entitlement=entitlement,
        refusal=refusal,
        way_out=_way_out(account, entitlement, now) if entitlement and refusal == "SUSPENDED" else "",
        ends_at=access.grace_ends_at(account, now=now) if past_due and refusal != "SUSPENDED" else None,
    )


def _way_out(account: BillingAccount, entitlement: Entitlement, now: datetime) -> str:
    reason = access.refusal(account, now=now)
    if not reason or entitlement.reason != reason or not can_pay():
        return "support"
    if reason == access.CANCELLED or account.subscription_status in _OVER:
        return "plan"
    return "support" if reason == access.PAUSED else "pay"


def has_ended(account: BillingAccount) -> bool:
    """Whether its subscription is over, and no other was begun: it may not call until a plan is chosen again."""
    is_over = bool(account.cancelled_at) or account.subscription_status in _OVER
    return is_over and not account.is_invoiced


def can_pay() -> bool:
    """Whether anything can be paid for here: through Stripe, or its simulator, which is part of the demo."""
    return bool(settings.DEMO or not settings.STRIPE_IS_SIMULATED)
