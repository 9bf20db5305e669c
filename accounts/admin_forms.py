"""What support says for what it does by hand."""

from typing import Any

from django import forms
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.names import validate_name

KEPT = "It stays in the audit trail."
READ = "The customer reads it. It stays in the audit trail."


def reason_field(help_text: str) -> forms.CharField:
    return forms.CharField(
        max_length=200,
        validators=[validate_name],
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text=help_text,
    )


class ReasonForm(forms.Form):
    reason = reason_field(KEPT)


class ToldReasonForm(forms.Form):
    reason = reason_field(READ)


class Dialog(BaseDialogForm):  # type: ignore[misc]
    """What a dialog asks. Its fields have ids of their own: a form on the page behind it may ask the same."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **({"auto_id": "dialog_%s"} | kwargs))


class ReasonDialog(Dialog):
    reason = reason_field(KEPT)


class ToldReasonDialog(Dialog):
    reason = reason_field(READ)
