"""What people type about API keys, checked."""

import re
from copy import copy
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files import File
from django.utils import timezone

from accounts import keys, secrets
from accounts.models import ApiKey, Membership
from accounts.names import validate_name
from accounts.permissions import DEFAULT_SCOPES, SCOPE_PERMISSIONS, Scope

AS_IT_IS, NEVER, ON_A_DATE = "keep", "never", "date"
EXPIRY_CHOICES = [
    (NEVER, "Never"),
    ("30", "In 30 days"),
    ("90", "In 90 days"),
    ("365", "In a year"),
    (ON_A_DATE, "On a date"),
]
LIMITS = ("allowed_ips", "requests_per_minute", "monthly_credit_budget")
LARGEST_FILE = 5 * 1024 * 1024

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


def validate_file_size(file: File[bytes]) -> None:
    if file.size > LARGEST_FILE:
        raise ValidationError("This file is larger than 5 MB: send it in parts.")


class ApiKeyForm(forms.Form):
    """A new key. Offers the scopes in which its creator may do something."""

    name = forms.CharField(
        max_length=keys.LONGEST_NAME,
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
    scopes = forms.MultipleChoiceField(
        initial=[str(scope) for scope in DEFAULT_SCOPES],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one: a key without scopes may do nothing."},
        help_text="What programs holding this key may do. Choose no more than they need.",
    )
    expires = forms.ChoiceField(label="Expiry", choices=EXPIRY_CHOICES, initial=NEVER)
    expires_on = forms.DateField(
        label="Last day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="For an expiry on a date: the key works until the end of this day.",
    )
    allowed_ips = forms.CharField(
        label="Allowed addresses",
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocomplete": "off"}),
        help_text="IP addresses and networks, such as 203.0.113.7 or 198.51.100.0/24: one a line, or with commas "
        "between. Empty: from anywhere.",
    )
    requests_per_minute = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=keys.MOST_REQUESTS_PER_MINUTE,
        help_text="For this key alone, within what the plan allows. Empty: as many as the plan.",
    )
    monthly_credit_budget = forms.DecimalField(
        required=False,
        min_value=Decimal(0),
        max_digits=18,
        decimal_places=6,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text="Credits a calendar month; calls are refused once they are used. Empty: no budget of its own.",
    )

    def __init__(self, data: Any = None, *, membership: Membership) -> None:
        super().__init__(data)
        self._zone = membership.organization.zone
        self._offer([scope for scope in Scope if SCOPE_PERMISSIONS[scope] & membership.permissions])

    def _offer(self, scopes: list[Scope]) -> None:
        field = self.fields["scopes"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(scope.value, scope.label) for scope in scopes]

    def clean_expires_on(self) -> date | None:
        day: date | None = self.cleaned_data["expires_on"]
        if self.cleaned_data.get("expires") != ON_A_DATE:
            return None
        today = timezone.localdate(timezone=self._zone)
        if day is None:
            raise ValidationError("Say which day.")
        if day < today:
            raise ValidationError("This day has passed.")
        if day >= today + keys.LONGEST_LIFE:
            raise ValidationError("Choose a day within ten years, or let the key never expire.")
        return day

    def clean_allowed_ips(self) -> list[str]:
        return keys.clean_networks(re.findall(r"[^\s,;]+", self.cleaned_data["allowed_ips"]))

    def expires_at(self, *, now: datetime) -> datetime | None:
        """The moment the key ends; None for never. A chosen day ends when the organization's day does."""
        expires: str = self.cleaned_data["expires"]
        if expires == NEVER:
            return None
        if expires == ON_A_DATE:
            day: date = self.cleaned_data["expires_on"]
            return datetime.combine(day + timedelta(days=1), time(), tzinfo=self._zone).astimezone(UTC)
        return now + timedelta(days=int(expires))

    def values(self, *, now: datetime) -> dict[str, Any]:
        """What was typed, by the names of the key's columns."""
        names = set(self.fields) - {"expires", "expires_on"}
        return {name: self.cleaned_data[name] for name in names} | {"expires_at": self.expires_at(now=now)}

    @property
    def has_limits(self) -> bool:
        """Whether the part that is folded away holds something to look at."""
        return any(self[name].value() not in (None, "") for name in LIMITS)


