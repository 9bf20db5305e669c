"""How long an organization keeps the details of its jobs."""

from datetime import timedelta

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts import organizations
from accounts.access import MemberRequest, actor_of, member_page
from accounts.permissions import Permission
from usage import retention
from usage.forms import RetentionForm


@member_page(Permission.ORGANIZATION_VIEW, for_support=True)
@require_http_methods(["GET", "POST"])
def data_settings(request: MemberRequest) -> HttpResponse:
    """What the plan allows, and what the organization chose within that. Who chooses less is asked once more."""
    organization = request.organization
    may_manage = request.may(Permission.ORGANIZATION_MANAGE)
    if request.method == "POST" and not may_manage:
        raise PermissionDenied
    most = retention.longest(organization)
    form = RetentionForm(
        request.POST if request.method == "POST" else None, organization=organization, most=most
    )
    days, now = retention.retention_days(organization), timezone.now()
    if request.method == "POST" and form.is_valid():
        fewer = retention.days_kept(most, form.cleaned_data["retention_days"])
        if fewer < days and "confirmed" not in request.POST:
            return render(
                request,
                "usage/shorten_retention.html",
                {"days": days, "fewer": fewer, "lost": days - fewer, "next_run": retention.next_run(now)},
            )
        try:
            changed = organizations.update(
                organization=organization, changes=form.cleaned_data, actor=actor_of(request)
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, "Saved." if changed else "Nothing was changed.")
            return redirect("usage:data_settings", organization_uid=organization.uid)
    return render(
        request,
        "usage/data_settings.html",
        {
            "form": form,
            "may_manage": may_manage,
            "longest": most,
            "days": days,
            "kept_since": now - timedelta(days=days),
            "next_run": retention.next_run(now),
        },
        status=400 if form.errors else 200,
    )
