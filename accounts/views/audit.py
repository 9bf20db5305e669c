"""The audit trail of an organization: who did what, as a page and as a file."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts import audit_sentences, audit_trail, cursors, spreadsheets
from accounts.access import MemberRequest, member_page
from accounts.permissions import Permission

PAGE = 50


class FiltersForm(forms.Form):
    """What the address asks for."""

    action = forms.ChoiceField(label="What", required=False)
    actor = forms.CharField(
        label="Who",
        required=False,
        max_length=254,
        widget=forms.TextInput(attrs={"placeholder": "name or id", "size": 12}),
    )
    target = forms.CharField(
        label="Id of what changed",
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs={"placeholder": "key_… or usr_…", "size": 14}),
    )
    since = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, data: Any) -> None:
        super().__init__(data, auto_id="filter-%s")
        action = self.fields["action"]
        assert isinstance(action, forms.ChoiceField)
        action.choices = [("", "Everything"), *audit_sentences.choices()]

    def clean(self) -> None:
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if since and until and since > until:
            self.add_error("until", "This is before the day it begins with.")

    @property
    def filters(self) -> audit_trail.Filters:
        return audit_trail.Filters(**self.cleaned_data)

    @property
    def address(self) -> str:
        """These filters as the query of an address."""
        return urlencode({name: value for name, value in self.cleaned_data.items() if value})


@member_page(Permission.AUDIT_VIEW, for_support=True)
@require_safe
def audit(request: MemberRequest) -> HttpResponse:
    """What happened here, newest first, a page at a time."""
    form = FiltersForm(request.GET)
    if not form.is_valid():
        return render(request, "accounts/audit.html", {"form": form, "is_filtered": True}, status=400)
    older_than = cursors.in_address(request.GET)
    page = audit_trail.page(request.organization, filters=form.filters, limit=PAGE, older_than=older_than)
    return render(
        request,
        "accounts/audit.html",
        {
            "form": form,
            "entries": [
                {
                    "line": line,
                    "sentence": audit_sentences.sentence(line.action, line.target, line.after),
                    "reason": line.after.get("reason") or "",
                    "changes": audit_sentences.changes(line.before, line.after),
                }
                for line in page.lines
            ],
            "filters": form.address,
            "is_filtered": form.filters != audit_trail.Filters(),
            "is_newest": older_than is None,
            "older": f"?{form.address}&older_than={page.older}" if page.older else "",
        },
    )


@member_page(Permission.AUDIT_VIEW)
@require_safe
def audit_csv(request: MemberRequest) -> HttpResponse | StreamingHttpResponse:
    """The same as a file, all pages of it."""
    form = FiltersForm(request.GET)
    if not form.is_valid():
        return render(request, "accounts/audit.html", {"form": form, "is_filtered": True}, status=400)
    lines = audit_trail.csv(request.organization, filters=form.filters)
    return spreadsheets.download(f"audit-{request.organization.uid}.csv", lines)
