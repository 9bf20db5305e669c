"""The pages on which keys live: made, shown once, limited, rotated, disabled, ended.

Keys of the organization need a permission. A personal key is its owner's alone, whatever their role.
"""

import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import cursors, form_once, keys
from accounts.access import MemberRequest, actor_of, member_page, require
from accounts.key_forms import SCOPE_SENTENCES, ApiKeyForm, EditApiKeyForm, RotateForm
from accounts.models import ApiKey, ApiKeyQuerySet
from accounts.permissions import Permission, Scope

PAGE = 50
ENDED_SHOWN = 50


@member_page(Permission.API_KEYS_VIEW, for_support=True)
@require_safe
def listing(request: MemberRequest) -> HttpResponse:
    """The organization's keys."""
    own = ApiKey.objects.filter(organization=request.organization).organization_keys()
    return key_list(
        request, "accounts/api_keys.html", own, may_manage=request.may(Permission.API_KEYS_MANAGE)
    )


def key_list(request: MemberRequest, template: str, own: ApiKeyQuerySet, *, may_manage: bool) -> HttpResponse:
    """Show these keys: those in use, newest first, a page at a time; below them the last of those that ended."""
    own = own.select_related("created_by", "organization")
    older_than = cursors.in_address(request.GET)
    in_use, older = cursors.page(own.not_ended(), limit=PAGE, older_than=older_than)
    ended = [] if older_than else own.ended().order_by("-created_at", "-id")[:ENDED_SHOWN]
    return render(
        request,
        template,
        {
            "keys": in_use,
            "older": f"?older_than={older}" if older else "",
            "ended": ended,
            "is_first_page": older_than is None,
            "may_manage": may_manage,
            "may_report_leaks": request.may(Permission.API_KEYS_MANAGE),
            "may_view_usage": request.may(Permission.USAGE_VIEW),
            "now": timezone.now(),
            "variable": variable(),
            "base_url": settings.BASE_URL,
        },
    )


@member_page(Permission.API_KEYS_MANAGE)
@never_cache
@require_http_methods(["GET", "POST"])
def create(request: MemberRequest) -> HttpResponse:
    """Make a key of the organization."""

    def make(**values: Any) -> tuple[ApiKey, str]:
        return keys.create_organization_key(
            organization=request.organization, actor=actor_of(request), **values
        )

    return creation(request, make, back="accounts:api_keys")


def creation(request: MemberRequest, make: Callable[..., tuple[ApiKey, str]], *, back: str) -> HttpResponse:
    """Make a key and show its secret, in this answer and never again. `back` names the list it is in."""
    form = ApiKeyForm(request.POST if request.method == "POST" else None, membership=request.membership)
    uid, signed_uid = form_once.uid_of(request, "key", place=request.organization.uid)
    list_url = reverse(back, args=[request.organization.uid])
    if request.method == "POST" and form.is_valid():
        try:
            key, secret = make(uid=uid, **form.values(now=timezone.now()))
        except keys.AlreadyCreated:
            messages.warning(
                request,
                "This form has made its key already, and the key is not shown a second time. If you did not copy "
                "it, revoke it and create another.",
            )
            return redirect(list_url)
        return _shown_once(request, key, secret)
    return render(
        request,
        "accounts/create_api_key.html",
        {
            "form": form,
            "scopes": _scopes(form),
            "signed_uid": signed_uid,
            "list_url": list_url,
            "is_personal": back == "accounts:personal_keys",
        },
        status=400 if form.errors else 200,
    )


@member_page(Permission.ORGANIZATION_VIEW, for_support=True)
@require_http_methods(["GET", "POST"])
def detail(request: MemberRequest, key_uid: str) -> HttpResponse:
    """All that is known of a key; POST changes its name and limits."""
    key = _find(request, key_uid, to_change=request.method == "POST")
    may_manage = key.kind == ApiKey.Kind.PERSONAL or request.may(Permission.API_KEYS_MANAGE)
    data = request.POST if request.method == "POST" else None
    form = EditApiKeyForm(data, membership=request.membership, key=key)
    if request.method == "POST" and form.is_valid():
        try:
            changed = keys.update(key=key, changes=form.values(now=timezone.now()), actor=actor_of(request))
        except keys.Ended:
            messages.warning(request, f"{key} is revoked: nothing of it can change any more.")
        else:
            messages.success(request, "Saved. It holds from now on." if changed else "Nothing was changed.")
        return redirect("accounts:api_key", request.organization.uid, key.uid)
    return render(
        request,
        "accounts/api_key.html",
        {
            "key": key,
            "form": form,
            "scopes": _scopes(form),
            "may_manage": may_manage,
            "may_rotate": may_manage and _may_hold(request, key),
            "may_view_usage": request.may(Permission.USAGE_VIEW)
            and key.organization_id == request.organization.pk,
            "now": timezone.now(),
        },
        status=400 if form.errors else 200,
    )


