"""What the staff are shown where they may not go, or where nothing is: a page of the back office, with its menu."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from accounts.models import User


def is_for(request: HttpRequest) -> bool:
    """Whether this is an address of the back office, asked for by somebody whom it lets in."""
    is_here = request.path.startswith(reverse("admin:index"))
    return is_here and hasattr(request, "user") and admin.site.has_permission(request)


def forbidden(request: HttpRequest, reason: str) -> HttpResponse:
    assert isinstance(request.user, User)
    groups = list(request.user.groups.order_by("name").values_list("name", flat=True))
    shown = {"title": "You may not do this", "reason": reason, "groups": groups, "is_forbidden": True}
    return render(request, "admin/refused.html", admin.site.each_context(request) | shown, status=403)


def missing(request: HttpRequest) -> HttpResponse:
    shown = {"title": "There is nothing here"}
    return render(request, "admin/refused.html", admin.site.each_context(request) | shown, status=404)
