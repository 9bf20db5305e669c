"""Subscriptions: what Stripe says of them is what an account says, and what customers ask for is done at Stripe.

`sync` reads an organization's subscription and writes what follows from it. Whatever an event, a page or a sweep has
heard of, they all call it, in any order and at once. What is asked for at Stripe is kept at Stripe, in the
subscription's metadata too, so that nothing but a reading is ever needed to go on.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

import stripe
from django.db import connection, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from billing import access, balance, calls, catalogue, credits, customers, invoices, metering, plans
from billing.gateway import get_stripe
from billing.models import BillingAccount, CreditGrant, Plan, Subscription

logger = logging.getLogger(__name__)

# What never got beyond its first payment is as if it were not there.
_UNBORN = {Subscription.INCOMPLETE, Subscription.INCOMPLETE_EXPIRED}
_LIVE = set(Subscription.values) - {Subscription.NONE, Subscription.CANCELED, *_UNBORN}
# What was used until a change is reported as of just before it: Stripe bills what lies before the change's second.
_BEFORE = timedelta(seconds=2)
# Said at Stripe of a subscription that ended with its organization: whoever is restored starts anew.
ORGANIZATION_DELETED = "The organization was deleted."
DUPLICATE = "A second subscription of the same customer."
# The metadata that says what follows a subscription which was asked to end.
NEXT_PLAN, NEXT_INTERVAL = "next_plan", "next_interval"


class NotSubscribed(Exception):
    """There is no subscription to change."""


class NothingToChange(Exception):
    """It already is as asked for."""


class NotOffered(Exception):
    """This plan is not sold so."""


class PaymentFailed(Exception):
    """The card was not charged, or owes already; nothing was changed. Its text is for the customer."""


# ── What Stripe says ─────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Reading:
    """What was read of an organization at Stripe: its customer's own card, and all subscriptions to plans of ours."""

    number: int
    customer_is_gone: bool
    card: stripe.PaymentMethod | None
    subscriptions: list[stripe.Subscription]


def sync(organization: Organization, *, now: datetime | None = None) -> BillingAccount:
    """Read an organization's subscription and card at Stripe, and apply them. Raises stripe.StripeError.

    Idempotent and free of order: a reading that began earlier than one that was applied is thrown away.
    """
    account = BillingAccount.objects.get(pk=organization.pk)
    if not account.stripe_customer:
        return account
    reading = _read(account)
    with transaction.atomic():
        duplicates = _apply(organization, reading, now=now or timezone.now())
    invoices.forget_upcoming(organization)
    for subscription in duplicates:
        end_duplicate(subscription)
    account = BillingAccount.objects.select_related("plan", "next_plan", "organization").get(
        pk=organization.pk
    )
    if not account.is_subscribed:
        _take_back_unpaid(account)
        _let_included_lapse(organization, account)
    if waits_for_next(account):
        start_next(organization)
        account.refresh_from_db()
    return account


def _take_back_unpaid(account: BillingAccount) -> None:
    """Take back what a subscription that is over granted for months that nobody has paid for."""
    granted = CreditGrant.objects.open().filter(
        organization=account.pk, key__startswith=f"included:{account.stripe_subscription}:"
    )
    if not account.stripe_subscription or not account.stripe_customer or not granted.exists():
        return
    invoices.record_all(account.stripe_customer)
    for line in invoices.unpaid_plans(account.organization, account.stripe_subscription):
        for each in granted.filter(created_at__gte=line.start, created_at__lt=line.end):
            reason = "The month was not paid for"
            credits.take_back(each, amount=each.remaining, key=f"unpaid:{each.uid}", reason=reason)


def _let_included_lapse(organization: Organization, account: BillingAccount) -> None:
    """Write off the credits that a subscription included for the month in which it ended: they were part of it."""
    if not account.stripe_subscription:
        return
    now = timezone.now()
    with transaction.atomic():
        credits.lock(organization, now=now)
        CreditGrant.objects.open().filter(
            organization=organization,
            key__startswith=f"included:{account.stripe_subscription}:",
            expires_at__gt=now,
        ).update(expires_at=now)
        credits.expire(organization, now=now)


