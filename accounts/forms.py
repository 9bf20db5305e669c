"""What people type, checked. Forms clean; the domain modules change."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.models import ApiKey, Membership
from accounts.names import validate_name as validate_name
from accounts.permissions import DEFAULT_SCOPES, SCOPE_PERMISSIONS, Scope

NEVER, ON_A_DATE = "never", "date"
EXPIRY_CHOICES = [
    (NEVER, "Never"),
    ("30", "In 30 days"),
    ("90", "In 90 days"),
    ("365", "In a year"),
    (ON_A_DATE, "On a date"),
]
LONGEST_LIFE = timedelta(days=3650)

SCOPE_SENTENCES = {
    Scope.JOBS: "Send documents, and read jobs and the configuration they ran with.",
    Scope.USAGE: "Read and export what was used.",
    Scope.WEBHOOKS: "Manage the endpoints that are told about finished jobs.",
    Scope.ALERTS: "Manage usage alerts and the spend cap.",
    Scope.API_KEYS: "Create and revoke API keys.",
    Scope.TEAM: "Manage members and the organization's settings.",
    Scope.AUDIT: "Read the audit trail.",
    Scope.BILLING: "Read invoices and manage the subscription.",
    Scope.OWNERSHIP: "Transfer or delete the organization.",
}


class ApiKeyForm(forms.Form):
    """A new organization key. Offers the scopes in which its creator may do something."""

    name = forms.CharField(
        max_length=80,
        validators=[validate_name],
        error_messages={"required": "Give the key a name."},
        help_text="Where it will be used, such as “checkout, production” or “local-dev”.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    environment = forms.ChoiceField(
        choices=ApiKey.Environment.choices,
        initial=ApiKey.Environment.PRODUCTION,
        widget=forms.RadioSelect,
        help_text="Part of the key, so that nobody mistakes one for another.",
    )
    expires = forms.ChoiceField(label="Expiry", choices=EXPIRY_CHOICES, initial=NEVER)
    expires_on = forms.DateField(
        label="Last day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="For an expiry on a date: the key works until the end of this day.",
    )
    scopes = forms.MultipleChoiceField(
        initial=[str(scope) for scope in DEFAULT_SCOPES],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one: a key without scopes may do nothing."},
        help_text="What programs holding this key may do. Choose no more than they need.",
    )

    def __init__(self, data: Any = None, *, membership: Membership) -> None:
        super().__init__(data)
        self._zone = membership.organization.zone
        scopes = self.fields["scopes"]
        assert isinstance(scopes, forms.MultipleChoiceField)
        scopes.choices = [
            (scope.value, scope.label) for scope in Scope if SCOPE_PERMISSIONS[scope] & membership.permissions
        ]

    def clean_expires_on(self) -> date | None:
        day: date | None = self.cleaned_data["expires_on"]
        if self.cleaned_data.get("expires") != ON_A_DATE:
            return None
        today = timezone.localdate(timezone=self._zone)
        if day is None:
            raise ValidationError("Say which day.")
        if day < today:
            raise ValidationError("This day has passed.")
        if day > today + LONGEST_LIFE:
            raise ValidationError("Choose a day within ten years, or let the key never expire.")
        return day

    def expires_at(self, *, now: datetime) -> datetime | None:
        """The moment the key ends; None for never. A chosen day ends when the organization's day does."""
        expires: str = self.cleaned_data["expires"]
        if expires == NEVER:
            return None
        if expires == ON_A_DATE:
            day: date = self.cleaned_data["expires_on"]
            return datetime.combine(day + timedelta(days=1), time(), tzinfo=self._zone).astimezone(UTC)
        return now + timedelta(days=int(expires))
