"""What the addresses of the request log and of exports ask for, checked."""

from datetime import datetime
from typing import Any

from django import forms

from accounts.models import ApiKey
from usage.models import Feature, JobStatus, JobType, Product
from usage.periods import EARLIEST, LATEST
from usage.reports import Filters, RecordFilters


def _day(label: str) -> forms.DateField:
    return forms.DateField(label=label, required=False, widget=forms.DateInput(attrs={"type": "date"}))


def _choice(label: str, everything: str, choices: Any) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, required=False, choices=[("", everything), *choices])


class _Days(forms.Form):
    since = _day("From")
    until = _day("To")
    file_type = forms.CharField(
        required=False, max_length=32, widget=forms.TextInput(attrs={"placeholder": "pdf", "size": 8})
    )

    def clean(self) -> None:
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if since and until and since > until:
            self.add_error("until", "This is before the day it begins with.")

    def chosen(self, *names: str) -> dict[str, Any]:
        """What was asked for by these names; None where nothing was."""
        return {name: self.cleaned_data.get(name) or None for name in names}


class LogForm(_Days):
    """What people type to find jobs; what they choose from lists is not here."""

    job_id = forms.CharField(
        label="Job ID",
        required=False,
        max_length=128,
        widget=forms.TextInput(attrs={"placeholder": "or its beginning", "type": "search", "size": 18}),
    )
    day = _day("Jump to")
    # Where a bar of an hour leads.
    hour = forms.DateTimeField(required=False, widget=forms.HiddenInput())

    def __init__(self, data: Any) -> None:
        super().__init__(data, auto_id="filter-%s")

    def clean_hour(self) -> datetime | None:
        hour: datetime | None = self.cleaned_data["hour"]
        if hour and not EARLIEST <= hour.date() <= LATEST:
            raise forms.ValidationError(f"Use an hour from {EARLIEST} to {LATEST}.")
        return hour


class ExportForm(_Days):
    """What to export. Fields that the kind does not have are passed over."""

    kind = forms.ChoiceField(
        label="What",
        choices=[
            ("jobs", "The request log: a line a job"),
            ("records", "Usage records: a line a metered item"),
        ],
        widget=forms.RadioSelect,
    )
    api_key = forms.ChoiceField(label="API key", required=False)
    region = forms.CharField(required=False, max_length=32)
    type = _choice("Endpoint", "All endpoints", JobType.choices)
    status = _choice("Status", "Any status", JobStatus.choices)
    environment = _choice("Environment", "All environments", ApiKey.Environment.choices)
    product = _choice("Product", "All products", Product.choices)
    feature = _choice("Feature", "All features", Feature.choices)
    job_id = forms.CharField(label="Job ID", required=False, max_length=128)
    is_gzipped = forms.BooleanField(label="Pack it (.csv.gz)", required=False)
    field_order = ("kind", "since", "until", "api_key", "region", "file_type")

    def __init__(self, data: Any = None, *, keys: list[ApiKey], initial: Any = None) -> None:
        super().__init__(data, initial={"kind": "jobs"} | (initial or {}))
        api_key = self.fields["api_key"]
        assert isinstance(api_key, forms.ChoiceField)
        api_key.choices = [
            ("", "All keys"),
            *((key.uid, key.label) for key in keys),
        ]

    @property
    def filters(self) -> Filters | RecordFilters:
        shared = self.chosen("since", "until", "api_key", "region", "file_type", "job_id")
        if self.cleaned_data["kind"] == "jobs":
            return Filters(**shared, **self.chosen("type", "status", "environment"))
        return RecordFilters(**shared, **self.chosen("product", "feature"))