def _read(account: BillingAccount) -> Reading:
    client = get_stripe()
    number = _take_number(account)
    customer = client.v1.customers.retrieve(account.stripe_customer)
    is_gone = bool(getattr(customer, "deleted", False))
    found: list[stripe.Subscription] = []
    if not is_gone:
        customers.tell_if_changed(account.organization, customer)
        params: Any = {
            "customer": account.stripe_customer,
            "status": "all",
            "limit": 100,
            "expand": ["data.default_payment_method"],
        }
        found = list(client.v1.subscriptions.list(params).auto_paging_iter())
    elif account.stripe_subscription:
        found = [
            client.v1.subscriptions.retrieve(
                account.stripe_subscription, {"expand": ["default_payment_method"]}
            )
        ]
    ours = [each for each in found if plan_of(each)]
    return Reading(number, is_gone, None if is_gone else _card(customer), ours)


def _take_number(account: BillingAccount) -> int:
    """Number a reading before it begins: one with a higher number knows all that this one knows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_billingaccount SET readings = readings + 1 WHERE organization_id = %s RETURNING readings",
            [account.pk],
        )
        (number,) = cursor.fetchone()
    return int(number)


def _card(customer: stripe.Customer) -> stripe.PaymentMethod | None:
    """A customer's own card, which pays where a subscription has none."""
    method = customer.invoice_settings.default_payment_method if customer.invoice_settings else None
    if isinstance(method, str):
        return get_stripe().v1.payment_methods.retrieve(method)
    return method


def _choose(
    account: BillingAccount, found: list[stripe.Subscription]
) -> tuple[stripe.Subscription | None, list[str]]:
    """The subscription that counts, and those that are to be ended: a second Checkout started them.

    Of live ones the known one counts, or else the oldest; none where staff bill by hand meanwhile.
    """
    known = account.stripe_subscription
    live = sorted(
        (each for each in found if each.status in _LIVE),
        key=lambda each: (each.id != known, each.created, each.id),
    )
    if account.is_invoiced:
        return None, [each.id for each in live]
    if live:
        return live[0], [each.id for each in live[1:]]
    ended = (each for each in found if each.id == known and each.status == Subscription.CANCELED)
    return next(ended, None), []


def _apply(organization: Organization, reading: Reading, *, now: datetime) -> list[str]:
    """Write what was read, and return the subscriptions that should not be there.

    What was used until now is settled first, by the period and the plan of before.
    """
    account = credits.lock(organization, now=now)
    if reading.number <= account.last_reading:
        return []
    before = _facts(account)
    account.last_reading = reading.number
    subscription, duplicates = _choose(account, reading.subscriptions)
    method: Any = subscription.default_payment_method if subscription else None
    if reading.customer_is_gone:
        account.stripe_customer = ""
    card = method if method and method.customer else reading.card
    account.card, account.card_ends_at = customers.card_of(card), customers.card_ends_at(card)
    if subscription is not None:
        _take_over(account, subscription, now)
    account.save(update_fields=_WRITTEN)
    after = _facts(account)
    # Stripe's clock may be ahead of ours, by a second or, where it is simulated, by months.
    then = max(now, account.period_start or now)
    access.recompute(organization, now=now)
    plans.renew(organization, now=then)
    if before["plan"] != after["plan"]:
        audit.record(
            audit.Action.PLAN_CHANGED,
            actor=None,
            organization=organization,
            target=organization,
            before={"plan": before["plan"]},
            after={"plan": after["plan"]},
        )
    if before != after:
        audit.record(
            audit.Action.SUBSCRIPTION_UPDATED,
            actor=None,
            organization=organization,
            target=organization,
            before={name: value for name, value in before.items() if value != after[name]},
            after={name: value for name, value in after.items() if value != before[name]},
        )
    return duplicates


_WRITTEN = [
    "plan",
    "credit_price",
    "interval",
    "stripe_customer",
    "stripe_subscription",
    "subscription_status",
    "period_start",
    "period_end",
    "renews_at",
    "anchor",
    "past_due_since",
    "grace_until",
    "ends_at",
    "next_plan",
    "next_interval",
    "cancelled_at",
    "card",
    "card_ends_at",
    "last_reading",
]


