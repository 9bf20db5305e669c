"""The pages on which an organization makes and ends its API keys."""

import re

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.core.signing import BadSignature, Signer
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import keys
from accounts.access import MemberRequest, actor_of, member_page
from accounts.cursors import BadCursor, Cursor
from accounts.forms import SCOPE_SENTENCES, ApiKeyForm
from accounts.ids import new_uid
from accounts.models import ApiKey
from accounts.permissions import Permission, Scope

PAGE = 50
ENDED_SHOWN = 50


@member_page(Permission.API_KEYS_VIEW)
@require_safe
def listing(request: MemberRequest) -> HttpResponse:
    """The keys in use, newest first, a page at a time; below them the last of those that ended."""
    own = (
        ApiKey.objects.filter(organization=request.organization)
        .organization_keys()
        .select_related("created_by")
        .order_by("-created_at", "-id")
    )
    in_use = own.not_ended()
    if word := request.GET.get("cursor"):
        try:
            in_use = in_use.after(Cursor.parse(word))
        except BadCursor as error:
            raise BadRequest("This cursor was not made here.") from error
    page = list(in_use[: PAGE + 1])
    older = Cursor(page[PAGE - 1].created_at, page[PAGE - 1].pk) if len(page) > PAGE else None
    return render(
        request,
        "accounts/api_keys.html",
        {
            "keys": page[:PAGE],
            "older": f"?cursor={older}" if older else "",
            "ended": list(own.ended()[:ENDED_SHOWN]) if not word else [],
            "is_first_page": not word,
            "may_manage": request.may(Permission.API_KEYS_MANAGE),
            "variable": _variable(),
            "base_url": settings.BASE_URL,
        },
    )


@member_page(Permission.API_KEYS_MANAGE)
@never_cache
@require_http_methods(["GET", "POST"])
def create(request: MemberRequest) -> HttpResponse:
    """Make a key and show its secret, in this answer and never again.

    The form carries the id of the key it will make, signed. Sent twice (a reload, an impatient click), it names a
    key that exists by then.
    """
    form = ApiKeyForm(request.POST if request.method == "POST" else None, membership=request.membership)
    uid = _form_uid(request)
    if request.method == "POST" and form.is_valid():
        try:
            key, secret = keys.create_organization_key(
                organization=request.organization,
                uid=uid,
                name=form.cleaned_data["name"],
                environment=form.cleaned_data["environment"],
                scopes=form.cleaned_data["scopes"],
                expires_at=form.expires_at(now=timezone.now()),
                actor=actor_of(request),
            )
        except keys.AlreadyCreated:
            messages.warning(
                request,
                "This form has made its key already, and the key is not shown a second time. If you did not copy "
                "it, revoke it and create another.",
            )
            return redirect("accounts:api_keys", organization_uid=request.organization.uid)
        return render(
            request,
            "accounts/api_key_created.html",
            {"key": key, "secret": secret, "variable": _variable(), "base_url": settings.BASE_URL},
        )
    scopes = [{"box": box, "sentence": SCOPE_SENTENCES[Scope(box.data["value"])]} for box in form["scopes"]]
    return render(
        request,
        "accounts/create_api_key.html",
        {"form": form, "scopes": scopes, "signed_uid": _signer(request).sign(uid)},
        status=400 if form.errors else 200,
    )


@member_page(Permission.API_KEYS_MANAGE)
@require_http_methods(["GET", "POST"])
def revoke(request: MemberRequest, key_uid: str) -> HttpResponse:
    """Say what will stop, and on POST stop it."""
    key = get_object_or_404(
        ApiKey.objects.filter(organization=request.organization).organization_keys(), uid=key_uid
    )
    if request.method == "GET" and key.revoked_at is None:
        return render(request, "accounts/revoke_api_key.html", {"key": key})
    if request.method == "POST" and keys.revoke(key=key, actor=actor_of(request)):
        messages.success(request, f"{key} is revoked. Requests that use it are refused from now on.")
    else:
        messages.info(request, f"{key} was revoked before.")
    return redirect("accounts:api_keys", organization_uid=request.organization.uid)


def _signer(request: MemberRequest) -> Signer:
    return Signer(salt=f"a new API key of {request.organization.uid} by {request.user.uid}")


def _form_uid(request: MemberRequest) -> str:
    """The id of the key that this form is to make: chosen with the empty form, and sent back with the filled one."""
    if request.method != "POST":
        return new_uid("key")
    try:
        return _signer(request).unsign(request.POST.get("form", ""))
    except BadSignature as error:
        raise BadRequest("This form was not made here.") from error


def _variable() -> str:
    """The name by which programs find the key in their environment."""
    return re.sub(r"[^A-Z0-9]+", "_", settings.BRAND.upper()).strip("_") + "_API_KEY"


@member_page(Permission.ORGANIZATION_VIEW)
def detail(request: MemberRequest, key_uid: str) -> HttpResponse:
    raise NotImplementedError


@member_page(Permission.ORGANIZATION_VIEW)
def rotate(request: MemberRequest, key_uid: str) -> HttpResponse:
    raise NotImplementedError


@member_page(Permission.ORGANIZATION_VIEW)
def disable(request: MemberRequest, key_uid: str) -> HttpResponse:
    raise NotImplementedError


@member_page(Permission.ORGANIZATION_VIEW)
def enable(request: MemberRequest, key_uid: str) -> HttpResponse:
    raise NotImplementedError
