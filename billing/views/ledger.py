"""The ledger of credits: every line, what caused it, and what is left of each grant."""

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts import cursors, spreadsheets
from accounts.access import MemberRequest, member_page
from accounts.permissions import Permission
from billing import balance, causes, ledger
from billing.forms import LedgerForm
from billing.views.pages import account_of, shared

PAGE = 50


@member_page(Permission.BILLING_VIEW, for_support=True)
@require_safe
def lines(request: MemberRequest) -> HttpResponse:
    """The lines, newest first, a page at a time; above the newest one, what is not in the ledger yet."""
    organization = request.organization
    account = account_of(request)
    form = LedgerForm(request.GET)
    if not form.is_valid():
        return render(request, "billing/ledger.html", shared(request, account) | {"form": form}, status=400)
    older_than = cursors.in_address(request.GET)
    found, older = ledger.page(organization, filters=form.filters, limit=PAGE, older_than=older_than)
    is_newest = older_than is None
    credits = balance.of(account)
    context = {
        **shared(request, account),
        "form": form,
        "lines": causes.explained(organization, found),
        "balance": credits,
        "grants": balance.grants(organization, credits) if is_newest else [],
        "filters": form.address,
        "is_filtered": form.filters != ledger.Filters(),
        "is_newest": is_newest,
        "older": f"?{form.address}&older_than={older}" if older else "",
    }
    return render(request, "billing/ledger.html", context)


@member_page(Permission.BILLING_VIEW)
@require_safe
def csv(request: MemberRequest) -> HttpResponse | StreamingHttpResponse:
    """The same as a file, all pages of it."""
    form = LedgerForm(request.GET)
    if not form.is_valid():
        return render(request, "billing/ledger.html", {"form": form}, status=400)
    found = ledger.csv(request.organization, filters=form.filters)
    return spreadsheets.download(f"credits-{request.organization.uid}.csv", found)