def _facts(account: BillingAccount) -> dict[str, Any]:
    """What of an account its organization is told of when it changes."""
    return {
        "plan": account.plan.slug,
        "interval": account.interval,
        "status": account.subscription_status,
        "ends_at": account.ends_at,
        "next_plan": account.next_plan.slug if account.next_plan else "",
        "next_interval": account.next_interval,
        "cancelled": account.cancelled_at is not None,
    }


def _take_over(account: BillingAccount, subscription: stripe.Subscription, now: datetime) -> None:
    if subscription.id != account.stripe_subscription:
        # Another one than before: whatever that one was, is over.
        account.cancelled_at = account.past_due_since = account.grace_until = None
        account.stripe_subscription = subscription.id
    elif subscription.status == Subscription.CANCELED and account.subscription_status in {
        Subscription.NONE,
        Subscription.CANCELED,
    }:
        return  # what followed from its end was done when it was heard of
    account.subscription_status = subscription.status
    metered, licensed = _items(subscription)
    if metered is not None:
        account.period_start, account.period_end = _period(metered)
        if (cents := metered.price.unit_amount_decimal) is not None:
            account.credit_price = Decimal(cents) / 100
    if (item := licensed or metered) and not account.cancelled_at:
        # Where it was cancelled, it stays what was paid for then.
        account.renews_at = _period(item)[1]
    account.anchor = _time(subscription.billing_cycle_anchor)
    if plan := plan_of(subscription):
        account.plan = plan
        account.interval = _interval(licensed) if licensed else ""
    if subscription.status != Subscription.PAST_DUE:
        account.past_due_since = account.past_due_since if subscription.status == "unpaid" else None
    elif account.past_due_since is None:
        account.past_due_since = now
    account.ends_at = _time(subscription.cancel_at) if subscription.cancel_at else None
    slug, interval = _following(subscription)
    account.next_plan = _named(slug) if account.ends_at else None
    account.next_interval = interval if account.next_plan else ""
    if subscription.status == Subscription.CANCELED:
        _end(account, subscription, now)


def _end(account: BillingAccount, subscription: stripe.Subscription, now: datetime) -> None:
    """What follows a subscription that is over: what was asked for, a fresh start, or nothing."""
    details = subscription.cancellation_details
    ended_at = _time(subscription.ended_at) if subscription.ended_at else now
    account.renews_at = None
    if details and details.comment == ORGANIZATION_DELETED:
        _to_prepaid(account)
    elif account.cancelled_at is None and account.next_plan and account.ends_at:
        if ended_at >= account.ends_at - timedelta(minutes=1):
            following, interval = account.next_plan, account.next_interval
            _to_prepaid(account)
            # `start_next` starts it, and until then it is paid for as it is used.
            account.next_plan, account.next_interval = following, interval
            return
        account.next_plan, account.next_interval = None, ""
        account.cancelled_at = now
    elif account.cancelled_at is None and not (details and details.reason == "payment_failed"):
        account.cancelled_at = now
    account.ends_at, account.next_plan, account.next_interval = None, None, ""


def _to_prepaid(account: BillingAccount) -> None:
    account.plan = plans.named(plans.PAY_AS_YOU_GO)
    account.interval = ""
    account.credit_price = None
    account.subscription_status = Subscription.NONE
    account.past_due_since = account.grace_until = account.cancelled_at = account.ends_at = None
    account.next_plan, account.next_interval = None, ""


def _items(
    subscription: stripe.Subscription,
) -> tuple[stripe.SubscriptionItem | None, stripe.SubscriptionItem | None]:
    """A subscription's metered item, and its licensed one."""
    found: dict[bool, stripe.SubscriptionItem] = {}
    for item in subscription["items"].data:
        recurring = item.price.recurring
        found.setdefault(bool(recurring and recurring.usage_type == "metered"), item)
    return found.get(True), found.get(False)


