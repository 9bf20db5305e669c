"""The pages about an organization's people: who they are, inviting, changing and removing them, and leaving."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Coalesce, Lower, NullIf
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import invitations, members, ownership, permissions
from accounts.access import MemberRequest, actor_of, member_page
from accounts.models import Invitation, Membership
from accounts.permissions import ROLE_PERMISSIONS, Permission, Role
from accounts.team_forms import ROLE_SENTENCES, InviteForm, RoleForm

MEMBERS_A_PAGE = 100
ENDED_SHOWN = 50

# What each role may do, as the page explains it: a row a permission, a column a role.
ROLES = {
    "roles": [{"label": role.label, "sentence": ROLE_SENTENCES[role]} for role in Role],
    "rows": [
        {"label": permission.label, "allowed": [permission in ROLE_PERMISSIONS[role] for role in Role]}
        for permission in Permission
    ],
}


@member_page(Permission.TEAM_VIEW, for_support=True)
@require_safe
def team(request: MemberRequest) -> HttpResponse:
    """The members by name, a page at a time; the invitations; and an offer of ownership, for whom it concerns."""
    organization, mine = request.organization, request.membership
    by_name = members.listing(organization).order_by(
        Lower(Coalesce(NullIf("user__name", Value("")), "user__email")), "pk"
    )
    page = Paginator(by_name, MEMBERS_A_PAGE).get_page(request.GET.get("page"))
    asked = organization.invitations.select_related("invited_by").order_by("-created_at", "-id")
    offer = ownership.pending(organization)
    may_manage = request.may(Permission.TEAM_MANAGE)
    return render(
        request,
        "accounts/team.html",
        {
            "page": page,
            "rows": [
                {
                    "membership": each,
                    "is_me": each.pk == mine.pk,
                    "may_change": may_manage and _reaches(mine, each),
                }
                for each in page
            ],
            # All that still work, and the last of those that nobody answered in time.
            "open_invitations": asked.open().order_by("-expires_at", "-id")[
                : invitations.MOST_OPEN + ENDED_SHOWN
            ],
            "ended_invitations": asked.exclude(pk__in=asked.open().values("pk"))[:ENDED_SHOWN],
            "offer": offer,
            "offer_is_mine": offer and offer.to == request.user,
            "may_manage": may_manage,
            "may_transfer": request.may(Permission.ORGANIZATION_TRANSFER),
            "table": ROLES,
        },
    )


@member_page(Permission.TEAM_MANAGE)
@require_http_methods(["GET", "POST"])
def invite(request: MemberRequest) -> HttpResponse:
    """Invite some addresses, all of them or none."""
    form = InviteForm(request.POST if request.method == "POST" else None, chooser=request.membership)
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                made = [
                    invitations.invite(
                        organization=request.organization,
                        email=email,
                        role=form.cleaned_data["role"],
                        actor=actor_of(request),
                    )
                    for email in form.cleaned_data["emails"]
                ]
        except invitations.Refused as refusal:
            form.add_error("emails", f"{refusal} Nobody was invited.")
        else:
            _say_whether_sent(request, made, "Invited {}. The link in the letter works for 7 days.")
            return redirect("accounts:team", organization_uid=request.organization.uid)
    return render(request, "accounts/invite.html", {"form": form}, status=400 if form.errors else 200)


@member_page(Permission.TEAM_MANAGE)
@require_POST
def resend_invitation(request: MemberRequest, invitation_uid: str) -> HttpResponse:
    invitation = _invitation(request, invitation_uid)
    try:
        if invitations.resend(invitation=invitation, actor=actor_of(request)):
            _say_whether_sent(request, [invitation], "Sent {} a new link. The one before no longer works.")
        else:
            messages.info(request, f"The invitation of {invitation} has ended meanwhile.")
    except invitations.TooMany as refusal:
        messages.error(request, str(refusal))
    return redirect("accounts:team", organization_uid=request.organization.uid)


@member_page(Permission.TEAM_MANAGE)
@require_http_methods(["GET", "POST"])
def revoke_invitation(request: MemberRequest, invitation_uid: str) -> HttpResponse:
    """Say what follows, and on POST take the invitation back."""
    invitation = _invitation(request, invitation_uid)
    if request.method == "GET" and invitation in request.organization.invitations.open():
        return render(request, "accounts/revoke_invitation.html", {"invitation": invitation})
    if request.method == "POST" and invitations.revoke(invitation=invitation, actor=actor_of(request)):
        messages.success(request, f"The invitation of {invitation} is revoked. Its link no longer works.")
    else:
        messages.info(request, f"The invitation of {invitation} has ended already.")
    return redirect("accounts:team", organization_uid=request.organization.uid)


@member_page(Permission.TEAM_MANAGE)
@require_http_methods(["GET", "POST"])
def member(request: MemberRequest, user_uid: str) -> HttpResponse:
    """One member, and on POST another role for them."""
    membership = _member(request, user_uid)
    form = RoleForm(
        request.POST if request.method == "POST" else None,
        chooser=request.membership,
        initial=membership.role,
    )
    if request.method == "POST" and form.is_valid():
        role = Role(form.cleaned_data["role"])
        if members.change_role(membership=membership, role=role, actor=actor_of(request)):
            messages.success(
                request, f"The role of {membership.user.display_name} is {role.label.lower()} now."
            )
        else:
            messages.info(request, f"Nothing changed for {membership.user.display_name}.")
        return redirect("accounts:team", organization_uid=request.organization.uid)
    return render(
        request,
        "accounts/member.html",
        {
            "membership": membership,
            "keys": members.keys_that_stop(membership),
            "form": form,
            "may_change": _reaches(request.membership, membership),
            "is_me": membership.pk == request.membership.pk,
        },
        status=400 if form.errors else 200,
    )


@member_page(Permission.TEAM_MANAGE)
@require_http_methods(["GET", "POST"])
def remove_member(request: MemberRequest, user_uid: str) -> HttpResponse:
    """Say which keys will stop, and on POST remove the member."""
    membership = _member(request, user_uid)
    if membership.pk == request.membership.pk:
        return redirect("accounts:leave", organization_uid=request.organization.uid)
    if not _reaches(request.membership, membership):
        raise PermissionDenied
    if request.method == "POST":
        if members.remove(membership=membership, actor=actor_of(request)):
            messages.success(
                request,
                f"{membership.user.display_name} is removed and can no longer open this organization.",
            )
        else:
            messages.info(request, f"{membership.user.display_name} was removed before.")
        return redirect("accounts:team", organization_uid=request.organization.uid)
    return render(
        request,
        "accounts/remove_member.html",
        {"membership": membership, "keys": members.keys_that_stop(membership)},
    )


@member_page(Permission.ORGANIZATION_VIEW)
@require_http_methods(["GET", "POST"])
def leave(request: MemberRequest) -> HttpResponse:
    """Say which keys will stop, and on POST end one's own membership. An owner hands the organization over first."""
    if request.method == "POST" and not request.may(Permission.ORGANIZATION_TRANSFER):
        try:
            members.leave(membership=request.membership, actor=actor_of(request))
        except members.OwnerStays:  # somebody handed it over this moment
            return redirect("accounts:leave", organization_uid=request.organization.uid)
        messages.success(request, f"You have left {request.organization}.")
        return redirect("home")
    return render(
        request,
        "accounts/leave.html",
        {
            "keys": members.keys_that_stop(request.membership),
            "owns_it": request.may(Permission.ORGANIZATION_TRANSFER),
        },
        status=409 if request.method == "POST" else 200,
    )


def _member(request: MemberRequest, user_uid: str) -> Membership:
    return get_object_or_404(members.listing(request.organization), user__uid=user_uid)


def _invitation(request: MemberRequest, invitation_uid: str) -> Invitation:
    own = request.organization.invitations.select_related("organization", "invited_by")
    return get_object_or_404(own, uid=invitation_uid)


def _reaches(mine: Membership, theirs: Membership) -> bool:
    return permissions.reaches(mine.permissions, theirs.role)


def _say_whether_sent(request: MemberRequest, made: list[Invitation], sentence: str) -> None:
    unsent = set(Invitation.objects.filter(pk__in=[each.pk for each in made], sent_at=None))
    if sent := [each.email for each in made if each not in unsent]:
        messages.success(request, sentence.format(", ".join(sent)))
    if unsent:
        failed = ", ".join(each.email for each in made if each in unsent)
        messages.error(request, f"The letter to {failed} could not be sent. Try “Resend” in a while.")
