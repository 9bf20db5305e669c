"""What people type about organizations, checked."""

from collections import defaultdict
from datetime import UTC, date, datetime, time
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import organizations, time_zones, two_factor
from accounts.models import Organization

NOT_REQUIRED, FROM_A_DAY = "not", "from"


def _zones() -> list[tuple[str, Any]]:
    """The time zones, by continent."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in time_zones.names():
        continent, _, place = name.partition("/")
        found[continent].append((name, place.replace("_", " ").replace("/", ", ")))
    del found["UTC"]
    return [("UTC", "UTC"), *found.items()]


def _name() -> forms.CharField:
    return forms.CharField(
        max_length=organizations.LONGEST_NAME,
        error_messages={"required": "Give the organization a name."},
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )


class NewOrganizationForm(forms.Form):
    name = _name()
    time_zone = forms.ChoiceField(
        choices=_zones,
        help_text="Its midnights cut your days and months. You can change it later.",
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.fields["name"].help_text = "What your company or team is called. Your colleagues will see it."
        if data is None:  # where scripts run, the browser's own zone is chosen beforehand
            self.fields["time_zone"].widget.attrs["data-browser-zone"] = True


class OrganizationForm(forms.Form):
    name = _name()
    billing_email = forms.EmailField(
        label="Billing e-mail", required=False, help_text="Where invoices and receipts go."
    )
    time_zone = forms.ChoiceField(
        choices=_zones,
        help_text="Its midnights cut your days and months. A new one counts from its next midnight; days that have "
        "passed stay as they are.",
    )
    default_region = forms.CharField(
        max_length=32,
        required=False,
        help_text="Where your documents are processed unless a request says otherwise, such as eu.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )

    def __init__(self, data: Any = None, *, organization: Organization) -> None:
        initial = {name: getattr(organization, name) for name in self.base_fields}
        initial["time_zone"] = organization.next_time_zone or organization.time_zone
        super().__init__(data, initial=initial)


class SecurityForm(forms.Form):
    """Who manages keys, which only the owner decides, whether support may look, and from when members need a second
    factor."""

    only_owner_manages_keys = forms.TypedChoiceField(
        label="Who may create and change API keys",
        choices=[("no", "The owner and admins"), ("yes", "The owner only")],
        coerce=lambda choice: choice == "yes",
        widget=forms.RadioSelect,
        help_text="Keys that admins have made keep working. Personal keys are everybody's own.",
    )
    support_may_look = forms.TypedChoiceField(
        label="Our support",
        choices=[("yes", "May look at these pages as a member sees them"), ("no", "May not look")],
        coerce=lambda choice: choice == "yes",
        widget=forms.RadioSelect,
        help_text="To help you faster: for an hour at most, without changing anything and without seeing any secret. "
        "Each look stands in your audit trail with its reason.",
    )
    two_factor = forms.ChoiceField(
        label="Two-factor authentication",
        choices=[(NOT_REQUIRED, "Each member decides"), (FROM_A_DAY, "Required from a day on")],
        widget=forms.RadioSelect,
    )
    required_from = forms.DateField(
        label="First day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="From the start of this day, members without a second factor reach only its set-up. Leave them some "
        "days: they are reminded by e-mail.",
    )

    def __init__(self, data: Any = None, *, organization: Organization, may_restrict_keys: bool) -> None:
        self._zone = organization.zone
        self._before = organization.two_factor_required_from
        self._first_day = self._before and self._before.astimezone(self._zone).date()
        super().__init__(
            data,
            initial={
                "only_owner_manages_keys": "yes" if organization.only_owner_manages_keys else "no",
                "support_may_look": "yes" if organization.support_may_look else "no",
                "two_factor": FROM_A_DAY if self._before else NOT_REQUIRED,
                "required_from": self._first_day,
            },
        )
        if not may_restrict_keys:
            del self.fields["only_owner_manages_keys"]

    def clean_required_from(self) -> date | None:
        day: date | None = self.cleaned_data["required_from"]
        if self.cleaned_data.get("two_factor") != FROM_A_DAY:
            return None
        if day is None:
            raise ValidationError("Say from which day.")
        today = timezone.localdate(timezone=self._zone)
        if day < today and day != self._first_day:
            raise ValidationError("This day has passed.")
        if day > today + two_factor.LONGEST_WARNING:
            raise ValidationError("Choose a day within a year.")
        return day

    @property
    def two_factor_required_from(self) -> datetime | None:
        """The day's first moment in the organization's zone; the moment there was, when the day was left as it was."""
        day: date | None = self.cleaned_data["required_from"]
        if day is None or day == self._first_day:
            return self._before if day else None
        return datetime.combine(day, time(), tzinfo=self._zone).astimezone(UTC)


class DeleteOrganizationForm(forms.Form):
    name = forms.CharField(
        label="The organization's name",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Type the name to confirm."},
    )

    def __init__(self, data: Any = None, *, organization: Organization) -> None:
        super().__init__(data)
        self._organization = organization

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not organizations.is_name_of(self._organization, name):
            raise ValidationError(
                "This is not its name. Type it exactly as it stands above, in small and capital letters."
            )
        return name
