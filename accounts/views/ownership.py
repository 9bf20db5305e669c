"""The pages on which an owner offers the organization, and a member accepts or declines it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import ownership
from accounts.access import MemberRequest, actor_of, member_page
from accounts.models import User
from accounts.permissions import Permission
from accounts.team_forms import TransferForm


@member_page(Permission.ORGANIZATION_TRANSFER)
@require_http_methods(["GET", "POST"])
def offer_ownership(request: MemberRequest) -> HttpResponse:
    """Choose a member and offer them the organization. Nothing changes until they accept."""
    candidates = list(ownership.candidates(request.organization))
    form = TransferForm(
        request.POST if request.method == "POST" else None,
        candidates=candidates,
        initial=request.GET.get("member", ""),
    )
    if request.method == "POST" and form.is_valid():
        to = User.objects.get(uid=form.cleaned_data["member"])
        try:
            ownership.offer(organization=request.organization, to=to, actor=actor_of(request))
        except ownership.NotTransferable:
            form.add_error("member", "Choose a member: this person has left meanwhile.")
        except ownership.AlreadyOffered:
            messages.error(
                request, "The organization is offered to somebody already: cancel that offer first."
            )
            return redirect("accounts:team", organization_uid=request.organization.uid)
        else:
            messages.success(
                request, f"Offered to {to.display_name}. You stay the owner until they accept, within 7 days."
            )
            return redirect("accounts:team", organization_uid=request.organization.uid)
    return render(
        request,
        "accounts/offer_ownership.html",
        {"form": form, "candidates": candidates, "offer": ownership.pending(request.organization)},
        status=400 if form.errors else 200,
    )


@member_page(Permission.ORGANIZATION_VIEW)
@require_http_methods(["GET", "POST"])
def accept_ownership(request: MemberRequest) -> HttpResponse:
    """Say what owning means, and on POST become the owner."""
    offer = ownership.pending(request.organization)
    if request.method == "GET" and offer and offer.to == request.user:
        return render(request, "accounts/accept_ownership.html", {"offer": offer})
    try:
        if request.method == "GET":
            raise ownership.NotOffered
        ownership.accept(organization=request.organization, user=request.user, actor=actor_of(request))
    except ownership.NotOffered:
        return render(request, "accounts/ownership_not_offered.html", status=404)
    messages.success(request, f"You are the owner of {request.organization} now.")
    return redirect("accounts:team", organization_uid=request.organization.uid)


@member_page(Permission.ORGANIZATION_VIEW)
@require_POST
def end_ownership_offer(request: MemberRequest) -> HttpResponse:
    """Cancel one's own offer, or decline the one made to oneself."""
    if ownership.end(organization=request.organization, actor=actor_of(request)):
        messages.success(request, "The offer is ended. Nothing has changed.")
    else:
        messages.info(request, "There is no offer any more.")
    return redirect("accounts:team", organization_uid=request.organization.uid)
