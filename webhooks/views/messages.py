"""The pages of messages: what was sent, how each attempt went, sending again, and what still waits to be sent."""

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from svix.exceptions import HttpError
from svix.models import MessageAttemptOut, MessageAttemptTriggerType, MessageEndpointOut

from accounts.access import MemberRequest, actor_of, member_page
from accounts.models import Organization
from accounts.permissions import Permission
from webhooks import catalogue, deliveries, endpoints, events, outbox, replays
from webhooks.deliveries import STATES, Told
from webhooks.gateway import get_svix
from webhooks.message_forms import ExampleForm, FilterForm, RecoverForm, ReplayForm
from webhooks.models import OutboxMessage
from webhooks.tasks import begin_replays
from webhooks.views.answers import asks_svix

PAGE = 50
WAITING_SHOWN = 50
REPLAYS_SHOWN = 5
MOST_COUNTED = 10_000
_EXPIRED = {"expired": True}
_PLACE = re.compile(r"-?[a-zA-Z0-9_]{1,256}")


@member_page(Permission.WEBHOOKS_VIEW, for_support=True)
@require_safe
@asks_svix
def listing(request: MemberRequest) -> HttpResponse:
    """Messages, newest first, a page at a time."""
    organization = request.organization
    endpoints = deliveries.endpoints_of(organization)
    form = FilterForm(request.GET, organization=organization, endpoints=endpoints)
    place = request.GET.get("place", "")
    if place and not _PLACE.fullmatch(place):
        raise BadRequest("This place in the list was not made here.")
    is_valid = form.is_valid()
    page = deliveries.Page([], "", "")
    written = None
    if is_valid and (name := form.cleaned_data["name"]):
        message_id = _message_id(organization, name)
        lines = deliveries.find(organization=organization, message_id=message_id, endpoints=endpoints)
        page = deliveries.Page(lines, "", "")
        if not lines:  # the engine has it not yet, or refused it
            written = OutboxMessage.objects.filter(organization=organization, uid=message_id).first()
    elif is_valid:
        page = deliveries.listing(
            organization=organization, filters=form.filters, endpoints=endpoints, place=place, limit=PAGE
        )
    chosen = {name: value for name, value in form.data.items() if name in form.fields and value}
    lacks_endpoint = is_valid and form.lacks_endpoint
    return render(
        request,
        "webhooks/messages.html",
        {
            "form": form,
            "lines": page.lines,
            "written": written,
            "endpoints": endpoints,
            "lacks_endpoint": lacks_endpoint,
            "by_endpoint": [(each, "?" + urlencode(chosen | {"endpoint": each.id})) for each in endpoints]
            if lacks_endpoint
            else [],
            "is_filtered": bool(chosen),
            "is_newest": not place,
            "is_live": not place and is_valid and request.GET.get("live") == "on",
            "waiting": deliveries.waiting(organization)[: MOST_COUNTED + 1].count(),
            "newest": "?" + urlencode(chosen),
            "live": "?" + urlencode(chosen | {"live": "on"}),
            "older": "?" + urlencode(chosen | {"place": page.older}) if page.older else "",
            "newer": "?" + urlencode(chosen | {"place": page.newer}) if page.newer else "",
        },
        # htmx shows an answer only if it is a good one.
        status=200 if is_valid or request.headers.get("HX-Request") else 400,
    )


def _message_id(organization: Organization, name: str) -> str:
    """The id that somebody typed, or that of the message about the job with this id."""
    return name if name.startswith(("msg_", "evt_")) else outbox.uid_of_job(organization.pk, name)


@dataclass(frozen=True)
class Destination:
    """An endpoint that a message was for, and what became of it there."""

    endpoint: MessageEndpointOut
    state: str


@dataclass(frozen=True)
class Try:
    """An attempt, as people read it."""

    attempt: MessageAttemptOut
    state: str
    is_manual: bool
    request: str = ""
    response: str = ""


