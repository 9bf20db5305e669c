"""Stripe's invoices as we list and explain them: each line with the usage or the credits behind it.

What is recorded here was just read from Stripe, so that it does not matter in which order its events arrive.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import stripe
from django.core.cache import cache
from django.db import transaction
from django.db.models import Max, Q, QuerySet

from accounts import spreadsheets
from accounts.models import Organization
from billing import notices
from billing.gateway import get_stripe
from billing.models import BillingAccount, CreditEntry, CreditGrant, Invoice, MeterReport
from usage.columns import Column, Kind

logger = logging.getLogger(__name__)

PLAN, OVERAGE, PACK, PRORATION, OTHER = "plan", "overage", "pack", "proration", "other"
# Of a one-off invoice for late usage, on its items: what it bills, and of which subscription.
KIND, SUBSCRIPTION = "kind", "subscription"
# An invoice never goes back to an earlier one of these.
_RANKS = {"draft": 0, "open": 1, "uncollectible": 2, "paid": 3, "void": 3}
_UPCOMING_FOR = 180

# One list for the page, the API and the CSV.
COLUMNS = [
    Column("number", Kind.TEXT, "Number"),
    Column("created_at", Kind.TIME, "Date"),
    Column("status", Kind.WORD, "Status"),
    Column("description", Kind.TEXT, "For"),
    Column("period_start", Kind.TIME),
    Column("period_end", Kind.TIME),
    Column("currency", Kind.WORD),
    Column("total", Kind.NUMBER, "Total"),
    Column("amount_paid", Kind.NUMBER, "Paid"),
    Column("amount_due", Kind.NUMBER, "Due"),
    Column("paid_at", Kind.TIME),
    Column("id", Kind.WORD),
]


@dataclass(frozen=True)
class Line:
    """A line of an invoice. `price` is the lookup key of its price, `plan` the slug of the plan that it is of."""

    kind: str
    description: str
    amount: Decimal
    quantity: int | None
    start: datetime
    end: datetime
    price: str = ""
    plan: str = ""
    subscription: str = ""
    invoice: Invoice | None = None


# ── Recording ────────────────────────────────────────────────────────────────────────────────────────────────
def record(stripe_invoice: stripe.Invoice) -> Invoice | None:
    """Keep an invoice as it has just been read from Stripe; None where its customer is not ours.

    Asks Stripe about prices it does not know yet, and for the receipt. Raises StripeError.
    """
    facts = stripe_invoice.to_dict()
    account = BillingAccount.objects.filter(stripe_customer=_id(facts["customer"])).first()
    if account is None or not facts.get("id"):
        logger.warning("invoice %s is of no customer that is known", facts.get("id"))
        return None
    moments = facts["status_transitions"]
    payment, receipt_url = _payment(facts)
    values = {
        "organization_id": account.organization_id,
        "number": facts["number"] or "",
        "status": facts["status"],
        "reason": facts["billing_reason"] or "",
        "currency": facts["currency"],
        "total": dollars(facts["total"]),
        "amount_due": dollars(facts["amount_remaining"]),
        "amount_paid": dollars(facts["amount_paid"]),
        "period_start": _moment(facts["period_start"]),
        "period_end": _moment(facts["period_end"]),
        "lines": [_written(line) for line in _lines(stripe_invoice)],
        "hosted_url": facts.get("hosted_invoice_url") or "",
        "pdf_url": facts.get("invoice_pdf") or "",
        "stripe_payment": payment,
        "receipt_url": receipt_url,
        "attempts": facts.get("attempt_count") or 0,
        "next_attempt_at": _moment(facts.get("next_payment_attempt")),
        "created_at": _moment(facts["created"]),
        "paid_at": _moment(moments["paid_at"]),
    }
    with transaction.atomic():
        known, is_new = Invoice.objects.select_for_update().get_or_create(
            stripe_id=facts["id"], defaults=values
        )
        was = "" if is_new else known.status
        if _RANKS.get(was, 0) > _RANKS.get(facts["status"], 0):
            return known
        if not is_new:
            for name, value in values.items():
                setattr(known, name, value)
            known.save()
        notices.invoice_changed(known, was=was)
    return known


def record_all(customer: str, *, since: datetime | None = None) -> list[stripe.Invoice]:
    """Read a customer's invoices, or those since then, and keep them. Returns them, newest first."""
    params: Any = {"customer": customer, "limit": 100}
    if since:
        params["created"] = {"gte": int(since.timestamp())}
    found = list(get_stripe().v1.invoices.list(params).auto_paging_iter())
    for invoice in found:
        record(invoice)
    return found


