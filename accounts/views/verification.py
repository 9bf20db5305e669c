"""Sending the link once more that proves an address after signing up."""

from allauth.account.internal.flows.email_verification import send_verification_email_at_login
from allauth.account.stages import EmailVerificationStage, LoginStageController
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.access import public


@public
@require_POST
def resend_verification(request: HttpRequest) -> HttpResponse:
    """Send it to whoever is signing up in this browser; with a known address, that is the other letter again."""
    stage = LoginStageController.enter(request, EmailVerificationStage.key)
    if stage is None:
        messages.info(request, "Sign in with your address and password, and we send you a new link.")
        return redirect("account_login")
    if send_verification_email_at_login(request, stage.login):
        messages.success(request, "Another letter is on its way.")
    else:
        messages.warning(request, "A letter went out a moment ago. Wait a minute before you ask for another.")
    return redirect("account_email_verification_sent")
