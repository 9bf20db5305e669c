"""The pages of endpoints: listed with how they fare, made, changed, paused, deleted, and their secrets."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import EndpointPatch

from accounts.access import MemberRequest, actor_of, member_page
from accounts.permissions import Permission
from webhooks import endpoint_health, endpoints, replays
from webhooks.endpoint_forms import EndpointForm, RotateForm
from webhooks.verification_code import snippets
from webhooks.views.answers import asks_svix

PAGE = 20  # each endpoint is asked about


@member_page(Permission.WEBHOOKS_VIEW, for_support=True)
@asks_svix
@require_safe
def listing(request: MemberRequest) -> HttpResponse:
    """All endpoints, newest first, and how each fares."""
    cursor = request.GET.get("older_than", "")
    page = endpoints.page(organization=request.organization, cursor=cursor, limit=PAGE)
    return render(
        request,
        "webhooks/endpoints.html",
        {
            "found": endpoint_health.of(request.organization, page.endpoints),
            "older": f"?older_than={page.cursor}" if page.cursor else "",
            "is_first_page": not cursor,
            "may_manage": request.may(Permission.WEBHOOKS_MANAGE),
            "base_url": settings.BASE_URL,
            "has_portal": endpoints.has_portal(),
            "allowed_networks": endpoints.allowed_networks(),
        },
    )


@member_page(Permission.WEBHOOKS_MANAGE)
@asks_svix
@never_cache
@require_POST
def portal(request: MemberRequest) -> HttpResponse:
    """Lead to the organization's pages at Svix, where it has some."""
    if not endpoints.has_portal():
        messages.info(request, "All there is about webhooks is on these pages.")
        return redirect("webhooks:endpoints", request.organization.uid)
    return redirect(endpoints.open_portal(organization=request.organization, actor=actor_of(request)))


@member_page(Permission.WEBHOOKS_MANAGE)
@asks_svix
@require_http_methods(["GET", "POST"])
def create(request: MemberRequest) -> HttpResponse:
    form = EndpointForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = endpoints.create(
                organization=request.organization,
                headers=form.cleaned_data["headers"],
                actor=actor_of(request),
                **form.values(),
            )
        except (HttpError, HTTPValidationError) as error:
            form.refuse(error)
        else:
            messages.success(
                request,
                "The endpoint is added, and hears of what happens from now on. Next, let your receiver check the "
                "signature: “Verify this” below has the code.",
            )
            return redirect("webhooks:endpoint", request.organization.uid, made.endpoint.id)
    return render(
        request, "webhooks/create_endpoint.html", {"form": form}, status=400 if form.errors else 200
    )