def plan_of(subscription: stripe.Subscription) -> Plan | None:
    """The plan that a subscription is of, by its licensed price or else its metered one; also by archived prices."""
    metered, licensed = _items(subscription)
    item = licensed or metered
    plan = None
    if item is not None:
        price = item.price
        product = price.product if isinstance(price.product, str) else price.product.id
        plan = _named(price.metadata.to_dict().get("plan", "") if price.metadata else "")
        plan = plan or Plan.objects.filter(stripe_product=product).first()
    if plan is None:
        logger.warning("the subscription %s is of no plan of ours", subscription.id)
    return plan


def _following(subscription: stripe.Subscription) -> tuple[str, str]:
    """The plan and interval that were asked to follow a subscription."""
    metadata = subscription.metadata.to_dict() if subscription.metadata else {}
    return metadata.get(NEXT_PLAN, ""), metadata.get(NEXT_INTERVAL, "")


def _named(slug: str) -> Plan | None:
    return Plan.objects.filter(slug=slug).first() if slug else None


def _interval(item: stripe.SubscriptionItem) -> str:
    return str(item.price.recurring.interval) if item.price.recurring else ""


def _period(item: stripe.SubscriptionItem) -> tuple[datetime, datetime]:
    return _time(item.current_period_start), _time(item.current_period_end)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# ── What customers ask for ───────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class PreviewLine:
    description: str
    amount: Decimal


@dataclass(frozen=True)
class Preview:
    """What a change would cost, in dollars: `now`, or `at` the end of what is paid for.

    `next_amount` is what is then due at `next_at`, without what is used. Who confirms passes `proration_date` on, so
    that the change costs to the cent what was shown.
    """

    now: bool
    at: datetime
    due: Decimal
    lines: list[PreviewLine]
    next_amount: Decimal
    next_at: datetime
    proration_date: int | None


def preview(*, organization: Organization, plan: Plan, interval: str) -> Preview:
    """What changing to a plan would cost. Raises NotSubscribed, NotOffered, NothingToChange, stripe.StripeError."""
    change = _Change.of(organization, plan, interval)
    price = plan.price(change.interval) or Decimal(0)
    if not change.is_now:
        at = change.end
        return Preview(False, at, Decimal(0), [], price, at, None)
    params: Any = {
        "subscription": change.subscription.id,
        "subscription_details": {
            "items": change.items(),
            "billing_cycle_anchor": "now",
            "proration_behavior": "create_prorations",
        },
    }
    invoice = get_stripe().v1.invoices.create_preview(params)
    at = _time(invoice.created)
    lines, counted = _lines(change, invoice)
    # The meter follows some time later: what it has not counted yet is on the invoice all the same.
    used = _usage_so_far(organization)
    if used:
        lines.append(PreviewLine("What was used beyond credits so far", used))
    ends = [line.period.end for line in invoice.lines.data if line.period.end > invoice.created]
    return Preview(
        now=True,
        at=at,
        due=max(Decimal(invoice.amount_due) / 100 - counted + used, Decimal(0)),
        lines=lines,
        next_amount=price,
        next_at=_time(max(ends)) if ends else at,
        proration_date=invoice.created,
    )


def _lines(change: "_Change", invoice: stripe.Invoice) -> tuple[list[PreviewLine], Decimal]:
    """The lines of a preview without those of usage, and what the latter come to."""
    metered, _ = _items(change.subscription)
    of_usage = {_sold(change.plan.usage_lookup_key), metered.price.id if metered else ""}
    lines, counted = [], Decimal(0)
    for line in invoice.lines.data:
        amount = Decimal(line.amount) / 100
        details = line.pricing.price_details if line.pricing else None
        if details and str(getattr(details.price, "id", details.price)) in of_usage:
            counted += amount
        else:
            lines.append(PreviewLine(line.description or "", amount))
    return lines, counted


def _usage_so_far(organization: Organization) -> Decimal:
    """Dollars for the whole credits of overage in the period that runs, whatever Stripe's meter has counted by now."""
    found = calls.of(organization)
    if found is None:
        return Decimal(0)
    terms, credits_now = access.terms(found.account), balance.of(found.account)
    period = balance.period(found.account, terms, credits_now, now=timezone.now())
    whole = period.overage.to_integral_value(ROUND_FLOOR) if period else Decimal(0)
    return (whole * terms.credit_price).quantize(Decimal("0.01"), ROUND_HALF_UP)


