"""Where the links of `configure_webhook` lead."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.access import SignedInRequest, signed_in
from webhooks import configure_link


@signed_in
@never_cache
@require_safe
def configure(request: SignedInRequest, token: str) -> HttpResponse:
    """Lead to the pages of the organization that the link was made for; there it shows who may see them."""
    uid = configure_link.organization_uid(token)
    if uid is None:
        return render(request, "webhooks/configure_expired.html", status=410)
    return redirect("webhooks:endpoints", uid)
