"""Where the link at the foot of a letter leads: it works for whoever holds it, without signing in."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from accounts import notification_preferences
from accounts.access import client_ip, public
from accounts.audit import Actor
from accounts.notification_preferences import TOPICS, BadToken


@public
@csrf_exempt  # mail programs post by themselves (RFC 8058); the token is what counts
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Say which letters will stop, for programs that follow links must stop none; and on POST stop them."""
    try:
        user, place = notification_preferences.read_token(token)
    except BadToken:
        return render(request, "accounts/unsubscribe_unknown.html", status=404)
    if request.method == "POST":
        notification_preferences.change(
            user=user, wanted={place: False}, actor=Actor(user, ip=client_ip(request))
        )
    stopped = not notification_preferences.wants_mail(
        user=user, organization=place.organization, kind=place.kind
    )
    return render(
        request,
        "accounts/unsubscribe.html",
        {"place": place, "subject": TOPICS[place.kind].subject, "stopped": stopped},
    )
