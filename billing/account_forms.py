"""What support fills in to change an organization's billing by hand."""

from datetime import UTC, date, datetime, time
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.admin_forms import ToldReasonForm
from billing.models import CreditGrant, Plan

MOST_CREDITS = 1_000_000_000


def _amount() -> forms.DecimalField:
    return forms.DecimalField(
        label="Credits",
        min_value=0,
        max_value=MOST_CREDITS,
        decimal_places=6,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
    )


class _Above0(forms.Form):
    def clean_amount(self) -> Any:
        amount = self.cleaned_data["amount"]
        if not amount:
            raise forms.ValidationError("More than 0.")
        return amount


class _ClosingDay(forms.DateField):
    """A day that something lasts to the end of, in UTC; the value is the moment after it."""

    widget = UnfoldAdminTextInputWidget(attrs={"type": "date"})

    def clean(self, value: Any) -> Any:
        day: date | None = super().clean(value)
        if day is None:
            return None
        if day < timezone.now().date():
            raise forms.ValidationError("That day is over.")
        return datetime.combine(day, time.max.replace(microsecond=0), tzinfo=UTC)


class GiveCreditsForm(ToldReasonForm, _Above0):
    kind = forms.ChoiceField(
        choices=[
            (kind.value, kind.label) for kind in (CreditGrant.Kind.GOODWILL, CreditGrant.Kind.PROMOTIONAL)
        ],
        widget=UnfoldAdminSelectWidget,
        help_text="Promotional credits are used before goodwill, and both before what was bought.",
    )
    amount = _amount()
    expires_at = _ClosingDay(
        label="Last day", required=False, help_text="They lapse at its end, in UTC. Empty: never."
    )
    field_order = ("kind", "amount", "expires_at", "reason")


class DeductCreditsForm(ToldReasonForm, _Above0):
    amount = _amount()
    field_order = ("amount", "reason")


class PlanForm(ToldReasonForm):
    plan = forms.ModelChoiceField(queryset=Plan.objects.all(), widget=UnfoldAdminSelectWidget)
    field_order = ("plan", "reason")


class GraceForm(ToldReasonForm):
    until = _ClosingDay(label="Until the end of", help_text="In UTC.")
    field_order = ("until", "reason")
