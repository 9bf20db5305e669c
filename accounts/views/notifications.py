"""The bell's pages: what somebody was told, and what of it they want by mail."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import cursors, notification_preferences
from accounts.access import SignedInRequest, actor_of, client_ip, public, signed_in
from accounts.audit import Actor
from accounts.models import Membership, Notification
from accounts.notification_preferences import TOPICS, BadToken, Place

PAGE = 30


@signed_in
@require_safe
def notifications(request: SignedInRequest) -> HttpResponse:
    """What this person was told, newest first, a page at a time."""
    told = Notification.objects.filter(user=request.user).select_related("organization")
    older_than = cursors.in_address(request.GET)
    shown, older = cursors.page(told, limit=PAGE, older_than=older_than)
    return render(
        request,
        "accounts/notifications.html",
        {
            "notifications": shown,
            "older": f"?older_than={older}" if older else "",
            "is_first_page": older_than is None,
        },
    )


@signed_in
@require_POST
def open_notification(request: SignedInRequest, notification_uid: str) -> HttpResponse:
    """Mark a notice as read, and lead to what it is about."""
    notification = get_object_or_404(Notification, user=request.user, uid=notification_uid)
    Notification.objects.filter(pk=notification.pk).unread().update(read_at=timezone.now())
    return redirect(notification.url or "accounts:notifications")


@signed_in
@require_POST
def read_notifications(request: SignedInRequest) -> HttpResponse:
    """Mark all as read."""
    Notification.objects.filter(user=request.user).unread().update(read_at=timezone.now())
    return redirect("accounts:notifications")


@signed_in
@require_http_methods(["GET", "POST"])
def preferences(request: SignedInRequest) -> HttpResponse:
    """A table of boxes: kinds of notice × the account and each organization."""
    current = notification_preferences.of_person(request.user)
    if request.method == "POST":
        # A place that the page did not show, of an organization joined meanwhile, stays as it is.
        shown, ticked = set(request.POST.getlist("shown")), set(request.POST.getlist("mail"))
        wanted = {place: _name(place) in ticked for place in current if _name(place) in shown}
        notification_preferences.change(user=request.user, wanted=wanted, actor=actor_of(request))
        messages.success(request, "Your preferences are saved.")
        return redirect("accounts:notification_preferences")
    organizations = [each.organization for each in Membership.objects.of(request.user).in_order()]
    rows = [
        {
            "label": kind.label,
            "sentence": topic.sentence,
            "cells": [
                {
                    "name": _name(place),
                    "where": organization.name if organization else "Your account",
                    "by_mail": current.get(place),  # None: there are no such notices
                }
                for organization in (None, *organizations)
                for place in [Place(organization, kind)]
            ],
        }
        for kind, topic in TOPICS.items()
    ]
    return render(
        request,
        "accounts/notification_preferences.html",
        {"rows": rows, "organizations": organizations},
    )


@public
@csrf_exempt  # mail programs post by themselves (RFC 8058); the token is what counts
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Where the link at the foot of a letter leads, without signing in.

    Says which letters will stop, for programs that follow links must stop none; and on POST stops them.
    """
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


def _name(place: Place) -> str:
    return f"{place.kind}.{place.organization.uid if place.organization else ''}"