@member_page(Permission.ORGANIZATION_VIEW)
@never_cache
@require_http_methods(["GET", "POST"])
def rotate(request: MemberRequest, key_uid: str) -> HttpResponse:
    """Say what follows, and on POST give the key a new secret, shown in this answer and never again.

    The form names the secret it replaces by its last characters, so that a reload does not replace the next one too.
    """
    key = _find(request, key_uid, to_change=True)
    if not _may_hold(request, key):
        raise PermissionDenied("This key may do more than you. Ask somebody with a higher role to rotate it.")
    form = RotateForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            if request.POST.get("secret") != key.last_four:
                raise keys.StillInGrace
            secret = keys.rotate(
                key=key, grace=keys.GRACES[form.cleaned_data["grace"]], actor=actor_of(request)
            )
        except keys.StillInGrace:
            messages.warning(
                request,
                "Nothing was rotated: the key has been given a new secret already, which is not shown a second time. "
                "If nobody copied it, stop the old one and rotate again.",
            )
        except keys.Ended:
            messages.warning(request, f"{key} is {key.state} and cannot be rotated. Create another key.")
        else:
            return _shown_once(request, key, secret)
        return redirect("accounts:api_key", request.organization.uid, key.uid)
    return render(
        request,
        "accounts/rotate_api_key.html",
        {"key": key, "form": form},
        status=400 if form.errors else 200,
    )


@member_page(Permission.ORGANIZATION_VIEW)
@require_POST
def end_grace(request: MemberRequest, key_uid: str) -> HttpResponse:
    """Stop the secret that was rotated away."""
    key = _find(request, key_uid, to_change=True)
    if keys.end_grace(key=key, actor=actor_of(request)):
        messages.success(request, f"The old secret …{key.previous_last_four} has stopped working.")
    else:
        messages.info(request, "No old secret of this key was working any more.")
    return redirect("accounts:api_key", request.organization.uid, key.uid)


@member_page(Permission.ORGANIZATION_VIEW)
@require_POST
def disable(request: MemberRequest, key_uid: str) -> HttpResponse:
    key = _find(request, key_uid, to_change=True)
    if keys.disable(key=key, actor=actor_of(request)):
        messages.success(request, f"{key} is disabled: requests that use it are refused until it is enabled.")
    else:
        messages.info(request, f"{key} was {key.state} before.")
    return redirect("accounts:api_key", request.organization.uid, key.uid)


@member_page(Permission.ORGANIZATION_VIEW)
@require_POST
def enable(request: MemberRequest, key_uid: str) -> HttpResponse:
    key = _find(request, key_uid, to_change=True)
    if keys.enable(key=key, actor=actor_of(request)):
        messages.success(
            request, f"{key} is enabled" + (", but it has expired." if key.state == "expired" else ".")
        )
    else:
        messages.info(request, f"{key} was {key.state} before.")
    return redirect("accounts:api_key", request.organization.uid, key.uid)


@member_page(Permission.ORGANIZATION_VIEW)
@require_http_methods(["GET", "POST"])
def revoke(request: MemberRequest, key_uid: str) -> HttpResponse:
    """Say what will stop, and on POST stop it."""
    key = _find(request, key_uid, to_change=True)
    if request.method == "GET" and key.revoked_at is None:
        return render(request, "accounts/revoke_api_key.html", {"key": key})
    if request.method == "POST" and keys.revoke(key=key, actor=actor_of(request)):
        messages.success(request, f"{key} is revoked. Requests that use it are refused from now on.")
    else:
        messages.info(request, f"{key} was revoked before.")
    is_personal = key.kind == ApiKey.Kind.PERSONAL
    return redirect(
        "accounts:personal_keys" if is_personal else "accounts:api_keys", request.organization.uid
    )


def _find(request: MemberRequest, key_uid: str, *, to_change: bool) -> ApiKey:
    """A key of the organization, or one's own wherever its home is; others are not there."""
    # Support that looks as a member sees none of their own.
    found = ApiKey.objects.visible_to(None if request.looking else request.user, request.organization)
    key = get_object_or_404(found.select_related("organization", "created_by"), uid=key_uid)
    permission = Permission.API_KEYS_MANAGE if to_change else Permission.API_KEYS_VIEW
    if key.kind == ApiKey.Kind.ORGANIZATION:
        require(request.membership, permission)
    return key


def _may_hold(request: MemberRequest, key: ApiKey) -> bool:
    """Whether somebody may be shown a secret of this key: it must not let them do more than they may."""
    return key.kind == ApiKey.Kind.PERSONAL or keys.rights(key) <= request.membership.permissions


def _scopes(form: Form) -> list[dict[str, Any]]:
    return [{"box": box, "sentence": SCOPE_SENTENCES[Scope(box.data["value"])]} for box in form["scopes"]]


def _shown_once(request: MemberRequest, key: ApiKey, secret: str) -> HttpResponse:
    return render(
        request,
        "accounts/api_key_created.html",
        {"key": key, "secret": secret, "variable": variable(), "base_url": settings.BASE_URL},
    )


def variable() -> str:
    """The name by which programs find the key in their environment."""
    return re.sub(r"[^A-Z0-9]+", "_", settings.BRAND.upper()).strip("_") + "_API_KEY"