def forget(stripe_id: str) -> None:
    """A draft was deleted at Stripe: there never was an invoice."""
    Invoice.objects.filter(stripe_id=stripe_id, status="draft").delete()


def _lines(invoice: stripe.Invoice) -> Iterator[dict[str, Any]]:
    if not invoice.lines.has_more or not invoice.id:
        yield from (line.to_dict() for line in invoice.lines.data)
        return
    every = get_stripe().v1.invoices.line_items.list(invoice.id, {"limit": 100})
    yield from (line.to_dict() for line in every.auto_paging_iter())


def _written(line: dict[str, Any]) -> dict[str, Any]:
    parent = line["parent"] or {}
    details = parent.get(parent.get("type", ""), {}) or {}
    metadata = line["metadata"] or {}
    priced = ((line["pricing"] or {}).get("price_details") or {}).get("price")
    price = _price(_id(priced)) if priced else {}
    return {
        "kind": _kind(details, metadata, price),
        "description": line["description"] or "",
        "amount": str(dollars(line["amount"])),
        "quantity": line["quantity"],
        "start": _iso(line["period"]["start"]),
        "end": _iso(line["period"]["end"]),
        "price": price.get("lookup_key", ""),
        "plan": price.get("plan", ""),
        "subscription": details.get("subscription") or metadata.get(SUBSCRIPTION, ""),
    }


def _kind(details: dict[str, Any], metadata: dict[str, str], price: dict[str, str]) -> str:
    if details.get("proration"):
        return PRORATION
    return metadata.get(KIND) or price.get("kind", OTHER)


def _price(id: str) -> dict[str, str]:
    """What is known of a price. It is kept: a price never changes, but for the lookup key that a later one takes."""
    key = f"billing:price:{id}"
    known: dict[str, str] | None = cache.get(key)
    if known is None:
        price = get_stripe().v1.prices.retrieve(id)
        sold = price.metadata.to_dict() if price.metadata else {}
        kind = PACK if "pack" in sold else OTHER
        if price.recurring:
            kind = OVERAGE if price.recurring.usage_type == "metered" else PLAN
        known = {"lookup_key": price.lookup_key or "", "kind": kind, "plan": sold.get("plan", "")}
        cache.set(key, known, None)
    return known


def _payment(facts: dict[str, Any]) -> tuple[str, str]:
    """What was paid with: the payment's id, and the address of the receipt, which is the charge's."""
    if facts["status"] != "paid" or not facts["amount_paid"]:
        return "", ""
    known = Invoice.objects.filter(stripe_id=facts["id"]).values_list("stripe_payment", "receipt_url").first()
    if known and all(known):
        return known
    payments = get_stripe().v1.invoice_payments.list(
        {
            "invoice": facts["id"],
            "status": "paid",
            "expand": ["data.payment.payment_intent.latest_charge"],
        }
    )
    for payment in payments.to_dict()["data"]:
        intent = payment["payment"].get("payment_intent")
        if isinstance(intent, dict):
            charge = intent.get("latest_charge")
            return intent["id"], (charge.get("receipt_url") or "") if isinstance(charge, dict) else ""
    return "", ""


def dollars(cents: int) -> Decimal:
    return Decimal(cents) / 100


