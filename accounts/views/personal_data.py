"""Taking one's data along, and leaving for good."""

from allauth.account.decorators import reauthentication_required
from django import forms
from django.contrib.auth import logout
from django.core.exceptions import ValidationError
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import audit, personal_data
from accounts.access import SignedInRequest, actor_of, signed_in
from accounts.models import Membership, User

KEYS_SHOWN = 100


class DeleteAccountForm(forms.Form):
    """Typed by hand, so that nobody's account ends by a slip."""

    email = forms.CharField(
        label="Your e-mail address",
        max_length=254,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
        ),
    )

    def __init__(self, data: object = None, *, user: User) -> None:
        super().__init__(data)  # type: ignore[arg-type]
        self._user = user

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        if email.lower() != self._user.email.lower():
            raise ValidationError("This is not the address you sign in with.")
        return email


@signed_in
@never_cache
@require_http_methods(["GET", "POST"])
def download_data(request: SignedInRequest) -> HttpResponseBase:
    """Say what the file holds, and on POST hand it over."""
    if request.method == "GET":
        return render(request, "accounts/download_data.html")
    audit.record(audit.Action.USER_DATA_DOWNLOADED, actor=actor_of(request), target=request.user)
    return StreamingHttpResponse(
        personal_data.download(request.user),
        content_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="my-data.json"'},
    )


@signed_in
@reauthentication_required  # type: ignore[untyped-decorator]
@never_cache
@require_http_methods(["GET", "POST"])
def delete_account(request: SignedInRequest) -> HttpResponse:
    """Say what follows and what stands in the way, and on POST delete the account."""
    user = request.user
    form = DeleteAccountForm(request.POST if request.method == "POST" else None, user=user)
    if request.method == "POST" and form.is_valid():
        email = user.email
        try:
            personal_data.delete_account(user=user, actor=actor_of(request))
        except (personal_data.SoleOwner, personal_data.OfTheStaff):
            pass  # the page says so, and what to do
        else:
            logout(request)
            return render(request, "accounts/account_deleted.html", {"email": email})
    stopping = list(personal_data.keys_that_stop(user)[: KEYS_SHOWN + 1])
    return render(
        request,
        "accounts/delete_account.html",
        {
            "form": form,
            "owned": list(personal_data.owned_by(user)),
            "memberships": list(Membership.objects.of(user).in_order()),
            "keys": stopping[:KEYS_SHOWN],
            "more_keys": len(stopping) > KEYS_SHOWN,
        },
        status=400 if request.method == "POST" else 200,
    )
