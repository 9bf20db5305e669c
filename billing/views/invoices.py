"""The invoices of an organization, and each one explained: every line with the usage behind it."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from accounts import cursors, spreadsheets
from accounts.access import MemberRequest, member_page
from accounts.models import Organization
from accounts.permissions import Permission
from billing import causes, invoices
from billing.invoices import Behind, Line
from billing.models import Invoice
from billing.views.pages import account_of, shared

PAGE = 50


@member_page(Permission.BILLING_VIEW, for_support=True)
@require_safe
def listing(request: MemberRequest) -> HttpResponse:
    """The invoices, newest first, a page at a time."""
    account = account_of(request)
    older_than = cursors.in_address(request.GET)
    found, older = cursors.page(invoices.of(request.organization), limit=PAGE, older_than=older_than)
    context = {
        **shared(request, account),
        "invoices": found,
        "is_newest": older_than is None,
        "older": f"?older_than={older}" if older else "",
    }
    return render(request, "billing/invoices.html", context)


@member_page(Permission.BILLING_VIEW)
@require_safe
def csv(request: MemberRequest) -> StreamingHttpResponse:
    """All of them as a file."""
    lines = invoices.csv(request.organization)
    return spreadsheets.download(f"invoices-{request.organization.uid}.csv", lines)


@member_page(Permission.BILLING_VIEW, for_support=True)
@require_safe
def detail(request: MemberRequest, invoice_uid: str) -> HttpResponse:
    """What it bills, and behind each line the usage or the credits that it is for."""
    account = account_of(request)
    invoice: Invoice = get_object_or_404(invoices.of(request.organization), uid=invoice_uid)
    context = {
        **shared(request, account),
        "invoice": invoice,
        "lines": [_explained(request.organization, line) for line in invoices.lines(invoice)],
    }
    return render(request, "billing/invoice.html", context)


@dataclass(frozen=True)
class Day:
    """What of a line was used on a day, which leads to that day's usage and jobs; None for what is of no day."""

    day: date | None
    credits: Decimal
    usage: str
    jobs: str


@dataclass(frozen=True)
class Explained:
    line: Line
    behind: Behind
    days: list[Day]

    @property
    def each(self) -> Decimal | None:
        """Dollars for one of what it counts."""
        return self.line.amount / self.line.quantity if self.line.quantity else None


def _explained(organization: Organization, line: Line) -> Explained:
    behind = invoices.usage_behind(line)
    log = reverse("usage:jobs", args=[organization.uid])
    days = [
        Day(
            day=day,
            credits=credits,
            usage=causes.usage_of(organization, day) if day else "",
            jobs=f"{log}?{urlencode({'since': str(day), 'until': str(day)})}" if day else "",
        )
        for day, credits in behind.days
    ]
    return Explained(line, behind, days)