def _id(value: Any) -> str:
    """The id of what may have been expanded."""
    return str(value["id"] if isinstance(value, dict) else getattr(value, "id", value))


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────
def of(organization: Organization) -> QuerySet[Invoice]:
    """An organization's invoices, newest first; drafts are not yet any."""
    found = Invoice.objects.filter(organization=organization).exclude(status="draft")
    return found.order_by("-created_at", "-id")


def lines(invoice: Invoice) -> list[Line]:
    return [_read(line, invoice) for line in invoice.lines]


def _read(line: dict[str, Any], invoice: Invoice | None) -> Line:
    moments = {name: datetime.fromisoformat(line[name]) for name in ("start", "end")}
    return Line(**line | moments | {"amount": Decimal(line["amount"])}, invoice=invoice)


def unpaid_plans(organization: Organization, subscription: str) -> list[Line]:
    """What invoices that are not paid, nor forgiven, ask for a plan that a subscription was of."""
    found = Invoice.objects.filter(
        organization=organization,
        status__in=["draft", "open", "uncollectible"],
        lines__contains=[{"kind": PLAN, "subscription": subscription}],
    )
    every = (line for invoice in found for line in lines(invoice))
    return [line for line in every if (line.kind, line.subscription) == (PLAN, subscription)]


def description(invoice: Invoice) -> str:
    """What it is for, in a word or two."""
    names = {PLAN: "Plan", OVERAGE: "Usage", PACK: "Credits", PRORATION: "Change of plan", OTHER: "Other"}
    kinds = dict.fromkeys(line["kind"] for line in invoice.lines if Decimal(line["amount"]))
    return ", ".join(names[kind] for kind in kinds) or "Nothing to pay"


def value(invoice: Invoice, column: Column) -> Any:
    """What a column says of an invoice."""
    match column.name:
        case "id":
            return invoice.uid
        case "description":
            return description(invoice)
    return getattr(invoice, column.name)


def csv(organization: Organization) -> Iterator[str]:
    """An organization's invoices as the lines of a CSV."""
    rows = ([_cell(invoice, column) for column in COLUMNS] for invoice in of(organization).iterator(500))
    return spreadsheets.lines([column.name for column in COLUMNS], rows)


def _cell(invoice: Invoice, column: Column) -> Any:
    found = value(invoice, column)
    if column.kind is Kind.TIME:
        return f"{found.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" if found else ""
    return found


@dataclass(frozen=True)
class Upcoming:
    """The invoice that comes next, as it would be if nothing more happened."""

    total: Decimal = Decimal(0)
    at: datetime | None = None
    lines: list[Line] = field(default_factory=list)
    # Whether Stripe could be asked.
    is_available: bool = True


def upcoming(organization: Organization) -> Upcoming | None:
    """The next invoice, as Stripe foresees it, at most some minutes old; None where there is none to come."""
    account = BillingAccount.objects.get(organization=organization)
    if not account.is_subscribed or not account.stripe_subscription:
        return None
    key = _upcoming_key(account.pk)
    known: Upcoming | str | None = cache.get(key)
    if known is None:
        try:
            known = _preview(account) or "none"
        except stripe.StripeError:
            logger.warning("the next invoice of %s could not be foreseen", organization.uid, exc_info=True)
            return Upcoming(is_available=False)
        cache.set(key, known, _UPCOMING_FOR)
    return known if isinstance(known, Upcoming) else None


def forget_upcoming(organization: Organization) -> None:
    """What is foreseen has changed."""
    cache.delete(_upcoming_key(organization.pk))


def _upcoming_key(organization_pk: int) -> str:
    return f"billing:upcoming:{organization_pk}"


def _preview(account: BillingAccount) -> Upcoming | None:
    try:
        preview = get_stripe().v1.invoices.create_preview(
            {"customer": account.stripe_customer, "subscription": account.stripe_subscription}
        )
    except stripe.InvalidRequestError as error:
        if error.code == "invoice_upcoming_none":
            return None
        raise
    found = [_read(_written(line.to_dict()), None) for line in preview.lines.data]
    at = preview.next_payment_attempt or preview.period_end
    return Upcoming(total=dollars(preview.total), at=_moment(at), lines=found)


