"""The pages on which organizations are made, set up and deleted."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts import devices, form_once, organizations, two_factor
from accounts.access import MemberRequest, SignedInRequest, actor_of, member_page, signed_in
from accounts.models import Organization
from accounts.organization_forms import (
    DeleteOrganizationForm,
    NewOrganizationForm,
    OrganizationForm,
    SecurityForm,
)
from accounts.permissions import Permission


@signed_in
@require_http_methods(["GET", "POST"])
def create_organization(request: SignedInRequest) -> HttpResponse:
    """Make an organization that the person owns."""
    form = NewOrganizationForm(request.POST if request.method == "POST" else None)
    uid, signed_uid = form_once.uid_of(request, "org")
    if request.method == "POST" and form.is_valid():
        try:
            organization = organizations.create(
                uid=uid, owner=request.user, actor=actor_of(request), **form.cleaned_data
            )
        except organizations.AlreadyCreated:
            messages.info(request, "This form has made its organization already.")
            return redirect("accounts:api_keys", organization_uid=uid)
        except organizations.TooMany as error:
            form.add_error(None, str(error))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(
                request,
                f"{organization.name} is ready. Next, create an API key for your first program; your colleagues can "
                "be invited under Team.",
            )
            return redirect("accounts:api_keys", organization_uid=organization.uid)
    return render(
        request,
        "accounts/create_organization.html",
        {"form": form, "signed_uid": signed_uid},
        status=400 if form.errors else 200,
    )


@member_page(Permission.ORGANIZATION_VIEW, for_support=True)
@require_http_methods(["GET", "POST"])
def settings(request: MemberRequest) -> HttpResponse:
    """What every member may see, and those who manage the organization may change."""
    organization = request.organization
    may_manage = request.may(Permission.ORGANIZATION_MANAGE)
    if request.method == "POST" and not may_manage:
        raise PermissionDenied
    form = OrganizationForm(request.POST if request.method == "POST" else None, organization=organization)
    if request.method == "POST" and form.is_valid():
        try:
            changed = organizations.update(
                organization=organization, changes=form.cleaned_data, actor=actor_of(request)
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, "Saved." if changed else "Nothing was changed.")
            return redirect("accounts:settings", organization_uid=organization.uid)
    return render(
        request,
        "accounts/settings.html",
        {
            "form": form,
            "may_manage": may_manage,
            "waiting_zone": _waiting_zone(organization),
        },
        status=400 if form.errors else 200,
    )


@member_page(Permission.ORGANIZATION_MANAGE)
@require_http_methods(["GET", "POST"])
def security_settings(request: MemberRequest) -> HttpResponse:
    """Who manages keys, whether support may look, and whether members need a second factor."""
    organization = request.organization
    form = SecurityForm(
        request.POST if request.method == "POST" else None,
        organization=organization,
        may_restrict_keys=request.may(Permission.ORGANIZATION_TRANSFER),
    )
    if request.method == "POST" and form.is_valid():
        try:
            changed = _save_security(request, form)
        except two_factor.ActorLacksDevice:
            form.add_error(
                "two_factor", "Set up your own second factor first, so that you do not shut yourself out."
            )
        else:
            messages.success(request, "Saved." if changed else "Nothing was changed.")
            return redirect("accounts:security_settings", organization_uid=organization.uid)
    return render(
        request,
        "accounts/security_settings.html",
        {
            "form": form,
            "has_device": two_factor.has_device(request.user),
            "without_device": devices.without_device(organization).count(),
            "member_count": organization.memberships.count(),
        },
        status=400 if form.errors else 200,
    )


@transaction.atomic
def _save_security(request: MemberRequest, form: SecurityForm) -> bool:
    organization, actor = request.organization, actor_of(request)
    own = organizations.CHANGEABLE & form.cleaned_data.keys()
    is_changed = organizations.update(
        organization=organization, changes={name: form.cleaned_data[name] for name in own}, actor=actor
    )
    is_required = two_factor.require(
        organization=organization, from_=form.two_factor_required_from, actor=actor
    )
    return is_changed or is_required


@member_page(Permission.ORGANIZATION_DELETE)
@require_http_methods(["GET", "POST"])
def delete_organization(request: MemberRequest) -> HttpResponse:
    """Say what follows, and delete once the name is typed."""
    organization = request.organization
    form = DeleteOrganizationForm(
        request.POST if request.method == "POST" else None, organization=organization
    )
    if request.method == "POST" and form.is_valid():
        if organizations.delete(organization=organization, actor=actor_of(request)):
            messages.success(
                request,
                f"{organization.name} is deleted, and its API keys have stopped working. The support staff can bring "
                f"it back until {organization.erase_after:%-d %B %Y}.",
            )
        return redirect("home")
    return render(
        request,
        "accounts/delete_organization.html",
        {
            "form": form,
            "member_count": organization.memberships.count(),
            "key_count": organization.api_keys.organization_keys().live().count(),
            "invitation_count": organization.invitations.open().count(),
            "erased_on": timezone.now() + organizations.GRACE,
            "grace": organizations.GRACE.days,
        },
        status=400 if form.errors else 200,
    )


def _waiting_zone(organization: Organization) -> str:
    """The zone that has been chosen and does not count yet."""
    return "" if organization.zone.key == organization.next_time_zone else organization.next_time_zone
