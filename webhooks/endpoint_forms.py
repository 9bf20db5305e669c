"""What people type about endpoints, checked."""

import ipaddress
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.core.exceptions import ValidationError
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import EndpointHeadersOut, EndpointOut

from accounts.names import validate_name
from webhooks.catalogue import groups, label
from webhooks.embedded import egress
from webhooks.endpoints import HeaderChanges, allowed_networks, refusals, sentence

ALL, CHOSEN = "all", "chosen"
HIDDEN = "…"  # stands for the value of a header that is not shown
LONGEST_URL = 2_000
LONGEST_DESCRIPTION = 300
FASTEST = 65_535  # messages a second
GRACES = [
    (timedelta(), "Now: the old secret stops at once"),
    (timedelta(hours=1), "After an hour"),
    (timedelta(days=1), "After a day"),
    (timedelta(days=3), "After three days"),
    (timedelta(days=7), "After a week"),
]


class EndpointForm(forms.Form):
    url = forms.CharField(
        label="URL",
        max_length=LONGEST_URL,
        error_messages={"required": "Say where the messages are to go."},
        help_text="We POST each message there. It has to be on the public internet, better by https.",
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/webhooks", "autocomplete": "off"}),
    )
    description = forms.CharField(
        required=False,
        max_length=LONGEST_DESCRIPTION,
        validators=[validate_name],
        help_text="For you: what receives it, or who looks after that.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    which = forms.ChoiceField(
        label="Messages",
        choices=[(ALL, "All, also of types that are yet to come"), (CHOSEN, "Only those chosen below")],
        initial=ALL,
        widget=forms.RadioSelect,
    )
    event_types = forms.MultipleChoiceField(
        label="Event types",
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "tree"}),
    )
    channels = forms.CharField(
        required=False,
        max_length=1_500,
        help_text="Only messages for one of these, such as “invoices, acme”; a job names its channels. Leave it empty "
        "to hear of everything. An endpoint with channels hears nothing of messages without.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    headers = forms.CharField(
        label="Custom headers",
        required=False,
        max_length=50_000,
        help_text=f"Sent with each message, one a line: “X-Source: billing”. “{HIDDEN}” stands for a value that is not "
        "shown, and keeps it.",
        widget=forms.Textarea(
            attrs={"rows": 3, "class": "mono", "spellcheck": "false", "autocomplete": "off"}
        ),
    )
    throttle_rate = forms.IntegerField(
        label="Rate limit",
        required=False,
        min_value=1,
        max_value=FASTEST,
        help_text="Messages a second at most. What is more waits. Leave it empty for no limit.",
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )

    def __init__(
        self,
        data: Any = None,
        *,
        endpoint: EndpointOut | None = None,
        headers: EndpointHeadersOut | None = None,
    ) -> None:
        self._headers = headers or EndpointHeadersOut(headers={}, sensitive=[])
        initial: dict[str, Any] = {}
        if endpoint:
            initial = {
                "url": endpoint.url,
                "description": endpoint.description,
                "which": ALL if endpoint.event_types is None else CHOSEN,
                "event_types": endpoint.event_types or [],
                "channels": ", ".join(endpoint.channels or []),
                "headers": self._shown_headers(),
                "throttle_rate": endpoint.throttle_rate,
            }
        super().__init__(data, initial=initial)
        if networks := allowed_networks():
            self.fields["url"].help_text = (
                "We POST each message there. It has to be on the public internet, better by https, or in one of these "
                f"networks, which are allowed besides: {', '.join(networks)}."
            )
        field = self.fields["event_types"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = _tree(initial.get("event_types", []))

    def _shown_headers(self) -> str:
        told = [f"{name}: {value}" for name, value in self._headers.headers.items()]
        return "\n".join(told + [f"{name}: {HIDDEN}" for name in self._headers.sensitive])

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        if problem := egress.url_problem(url):
            raise ValidationError(f"{problem.rstrip('.')}.")
        if not _may_be_reached(urlsplit(url).hostname or ""):
            raise ValidationError(
                "We cannot reach addresses of private networks. To try it on your own machine, open a tunnel to it, "
                "such as with ngrok or cloudflared, and name the tunnel's URL here."
            )
        return url

    def clean_channels(self) -> list[str] | None:
        names = list(dict.fromkeys(re.split(r"[\s,]+", self.cleaned_data["channels"].strip(", \t"))))
        if names == [""]:
            return None
        if len(names) > 10:
            raise ValidationError("At most 10 channels.")
        if wrong := [name for name in names if not re.fullmatch(r"[a-zA-Z0-9\-_.]{1,128}", name)]:
            raise ValidationError(
                f"“{wrong[0][:40]}”: a channel has letters, digits and - _ . only, at most 128."
            )
        return names

    def clean_headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in self.cleaned_data["headers"].splitlines():
            name, colon, value = line.partition(":")
            name = name.strip()
            if not line.strip():
                continue
            if not colon or not name:
                raise ValidationError(f"“{line.strip()[:40]}” is no header: write it as “Name: value”.")
            if name.lower() in map(str.lower, found):
                raise ValidationError(f"{name[:40]} is there twice.")
            found[name] = value.strip()
        hidden = [name for name, value in found.items() if value == HIDDEN]
        if unknown := [
            name for name in hidden if name.lower() not in map(str.lower, self._headers.sensitive)
        ]:
            raise ValidationError(f"{unknown[0][:40]} has no value yet that could be kept: write it.")
        return found

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if (
            cleaned.get("which") == CHOSEN
            and not cleaned.get("event_types")
            and "event_types" not in self.errors
        ):
            self.add_error("event_types", "Choose at least one, or all.")
        return cleaned

    def values(self) -> dict[str, Any]:
        """What was typed, by the names of an endpoint's fields, without its headers."""
        chosen = self.cleaned_data["which"] == CHOSEN
        return {
            "url": self.cleaned_data["url"],
            "description": self.cleaned_data["description"],
            "event_types": self.cleaned_data["event_types"] if chosen else None,
            "channels": self.cleaned_data["channels"],
            "throttle_rate": self.cleaned_data["throttle_rate"],
        }

    def header_changes(self) -> HeaderChanges:
        """What is to be set and removed, so that what was typed holds."""
        wanted: dict[str, str] = self.cleaned_data["headers"]
        kept = {name.lower() for name in wanted}
        there = [*self._headers.headers, *self._headers.sensitive]
        return HeaderChanges(
            {
                name: value
                for name, value in wanted.items()
                if value != HIDDEN and self._headers.headers.get(name) != value
            },
            [name for name in there if name.lower() not in kept],
        )

    def refuse(self, error: HttpError | HTTPValidationError) -> None:
        """Show what the engine said beside the fields that it is about."""
        if isinstance(error, HttpError):
            self.add_error(None, sentence(error))
            return
        for name, message in refusals(error).items():
            self.add_error(name if name in self.fields else None, message)


class RotateForm(forms.Form):
    grace = forms.TypedChoiceField(
        label="When does the old secret stop?",
        choices=[(str(int(grace.total_seconds())), text) for grace, text in GRACES],
        initial=str(24 * 3600),
        coerce=lambda text: timedelta(seconds=int(text)),
        widget=forms.RadioSelect,
    )


def _tree(chosen: list[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The catalogue by group, and what an endpoint hears of that is not in the catalogue any more."""
    tree = [
        (group.label, [(entry.event_type.name, entry.event_type.name) for entry in group.entries])
        for group in groups()
    ]
    known = {name for _, choices in tree for name, _ in choices}
    others = [(name, name) for name in chosen if name not in known]
    return [*tree, (label("others"), others)] if others else tree


def _may_be_reached(host: str) -> bool:
    """Refuse what is private by its very form. What a name stands for is looked at with each message."""
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return egress.may_reach(host)
