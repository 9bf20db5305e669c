"""What people type about drafts of pipelines, checked."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.names import validate_name
from usage import configurations, pipelines
from usage.models import JobType, PipelineDraft


class DraftForm(forms.Form):
    """A draft. `version` is the one that was shown when it was typed."""

    name = forms.CharField(
        max_length=pipelines.LONGEST_NAME,
        validators=[validate_name],
        error_messages={"required": "Give the draft a name."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    type = forms.ChoiceField(
        label="Endpoint",
        choices=JobType.choices,
        help_text="Which of the API's calls it is a configuration for.",
    )
    text = forms.CharField(
        label="Configuration",
        strip=False,
        error_messages={"required": "Write a JSON object, such as {}."},
        help_text="A JSON object, such as the configuration of a job.",
        widget=forms.Textarea(
            attrs={
                "rows": 22,
                "class": "mono",
                "spellcheck": "false",
                "autocapitalize": "off",
                "autocomplete": "off",
            }
        ),
    )
    version = forms.IntegerField(required=False, min_value=1, max_value=2**31 - 1, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, draft: PipelineDraft | None = None) -> None:
        initial = None
        if draft:
            initial = {"name": draft.name, "type": draft.type, "text": draft.text, "version": draft.version}
        super().__init__(data, initial=initial)

    def clean_text(self) -> str:
        """Its lines and spaces stay as they were typed, but for the line ends that browsers send."""
        text: str = self.cleaned_data["text"].replace("\r\n", "\n")
        configurations.read(text)
        return text

    def values(self) -> dict[str, str]:
        """What was typed, by the names of the draft's columns."""
        return {name: self.cleaned_data[name] for name in ("name", "type", "text")}

    def refuse(self, error: ValidationError) -> None:
        """Show what a domain function said beside the fields that it is about."""
        for name, messages in error.message_dict.items():
            self.add_error(name, messages)
