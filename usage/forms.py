"""What people type about usage, checked."""

from typing import Any

from django import forms

from accounts.models import Organization


class RetentionForm(forms.Form):
    retention_days = forms.IntegerField(
        label="Days",
        required=False,
        min_value=0,
        help_text="Counted from the end of the job. 0 keeps nothing beyond delivery; empty keeps them for as long as "
        "your plan allows.",
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )

    def __init__(self, data: Any = None, *, organization: Organization, most: int) -> None:
        super().__init__(data, initial={"retention_days": organization.retention_days})
        days = self.fields["retention_days"]
        days.widget.attrs |= {"max": most, "placeholder": most}