@member_page(Permission.WEBHOOKS_VIEW, for_support=True)
@require_safe
@asks_svix
def detail(request: MemberRequest, message_id: str) -> HttpResponse:
    """A message: to whom it went, and each attempt with what was sent and what was answered."""
    organization = request.organization
    told = deliveries.get(organization=organization, message_id=message_id)
    destinations = [Destination(endpoint, STATES[endpoint.status]) for endpoint in told.destinations]
    tries = [_try(attempt) for attempt in told.attempts]
    wanted = request.GET.get("attempt")
    chosen = next((each.attempt for each in tries if each.attempt.id == wanted), None)
    if chosen is None and tries:
        chosen = tries[0].attempt
    payload = told.message.payload if told.message else json.loads(told.written.payload)  # type: ignore[union-attr]
    return render(
        request,
        "webhooks/message.html",
        {
            "told": told,
            "message_id": told.message.id if told.message else message_id,
            "event_type": told.message.event_type if told.message else told.written.event_type,  # type: ignore[union-attr]
            "payload": json.dumps(payload, indent=2, ensure_ascii=False),
            "is_test": told.message is not None and told.message.event_id is None,
            "is_expired": payload == _EXPIRED,
            "job_id": _job_id(payload),
            "destinations": destinations,
            "tries": tries,
            "chosen": _try(chosen, _headers(request, told, chosen)) if chosen else None,
            "is_moving": any(each.state in ("waiting", "retrying") for each in destinations)
            or not told.message
            or told.direct_state in ("waiting", "retrying")
            or _is_due(told),
            "may_manage": request.may(Permission.WEBHOOKS_MANAGE),
        },
    )


def _is_due(told: Told) -> bool:
    """Whether it was asked for again, at the URL of its job, and is not yet tried."""
    return told.direct is not None and told.direct.is_manual and told.direct.next_attempt_at is not None


def _try(attempt: MessageAttemptOut, request: str = "") -> Try:
    return Try(
        attempt,
        STATES[attempt.status],
        attempt.trigger_type == MessageAttemptTriggerType.MANUAL,
        request,
        _pretty(attempt.response) if request else "",
    )


def _headers(request: MemberRequest, told: Told, attempt: MessageAttemptOut) -> str:
    """The head of the request as it was sent; the endpoint's own headers as they are set now."""
    lines = [
        f"POST {attempt.url}",
        "content-type: application/json",
        f"svix-id: {attempt.msg_id}",
        f"svix-timestamp: {int(attempt.timestamp.timestamp())}",
        "svix-signature: v1,…",
    ]
    if any(endpoint.id == attempt.endpoint_id for endpoint in told.destinations):
        try:
            own = endpoints.headers(
                organization=request.organization,
                endpoint_id=attempt.endpoint_id,
                with_values=request.may(Permission.WEBHOOKS_MANAGE) and not request.looking,
            )
        except HttpError as error:
            if error.status_code != 404:  # deleted since
                raise
        else:
            lines += [f"{name}: {value}" for name, value in own.headers.items()]
            lines += [f"{name}: •••" for name in own.sensitive]
    return "\n".join(lines)


