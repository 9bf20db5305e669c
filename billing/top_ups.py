"""Buying a pack by itself when few credits are left: a wish with a limit, and each purchase that comes of it.

A purchase is a row before Stripe is asked, and its uid makes every request to Stripe the same one however often it is
sent. Whoever finds it unfinished goes on where the last one stopped, by what Stripe says of the invoice: nothing is
charged twice, and what was charged is granted.
"""

import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import stripe
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from billing import catalogue, credits, customers, invoices, notices
from billing.gateway import get_stripe
from billing.models import AutoTopUp, BillingAccount, CreditGrant, CreditPack, TopUp
from usage.models import Entitlement

logger = logging.getLogger(__name__)

State = TopUp.State

LEASE = timedelta(minutes=3)
# After that Stripe may have forgotten the keys of our requests, so that its invoices are looked through first.
KEYS_KNOWN = timedelta(hours=20)
LARGEST = Decimal(10**9)  # exclusive, of credits and of dollars
NO_CARD = "There is no card on file."
NO_USE = "Calls had ended before it was charged."
# On the invoice: the purchase that it is for.
TOP_UP = "top_up"


class NoCard(Exception):
    """There is no card on file that could be charged."""


# ── The wish ─────────────────────────────────────────────────────────────────────────────────────────────────
@transaction.atomic
def configure(
    *,
    organization: Organization,
    threshold: Decimal,
    pack: CreditPack,
    monthly_limit: Decimal,
    actor: Actor | None,
) -> AutoTopUp:
    """Have a pack bought whenever fewer credits than the threshold are left, for at most so many dollars a month.

    It begins anew if it had stopped. Raises NoCard, and ValidationError naming the field.
    """
    threshold, monthly_limit = _clean(threshold, pack, monthly_limit)
    account = BillingAccount.objects.select_for_update().get(organization=organization)
    if not account.stripe_customer or not account.card:
        raise NoCard
    known = AutoTopUp.objects.filter(organization=organization).select_related("pack").first()
    wish, _ = AutoTopUp.objects.update_or_create(
        organization=organization,
        defaults={
            "threshold": threshold,
            "pack": pack,
            "monthly_limit": monthly_limit,
            "stopped_at": None,
            "stopped_reason": "",
        },
    )
    audit.record(
        audit.Action.AUTO_TOP_UP_SET,
        actor=actor,
        organization=organization,
        target=organization,
        before=_facts(known) if known else {},
        after=_facts(wish),
    )
    return wish


@transaction.atomic
def remove(*, organization: Organization, actor: Actor | None) -> bool:
    """Have nothing bought any more. Says whether it was set. A purchase that is under way is finished."""
    wish = (
        AutoTopUp.objects.select_for_update(of=("self",))
        .select_related("pack")
        .filter(organization=organization)
        .first()
    )
    if wish is None:
        return False
    before = _facts(wish)
    wish.delete()
    audit.record(
        audit.Action.AUTO_TOP_UP_REMOVED,
        actor=actor,
        organization=organization,
        target=organization,
        before=before,
    )
    return True


def _clean(threshold: Decimal, pack: CreditPack, monthly_limit: Decimal) -> tuple[Decimal, Decimal]:
    threshold, monthly_limit = Decimal(threshold), Decimal(monthly_limit)
    errors: dict[str, str] = {}
    if not threshold.is_finite() or not 0 < threshold < LARGEST:
        errors["threshold"] = "Credits, above 0 and below a billion."
    elif threshold != threshold.quantize(Decimal("0.000001")):
        errors["threshold"] = "Use at most 6 decimal places."
    if not pack.is_offered:
        errors["pack"] = "This pack is no longer on offer."
    if not monthly_limit.is_finite() or not 0 < monthly_limit < LARGEST:
        errors["monthly_limit"] = "Dollars a month, above 0 and below a billion."
    elif monthly_limit != monthly_limit.quantize(Decimal("0.01")):
        errors["monthly_limit"] = "Use at most 2 decimal places."
    elif monthly_limit < pack.price:
        errors["monthly_limit"] = f"One pack costs ${pack.price:,.2f}: allow at least that."
    if errors:
        raise ValidationError(errors)
    return threshold, monthly_limit


def _facts(wish: AutoTopUp) -> dict[str, Any]:
    return {"threshold": wish.threshold, "pack": wish.pack.slug, "monthly_limit": wish.monthly_limit}


def spent_in_month(organization_pk: int, *, now: datetime) -> Decimal:
    """What was, or is being, spent so in the calendar month (UTC), in dollars."""
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    bought = TopUp.objects.filter(organization=organization_pk, created_at__gte=month)
    return bought.exclude(state=State.FAILED).aggregate(sum=Sum("price"))["sum"] or Decimal(0)


