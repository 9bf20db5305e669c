"""The plans on offer beside each other, and what an organization on one of them can do about each of the others."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from django.db.models import Q

from billing import access
from billing.access import Terms
from billing.calls import has_ended
from billing.models import BillingAccount, CreditPack, Interval, Plan, Subscription
from usage.price_list import dollars

# The rows of the comparison, in this order.
PRICE, BILLING, CREDITS, RATE_LIMIT, SUPPORT, RETENTION, COMPLIANCE = ROWS = (
    "Price",
    "Billing",
    "Credits",
    "Rate limit",
    "Support",
    "Data retention",
    "Compliance",
)
OWING = {Subscription.PAST_DUE, Subscription.UNPAID, Subscription.PAUSED}


class Action(StrEnum):
    """What can be done about a plan."""

    CHOOSE = "choose"  # by Checkout: the first subscription
    ADD_CARD = "add_card"  # by Checkout: the same plan, billed on usage from then on
    UPGRADE = "upgrade"  # at once
    DOWNGRADE = "downgrade"  # at the end of what is paid
    KEEP = "keep"  # not to leave it after all
    FOLLOWS = "follows"  # asked for already
    PAY = "pay"  # something is due first
    CONTACT = "contact"
    NONE = ""


@dataclass(frozen=True)
class Offer:
    """A plan as a column of the comparison. `cells` are in the order of ROWS."""

    plan: Plan
    interval: str
    cells: list[str]
    is_current: bool
    action: Action

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Its column by itself: what it offers, row by row."""
        return [(row, cell) for row, cell in zip(ROWS, self.cells, strict=True) if cell]


def plans(account: BillingAccount) -> list[Plan]:
    """Those to choose from, and the one that the organization is on."""
    return list(Plan.objects.filter(Q(is_offered=True) | Q(pk=account.plan_id)))


@dataclass(frozen=True)
class Pack:
    """Credits to buy at once, with what one of them then costs."""

    pack: CreditPack
    each: Decimal


def packs() -> list[Pack]:
    found = CreditPack.objects.filter(is_offered=True)
    return [Pack(pack, (pack.price / pack.credits).quantize(Decimal("0.0001"))) for pack in found]


def comparison(account: BillingAccount, interval: str) -> list[Offer]:
    found = []
    for plan in plans(account):
        of_plan = _interval(plan, interval)
        cells = features(plan, of_plan)
        found.append(
            Offer(
                plan=plan,
                interval=of_plan,
                cells=[cells[row] for row in ROWS],
                is_current=plan.pk == account.plan_id and not has_ended(account),
                action=action(account, plan, of_plan),
            )
        )
    return found


def _interval(plan: Plan, interval: str) -> str:
    """The one asked for, where it is sold so; what is metered only is billed by month."""
    return interval if plan.price(interval) else str(Interval.MONTH)


def action(account: BillingAccount, plan: Plan, interval: str) -> Action:
    """What the owner can do about a plan, at this interval."""
    is_current = plan.pk == account.plan_id
    if account.is_invoiced or plan.is_custom:
        return Action.NONE if is_current else Action.CONTACT
    if not account.is_subscribed:
        goes_on = is_current and plan.is_metered and not has_ended(account)
        return Action.ADD_CARD if goes_on else Action.CHOOSE
    if is_current and (plan.is_metered or interval == account.interval):
        return Action.KEEP if account.ends_at else Action.NONE
    if account.subscription_status in OWING:
        return Action.PAY
    if account.ends_at and account.next_plan_id == plan.pk and account.next_interval in ("", interval):
        return Action.FOLLOWS
    return Action.DOWNGRADE if is_downgrade(account, plan, interval) else Action.UPGRADE


def is_downgrade(account: BillingAccount, plan: Plan, interval: str) -> bool:
    """Whether the change waits for the end of what is paid: to no dearer plan, or from years to months."""
    return plan.rank(interval) <= account.plan.rank(account.interval)


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────
def features(plan: Plan, interval: str = Interval.MONTH, terms: Terms | None = None) -> dict[str, str]:
    """What a plan offers, row by row: as its texts say, or else its numbers; `terms` are those agreed beside it."""
    words = {
        PRICE: plan.price_text or _price(plan, interval),
        BILLING: plan.billing_text or ("By subscription" if plan.price(interval) else "By usage"),
        CREDITS: plan.credits_text or _credits(plan.included_credits),
        RATE_LIMIT: plan.rate_limit_text or _rate(plan.requests_per_minute),
        SUPPORT: plan.support_text,
        RETENTION: plan.retention_text or _retention(plan.retention_days),
        COMPLIANCE: plan.compliance_text,
    }
    if terms:
        if terms.included_credits != plan.included_credits:
            words[CREDITS] = f"{_credits(terms.included_credits)}, as agreed"
        if terms.requests_per_minute != plan.requests_per_minute:
            words[RATE_LIMIT] = f"{_rate(terms.requests_per_minute)}, as agreed"
        if terms.retention_days != plan.retention_days:
            words[RETENTION] = f"{_retention(terms.retention_days)}, as agreed"
    return words


def _price(plan: Plan, interval: str) -> str:
    price = plan.price(interval)
    return f"{whole(price)} a {interval}" if price else f"{dollars(plan.credit_price)} a credit"


def _credits(included: Decimal) -> str:
    return f"{included.normalize():,f} a month included" if included else "None included"


def _rate(requests: int) -> str:
    return f"Up to {requests:,} requests a minute"


def _retention(days: int) -> str:
    return f"{days} days" if days else "Zero data retention"


def whole(price: Decimal) -> str:
    """A price, without cents where it has none: $799, $7.50."""
    return f"${price:,.0f}" if price == price.to_integral_value() else f"${price:,.2f}"


@dataclass(frozen=True)
class Difference:
    row: str
    before: str
    after: str


def differences(account: BillingAccount, plan: Plan, interval: str) -> list[Difference]:
    """What a change to this plan changes."""
    before = features(account.plan, account.interval or Interval.MONTH)
    after = features(plan, interval)
    return [
        Difference(row, before[row] or "–", after[row] or "–") for row in ROWS if before[row] != after[row]
    ]


def kept_for(account: BillingAccount, plan: Plan) -> int | None:
    """The days that data of jobs is kept for on this plan, where that is shorter than now; None where it is not."""
    now = access.terms(account).retention_days
    then = access.terms(BillingAccount(organization_id=account.pk, plan=plan)).retention_days
    return then if then < now and not has_ended(account) else None


@dataclass(frozen=True)
class Following:
    """What an account was asked to become, and when; no plan where it simply ends."""

    at: datetime
    plan: Plan | None
    interval: str


def following(account: BillingAccount) -> Following | None:
    if account.ends_at is None or not account.is_subscribed:
        return None
    return Following(account.ends_at, account.next_plan, account.next_interval)


def named(slug: str, interval: str, among: Iterable[Plan]) -> Plan | None:
    """The plan of this name that is sold at this interval, if there is one among those."""
    if interval not in Interval.values:
        return None
    for plan in among:
        if plan.slug == slug and not plan.is_custom and (plan.is_metered or plan.price(interval)):
            return plan
    return None
