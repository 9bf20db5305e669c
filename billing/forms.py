"""The forms of the billing pages. They check; what is done is done by the functions that the views call."""

from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms

from accounts.organization_forms import DeleteOrganizationForm
from billing import ledger
from billing.models import AutoTopUp, CreditEntry, CreditPack


class CancelForm(DeleteOrganizationForm):
    """Cancelling asks for the organization's name, as deleting it does."""


def _priced(pack: CreditPack) -> str:
    return f"{pack} for ${pack.price:,.2f}"


class TopUpForm(forms.Form):
    """When to buy which pack, and how much a month."""

    threshold = forms.DecimalField(
        label="When fewer credits are left than",
        max_digits=15,
        decimal_places=0,
        min_value=Decimal(1),
        error_messages={"required": "Say when to buy."},
        widget=forms.NumberInput(attrs={"step": "1", "min": "1", "inputmode": "numeric"}),
    )
    pack = forms.ModelChoiceField(
        label="Buy",
        queryset=CreditPack.objects.none(),
        to_field_name="slug",
        empty_label=None,
        widget=forms.RadioSelect,
        error_messages={"invalid_choice": "That pack is not on offer any more. Choose another one."},
    )
    monthly_limit = forms.DecimalField(
        label="At most, in dollars a calendar month",
        max_digits=12,
        decimal_places=2,
        min_value=Decimal("0.01"),
        error_messages={"required": "Say how much it may spend."},
        widget=forms.NumberInput(attrs={"step": "0.01", "min": "0.01", "inputmode": "decimal"}),
    )

    def __init__(self, data: Any = None, *, top_up: AutoTopUp | None) -> None:
        packs = CreditPack.objects.filter(is_offered=True)
        initial: dict[str, Any] = {"pack": first.slug if (first := packs.first()) else None}
        if top_up:
            initial = {
                "threshold": ledger.plain(top_up.threshold),
                "pack": top_up.pack.slug,
                "monthly_limit": top_up.monthly_limit,
            }
        super().__init__(data, initial=initial)
        field = self.fields["pack"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = packs
        field.label_from_instance = _priced  # type: ignore[method-assign, assignment]

    def clean(self) -> None:
        pack, limit = self.cleaned_data.get("pack"), self.cleaned_data.get("monthly_limit")
        if pack and limit and limit < pack.price:
            self.add_error("monthly_limit", f"This is less than the pack costs: ${pack.price:,.2f}.")


class LedgerForm(forms.Form):
    """Which lines of the ledger the address asks for."""

    kind = forms.ChoiceField(
        label="What", required=False, choices=[("", "Everything"), *CreditEntry.Kind.choices]
    )
    since = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, data: Any) -> None:
        super().__init__(data, auto_id="filter-%s")

    def clean(self) -> None:
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if since and until and since > until:
            self.add_error("until", "This is before the day it begins with.")

    @property
    def filters(self) -> ledger.Filters:
        return ledger.Filters(**{name: value or None for name, value in self.cleaned_data.items()})

    @property
    def address(self) -> str:
        """These filters as the query of an address."""
        return urlencode({name: value for name, value in self.cleaned_data.items() if value})