def change(
    *,
    organization: Organization,
    plan: Plan,
    interval: str,
    actor: Actor | None,
    proration_date: int | None = None,
) -> None:
    """Change to a plan: upwards at once, with the card charged now, and downwards at the end of what is paid for.

    Raises NotSubscribed, NotOffered, NothingToChange, PaymentFailed, stripe.StripeError; then nothing was changed.
    """
    wanted = _Change.of(organization, plan, interval)
    subscription = wanted.subscription
    params: dict[str, Any]
    if wanted.is_now:
        # What was used until now belongs on the invoice of now.
        _settle_and_report(organization)
        params = {
            "items": wanted.items(),
            "billing_cycle_anchor": "now",
            "proration_behavior": "create_prorations",
            "payment_behavior": "error_if_incomplete",
            "metadata": {NEXT_PLAN: "", NEXT_INTERVAL: ""},
        }
        params |= {"cancel_at": ""} if subscription.cancel_at else {}
        params |= {"proration_date": proration_date} if proration_date else {}
    else:
        params = {
            "cancel_at": "max_period_end",
            "metadata": {NEXT_PLAN: plan.slug, NEXT_INTERVAL: wanted.interval},
        }
    try:
        get_stripe().v1.subscriptions.update(subscription.id, params)  # type: ignore[arg-type]
    except stripe.CardError as error:
        raise PaymentFailed(error.user_message or str(error)) from error
    except stripe.InvalidRequestError as error:
        # Asked for twice at once: the first has done it.
        account = sync(organization)
        if (account.plan, account.interval) == (plan, wanted.interval):
            raise NothingToChange from error
        raise
    audit.record(
        audit.Action.SUBSCRIPTION_CHANGE_ASKED,
        actor=actor,
        organization=organization,
        target=organization,
        after={"plan": plan.slug, "interval": wanted.interval, "at": "now" if wanted.is_now else wanted.end},
    )
    sync(organization)


def keep(*, organization: Organization, actor: Actor | None) -> None:
    """Take back that a subscription was asked to end. Raises NotSubscribed, NothingToChange, stripe.StripeError."""
    account = _subscribed(organization)
    if account.ends_at is None:
        raise NothingToChange
    params: Any = {"cancel_at": "", "metadata": {NEXT_PLAN: "", NEXT_INTERVAL: ""}}
    get_stripe().v1.subscriptions.update(account.stripe_subscription, params)
    audit.record(audit.Action.SUBSCRIPTION_KEPT, actor=actor, organization=organization, target=organization)
    sync(organization)


@dataclass(frozen=True)
class _Change:
    """A change that is asked for: of what, to what, and whether it is one for now."""

    subscription: stripe.Subscription
    plan: Plan
    interval: str
    is_now: bool

    @classmethod
    def of(cls, organization: Organization, plan: Plan, interval: str) -> "_Change":
        account = _subscribed(organization)
        interval = "" if plan.is_metered else interval
        if not plan.is_offered or plan.is_custom or not (plan.is_metered or plan.price(interval)):
            raise NotOffered
        subscription = get_stripe().v1.subscriptions.retrieve(account.stripe_subscription)
        if subscription.status not in {Subscription.ACTIVE, Subscription.TRIALING}:
            raise PaymentFailed("An invoice is open. Once it is paid, the plan can be changed.")
        current = plan_of(subscription) or account.plan
        _, licensed = _items(subscription)
        held = _interval(licensed) if licensed else ""
        if (current.pk, held) == (plan.pk, interval):
            raise NothingToChange
        if subscription.cancel_at and _following(subscription) == (plan.slug, interval):
            raise NothingToChange
        is_now = plan.rank(interval) > current.rank(held)
        return cls(subscription, plan, interval, is_now)

    @property
    def end(self) -> datetime:
        """When what is paid for ends."""
        return max(_period(item)[1] for item in self.subscription["items"].data)

    def items(self) -> list[dict[str, Any]]:
        """How each item of the subscription has to change."""
        metered, licensed = _items(self.subscription)
        usage = {"price": _sold(self.plan.usage_lookup_key)}
        items: list[dict[str, Any]] = [{"id": metered.id} | usage if metered else usage]
        if not self.plan.is_metered:
            price = {"price": _sold(self.plan.lookup_key(self.interval)), "quantity": 1}
            items.append({"id": licensed.id} | price if licensed else price)
        elif licensed:
            items.append({"id": licensed.id, "deleted": True})
        return items


