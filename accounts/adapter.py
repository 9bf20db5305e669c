"""How allauth behaves here: who may sign up, which letters are sent, and what a new password brings with it."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.account.utils import get_next_redirect_url
from allauth.core import context
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.forms import BaseForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import invitations, mail, passwords, social
from accounts.access import client_ip
from accounts.audit import Actor
from accounts.models import User
from accounts.names import clean_address


@dataclass(frozen=True)
class Letter:
    template: str
    reason: str


CONFIRM = Letter("confirm_email", "an account was opened with this address")
# Every letter that allauth sends of its own; what it calls notifications is off, for ours tell more.
LETTERS = {
    "account/email/email_confirmation": CONFIRM,
    "account/email/email_confirmation_signup": CONFIRM,
    "account/email/account_already_exists": Letter(
        "account_exists", "somebody tried to sign up with this address"
    ),
    "account/email/password_reset_key": Letter(
        "reset_password", "somebody asked for a new password for this address"
    ),
    "account/email/unknown_account": Letter(
        "unknown_account", "somebody asked for a new password for this address"
    ),
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Whether a visitor may sign up. Where that is closed, the link of an invitation opens it."""
        return settings.SIGN_UP_OPEN or invitations.opened_in(request.session) is not None

    def is_email_verified(self, request: HttpRequest, email: str) -> bool:
        """Whether they have shown already that this is their address: by the link that an invitation brought there."""
        invitation = invitations.opened_in(request.session)
        return invitation is not None and invitation.email.lower() == email.lower()

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Count wrong passwords for an address by where they come from, so that no stranger can lock its owner out."""
        key: str = super()._get_login_attempts_cache_key(request, **credentials)
        return f"{key}:{client_ip(request)}"

    def clean_email(self, email: str) -> str:
        return clean_address(email)

    def save_user(self, request: HttpRequest, user: User, form: BaseForm, commit: bool = True) -> User:
        user.name = form.cleaned_data.get("name", user.name)
        saved: User = super().save_user(request, user, form, commit)
        return saved

    def set_password(self, user: User, password: str) -> None:
        """Every new password of the pages comes through here: changed, set for the first time, or reset by mail."""
        request: HttpRequest = context.request
        own = request.user == user
        actor = Actor(user, client_ip(request))
        with transaction.atomic():
            if not (own or EmailAddress.objects.filter(user=user, verified=True).exists()):
                # Only who reads its mail is known to own it, and that need not be whoever opened it.
                social.disconnect_all(user, actor=actor)
            passwords.change(
                user=user,
                password=password,
                actor=actor,
                keep=request.session.session_key if own else None,
            )

    def get_login_stages(self) -> list[str]:
        return [*super().get_login_stages(), "accounts.two_factor_stage.TwoFactorStage"]

    def is_safe_url(self, url: str) -> bool:
        """Whether one may be sent there after signing in: only to pages of this very address."""
        request: HttpRequest = context.request
        return url_has_allowed_host_and_scheme(
            url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
        )

    def get_client_ip(self, request: HttpRequest) -> str:
        address = client_ip(request)
        if address is None:
            raise PermissionDenied("It cannot be told from where this request comes.")
        return address

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        """The link takes along where its reader was going, for they may open it in another browser."""
        url = settings.BASE_URL + reverse("account_confirm_email", args=[emailconfirmation.key])
        wanted = get_next_redirect_url(request)
        return f"{url}?{urlencode({'next': wanted})}" if wanted else url

    def get_reset_password_from_key_url(self, key: str) -> str:
        path = urlsplit(super().get_reset_password_from_key_url(key)).path
        return f"{settings.BASE_URL}{path}"

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("accounts:profile")

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        letter = LETTERS[template_prefix]
        mail.try_to_send(
            letter.template,
            to=email,
            context={
                "email": email,
                "confirm_url": context.get("activate_url", ""),
                "reset_url": context.get("password_reset_url", ""),
                "sign_in_url": settings.BASE_URL + reverse("account_login"),
                "forgotten_url": settings.BASE_URL + reverse("account_reset_password"),
                "sign_up_url": settings.BASE_URL + reverse("account_signup") if settings.SIGN_UP_OPEN else "",
            },
            reason=letter.reason,
        )