class EditApiKeyForm(ApiKeyForm):
    """What may change of a key. Offers the scopes of its editor, and those it has already."""

    environment = None  # type: ignore[assignment]  # it is part of the key

    def __init__(self, data: Any = None, *, membership: Membership, key: ApiKey) -> None:
        super().__init__(data, membership=membership)
        self.key, self.membership = key, membership
        mine = membership.permissions
        self._offer([scope for scope in Scope if scope in key.scopes or SCOPE_PERMISSIONS[scope] & mine])
        expires = self.fields["expires"]
        assert isinstance(expires, forms.ChoiceField)
        if key.expires_at:
            local = key.expires_at.astimezone(self._zone)
            expires.choices = [(AS_IT_IS, f"As it is: {local:%-d %b %Y, %H:%M}"), *EXPIRY_CHOICES]
        self.initial = {
            "name": key.name,
            "scopes": key.scopes,
            "expires": AS_IT_IS if key.expires_at else NEVER,
            "allowed_ips": "\n".join(key.allowed_ips),
            "requests_per_minute": key.requests_per_minute,
            "monthly_credit_budget": _plain(key.monthly_credit_budget),
        }

    def clean_scopes(self) -> list[str]:
        """Refuse what would let a key of somebody with a higher role do more than its editor may."""
        scopes: list[str] = self.cleaned_data["scopes"]
        if self.key.kind == ApiKey.Kind.ORGANIZATION:
            wanted = copy(self.key)
            wanted.scopes = scopes
            if keys.rights(wanted) - keys.rights(self.key) - self.membership.permissions:
                raise ValidationError("With these scopes the key could do more than you may.")
        return scopes

    def expires_at(self, *, now: datetime) -> datetime | None:
        if self.cleaned_data["expires"] == AS_IT_IS:
            return self.key.expires_at
        return super().expires_at(now=now)


def _plain(budget: Decimal | None) -> str:
    """A budget as somebody would type it."""
    return "" if budget is None else f"{budget:.6f}".rstrip("0").rstrip(".")


class RotateForm(forms.Form):
    """How long the old secret goes on working beside the new one."""

    grace = forms.ChoiceField(
        label="The old secret works for another",
        choices=[(label, label) for label in keys.GRACES],
        widget=forms.RadioSelect,
    )


class ForgetfulTextarea(forms.Textarea):
    """Never shows what was typed into it."""

    def format_value(self, value: Any) -> None:
        return None


class LeakForm(forms.Form):
    """Text that may hold keys, and where it was found. The text is read and never shown again."""

    text = forms.CharField(
        label="Key, file or log",
        required=False,
        strip=False,
        widget=ForgetfulTextarea(attrs={"rows": 8, "spellcheck": "false", "autocomplete": "off"}),
        help_text="A key, or whatever holds it: we find keys in any text.",
    )
    file = forms.FileField(
        label="Or upload a file", required=False, validators=[validate_file_size], help_text="Up to 5 MB."
    )
    place = forms.CharField(
        label="Where it was found",
        max_length=200,
        validators=[validate_name],
        error_messages={"required": "Say where it was found: it goes into the audit trail."},
        help_text="Needed for the audit trail: such as a repository, a ticket or a website.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def clean_place(self) -> str:
        """The place goes into the audit trail and into letters, so it must not hold the key, as an address may."""
        place: str = self.cleaned_data["place"]
        if secrets.find(place):
            raise ValidationError("This holds a key. Paste it above, and name the place without it.")
        return place

    def clean(self) -> dict[str, Any]:
        if not self.errors and not self.cleaned_data["text"] and not self.cleaned_data["file"]:
            self.add_error("text", "Paste something, or choose a file.")
        elif self.errors and (self.cleaned_data.get("text") or self.cleaned_data.get("file")):
            self.add_error(
                "text", "Paste or choose it once more: as it may hold keys, no page shows it again."
            )
        return self.cleaned_data

    def all_text(self) -> str:
        """What was pasted and uploaded. Read byte by byte, in whatever encoding: a key is ASCII."""
        file = self.cleaned_data["file"]
        uploaded = file.read().replace(b"\0", b"").decode("latin-1") if file else ""
        return f"{self.cleaned_data['text']}\n{uploaded}"