def _sold(lookup_key: str) -> str:
    price = catalogue.price_of(lookup_key)
    if price is None:
        logger.error("Stripe has no price %s: run sync_stripe", lookup_key)
        raise NotOffered
    return price.id


def line_items(plan: Plan, interval: str) -> list[dict[str, Any]]:
    """What a new subscription to a plan is made of. Raises NotOffered."""
    usage: dict[str, Any] = {"price": _sold(plan.usage_lookup_key)}
    if plan.is_metered:
        return [usage]
    return [{"price": _sold(plan.lookup_key(interval)), "quantity": 1}, usage]


def _subscribed(organization: Organization) -> BillingAccount:
    account = BillingAccount.objects.select_related("plan").get(pk=organization.pk)
    if not account.is_subscribed or account.cancelled_at:
        raise NotSubscribed
    return account


def _settle_and_report(organization: Organization) -> None:
    """Have all that was used until now counted by Stripe's meter, within some seconds."""
    with transaction.atomic():
        credits.lock(organization, now=timezone.now() - _BEFORE)
    metering.flush(organization)
    metering.confirm(organization)


# ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────
def cancel(*, organization: Organization, actor: Actor | None) -> None:
    """End a subscription now: calls end at once, and what was used is billed. Raises NotSubscribed.

    The end is written here first. Should Stripe not answer, the sweep goes on with it.
    """
    now = timezone.now()
    with transaction.atomic():
        account = credits.lock(organization, now=now - _BEFORE)
        if not account.is_subscribed or account.cancelled_at:
            raise NotSubscribed
        account.cancelled_at = now
        account.save(update_fields=["cancelled_at"])
        access.recompute(organization, now=now)
        audit.record(
            audit.Action.SUBSCRIPTION_CANCELLED,
            actor=actor,
            organization=organization,
            target=organization,
            before={"plan": account.plan.slug, "interval": account.interval},
        )
    try:
        finish_cancelling(organization)
    except stripe.StripeError:
        logger.exception("%s: Stripe does not know yet that it has cancelled", organization.uid)


def finish_cancelling(organization: Organization, *, comment: str = "") -> None:
    """End at Stripe what is over here, with a last invoice of what was used. Raises stripe.StripeError."""
    account = BillingAccount.objects.get(pk=organization.pk)
    if not account.is_subscribed:
        return
    _settle_and_report(organization)
    if account.cancelled_at and account.renews_at:
        _give_back_renewals(account, account.renews_at)
    params: Any = {"invoice_now": True, "prorate": False}
    params |= {"cancellation_details": {"comment": comment}} if comment else {}
    try:
        get_stripe().v1.subscriptions.cancel(account.stripe_subscription, params)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":  # it has ended already
            raise
    sync(organization)


def _give_back_renewals(account: BillingAccount, since: datetime) -> None:
    """Give back what Stripe has charged for the plan's time since then: it could not be told of the end before."""
    client = get_stripe()
    subscription = client.v1.subscriptions.retrieve(account.stripe_subscription)
    if all(_period(item)[0] < since for item in subscription["items"].data):
        return
    invoices.record_all(account.stripe_customer, since=since)
    for invoice in invoices.of(account.organization).filter(status="paid", created_at__gte=since):
        of_plan = (
            line.amount
            for line in invoices.lines(invoice)
            if (line.kind, line.subscription) == (invoices.PLAN, subscription.id) and line.start >= since
        )
        amount = sum(of_plan, Decimal(0))
        if amount and invoice.stripe_payment:
            logger.warning("%s had cancelled: $%s are given back", account.organization.uid, amount)
            client.v1.refunds.create(
                {
                    "payment_intent": invoice.stripe_payment,
                    "amount": int(amount * 100),
                    "reason": "requested_by_customer",
                },
                {"idempotency_key": f"cancelled:{invoice.stripe_id}"},
            )


