"""Where somebody lands who opens the address without more."""

from django.http import HttpResponse
from django.shortcuts import redirect, render

from accounts.access import LAST_ORGANIZATION, SignedInRequest, signed_in
from accounts.models import Membership


@signed_in
def home(request: SignedInRequest) -> HttpResponse:
    """Open the usage of the organization last looked at, or of the first one."""
    memberships = Membership.objects.of(request.user).in_order()
    last = request.session.get(LAST_ORGANIZATION)
    membership = memberships.filter(organization__uid=last).first() or memberships.first()
    if membership is None:
        return render(request, "no_organization.html")
    return redirect("usage:dashboard", organization_uid=membership.organization.uid)
