"""How somebody gets an account by themselves."""

from typing import Any

from allauth.account.forms import SignupForm
from django import forms
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse

from accounts import audit
from accounts.access import client_ip
from accounts.audit import Actor
from accounts.models import User
from accounts.names import validate_name
from accounts.password_forms import RULE


class SignUpForm(SignupForm):  # type: ignore[misc]
    """allauth's form, with a name. It answers the same whether or not the address is known."""

    name = forms.CharField(
        max_length=120,
        validators=[validate_name],
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
        error_messages={"required": "Say what to call you."},
    )
    field_order = ("name", "email", "password1")
    account_already_exists: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = RULE

    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponse | None]:
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])  # so that it takes as long
            return super().try_save(request)  # type: ignore[no-any-return]
        try:
            return super().try_save(request)  # type: ignore[no-any-return]
        except IntegrityError:  # somebody was faster with this address
            self.account_already_exists = True
            return super().try_save(request)  # type: ignore[no-any-return]

    @transaction.atomic
    def save(self, request: HttpRequest) -> User:
        user: User = super().save(request)
        record_sign_up(request, user)
        return user


def record_sign_up(request: HttpRequest, user: User, **how: Any) -> None:
    audit.record(
        audit.Action.USER_CREATED,
        actor=Actor(user, client_ip(request)),
        target=user,
        after={"email": user.email, "name": user.name} | how,
    )
