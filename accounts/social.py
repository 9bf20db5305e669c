"""Signing in with an account elsewhere: GitHub, Google, or an OpenID Connect provider such as a company's own.

allauth does it, for the providers that the setting SOCIAL_SIGN_IN names. Nothing here takes a provider's word for more
than who somebody is there: an address counts as verified only if the provider says so, and never opens an account
that it is not connected to.
"""

import unicodedata
from typing import Any

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.forms import BaseForm
from django.http import HttpRequest
from django.urls import reverse

from accounts import audit
from accounts.access import actor_of
from accounts.audit import Actor
from accounts.models import NoticeKind, User
from accounts.notifications import notify
from accounts.sign_up import record_sign_up


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        for address in sociallogin.email_addresses:
            address.verified = address.verified is True  # some say "false"

    def can_authenticate_by_email(self, login: SocialLogin, email: str) -> bool:
        """Never: whoever runs a provider could open any account by claiming its address."""
        return False

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        """Take over what a provider says of somebody, as far as it is text that can be seen."""
        account = sociallogin.account
        if not account.uid.isprintable():
            raise PermissionDenied("The provider names nobody.")
        data = {key: _visible(value) for key, value in data.items() if isinstance(value, str)}
        account.extra_data = {key: data[key] for key in ("email", "name", "username") if key in data}
        user: User = super().populate_user(request, sociallogin, data)
        name = data.get("name") or f"{data.get('first_name', '')} {data.get('last_name', '')}"
        user.name = name.strip()[:120].strip()
        return user

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: BaseForm | None = None) -> User:
        try:
            with transaction.atomic():
                user: User = super().save_user(request, sociallogin, form)
                # Whoever owns such an address could otherwise be led, by a forgotten password, to this account.
                EmailAddress.objects.filter(user=user, verified=False, primary=False).delete()
                record_sign_up(request, user, provider=sociallogin.account.provider)
        except IntegrityError as error:  # the same sign-up, a moment earlier
            response = get_account_adapter().respond_email_verification_sent(request, None)
            raise ImmediateHttpResponse(response) from error
        return user


def _visible(text: str) -> str:
    return "".join(character for character in text if unicodedata.category(character)[0] != "C")


def record_connected(sender: Any, request: HttpRequest, sociallogin: SocialLogin, **_: Any) -> None:
    _record(request, sociallogin.account, "connected", "You can now sign in with your {} account")


def record_disconnected(sender: Any, request: HttpRequest, socialaccount: SocialAccount, **_: Any) -> None:
    _record(request, socialaccount, "disconnected", "You can no longer sign in with your {} account")


@transaction.atomic
def _record(request: HttpRequest, account: SocialAccount, what: str, title: str) -> None:
    provider = account.get_provider().name
    fact = {"provider": account.provider, "id": account.uid}
    entry = audit.record(
        audit.Action.USER_UPDATED,
        actor=actor_of(request),
        target=account.user,
        before={"connected": fact} if what == "disconnected" else {},
        after={"connected": fact} if what == "connected" else {},
    )
    notify(
        [account.user],
        kind=NoticeKind.SECURITY,
        key=f"account_{what}:{entry.pk}",
        title=title.format(provider),
        body="If this was not you, change your password now.",
        url=reverse("accounts:profile"),
    )


def disconnect_all(user: User, *, actor: Actor) -> None:
    """Let nobody in here any more with an account elsewhere."""
    accounts = SocialAccount.objects.filter(user=user)
    facts = [{"provider": provider, "id": uid} for provider, uid in accounts.values_list("provider", "uid")]
    if facts:
        accounts.delete()
        audit.record(audit.Action.USER_UPDATED, actor=actor, target=user, before={"connected": facts})