def end_deleted(organization: Organization) -> None:
    """End the subscription of an organization that was deleted, unless it was restored meanwhile."""
    organization.refresh_from_db()
    if organization.deleted_at:
        finish_cancelling(organization, comment=ORGANIZATION_DELETED)


def end_duplicate(subscription_id: str) -> None:
    """End a second subscription of a customer, and give back what its first invoice took. Idempotent."""
    client = get_stripe()
    params: Any = {"invoice_now": False, "prorate": False, "cancellation_details": {"comment": DUPLICATE}}
    logger.warning("%s is a second subscription: it is cancelled and given back", subscription_id)
    for invoice in client.v1.invoices.list({"subscription": subscription_id}).auto_paging_iter():
        for payment in client.v1.invoice_payments.list({"invoice": invoice.id, "status": "paid"}).data:
            intent = payment.payment.payment_intent
            if intent is None:
                continue
            intent_id = intent if isinstance(intent, str) else intent.id
            try:
                client.v1.refunds.create(
                    {"payment_intent": intent_id, "reason": "duplicate"},
                    {"idempotency_key": f"duplicate:{intent_id}"},
                )
            except stripe.InvalidRequestError as error:
                if error.code != "charge_already_refunded":
                    raise
    # Last, for what it has ended nobody looks for again.
    try:
        client.v1.subscriptions.cancel(subscription_id, params)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise


def waits_for_next(account: BillingAccount) -> bool:
    """Whether its subscription has ended and the one that was asked for has not begun."""
    return account.subscription_status == Subscription.NONE and account.next_plan is not None


def start_next(organization: Organization) -> None:
    """Start what was asked to follow a subscription that has ended, with the card on file. Raises stripe.StripeError.

    Without a card, if it is declined, or where that plan is not sold any more, the organization stays on
    pay-as-you-go, prepaid.
    """
    account = BillingAccount.objects.select_related("next_plan").get(pk=organization.pk)
    if not waits_for_next(account) or account.next_plan is None or organization.deleted_at:
        return
    client = get_stripe()
    ended = client.v1.subscriptions.retrieve(account.stripe_subscription)
    params: dict[str, Any] = {
        "customer": account.stripe_customer,
        "billing_mode": {"type": "flexible"},
        "payment_behavior": "error_if_incomplete",
        "off_session": True,
        "metadata": {"organization": organization.uid},
    }
    if method := ended.default_payment_method:
        params["default_payment_method"] = method if isinstance(method, str) else method.id
    started = None
    if account.card:
        try:
            params["items"] = line_items(account.next_plan, account.next_interval)
            started = client.v1.subscriptions.create(
                params,  # type: ignore[arg-type]
                {"idempotency_key": f"next:{ended.id}"},
            )
        except stripe.CardError as error:
            logger.warning("%s: no subscription follows, %s", organization.uid, error.user_message)
        except NotOffered:
            logger.exception(
                "%s: no subscription follows, as %s is not sold", organization.uid, account.next_plan
            )
    BillingAccount.objects.filter(pk=organization.pk, stripe_subscription=ended.id).update(
        next_plan=None, next_interval=""
    )
    if started is not None:
        sync(organization)


def catch_up() -> int:
    """Go on with what Stripe could not be told of before: ends, and what follows them. Returns how many it was."""
    accounts = BillingAccount.objects.select_related("organization", "next_plan").order_by("pk")
    live = accounts.filter(subscription_status__in=_LIVE)
    done = 0
    steps = [
        *((account, finish_cancelling) for account in live.exclude(cancelled_at=None)),
        *((account, end_deleted) for account in live.exclude(organization__deleted_at=None)),
        *(
            (account, start_next)
            for account in accounts.filter(subscription_status="").exclude(next_plan=None)
        ),
    ]
    for account, step in steps:
        try:
            step(account.organization)
            done += 1
        except Exception:  # one organization must not keep the others
            logger.exception("%s: not done; the next sweep goes on", account.organization.uid)
    return done
