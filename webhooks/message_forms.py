"""What the pages of messages ask for, checked."""

import json
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from svix.models import EndpointOut

from accounts.models import Organization
from webhooks import catalogue
from webhooks.deliveries import RECOVERY, STATES, Filters
from webhooks.events import EVENT_TYPES

LONGEST_PAYLOAD = 100_000  # characters

_TYPES = [(name, name) for name in EVENT_TYPES]
_LABELS = {
    "delivered": "Delivered",
    "waiting": "Waiting",
    "retrying": "Retrying",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
_SPANS = {
    "1": "The last hour",
    "24": "The last 24 hours",
    "72": "The last 3 days",
    "168": "The last 7 days",
    "336": "The last 14 days, which is as far back as it goes",
}


class FilterForm(forms.Form):
    """Which messages to list. The days are the organization's."""

    type = forms.ChoiceField(label="Event type", required=False, choices=[("", "All types"), *_TYPES])
    endpoint = forms.ChoiceField(required=False)
    state = forms.ChoiceField(
        label="Status",
        required=False,
        choices=[("", "Any status"), *((state, _LABELS[state]) for state in STATES.values())],
    )
    name = forms.CharField(
        label="Job or message ID",
        required=False,
        max_length=256,
        widget=forms.TextInput(attrs={"type": "search", "size": 22}),
    )
    since = forms.DateField(
        label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    until = forms.DateField(
        label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )

    def __init__(self, data: Any, *, organization: Organization, endpoints: Sequence[EndpointOut]) -> None:
        if data.get("state") and not data.get("endpoint") and len(endpoints) == 1:
            data = data.copy()
            data["endpoint"] = endpoints[0].id
        super().__init__(data, auto_id="filter-%s")
        self._organization = organization
        endpoint = self.fields["endpoint"]
        assert isinstance(endpoint, forms.ChoiceField)
        endpoint.choices = [("", "All endpoints"), *((each.id, each.url) for each in endpoints)]

    def clean(self) -> None:
        asked = self.cleaned_data
        if asked.get("since") and asked.get("until") and asked["since"] > asked["until"]:
            self.add_error("until", "This is before the day it begins with.")

    @property
    def lacks_endpoint(self) -> bool:
        """Whether a status is chosen but no endpoint to have it at: then it is left out of account."""
        asked = self.cleaned_data
        return bool(asked["state"] and not asked["endpoint"] and not asked["name"])

    @property
    def filters(self) -> Filters:
        asked = self.cleaned_data
        return Filters(
            event_type=asked["type"] or None,
            endpoint=asked["endpoint"] or None,
            state=(asked["endpoint"] and asked["state"]) or None,
            since=self._midnight("since"),
            until=self._midnight("until", days=1),
        )

    def _midnight(self, name: str, days: int = 0) -> datetime | None:
        day = self.cleaned_data.get(name)
        if day is None:
            return None
        try:
            return datetime.combine(day + timedelta(days=days), time(), tzinfo=self._organization.zone)
        except OverflowError:  # the last day of the calendar
            return None


class RecoverForm(forms.Form):
    """How far back to look for what failed."""

    span = forms.ChoiceField(
        label="What failed in", choices=list(_SPANS.items()), initial="24", widget=forms.RadioSelect
    )

    @property
    def span_of_time(self) -> timedelta:
        # A little less than the engines allow, for the request takes its time.
        return min(timedelta(hours=int(self.cleaned_data["span"])), RECOVERY - timedelta(minutes=1))


class ReplayForm(forms.Form):
    """The time in which the endpoint was not there to be sent to, in the zone that is active."""

    since = forms.DateTimeField(
        label="From",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    until = forms.DateTimeField(
        label="To",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def clean(self) -> None:
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if since and until and since >= until:
            self.add_error("until", "This is not after its beginning.")
        if (since and since.year < 1971) or (until and until.year > 9000):
            self.add_error("since", "Choose times that messages may have been sent at.")


class ExampleForm(forms.Form):
    """A test message: its type, and the payload that is sent."""

    type = forms.ChoiceField(label="Event type", choices=_TYPES)
    payload = forms.CharField(
        label="Payload",
        max_length=LONGEST_PAYLOAD,
        widget=forms.Textarea(attrs={"rows": 18, "class": "mono", "spellcheck": "false"}),
        help_text="JSON, as your endpoint receives it. Change what you want to see handled.",
    )

    def clean_payload(self) -> dict[str, Any]:
        try:
            return as_payload(json.loads(self.cleaned_data["payload"]))
        except RecursionError:
            raise forms.ValidationError("This is nested too deep.") from None
        except ValueError as error:
            raise forms.ValidationError(f"This is not a JSON object: {error}.") from None

    @property
    def changed_payload(self) -> dict[str, Any] | None:
        """What to send; None if it is the example as it stands, which every engine knows itself."""
        payload: dict[str, Any] = self.cleaned_data["payload"]
        example = json.loads(catalogue.example(EVENT_TYPES[self.cleaned_data["type"]]))
        return None if payload == example else payload


def as_payload(value: Any) -> dict[str, Any]:
    """Return an object that can be sent as it is. Raises ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError("it is something else than an object")
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it contains half a character") from None
    return value
