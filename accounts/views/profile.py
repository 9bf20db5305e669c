"""The page about oneself, and the wish for another address."""

from allauth.account.decorators import reauthentication_required
from allauth.core.ratelimit import consume_or_429
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import email_change
from accounts import profile as people
from accounts.access import SignedInRequest, actor_of, signed_in
from accounts.profile_forms import NameForm, NewEmailForm


@signed_in
@require_http_methods(["GET", "POST"])
def profile(request: SignedInRequest) -> HttpResponse:
    """What we know about somebody, and the way to change each part of it."""
    form = NameForm(request.POST or None, initial={"name": request.user.name})
    if request.method == "POST" and form.is_valid():
        if people.rename(user=request.user, name=form.cleaned_data["name"], actor=actor_of(request)):
            messages.success(request, "Your name is saved.")
        return redirect("accounts:profile")
    connected = [
        account.get_provider_account()
        for account in SocialAccount.objects.filter(user=request.user).order_by("id")
    ]
    return render(
        request,
        "accounts/profile.html",
        {
            "form": form,
            "email_change": email_change.pending(request.user),
            "connected": connected,
            "may_connect": bool(settings.SOCIALACCOUNT_PROVIDERS),
        },
        status=400 if form.errors else 200,
    )


@signed_in
@reauthentication_required  # type: ignore[untyped-decorator]
@require_http_methods(["GET", "POST"])
def change_email(request: SignedInRequest) -> HttpResponse:
    """Ask for another address; the links in two letters then make it so."""
    form = NewEmailForm(request.POST or None, user=request.user)
    if request.method == "POST" and form.is_valid():
        if too_many := consume_or_429(request, action="manage_email"):
            return too_many  # type: ignore[no-any-return]
        change = email_change.ask(user=request.user, new_email=form.cleaned_data["email"])
        messages.success(
            request, f"Two letters are on their way, to {request.user.email} and to {change.new_email}."
        )
        return redirect("accounts:profile")
    return render(
        request,
        "accounts/change_email.html",
        {"form": form, "email_change": email_change.pending(request.user)},
        status=400 if form.errors else 200,
    )


@signed_in
@require_POST
def cancel_email_change(request: SignedInRequest) -> HttpResponse:
    if email_change.cancel(user=request.user):
        messages.success(request, "Your address stays as it is; the links in the letters work no more.")
    return redirect("accounts:profile")
