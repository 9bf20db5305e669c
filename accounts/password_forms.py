"""allauth's forms for a new password, in plain words."""

from typing import Any

from allauth.account import forms

RULE = "At least 10 characters, and not what others use, too."
LABELS = {"oldpassword": "Present password", "password1": "New password", "password2": "New password again"}


class _PlainWords:
    fields: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label = LABELS[name]
        self.fields["password1"].help_text = RULE


class ChangePasswordForm(_PlainWords, forms.ChangePasswordForm):  # type: ignore[misc]
    pass


class SetPasswordForm(_PlainWords, forms.SetPasswordForm):  # type: ignore[misc]
    pass


class ResetPasswordKeyForm(_PlainWords, forms.ResetPasswordKeyForm):  # type: ignore[misc]
    pass
