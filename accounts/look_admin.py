"""The page of the back office on which support begins to look as a member: whom as, and why."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from unfold.widgets import UnfoldAdminSelectWidget

from accounts import impersonation, notes
from accounts.access import actor_of
from accounts.admin_forms import READ, reason_field
from accounts.models import Membership, Organization


class _MemberField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.user.display_name} ({obj.get_role_display()})"


class LookForm(forms.Form):
    membership = _MemberField(
        Membership.objects.none(),
        label="Member",
        to_field_name="uid",
        empty_label="Choose a member",
        widget=UnfoldAdminSelectWidget,
        help_text="You see what this member's role lets them see. Members who are on the staff are left out.",
    )
    reason = reason_field(READ)

    def __init__(self, data: Any = None, *, organization: Organization, member: str = "") -> None:
        """`member` is the id of the person chosen beforehand."""
        super().__init__(data, initial={"membership": member})
        field = self.fields["membership"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = impersonation.members_to_look_as(organization)


def look(request: HttpRequest, organization: Organization, site: AdminSite) -> HttpResponse:
    """Ask, and lead to the organization's pages as that member sees them."""
    form = LookForm(
        request.POST if request.method == "POST" else None,
        organization=organization,
        member=request.GET.get("member", ""),
    )
    problem = "" if organization.support_may_look else str(impersonation.OptedOut())
    if not problem and form.is_valid():
        try:
            impersonation.start(session=request.session, actor=actor_of(request), **form.cleaned_data)
        except impersonation.CannotLook as why:
            problem = str(why)
        else:
            return redirect("usage:dashboard", organization.uid)
    context = {
        "title": "Look as a member",
        "organization": organization,
        "warnings": notes.warnings_of(organization),
        "form": None if problem else form,
        "problem": problem,
        "minutes": impersonation.LASTS // timedelta(minutes=1),
    }
    return render(
        request,
        "admin/accounts/organization/look.html",
        site.each_context(request) | context,
        status=400 if request.method == "POST" else 200,
    )
