"""How support staff sign in: password and one-time code on one page, or the code alone for somebody signed in."""

from typing import Any

from allauth.account.adapter import get_adapter
from django import forms
from django.contrib.auth import BACKEND_SESSION_KEY
from django.http import HttpRequest
from django_otp.admin import OTPAdminAuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

from accounts import two_factor
from accounts.access import client_ip
from accounts.audit import Actor
from accounts.models import User


class StaffLoginForm(OTPAdminAuthenticationForm):  # type: ignore[misc]
    """Verifies a person and their device. Wrong passwords count towards allauth's limits, wrong codes the device's."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.knows_user = request.user.is_authenticated and request.user.is_active and request.user.is_staff
        if self.knows_user:
            del self.fields["username"], self.fields["password"]
        del self.fields["otp_device"]  # each code is looked for on all of a person's devices
        code = self.fields["otp_token"]
        code.label = "Code from your device"
        code.help_text = "Or one of your recovery codes."
        code.widget.attrs |= {"autocomplete": "one-time-code", "maxlength": "64", "spellcheck": "false"}
        next(iter(self.fields.values())).widget.attrs["autofocus"] = True
        for field in self.fields.values():
            field.widget.attrs["class"] = " ".join(BASE_INPUT_CLASSES)

    @property
    def lacks_device(self) -> bool:
        """Whether we know who this is, and that no code of theirs could be right."""
        user = self.get_user()
        return user is not None and not two_factor.has_device(user)

    def get_user(self) -> User | None:
        return self.request.user if self.knows_user else self.user_cache  # type: ignore[no-any-return]

    def clean(self) -> dict[str, Any]:
        if self.knows_user:
            self.request.user.backend = self.request.session[BACKEND_SESSION_KEY]
        else:
            self._check_password()
        if self.lacks_device:
            raise forms.ValidationError("There is no device for this account yet.", code="no_device")
        if user := self.get_user():
            self.clean_otp(user)
        return self.cleaned_data  # type: ignore[no-any-return]

    def _check_password(self) -> None:
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password:
            user = get_adapter(self.request).authenticate(self.request, email=email, password=password)
            if user is None:
                raise self.get_invalid_login_error()
            self.confirm_login_allowed(user)
            self.user_cache = user

    def clean_otp(self, user: User) -> None:
        code = self.cleaned_data.get("otp_token")
        if not code:
            raise forms.ValidationError("Type the code that your device shows.", code="token_required")
        actor = Actor(user, ip=client_ip(self.request))
        user.otp_device = two_factor.verify(user=user, code=code, actor=actor)  # type: ignore[attr-defined]