def _pretty(text: str) -> str:
    """JSON for people; anything else as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict | list) else text


def _job_id(payload: dict[str, Any]) -> str:
    data = payload.get("data")
    job_id = data.get("job_id") if isinstance(data, dict) else None
    return job_id if isinstance(job_id, str) else ""


@member_page(Permission.WEBHOOKS_MANAGE)
@require_POST
@asks_svix
def resend(request: MemberRequest, message_id: str) -> HttpResponse:
    organization, actor = request.organization, actor_of(request)
    direct = deliveries.of_url(organization=organization, message_id=message_id)
    if direct is None:
        get_svix().message.get(organization.uid, message_id)  # or 404, whatever the form says
    endpoint_id = request.POST.get("endpoint", "")
    if bool(endpoint_id) == bool(direct):
        raise BadRequest("It goes to the URL of its job alone." if direct else "Which endpoint is meant?")
    try:
        if direct:
            deliveries.resend_to_url(organization=organization, delivery=direct, actor=actor)
        else:
            deliveries.resend(
                organization=organization, message_id=message_id, endpoint_id=endpoint_id, actor=actor
            )
    except deliveries.Disabled:
        messages.error(request, "The endpoint is disabled: resume it, then send the message again.")
    except deliveries.Expired:
        messages.error(request, "The message's content has been erased, so it cannot be sent again.")
    else:
        messages.success(request, "It is sent again now. The attempt is listed below as soon as it is made.")
    return redirect("webhooks:message", request.organization.uid, message_id)


@member_page(Permission.WEBHOOKS_MANAGE)
@require_http_methods(["GET", "POST"])
@asks_svix
def recover(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    """Ask since when, and on POST send everything again that failed since then."""
    organization = request.organization
    endpoint = get_svix().endpoint.get(organization.uid, endpoint_id)
    form = RecoverForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            deliveries.recover(
                organization=organization,
                endpoint_id=endpoint.id,
                since=timezone.now() - form.span_of_time,
                actor=actor_of(request),
            )
        except deliveries.Disabled:
            form.add_error(None, "The endpoint is disabled: resume it first, then recover.")
        else:
            messages.success(request, "Everything that failed in this time is sent again now.")
            return redirect(_messages_of(organization, endpoint.id))
    failed, are_more = deliveries.failures(organization=organization, endpoint_id=endpoint.id)
    return render(
        request,
        "webhooks/message_recover.html",
        {"form": form, "endpoint": endpoint, "failed": failed, "are_more": are_more},
        status=400 if form.errors else 200,
    )


@member_page(Permission.WEBHOOKS_MANAGE)
@require_http_methods(["GET", "POST"])
@asks_svix
def replay(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    """Ask for the time in which the endpoint was disabled, on POST have what it missed sent; tell how far that is."""
    organization = request.organization
    endpoint = get_svix().endpoint.get(organization.uid, endpoint_id)
    now = timezone.now()
    with timezone.override(organization.zone):
        since = deliveries.last_disabled(organization=organization, endpoint_id=endpoint.id)
        form = ReplayForm(
            request.POST if request.method == "POST" else None,
            initial={
                "since": _minute(since or now - timedelta(days=1)),
                "until": _minute(now + timedelta(minutes=1)),
            },
        )
        if request.method == "POST" and form.is_valid():
            try:
                replays.start(
                    organization=organization,
                    endpoint_id=endpoint.id,
                    since=form.cleaned_data["since"],
                    until=form.cleaned_data["until"],
                    actor=actor_of(request),
                )
            except deliveries.Disabled:
                form.add_error(None, "The endpoint is disabled: resume it first, then replay.")
            except replays.UnderWay:
                form.add_error(None, "What this endpoint missed is being sent already: wait for that to end.")
            else:
                begin_replays()
                messages.success(request, "What was missed is being sent. You need not wait for it here.")
                return redirect("webhooks:replay_endpoint", organization.uid, endpoint.id)
        # Only members are named: whoever is none may be support.
        by_member = Exists(organization.memberships.filter(user=OuterRef("created_by")))
        begun = (
            replays.of(organization, endpoint.id).select_related("created_by").annotate(by_member=by_member)
        )
        found = list(begun[:REPLAYS_SHOWN])
        return render(
            request,
            "webhooks/message_replay.html",
            {
                "form": form,
                "endpoint": endpoint,
                "disabled_at": since,
                "replays": found,
                "is_moving": any(not each.is_finished for each in found),
                "messages_of": _messages_of(organization, endpoint.id),
            },
            status=400 if form.errors else 200,
        )


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


@member_page(Permission.WEBHOOKS_MANAGE)
@require_http_methods(["GET", "POST"])
@asks_svix
def test(request: MemberRequest, endpoint_id: str) -> HttpResponse:
    """Show an example of a type to be changed, and on POST send it to the endpoint."""
    organization = request.organization
    endpoint = get_svix().endpoint.get(organization.uid, endpoint_id)
    if request.method == "POST":
        form = ExampleForm(request.POST)
        if form.is_valid():
            try:
                message = deliveries.send_example(
                    organization=organization,
                    endpoint_id=endpoint.id,
                    event_type=form.cleaned_data["type"],
                    payload=form.changed_payload,
                    actor=actor_of(request),
                )
            except deliveries.Disabled:
                form.add_error(None, "The endpoint is disabled: resume it first, then test it.")
            else:
                messages.success(request, "The test is on its way. What your endpoint answers is shown here.")
                return redirect("webhooks:message", organization.uid, message.id)
        name = request.POST.get("type", "")
    else:
        name = request.GET.get("type", "")
        form = ExampleForm()
    event_type = events.EVENT_TYPES.get(name) or events.JOB_COMPLETED
    if request.method == "GET":
        form = ExampleForm(
            initial={"type": event_type.name, "payload": catalogue.example(event_type)}, auto_id="test-%s"
        )
    return render(
        request,
        "webhooks/message_test.html",
        {"form": form, "endpoint": endpoint, "event_type": event_type, "types": list(events.EVENT_TYPES)},
        status=400 if form.errors else 200,
    )


def _messages_of(organization: Organization, endpoint_id: str) -> str:
    return f"{reverse('webhooks:messages', args=[organization.uid])}?{urlencode({'endpoint': endpoint_id})}"


@member_page(Permission.WEBHOOKS_VIEW, for_support=True)
@require_safe
def waiting(request: MemberRequest) -> HttpResponse:
    """What the engine has not taken yet, oldest first, and what it refused; each with the reason."""
    found = deliveries.waiting(request.organization)
    return render(
        request,
        "webhooks/messages_waiting.html",
        {
            "waiting": found[:WAITING_SHOWN],
            "count": found[: MOST_COUNTED + 1].count(),
            "most_counted": MOST_COUNTED,
            "refused": deliveries.refused(request.organization)[:WAITING_SHOWN],
        },
    )
