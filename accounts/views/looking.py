"""Support stops looking as a member. The admin has the page that begins it."""

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts import impersonation
from accounts.access import SignedInRequest, actor_of, signed_in


@signed_in
@require_POST
def stop_looking(request: SignedInRequest) -> HttpResponse:
    """End it, and go back to the organization in the admin."""
    organization = impersonation.end(session=request.session, actor=actor_of(request))
    if organization is None or not request.user.is_staff:
        return redirect("home")
    return redirect("admin:accounts_organization_change", organization.pk)
