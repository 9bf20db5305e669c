"""Where signing in asks for the second factor."""

from allauth.account.stages import LoginStageController
from allauth.core import ratelimit
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import two_factor
from accounts.access import client_ip, public
from accounts.audit import Actor
from accounts.models import RecoveryCodes
from accounts.profile_forms import CodeForm
from accounts.two_factor_stage import TwoFactorStage


@public
@never_cache
@require_http_methods(["GET", "POST"])
def two_factor_challenge(request: HttpRequest) -> HttpResponse:
    """Ask whoever has shown their password for a code, and sign them in for a right one."""
    if request.user.is_authenticated:
        return redirect(settings.LOGIN_REDIRECT_URL)
    stage: TwoFactorStage | None = LoginStageController.enter(request, TwoFactorStage.key)
    if stage is None or not stage.holds:
        messages.info(request, "Sign in again: it was not finished in time, or something changed meanwhile.")
        return _start_again(stage)
    with_recovery_code = "recovery" in request.GET
    form = CodeForm(request.POST if request.method == "POST" else None, with_recovery_code=with_recovery_code)
    if request.method == "POST" and form.is_valid():
        if not ratelimit.consume(request, action="two_factor"):
            return render(request, "429.html", status=429)
        user = stage.login.user
        try:
            device = two_factor.verify(
                user=user, code=form.cleaned_data["code"], actor=Actor(user, ip=client_ip(request))
            )
        except two_factor.CodeRefused as error:
            form.add_error("code", error)
        else:
            if isinstance(device, RecoveryCodes):
                left = two_factor.codes_left(user)
                messages.warning(request, f"Recovery codes left: {left}. Each works once.")
            return stage.pass_with(device)
    return render(
        request,
        "accounts/two_factor_challenge.html",
        {"form": form, "with_recovery_code": with_recovery_code},
        status=400 if form.errors else 200,
    )


@public
@require_POST
def cancel_two_factor_challenge(request: HttpRequest) -> HttpResponse:
    """Forget the password that was shown, so that somebody else may sign in."""
    stage: TwoFactorStage | None = LoginStageController.enter(request, TwoFactorStage.key)
    return _start_again(stage)


def _start_again(stage: TwoFactorStage | None) -> HttpResponse:
    response: HttpResponse = stage.abort() if stage else redirect(settings.LOGIN_URL)
    return response
