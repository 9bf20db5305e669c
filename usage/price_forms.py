"""What is filled in to publish rates: the lines that change, from when on, and why."""

from decimal import Decimal
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.admin_forms import Dialog
from accounts.names import validate_name
from usage.models import CreditRate, Feature, Product
from usage.price_book import NewRate

MOST_LINES = 100
NEW_LINES = 2
LONGEST_NOTE = 200


def _number(label: str, digits: int, places: int) -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        min_value=0,
        max_digits=digits,
        decimal_places=places,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )


class LineForm(forms.Form):
    """A line of the price book. One that is left as it was is not published."""

    product = forms.ChoiceField(choices=[("", "–"), *Product.choices], widget=UnfoldAdminSelectWidget)
    feature = forms.ChoiceField(choices=[("", "–"), *Feature.choices], widget=UnfoldAdminSelectWidget)
    credits_per_unit = _number("Credits", 12, 6)
    unit = forms.ChoiceField(
        label="For a", choices=CreditRate.Unit.choices, widget=UnfoldAdminSelectWidget, initial="page"
    )
    minimum_credits = _number("Minimum", 12, 6)
    batch_factor = _number("Batch factor", 6, 4)
    note = forms.CharField(
        label="Customers read",
        required=False,
        max_length=LONGEST_NOTE,
        validators=[validate_name],
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_new = "product" not in self.initial or "note" not in self.initial
        if self.is_new:
            self.initial = {"unit": "page", "minimum_credits": 0, "batch_factor": 1, **self.initial}
        else:
            self.fields["product"].widget = self.fields["feature"].widget = forms.HiddenInput()

    @property
    def name(self) -> str:
        """Of a line that there is."""
        return f"{Product(self.initial['product']).label}, {Feature(self.initial['feature']).label.lower()}"

    @property
    def rate(self) -> NewRate:
        return NewRate(**{name: self.cleaned_data[name] for name in NewRate.__dataclass_fields__})


class BaseLines(forms.BaseFormSet[LineForm]):
    def clean(self) -> None:
        named = [
            (form.cleaned_data["product"], form.cleaned_data["feature"])
            for form in self.forms
            if form.has_changed() and form.is_valid()
        ]
        if not named:
            raise forms.ValidationError("Nothing is changed yet.")
        if len(set(named)) < len(named):
            raise forms.ValidationError("A line is there twice.")

    @property
    def rates(self) -> list[NewRate]:
        """The lines that change."""
        return [form.rate for form in self.forms if form.has_changed()]


Lines = forms.formset_factory(
    LineForm, formset=BaseLines, extra=NEW_LINES, max_num=MOST_LINES, absolute_max=MOST_LINES
)


class TermsForm(forms.Form):
    effective_from = forms.DateTimeField(
        label="In force from",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
        help_text="UTC. Empty means from the moment it is published.",
    )
    reason = forms.CharField(
        label="Note",
        max_length=LONGEST_NOTE,
        validators=[validate_name],
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Why. Colleagues read it in the price book and the audit trail, customers do not.",
    )

    def clean_effective_from(self) -> Any:
        moment = self.cleaned_data["effective_from"]
        if moment and moment < timezone.now():
            raise forms.ValidationError("A rate cannot start in the past: leave it empty for now.")
        return moment


class WithdrawDialog(Dialog):
    reason = forms.CharField(
        max_length=LONGEST_NOTE,
        validators=[validate_name],
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="It stays in the audit trail.",
    )


def as_typed(value: Decimal) -> Decimal:
    """Without closing zeros, as somebody would type it."""
    text = f"{value:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
