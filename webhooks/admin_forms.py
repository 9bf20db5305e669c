"""What support fills in to act on webhooks: always why, and what it is about where that is asked."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.core.validators import URLValidator
from django.utils import timezone
from svix.exceptions import HttpError, HTTPValidationError
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from accounts.admin_forms import READ, Dialog, reason_field
from accounts.models import Organization
from webhooks import replays, retries
from webhooks.deliveries import RECOVERY
from webhooks.embedded import egress
from webhooks.events import EVENT_TYPES
from webhooks.models import Endpoint

_TYPES = [(name, name) for name in EVENT_TYPES]


def _moment(label: str) -> forms.DateTimeField:
    return forms.DateTimeField(
        label=label,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
        help_text="UTC.",
    )


class TestDialog(Dialog):
    event_type = forms.ChoiceField(choices=_TYPES, initial="job.completed", widget=UnfoldAdminSelectWidget)
    reason = reason_field(READ)
    field_order = ("event_type", "reason")


class EnableDialog(Dialog):
    """Whether what was missed is sent too can be chosen by who may do that, if it is known since when it was off."""

    with_missed = forms.BooleanField(required=False, widget=UnfoldBooleanWidget)
    reason = reason_field(READ)
    field_order = ("with_missed", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        endpoint = Endpoint.objects.select_related("organization").filter(pk=self.object_id).first()
        if (
            endpoint is None
            or endpoint.disabled_at is None
            or not self.request.user.has_perm("webhooks.replay_endpoint")
        ):
            del self.fields["with_missed"]
            return
        missed = "" if self.is_bound else _missed(endpoint, endpoint.disabled_at)
        self.fields["with_missed"].label = "Send what it missed"
        self.fields[
            "with_missed"
        ].help_text = (
            f"Since it was turned off on {endpoint.disabled_at.astimezone(UTC):%-d %B %Y, %H:%M} UTC{missed}."
        )


def _missed(endpoint: Endpoint, since: datetime) -> str:
    try:
        count, are_more = replays.expected(
            organization=endpoint.organization,
            endpoint_id=endpoint.uid,
            since=since,
            until=timezone.now(),
        )
    except (HttpError, HTTPValidationError):
        return ""
    return f": {count_in_words(count, are_more=are_more)}"


def count_in_words(count: int, *, are_more: bool) -> str:
    words = f"{count:,} message{'' if count == 1 else 's'}"
    return f"more than {words}" if are_more else words


class Window(forms.Form):
    """A time with a beginning and an end, in UTC."""

    since = _moment("From")
    until = _moment("To")

    def clean(self) -> dict[str, Any]:
        asked: dict[str, Any] = super().clean() or self.cleaned_data
        since, until = asked.get("since"), asked.get("until")
        if since and until and since >= until:
            self.add_error("until", "This is not after its beginning.")
        if (since and since.year < 1971) or (until and until.year > 9000):
            self.add_error("since", "Choose times that messages may have been sent at.")
        return asked


class SendMissedForm(Window):
    MISSED, FAILED = "missed", "failed"

    what = forms.ChoiceField(
        choices=[
            (MISSED, "Never sent: it was disabled"),
            (FAILED, "Given up after the last try, not arrived since"),
        ],
        widget=UnfoldAdminRadioSelectWidget,
    )
    field_order = ("what", "since", "until")

    def clean(self) -> dict[str, Any]:
        asked = super().clean()
        since, until = asked.get("since"), asked.get("until")
        if asked.get("what") == self.FAILED and since and until and until - since > RECOVERY:
            self.add_error("since", f"At most {RECOVERY.days} days can be looked at.")
        return asked


class RetryForm(Window):
    """Which refused messages are meant."""

    organization = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="An organization's id (org_…); empty for all.",
    )
    event_type = forms.ChoiceField(
        required=False, choices=[("", "All types"), *_TYPES], widget=UnfoldAdminSelectWidget
    )
    field_order = ("organization", "event_type", "since", "until")

    def clean_organization(self) -> Organization | None:
        uid = self.cleaned_data["organization"].strip()
        if not uid:
            return None
        organization = Organization.objects.filter(uid=uid).first()
        if organization is None:
            raise forms.ValidationError("There is no such organization.")
        return organization

    @property
    def refused(self) -> retries.Refused:
        return retries.Refused(**self.cleaned_data)


def window(*, since: datetime | None = None) -> dict[str, str]:
    """What a form begins with: the time since then, or the last day, until now."""
    now = timezone.now().astimezone(UTC)
    begin = since.astimezone(UTC) if since else now - timedelta(days=1)
    return {
        "since": f"{begin:%Y-%m-%dT%H:%M}",
        "until": f"{now + timedelta(minutes=1):%Y-%m-%dT%H:%M}",
    }


def _check_url(text: str) -> None:
    if problem := egress.url_problem(text):
        raise forms.ValidationError(problem)


class EndpointForm(forms.ModelForm[Endpoint]):
    url = forms.CharField(
        label="URL",
        widget=UnfoldAdminTextInputWidget,
        validators=[URLValidator(schemes=["http", "https"]), _check_url],
    )
    description = forms.CharField(required=False, widget=UnfoldAdminTextInputWidget)
    event_types = forms.MultipleChoiceField(
        choices=_TYPES,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None means all, also those to come.",
    )
    reason = reason_field(READ)

    class Meta:
        model = Endpoint
        fields = ("organization", "url", "description", "event_types")

    def clean_event_types(self) -> list[str] | None:
        return self.cleaned_data["event_types"] or None
