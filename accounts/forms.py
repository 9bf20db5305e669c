"""What people type, checked. Forms clean; the domain modules change."""

from typing import Any

from django import forms


class CodeForm(forms.Form):
    """A code of an authenticator app, or a recovery code: each is taken wherever the other is asked for."""

    code = forms.CharField(
        label="Code from your authenticator app",
        max_length=64,
        error_messages={"required": "Type the code."},
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"}
        ),
    )

    def __init__(self, data: Any = None, *, with_recovery_code: bool = False) -> None:
        super().__init__(data)
        code = self.fields["code"]
        code.widget.attrs["autofocus"] = True
        if with_recovery_code:
            code.label = "Recovery code"
            code.widget.attrs |= {"autocomplete": "off", "inputmode": "text", "autocapitalize": "none"}