@member_page(Permission.WEBHOOKS_VIEW, for_support=True)
@asks_svix
@require_safe
def detail(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    """An endpoint, how it fares, and the code that checks its signatures."""
    organization = request.organization
    endpoint = endpoints.get(organization=organization, endpoint_id=endpoint_id)
    [health] = endpoint_health.of(organization, [endpoint])
    may_manage = request.may(Permission.WEBHOOKS_MANAGE)
    return render(
        request,
        "webhooks/endpoint.html",
        {
            "endpoint": endpoint,
            "health": health,
            "headers": endpoints.headers(
                organization=organization,
                endpoint_id=endpoint_id,
                with_values=may_manage and not request.looking,
            ),
            "snippets": snippets(),
            "old_secrets_end": endpoints.old_secrets_end(organization=organization, endpoint_id=endpoint_id),
            "allowed_networks": endpoints.allowed_networks(),
            "replay": replays.of(organization, endpoint.id).unfinished().first(),
            "may_manage": may_manage,
        },
    )


@member_page(Permission.WEBHOOKS_MANAGE)
@asks_svix
@require_http_methods(["GET", "POST"])
def edit(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    organization = request.organization
    endpoint = endpoints.get(organization=organization, endpoint_id=endpoint_id)
    form = EndpointForm(
        request.POST if request.method == "POST" else None,
        endpoint=endpoint,
        headers=endpoints.headers(organization=organization, endpoint_id=endpoint_id, with_values=True),
    )
    if request.method == "POST" and form.is_valid():
        try:
            endpoints.update(
                organization=organization,
                endpoint_id=endpoint_id,
                changes=EndpointPatch(**form.values()),
                headers=form.header_changes(),
                actor=actor_of(request),
            )
        except (HttpError, HTTPValidationError) as error:
            if error.status_code == 404:  # deleted meanwhile
                raise
            form.refuse(error)
        else:
            messages.success(request, "Saved. It holds from now on.")
            return redirect("webhooks:endpoint", organization.uid, endpoint.id)
    return render(
        request,
        "webhooks/edit_endpoint.html",
        {"form": form, "endpoint": endpoint},
        status=400 if form.errors else 200,
    )


@member_page(Permission.WEBHOOKS_MANAGE)
@asks_svix
@require_POST
def pause(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    """Send it nothing until it is resumed."""
    _switch(request, endpoint_id, disabled=True)
    messages.success(request, "The endpoint is paused: nothing is sent to it until you resume it.")
    return redirect("webhooks:endpoint", request.organization.uid, endpoint_id)


@member_page(Permission.WEBHOOKS_MANAGE)
@asks_svix
@require_POST
def resume(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    _switch(request, endpoint_id, disabled=False)
    messages.success(
        request,
        "The endpoint is on, and hears of what happens from now on. What it missed can be sent from its deliveries.",
    )
    return redirect("webhooks:endpoint", request.organization.uid, endpoint_id)


def _switch(request: MemberRequest, endpoint_id: str, *, disabled: bool) -> None:
    endpoints.update(
        organization=request.organization,
        endpoint_id=endpoint_id,
        changes=EndpointPatch(disabled=disabled),
        actor=actor_of(request),
    )


@member_page(Permission.WEBHOOKS_MANAGE)
@asks_svix
@require_http_methods(["GET", "POST"])
def delete(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    """Say what goes with the endpoint, and on POST delete it."""
    if request.method == "GET":
        endpoint = endpoints.get(organization=request.organization, endpoint_id=endpoint_id)
        return render(request, "webhooks/delete_endpoint.html", {"endpoint": endpoint})
    endpoints.delete(organization=request.organization, endpoint_id=endpoint_id, actor=actor_of(request))
    messages.success(request, "The endpoint is deleted. Nothing is sent to it any more.")
    return redirect("webhooks:endpoints", request.organization.uid)


@member_page(Permission.WEBHOOKS_MANAGE)
@asks_svix
@never_cache
@require_POST
def secret(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    """Show the secret, and the code that checks signatures with it."""
    organization = request.organization
    revealed = endpoints.reveal_secret(
        organization=organization, endpoint_id=endpoint_id, actor=actor_of(request)
    )
    return render(
        request,
        "webhooks/endpoint_secret.html",
        {
            "endpoint": endpoints.get(organization=organization, endpoint_id=endpoint_id),
            "secret": revealed,
            "snippets": snippets(revealed),
        },
    )


@member_page(Permission.WEBHOOKS_MANAGE)
@asks_svix
@require_http_methods(["GET", "POST"])
def rotate(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    """Say what follows, and on POST replace the secret."""
    organization = request.organization
    endpoint = endpoints.get(organization=organization, endpoint_id=endpoint_id)
    form = RotateForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            endpoints.rotate_secret(
                organization=organization,
                endpoint_id=endpoint_id,
                grace=form.cleaned_data["grace"],
                actor=actor_of(request),
            )
        except (HttpError, HTTPValidationError) as error:
            if error.status_code == 404:
                raise
            form.add_error(None, endpoints.sentence(error))
        else:
            messages.success(
                request, "Messages are signed with a new secret now. Reveal it, and give it to your receiver."
            )
            return redirect("webhooks:endpoint", organization.uid, endpoint.id)
    return render(
        request,
        "webhooks/rotate_endpoint_secret.html",
        {"form": form, "endpoint": endpoint},
        status=400 if form.errors else 200,
    )
