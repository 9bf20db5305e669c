"""What the links lead to that are mailed for a change of address."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import email_change
from accounts.access import client_ip, public


@public
@never_cache
@require_http_methods(["GET", "POST"])
def confirm_email_change(request: HttpRequest, token: str) -> HttpResponse:
    """Show what the link would do; the button does it, for programs that check mail follow links, too."""
    try:
        change, side = email_change.find(token)
        if request.method == "GET":
            confirmed = getattr(change, f"{side.value}_confirmed_at")
            return _page(request, "waiting" if confirmed else "ask", change=change, side=side.value)
        remaining = email_change.confirm(token=token, ip=client_ip(request))
    except email_change.LinkEnded:
        return _page(request, "ended", status=404)
    except email_change.AddressTaken:
        return _page(request, "taken", change=change, status=409)
    if remaining:
        return _page(request, "waiting", change=change, side=side.value)
    # `change` was read before, so it has the old address.
    billed = email_change.billed_to(change.user, change.user.email)
    return _page(request, "done", change=change, billed=billed)


def _page(request: HttpRequest, state: str, *, status: int = 200, **context: object) -> HttpResponse:
    return render(request, "accounts/confirm_email_change.html", {"state": state} | context, status=status)
