"""What people type about themselves, checked. Forms clean; the domain modules change."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import User
from accounts.names import LONGEST_ADDRESS, clean_address, validate_name


class NameForm(forms.Form):
    name = forms.CharField(
        label="Your name",
        max_length=120,
        validators=[validate_name],
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
        error_messages={"required": "Say what to call you."},
    )


class NewEmailForm(forms.Form):
    """Says the same of every address, known or not."""

    email = forms.CharField(
        label="New address",
        max_length=LONGEST_ADDRESS,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        error_messages={"required": "Type the new address."},
    )

    def __init__(self, *args: object, user: User, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.user = user

    def clean_email(self) -> str:
        email = clean_address(self.cleaned_data["email"])
        if email == self.user.email.lower():
            raise ValidationError("This is the address that you sign in with already.")
        return email


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