def of(organization: Organization) -> QuerySet[TopUp]:
    """An organization's purchases, newest first."""
    return TopUp.objects.filter(organization=organization).order_by("-created_at", "-id")


# ── Beginning ────────────────────────────────────────────────────────────────────────────────────────────────
def begin_due(now: datetime | None = None) -> int:
    """Begin a purchase wherever credits have fallen below what was wished for. Returns how many."""
    now = now or timezone.now()
    wishes = (
        AutoTopUp.objects.filter(
            stopped_at=None,
            pack__is_offered=True,
            organization__deleted_at=None,
            organization__entitlement__may_call=True,
            organization__entitlement__credits_ceiling__lt=F("organization__entitlement__credits_used")
            + F("threshold"),
        )
        .exclude(organization__in=TopUp.objects.filter(state=State.WAITING).values("organization"))
        .values_list("organization", flat=True)
    )
    return sum(_begin(organization, now) for organization in list(wishes))


@transaction.atomic
def _begin(organization_pk: int, now: datetime) -> bool:
    """Begin a purchase if that is still wanted, now that nobody else changes the account."""
    account = BillingAccount.objects.select_for_update().get(pk=organization_pk)
    wish = (
        AutoTopUp.objects.select_related("pack", "organization")
        .filter(organization=organization_pk, stopped_at=None)
        .first()
    )
    entitlement = Entitlement.objects.get(organization=organization_pk)
    remaining = entitlement.credits_remaining
    if wish is None or remaining is None or remaining >= wish.threshold or not account.stripe_customer:
        return False
    spent = spent_in_month(organization_pk, now=now)
    if spent + wish.pack.price > wish.monthly_limit:
        notices.top_up_limited(wish, spent, now=now)
        return False
    begun = TopUp.objects.bulk_create(
        [
            TopUp(
                organization_id=organization_pk,
                credits=wish.pack.credits,
                price=wish.pack.price,
                lookup_key=wish.pack.lookup_key,
                valid_days=wish.pack.valid_days,
                created_at=now,
            )
        ],
        ignore_conflicts=True,
    )
    return bool(TopUp.objects.filter(uid=begun[0].uid).exists())


# ── Finishing ────────────────────────────────────────────────────────────────────────────────────────────────
def finish_waiting(*, now: datetime | None = None) -> int:
    """Go on with the purchases that wait. Returns how many came to an end."""
    finished = 0
    while top_up := _claim(now or timezone.now()):
        try:
            finished += _finish(top_up)
        except stripe.StripeError:  # not known how it went: Stripe is asked again when the lease is over
            logger.exception("top-up %s could not be finished", top_up)
    return finished


def _claim(now: datetime) -> TopUp | None:
    free = Q(leased_until=None) | Q(leased_until__lte=now)
    waiting = TopUp.objects.filter(free, state=State.WAITING).select_related("organization").order_by("id")
    with transaction.atomic():
        claimed = waiting.select_for_update(skip_locked=True, of=("self",)).first()
        if claimed is not None:
            TopUp.objects.filter(pk=claimed.pk).update(leased_until=now + LEASE)
    return claimed


def _finish(top_up: TopUp) -> bool:
    """Take a purchase to its end; False where that is not reached. Raises StripeError where nobody knows."""
    account = BillingAccount.objects.get(pk=top_up.organization_id)
    invoice = _invoice(top_up, account.stripe_customer)
    problem = ""
    if invoice.status == "draft" and _has_no_use(top_up):
        get_stripe().v1.invoices.delete(str(invoice.id))
        TopUp.objects.filter(pk=top_up.pk).update(
            state=State.FAILED, problem=NO_USE, finished_at=timezone.now(), leased_until=None
        )
        return True
    if invoice.status == "draft":
        price = _price(top_up)
        if price is None:
            # Nothing was promised at another price.
            _stop(top_up, "The pack is not sold at this price any more.")
            get_stripe().v1.invoices.delete(str(invoice.id))
            return True
        invoice = _finalize(top_up, invoice, price)
    if invoice.status == "open":
        invoice, problem = _pay(top_up, invoice, account)
    if problem and invoice.status in {"open", "uncollectible"}:
        invoice = _void(invoice)
    if invoice.status == "open":
        return False  # the bank takes its time
    if invoice.status == "paid":
        _grant(top_up, invoice)
    else:
        _stop(top_up, problem or "The payment failed.")
    invoices.record(invoice)
    return True


def _has_no_use(top_up: TopUp) -> bool:
    """Whether its credits could not be used: calls have ended since it began, which may be a while ago."""
    entitlement = Entitlement.objects.get(organization=top_up.organization_id)
    return bool(top_up.organization.deleted_at) or not entitlement.may_call


