"""The pages of allauth that there are here. Whatever else it brings has no address.

Its page of e-mail addresses above all: on that, one's address could be changed without the old one's consent.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account import views
from allauth.socialaccount import views as social
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.github import views as github
from allauth.socialaccount.providers.google import views as google
from allauth.socialaccount.providers.openid_connect import views as openid_connect
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import URLPattern, path, re_path
from requests import RequestException

from accounts.views.verification import resend_verification

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponseBase]


def _with_provider(view: View) -> View:
    """A view about a provider, which may not be set up, or be out of reach."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except SocialApp.DoesNotExist:
            raise Http404 from None
        # The others are what allauth raises for an answer that names nobody, or whoever it names oddly.
        except (RequestException, KeyError, ValueError, ImproperlyConfigured) as error:
            logger.warning("signing in with an account elsewhere failed: %r", error)
            return render_authentication_error(request, None, exception=error)  # type: ignore[no-any-return]

    return guarded


def _provider(prefix: str, name: str, login: View, callback: View) -> list[URLPattern]:
    return [
        path(f"{prefix}/login/", _with_provider(login), name=f"{name}_login"),
        path(f"{prefix}/login/callback/", _with_provider(callback), name=f"{name}_callback"),
    ]


urlpatterns = [
    path("login/", views.login, name="account_login"),
    path("logout/", views.logout, name="account_logout"),
    path("inactive/", views.account_inactive, name="account_inactive"),
    path("signup/", views.signup, name="account_signup"),
    path("reauthenticate/", views.reauthenticate, name="account_reauthenticate"),
    path("confirm-email/", views.email_verification_sent, name="account_email_verification_sent"),
    path("confirm-email/resend/", resend_verification, name="account_resend_verification"),
    re_path(r"^confirm-email/(?P<key>[-:\w]+)/$", views.confirm_email, name="account_confirm_email"),
    path("password/change/", views.password_change, name="account_change_password"),
    path("password/set/", views.password_set, name="account_set_password"),
    path("password/reset/", views.password_reset, name="account_reset_password"),
    path("password/reset/done/", views.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        views.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "password/reset/key/done/",
        views.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path("connections/", social.connections, name="socialaccount_connections"),
    path("connections/sign-up/", social.signup, name="socialaccount_signup"),
    path("connections/cancelled/", social.login_cancelled, name="socialaccount_login_cancelled"),
    path("connections/error/", social.login_error, name="socialaccount_login_error"),
    *_provider("github", "github", github.oauth2_login, github.oauth2_callback),
    *_provider("google", "google", google.oauth2_login, google.oauth2_callback),
    *_provider("oidc/<slug:provider_id>", "openid_connect", openid_connect.login, openid_connect.callback),
]
