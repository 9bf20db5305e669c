"""What caused each line of the ledger, as pages that explain it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from django.conf import settings
from django.urls import reverse
from django.utils.http import urlencode

from accounts.models import Organization
from billing.models import CreditEntry, Invoice
from usage import periods


@dataclass(frozen=True)
class Cause:
    """`url` leads to what it names, where that has a page."""

    text: str
    url: str = ""


@dataclass(frozen=True)
class Line:
    entry: CreditEntry
    causes: list[Cause]


def explained(organization: Organization, entries: Iterable[CreditEntry]) -> list[Line]:
    """Each of these lines with what caused it. Asks once for all invoices that they name."""
    entries = list(entries)
    invoices = invoices_of(organization, entries)
    return [Line(entry, _causes(organization, entry, invoices.get(entry.pk))) for entry in entries]


def invoices_of(organization: Organization, entries: Iterable[CreditEntry]) -> dict[int, Invoice]:
    """The invoices that these lines name, by the line's primary key. Asks once."""
    named = {entry.pk: id for entry in entries if (id := _stripe_object(entry))}
    found = {each.stripe_id: each for each in _of(organization, set(named.values()))} if named else {}
    return {pk: found[id] for pk, id in named.items() if id in found}


def _of(organization: Organization, stripe_ids: set[str]) -> Iterable[Invoice]:
    found = Invoice.objects.filter(organization=organization, stripe_id__in=stripe_ids)
    return found.only("uid", "number", "stripe_id")


def _stripe_object(entry: CreditEntry) -> str:
    """The invoice by which a grant was bought, or which bills overage that came late."""
    if entry.meter_report and entry.meter_report.billed_by:
        return entry.meter_report.billed_by
    if entry.grant and entry.kind in {CreditEntry.Kind.GRANT, CreditEntry.Kind.CORRECTION}:
        return entry.grant.stripe_object
    return ""


def _causes(organization: Organization, entry: CreditEntry, invoice: Invoice | None) -> list[Cause]:
    causes = []
    if entry.job_id:
        causes.append(
            Cause(f"Job {entry.job_id}", reverse("usage:job", args=[organization.uid, entry.job_id]))
        )
    if entry.day:
        causes.append(Cause(f"Usage of {entry.day:%-d %b %Y}", usage_of(organization, entry.day)))
    if invoice is not None:
        causes.append(
            Cause(f"Invoice {invoice}", reverse("billing:invoice", args=[organization.uid, invoice.uid]))
        )
    if entry.created_by_id:
        causes.append(Cause(f"by {settings.BRAND} support"))
    return causes


def usage_of(organization: Organization, first: date, last: date | None = None) -> str:
    """The address of the usage page of a day, or of the days from one to another."""
    days = urlencode({"period": periods.RANGE, "from": str(first), "to": str(last or first)})
    return f"{reverse('usage:dashboard', args=[organization.uid])}?{days}"