# ── What is behind a line ────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Behind:
    """What a line bills: reports to the meter with the ledger's entries that they sum up, or grants of credits.

    `days` are the entries' credits by the day of use (None where they are of no day). `carried` is what the entries
    do not add up to: fractions of a credit that came from before or wait for the next report, and what the meter
    counted otherwise.
    """

    reports: list[MeterReport] = field(default_factory=list)
    entries: list[CreditEntry] = field(default_factory=list)
    days: list[tuple[date | None, Decimal]] = field(default_factory=list)
    carried: Decimal = Decimal(0)
    grants: list[CreditGrant] = field(default_factory=list)


def usage_behind(line: Line) -> Behind:
    """What is behind a line: the entries and what is carried add up to its quantity, for overage."""
    if line.invoice is None:
        return Behind()
    if line.kind == OVERAGE:
        return _overage_behind(line, line.invoice)
    grants = CreditGrant.objects.filter(organization=line.invoice.organization_id)
    if line.kind == PACK:
        paid_with = [line.invoice.stripe_id, line.invoice.stripe_payment or line.invoice.stripe_id]
        return Behind(grants=list(grants.filter(stripe_object__in=paid_with)))
    if line.kind == PLAN and line.subscription:
        of_plan = grants.filter(key__startswith=f"included:{line.subscription}:")
        within = of_plan.filter(created_at__gte=line.start, created_at__lt=line.end)
        return Behind(grants=list(within.order_by("id")))
    return Behind()


def _overage_behind(line: Line, invoice: Invoice) -> Behind:
    sent = MeterReport.objects.filter(organization=invoice.organization_id)
    if late := list(sent.filter(billed_by=invoice.stripe_id).exclude(state=MeterReport.State.REFUSED)):
        reports = late
    else:
        counted = sent.filter(
            state=MeterReport.State.SENT,
            stripe_subscription=line.subscription,
            timestamp__gte=line.start,
            timestamp__lt=line.end,
        )
        reports = list(counted.order_by("id"))
    entries = _entries_of(reports, invoice.organization_id)
    days: dict[date | None, Decimal] = {}
    for entry in entries:
        days[entry.day] = days.get(entry.day, Decimal(0)) + entry.overage
    billed = sum((entry.overage for entry in entries), Decimal(0))
    return Behind(
        reports=reports,
        entries=entries,
        days=sorted(days.items(), key=lambda item: item[0] or date.min),
        carried=(line.quantity or 0) - billed,
    )


def _entries_of(reports: list[MeterReport], organization_pk: int) -> list[CreditEntry]:
    """The entries that reports sum up, and those whose fractions they took along."""
    if not reports:
        return []
    entries = CreditEntry.objects.filter(organization=organization_pk, kind=CreditEntry.Kind.OVERAGE)
    first = min(report.pk for report in reports)
    last = entries.filter(meter_report__in=reports).aggregate(last=Max("id"))["last"] or 0
    before = entries.filter(meter_report__lt=first).aggregate(last=Max("id"))["last"] or 0
    of_them = Q(meter_report__in=reports) | Q(meter_report=None, id__gt=before, id__lte=last)
    return list(entries.filter(of_them).order_by("id"))


def billed(organization_pk: int, subscription: str, start: datetime, end: datetime) -> int | None:
    """How many credits of overage the invoices of a period bill; None until the last of them is final."""
    of_it = Invoice.objects.filter(
        organization=organization_pk, lines__contains=[{"subscription": subscription}]
    )
    found = list(of_it.filter(created_at__gte=start))
    if any(invoice.status == "draft" for invoice in found):
        return None
    if not any(invoice.created_at >= end for invoice in found):
        return None
    return sum(
        line.quantity or 0
        for invoice in found
        for line in lines(invoice)
        if line.kind == OVERAGE and line.subscription == subscription and start <= line.start < end
    )
