"""Reading the ledger of credits: a page of it at a time, or all as CSV; one list of columns for both and the API."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from django.db.models import QuerySet

from accounts import audit, cursors, spreadsheets
from accounts.cursors import Cursor
from accounts.models import Organization
from billing import causes
from billing.models import CreditEntry
from usage import reports

READ_AT_ONCE = 1_000

COLUMNS = [
    "id",
    "created_at",
    "kind",
    "amount",
    "overage",
    "balance",
    "grant_id",
    "grant_kind",
    "day",
    "job_id",
    "reason",
    "invoice",
]


@dataclass(frozen=True)
class Filters:
    """What is asked for; None for all. Days are those of the organization in which a line was written."""

    kind: str | None = None
    since: date | None = None
    until: date | None = None

    def apply(
        self, entries: "QuerySet[CreditEntry, CreditEntry]", organization: Organization
    ) -> "QuerySet[CreditEntry, CreditEntry]":
        if self.kind:
            entries = entries.filter(kind=self.kind)
        if self.since:
            entries = entries.filter(created_at__gte=reports.midnight(self.since, organization))
        if self.until and self.until < date.max:
            entries = entries.filter(
                created_at__lt=reports.midnight(self.until + timedelta(days=1), organization)
            )
        return entries


def of(organization: Organization, filters: Filters) -> "QuerySet[CreditEntry, CreditEntry]":
    """The lines, newest first: by id, in the order in which each balance followed from the one before."""
    entries = CreditEntry.objects.filter(organization=organization).select_related("grant", "meter_report")
    return filters.apply(entries, organization).order_by("-id")


def page(
    organization: Organization, *, filters: Filters, limit: int, older_than: Cursor | None = None
) -> tuple[list[CreditEntry], Cursor | None]:
    """Some lines, and where the next ones begin, if there are any."""
    return cursors.page_by_id(of(organization, filters), limit=limit, older_than=older_than)


def csv(organization: Organization, *, filters: Filters) -> Iterator[str]:
    """All lines as CSV, newest first. Takes little memory."""
    entries = of(organization, filters).iterator(chunk_size=READ_AT_ONCE)
    return spreadsheets.lines(COLUMNS, _cells(organization, entries))


def _cells(organization: Organization, entries: Iterator[CreditEntry]) -> Iterator[list[Any]]:
    while some := list(islice(entries, READ_AT_ONCE)):
        numbers = invoice_numbers(organization, some)
        for entry in some:
            yield [value_of(entry, column, numbers) for column in COLUMNS]


def invoice_numbers(organization: Organization, entries: Iterable[CreditEntry]) -> dict[int, str]:
    """The numbers of the invoices that these lines name, by the line's primary key; a draft has none yet."""
    found = causes.invoices_of(organization, entries)
    return {pk: invoice.number for pk, invoice in found.items() if invoice.number}


def value_of(entry: CreditEntry, column: str, numbers: dict[int, str]) -> Any:
    """What a column says of a line."""
    match column:
        case "invoice":
            return numbers.get(entry.pk)
        case "id":
            return entry.uid
        case "created_at":
            return audit.time_text(entry.created_at)
        case "grant_id":
            return entry.grant.uid if entry.grant else None
        case "grant_kind":
            return entry.grant.kind if entry.grant else None
        case "day":
            return entry.day.isoformat() if entry.day else None
        case "job_id":
            return entry.job_id or None
    value = getattr(entry, column)
    return plain(value) if isinstance(value, Decimal) else value


def plain(value: Decimal) -> Decimal:
    """The same number without closing zeros, and without an exponent."""
    short = value.normalize()
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short
