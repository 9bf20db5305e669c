"""What the link in an invitation opens: for members-to-be, with an account or without."""

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from accounts import invitations
from accounts.access import LAST_ORGANIZATION, actor_of, public
from accounts.models import Invitation, User
from accounts.permissions import Role
from accounts.team_forms import ROLE_SENTENCES


@public
@never_cache
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show who invites to what; on POST join, as whoever is signed in."""
    person = request.user if isinstance(request.user, User) else None
    try:
        found = invitations.find(token)
        request.session[invitations.OPENED] = found.token_hash
        if request.method == "POST" and person:
            membership, is_new = invitations.accept(
                invitation=found,
                user=person,
                other_address=bool(request.POST.get("other_address")),
                actor=actor_of(request),
            )
            request.session[LAST_ORGANIZATION] = found.organization.uid
            if is_new:
                role = membership.get_role_display().lower()
                messages.success(request, f"Welcome to {found.organization}. Your role is {role}.")
            else:
                messages.info(request, f"You are a member of {found.organization} already.")
            return redirect("home")
    except invitations.Ended as ended:
        return _ended(request, ended.invitation)
    except invitations.OtherAddress:
        return _page(request, found, token, must_confirm=True)
    return _page(request, found, token)


@csrf_exempt  # mail programs post it on their own; whoever has the word may
@public
@never_cache
@require_http_methods(["GET", "POST"])
def decline_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Ask once, and on POST decline: for anybody who has the letter."""
    try:
        found = invitations.find(token)
        if request.method == "POST":
            invitations.decline(invitation=found, actor=actor_of(request))
    except invitations.Ended as ended:
        return _ended(request, ended.invitation)
    return render(
        request,
        "accounts/decline_invitation.html",
        {"invitation": found, "token": token, "declined": request.method == "POST"},
    )


def _page(request: HttpRequest, found: Invitation, token: str, *, must_confirm: bool = False) -> HttpResponse:
    here = reverse("accounts:invitation", args=[token])
    person = request.user if isinstance(request.user, User) else None
    return render(
        request,
        "accounts/invitation.html",
        {
            "invitation": found,
            "token": token,
            "sentence": ROLE_SENTENCES[Role(found.role)],
            "is_member": person and found.organization.memberships.filter(user=person).exists(),
            "is_other_address": person and person.email.lower() != found.email.lower(),
            "must_confirm": must_confirm,
            "here": here,
            "sign_in": f"{reverse('account_login')}?{urlencode({'next': here})}",
            "sign_up": f"{reverse('account_signup')}?{urlencode({'next': here, 'email': found.email})}",
        },
        status=400 if must_confirm else 200,
    )


def _ended(request: HttpRequest, found: Invitation | None) -> HttpResponse:
    """Why this link leads nowhere, and what to do."""
    joined = found and isinstance(request.user, User) and found.accepted_by == request.user
    if found and joined and found.organization.memberships.filter(user=found.accepted_by).exists():
        request.session[LAST_ORGANIZATION] = found.organization.uid
        messages.info(request, f"You have joined {found.organization} by this link already.")
        return redirect("home")
    return render(
        request, "accounts/invitation_ended.html", {"invitation": found}, status=410 if found else 404
    )
