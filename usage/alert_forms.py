"""What people type about alerts and the spend cap, checked."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import ApiKey, Organization
from accounts.names import validate_name
from usage import alert_words, alerts, reports
from usage.models import Product, UsageAlert

PERCENTAGES = [("50", "50\u00a0%"), ("80", "80\u00a0%"), ("100", "100\u00a0%")]
METRICS = [
    (UsageAlert.Metric.PAGES, "Pages processed"),
    (UsageAlert.Metric.CREDITS, "Credits"),
    (UsageAlert.Metric.COST, "Cost amount, in dollars at list price"),
]
# Where a domain function's complaint about a field is shown.
_PLACES = {"api_key": "scope", "product": "scope"}


class AlertForm(forms.Form):
    """An alert. Its scope is empty for the whole organization, a product, or the id of a key."""

    metric = forms.ChoiceField(
        label="Threshold type", choices=METRICS, initial=UsageAlert.Metric.PAGES, widget=forms.RadioSelect
    )
    threshold = forms.DecimalField(
        label="Threshold value",
        max_digits=20,
        decimal_places=6,
        error_messages={"required": "Say how much."},
        help_text="The number that triggers the alert.",
        widget=forms.NumberInput(attrs={"step": "any", "min": "0", "inputmode": "decimal"}),
    )
    period = forms.ChoiceField(
        label="Time period",
        choices=UsageAlert.Period.choices,
        initial=UsageAlert.Period.MONTHLY,
        widget=forms.RadioSelect,
    )
    scope = forms.ChoiceField(label="Look at", required=False)
    name = forms.CharField(
        required=False,
        max_length=alerts.LONGEST_NAME,
        validators=[validate_name],
        help_text="Such as “Budget of the pilot”. It is in the notices.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(
        self, data: Any = None, *, organization: Organization, alert: UsageAlert | None = None
    ) -> None:
        initial = None
        if alert:
            initial = {
                "metric": alert.metric,
                "threshold": alert_words.digits(alert.threshold),
                "period": alert.period,
                "scope": alert_words.scope(alert),
                "name": alert.name,
            }
        super().__init__(data, initial=initial)
        self._keys = {key.uid: key for key in reports.keys(organization)}
        field = self.fields["scope"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            ("", "The whole organization"),
            ("One product", Product.choices),
            *(
                [("One API key", [(uid, _label(key)) for uid, key in self._keys.items()])]
                if self._keys
                else []
            ),
        ]
        zone = str(organization.zone).replace("_", " ")
        self.fields["period"].help_text = f"Days are cut in {zone}. Weeks start on Monday."

    def values(self) -> dict[str, Any]:
        """What was typed, by the names of the alert's columns."""
        scope = self.cleaned_data["scope"]
        return {
            "metric": self.cleaned_data["metric"],
            "threshold": self.cleaned_data["threshold"],
            "period": self.cleaned_data["period"],
            "name": self.cleaned_data["name"],
            "api_key": self._keys.get(scope),
            "product": scope if scope in Product.values else "",
        }

    def refuse(self, error: ValidationError) -> None:
        """Show what a domain function said beside the fields that it is about."""
        for name, messages in error.message_dict.items():
            self.add_error(_PLACES.get(name, name), messages)


def _label(key: ApiKey) -> str:
    return key.label + ("" if key.state == "active" else f", {key.state}")


class NewAlertForm(AlertForm):
    """One alert, or one at each of some percentages of the number."""

    percentages = forms.TypedMultipleChoiceField(
        label="Tell us at",
        choices=PERCENTAGES,
        initial=["100"],
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one."},
        help_text="Of the threshold value. Each makes an alert of its own: 50\u00a0% and 80\u00a0% warn you early.",
    )
    field_order = ("metric", "threshold", "percentages", "period", "scope", "name")


class SpendCapForm(forms.Form):
    amount = forms.DecimalField(
        label="Dollars a month",
        max_digits=20,
        decimal_places=2,
        min_value=Decimal("0.01"),
        error_messages={"required": "Say how much."},
        widget=forms.NumberInput(attrs={"step": "0.01", "min": "0.01", "inputmode": "decimal"}),
    )
