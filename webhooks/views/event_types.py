"""The catalogue of what can be heard of, for readers with and without an account."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import public
from webhooks.catalogue import groups


@public
@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    """Every event type: what it means, the fields of its data, and a payload to try."""
    return render(request, "webhooks/event_types.html", {"groups": groups()})