def _invoice(top_up: TopUp, customer: str) -> stripe.Invoice:
    """The purchase's invoice, drawn up the first time."""
    client = get_stripe().v1
    if top_up.stripe_invoice:
        return client.invoices.retrieve(top_up.stripe_invoice)
    invoice = None
    if top_up.created_at < timezone.now() - KEYS_KNOWN:
        invoice = _find(top_up, customer)
    invoice = invoice or client.invoices.create(
        {
            "customer": customer,
            "auto_advance": False,
            "collection_method": "charge_automatically",
            "currency": "usd",
            "pending_invoice_items_behavior": "exclude",
            "description": "Credits bought by themselves, as few were left.",
            "metadata": {TOP_UP: top_up.uid},
        },
        {"idempotency_key": f"{top_up.uid}:invoice"},
    )
    TopUp.objects.filter(pk=top_up.pk).update(stripe_invoice=invoice.id)
    # What a key of ours answers is how it was then.
    return client.invoices.retrieve(str(invoice.id))


def _find(top_up: TopUp, customer: str) -> stripe.Invoice | None:
    since = int((top_up.created_at - timedelta(hours=1)).timestamp())
    found = get_stripe().v1.invoices.list({"customer": customer, "created": {"gte": since}, "limit": 100})
    for invoice in found.auto_paging_iter():
        if invoice.metadata and invoice.metadata.to_dict().get(TOP_UP) == top_up.uid:
            return invoice
    return None


def _price(top_up: TopUp) -> str | None:
    """The id of the pack's price, if Stripe asks for it what was promised."""
    found = catalogue.price_of(top_up.lookup_key)
    if found and found.unit_amount is not None and invoices.dollars(found.unit_amount) == top_up.price:
        return found.id
    return None


def _finalize(top_up: TopUp, invoice: stripe.Invoice, price: str) -> stripe.Invoice:
    client = get_stripe().v1
    if not invoice.lines.data:
        client.invoice_items.create(
            {
                "customer": str(invoice.customer),
                "invoice": str(invoice.id),
                "pricing": {"price": price},
                "quantity": 1,
            },
            {"idempotency_key": f"{top_up.uid}:item"},
        )
    client.invoices.finalize_invoice(
        str(invoice.id), {"auto_advance": False}, {"idempotency_key": f"{top_up.uid}:finalize"}
    )
    return client.invoices.retrieve(str(invoice.id))


def _pay(top_up: TopUp, invoice: stripe.Invoice, account: BillingAccount) -> tuple[stripe.Invoice, str]:
    """Charge the card on file. Returns the invoice as it then is, and why it was not paid."""
    client = get_stripe().v1
    card = customers.card_to_charge(account)
    problem = NO_CARD
    if card:
        try:
            client.invoices.pay(
                str(invoice.id),
                {"payment_method": card, "off_session": True},
                {"idempotency_key": f"{top_up.uid}:pay"},
            )
        except stripe.CardError as error:
            problem = error.user_message or "The card was declined."
        except stripe.InvalidRequestError as error:  # paid already, or no longer to be paid: see below
            problem = error.user_message or "The payment failed."
    return client.invoices.retrieve(str(invoice.id)), problem


def _void(invoice: stripe.Invoice) -> stripe.Invoice:
    """Nobody shall pay it later. Returns the invoice as it then is."""
    client = get_stripe().v1
    try:
        return client.invoices.void_invoice(str(invoice.id))
    except stripe.InvalidRequestError:
        return client.invoices.retrieve(str(invoice.id))


@transaction.atomic
def _grant(top_up: TopUp, invoice: stripe.Invoice) -> None:
    now = timezone.now()
    credits.grant(
        top_up.organization,
        kind=CreditGrant.Kind.PURCHASED,
        amount=top_up.credits,
        key=f"top_up:{top_up.uid}",
        reason=f"{top_up.credits.normalize():,f} credits, bought as few were left",
        expires_at=now + timedelta(days=top_up.valid_days) if top_up.valid_days else None,
        stripe_object=str(invoice.id),
        now=now,
    )
    TopUp.objects.filter(pk=top_up.pk).update(state=State.PAID, finished_at=now, leased_until=None)


@transaction.atomic
def _stop(top_up: TopUp, problem: str) -> None:
    """Buy nothing more until the owner has looked at it."""
    now = timezone.now()
    waiting = TopUp.objects.filter(pk=top_up.pk, state=State.WAITING)
    if not waiting.update(state=State.FAILED, problem=problem[:300], finished_at=now, leased_until=None):
        return
    AutoTopUp.objects.filter(organization=top_up.organization_id, stopped_at=None).update(
        stopped_at=now, stopped_reason=problem[:200]
    )
    audit.record(
        audit.Action.AUTO_TOP_UP_STOPPED,
        actor=None,
        organization=top_up.organization,
        target=top_up.organization,
        after={"reason": problem[:300]},
    )
    top_up.refresh_from_db()
    notices.top_up_stopped(top_up)
