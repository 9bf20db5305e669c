"""Endpoints in the back office: how each fares, and what support may do for it; and what replays have sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import EndpointPatch
from unfold.decorators import action, display

from accounts.access import actor_of
from accounts.admin_base import FoundById, ModelAdmin, asked_once, back_to, colleague, is_there
from accounts.admin_forms import ToldReasonDialog, ToldReasonForm
from accounts.models import Organization
from webhooks import deliveries, endpoint_health, endpoints, replays, waiting
from webhooks.admin_base import STATUS_COLORS, ask, once
from webhooks.admin_forms import (
    EnableDialog,
    EndpointForm,
    SendMissedForm,
    TestDialog,
    count_in_words,
    window,
)
from webhooks.embedded import attempt_counts
from webhooks.endpoints import sentence
from webhooks.gateway import is_embedded
from webhooks.models import Attempt, Endpoint, Replay, Status
from webhooks.tasks import begin_replays

ATTEMPTS_SHOWN = 10
ERRORS_SHOWN = 3
REPLAYS_SHOWN = 3
_SHOWN_OF_ANSWER = 200  # characters
_DAY = timedelta(days=1)


class HealthFilter(admin.SimpleListFilter):
    title = "health"
    parameter_name = "health"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("failing", "Failing"), ("disabled", "Disabled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> QuerySet[Endpoint]:
        if self.value() == "failing":
            return queryset.filter(disabled=False, failing_since__isnull=False)
        return queryset.filter(disabled=True) if self.value() == "disabled" else queryset


@admin.register(Endpoint)
class EndpointAdmin(ModelAdmin[Endpoint]):
    """The embedded engine's endpoints. A Svix server keeps its own, and then this list is empty, and says so."""

    form = EndpointForm
    list_display = ("url", "organization", "description", "wants", "state", "failing_since", "created_at")
    list_filter = (HealthFilter,)
    list_select_related = ("organization",)
    search_fields = ("url", "=uid", "=organization__uid")
    search_help_text = "Part of a URL, or the id of an endpoint (ep_…) or organization (org_…)"
    autocomplete_fields = ("organization",)
    settings_asked: ClassVar[tuple[str, ...]] = ("url", "description", "event_types")
    facts: ClassVar[tuple[str, ...]] = (
        "uid",
        "organization",
        "channels",
        "throttle_rate",
        "headers_sent",
        "more",
    )
    health: ClassVar[tuple[str, ...]] = (
        "state",
        "last_day",
        "waits",
        "last_success",
        "failing_since",
        "exhausted_since",
        "disabled_at",
        "why_disabled",
        "last_errors",
    )
    actions_detail = ("enable", "disable", "try_now", "send_missed", "send_test", "remove")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Endpoint]:
        return super().get_queryset(request).filter(deleted_at=None)

    def get_fieldsets(self, request: HttpRequest, obj: Endpoint | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": ("organization", *self.settings_asked, "reason")})]
        asked: tuple[str, ...] = ("url", "description", "wants")
        if self.has_change_permission(request, obj):
            asked = (*self.settings_asked, "reason")
        return [
            ("Health", {"fields": self.health}),
            ("Recent attempts", {"fields": ("recent", "replayed")}),
            ("Settings", {"fields": (*self.facts, "created_at", *asked)}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Endpoint | None = None) -> tuple[str, ...]:
        facts = (*self.health, "recent", "replayed", *self.facts, "created_at", "wants")
        return () if obj is None else facts

    @admin.display(description="event types")
    def wants(self, endpoint: Endpoint) -> str:
        return "all" if endpoint.event_types is None else ", ".join(endpoint.event_types)

    @display(description="state", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def state(self, endpoint: Endpoint) -> str:
        if endpoint.disabled:
            return "Disabled"
        return "Failing" if endpoint.failing_since else "Active"

    # ── How it fares ─────────────────────────────────────────────────────────────────────────────────────────

    @admin.display(description="last 24 hours")
    @once
    def last_day(self, endpoint: Endpoint) -> str:
        now = timezone.now()
        counts = attempt_counts.of(endpoint, since=now - _DAY, until=now)
        return f"{counts.arrived + counts.failed:,} attempts: {counts.arrived:,} arrived, {counts.failed:,} failed"

    @admin.display(description="waiting for the next try")
    @once
    def waits(self, endpoint: Endpoint) -> str:
        return _waiting_in_words(endpoint) or "–"

    @admin.display(description="last success")
    @once
    def last_success(self, endpoint: Endpoint) -> str:
        found = attempt_counts.last_arrival(endpoint)
        return _second(found) if found else "–"

    @admin.display(description="disabled by, and why")
    @once
    def why_disabled(self, endpoint: Endpoint) -> str:
        if not endpoint.disabled:
            return "–"
        off = endpoint_health.switched_off(endpoint.organization, [endpoint.uid]).get(endpoint.uid)
        told = (off.by, off.reason) if off else ("", endpoint.disabled_reason)
        return ": ".join(filter(None, told)) or "–"

    @admin.display(description="last errors")
    @once
    def last_errors(self, endpoint: Endpoint) -> str:
        failed = Attempt.objects.filter(endpoint=endpoint, status=Status.FAIL)
        return (
            _lines(list(failed.select_related("message").order_by("-timestamp", "-pk")[:ERRORS_SHOWN])) or "–"
        )

    @admin.display(description="attempts")
    @once
    def recent(self, endpoint: Endpoint) -> str:
        made = Attempt.objects.filter(endpoint=endpoint).select_related("message")
        return _lines(list(made.order_by("-timestamp", "-pk")[:ATTEMPTS_SHOWN])) or "There were none yet."

    @admin.display(description="what was missed")
    @once
    def replayed(self, endpoint: Endpoint) -> str:
        """How far the last replays are."""
        found = list(replays.of(endpoint.organization, endpoint.uid)[:REPLAYS_SHOWN])
        return (
            format_html_join(
                "",
                '<a class="text-link block" href="{}">{}: {}, {} of {} sent</a>',
                (
                    (
                        reverse("admin:webhooks_replay_change", args=[replay.pk]),
                        _minute(replay.created_at),
                        replay.get_state_display().lower(),
                        f"{replay.sent:,}",
                        f"{replay.total:,}",
                    )
                    for replay in found
                ),
            )
            or "Nothing was sent afterwards."
        )

    @admin.display(description="headers")
    @once
    def headers_sent(self, endpoint: Endpoint) -> str:
        """Their names: any value may be a password."""
        lines = ((name,) for name in sorted(endpoint.headers))
        return format_html_join("", '<p class="break-words">{}: •••</p>', lines) or "–"

    @admin.display(description="more of it")
    def more(self, endpoint: Endpoint) -> str:
        links = [
            (reverse("admin:accounts_organization_change", args=[endpoint.organization_id]), "Organization"),
            *(
                (f"{reverse(f'admin:webhooks_{model}_changelist')}?q={endpoint.uid}", label)
                for model, label in (("message", "Messages"), ("attempt", "Attempts"))
            ),
            (
                f"{reverse('admin:webhooks_replay_changelist')}?q={endpoint.organization.uid}",
                "Replays of the organization",
            ),
        ]
        return format_html_join(" · ", '<a class="text-link" href="{}">{}</a>', links)

    # ── What may be done ─────────────────────────────────────────────────────────────────────────────────────

    def has_add_permission(self, request: HttpRequest) -> bool:
        return colleague(request).has_perm("webhooks.add_endpoint") and is_embedded()

    def has_enable_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._may(request, "change_endpoint", object_id, disabled=True)

    def has_disable_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._may(request, "change_endpoint", object_id, disabled=False)

    def has_send_missed_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._may(request, "replay_endpoint", object_id, disabled=False)

    def has_try_now_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self.has_send_missed_permission(request, object_id)

    def has_remove_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._may(request, "delete_endpoint", object_id)

    def _may(self, request: HttpRequest, name: str, object_id: str | None, **state: Any) -> bool:
        return colleague(request).has_perm(f"webhooks.{name}") and is_there(
            Endpoint.objects.existing().filter(**state), object_id
        )

    @asked_once(
        "Enable",
        permission="enable",
        question="Enable this endpoint?",
        follows="It hears of what happens from now on. What failed before it was turned off can be sent afterwards.",
        form_class=EnableDialog,
    )
    def enable(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        endpoint = self._endpoint(request, object_id)
        with _answers(request):
            replay = replays.resume(
                organization=endpoint.organization,
                endpoint_id=endpoint.uid,
                since=endpoint.disabled_at if form.cleaned_data.get("with_missed") else None,
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
            messages.success(request, f"{endpoint} is enabled.")
            if replay:
                begin_replays()
                messages.success(request, "What it missed is being sent: how far that is stands below.")
        return back_to(endpoint)

    @asked_once(
        "Disable",
        permission="disable",
        question="Disable this endpoint?",
        follows="Nothing is sent to it until it is enabled again. What it misses can be sent then.",
        form_class=ToldReasonDialog,
        is_danger=True,
    )
    def disable(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        endpoint = self._endpoint(request, object_id)
        with _answers(request):
            endpoints.update(
                organization=endpoint.organization,
                endpoint_id=endpoint.uid,
                changes=EndpointPatch(disabled=True),
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
            messages.success(request, f"{endpoint} is disabled.")
        return back_to(endpoint)

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Nothing is to be tried now where nothing waits."""
        offered: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        endpoint = self.get_object(request, str(object_id))
        if endpoint is not None and waiting.at(endpoint).count:
            return offered
        return [each for each in offered if not each.action_name.endswith("_try_now")]

    @asked_once(
        "Try now what waits",
        permission="try_now",
        question="Try now what waits?",
        follows="For when the receiver is repaired: what waits for its next try is sent at once, some at a time, and "
        "need not wait for hours. What fails again goes on to wait, with one try less.",
        form_class=ToldReasonDialog,
    )
    def try_now(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        endpoint = self._endpoint(request, object_id)
        count = waiting.try_now(
            endpoint=endpoint, actor=actor_of(request), reason=form.cleaned_data["reason"]
        )
        if count:
            told = f"Sent now: {count_in_words(count, are_more=False)}. Reload to see what is answered."
            messages.success(request, told)
        else:
            messages.warning(request, "Nothing waits any more.")
        return back_to(endpoint)

    @asked_once(
        "Send a test",
        permission="disable",
        question="Send a test to this endpoint?",
        follows="It gets the type's example, signed as any message, whatever it filters.",
        form_class=TestDialog,
    )
    def send_test(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        endpoint = self._endpoint(request, object_id)
        with _answers(request):
            message = deliveries.send_example(
                organization=endpoint.organization,
                endpoint_id=endpoint.uid,
                event_type=form.cleaned_data["event_type"],
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
            messages.success(request, f"The test {message.id} is on its way. Reload to see what is answered.")
        return back_to(endpoint)

    @asked_once(
        "Delete",
        permission="remove",
        question="Delete this endpoint?",
        follows="What was still to be sent to it is not sent any more. It cannot be brought back, nor its secret.",
        form_class=ToldReasonDialog,
        is_danger=True,
    )
    def remove(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        endpoint = self._endpoint(request, object_id)
        with _answers(request):
            endpoints.delete(
                organization=endpoint.organization,
                endpoint_id=endpoint.uid,
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
            messages.success(request, f"{endpoint} is deleted.")
        return HttpResponse(headers={"HX-Redirect": reverse("admin:webhooks_endpoint_changelist")})

    @action(description="Send what it missed…", permissions=["send_missed"])  # type: ignore[untyped-decorator]
    @method_decorator(require_http_methods(["GET", "POST"]))
    def send_missed(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a time, show how many messages it is about, and have them sent by a second click."""
        endpoint = self._endpoint(request, object_id)
        organization = endpoint.organization
        page = reverse("admin:webhooks_endpoint_change", args=[endpoint.pk])
        off_since = deliveries.last_disabled(organization=organization, endpoint_id=endpoint.uid)
        form = SendMissedForm(
            request.GET if "since" in request.GET else None,
            initial={"what": SendMissedForm.MISSED} | window(since=off_since),
        )
        if not form.is_valid():
            return ask(
                self,
                request,
                title=f"Send what {endpoint} missed",
                lead="It was last disabled at the time that is filled in. " * bool(off_since)
                + "Nothing is sent before you have seen how many messages it is about.",
                form=form,
                submit_label="Show what is meant",
                method="get",
                back_url=page,
            )
        what, since, until = (form.cleaned_data[name] for name in ("what", "since", "until"))
        is_replay = what == SendMissedForm.MISSED
        reason = ToldReasonForm(request.POST if request.method == "POST" else None)
        about = {"organization": organization, "endpoint_id": endpoint.uid, "since": since, "until": until}
        if reason.is_valid():
            with _answers(request):
                act = {"actor": actor_of(request), "reason": reason.cleaned_data["reason"]}
                if is_replay:
                    replay = replays.start(**about, **act)
                    begin_replays()
                    messages.success(request, "It is being sent. How far it is stands here.")
                    return redirect("admin:webhooks_replay_change", replay.pk)
                deliveries.recover(**about, **act)
                messages.success(request, "What failed is sent again now.")
            return redirect(page)
        waits = []
        if not is_replay and (words := _waiting_in_words(endpoint)):
            waits = [("Not given up: “Try now what waits” on its page sends them", words)]
        count, are_more = 0, False
        with _answers(request):
            count, are_more = replays.expected(**about) if is_replay else deliveries.failures(**about)
        return ask(
            self,
            request,
            title=f"Send what {endpoint} missed",
            lead=f"Between {_minute(since)} and {_minute(until)}, "
            + ("never sent to it, oldest first:" if is_replay else "given up and not arrived since:"),
            facts=[("To be sent", count_in_words(count, are_more=are_more)), *waits],
            form=reason if count else None,
            submit_label="Send them",
            back_url=reverse("admin:webhooks_endpoint_send_missed", args=[endpoint.pk]),
        )

    def _endpoint(self, request: HttpRequest, object_id: str) -> Endpoint:
        endpoint = self.get_queryset(request).select_related("organization").filter(pk=object_id).first()
        if endpoint is None:
            raise Http404
        return endpoint

    # ── Forms ────────────────────────────────────────────────────────────────────────────────────────────────

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not is_embedded():
            host = urlsplit(settings.SVIX_SERVER_URL).hostname
            messages.info(
                request,
                f"Endpoints are kept by the Svix server at {host}, and are not listed here. Look there, by the "
                "organization's id (org_…) as the application's uid, or as a member on the organization's webhook "
                "pages. Messages are sent again, and replays followed, from here all the same.",
            )
        return super().changelist_view(request, extra_context)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except (HttpError, HTTPValidationError) as error:
            return self._refused(request, error)

    def _refused(self, request: HttpRequest, error: HttpError | HTTPValidationError) -> HttpResponse:
        """Say what the engine found wrong; an endpoint that it does not know was deleted meanwhile."""
        if isinstance(error, HTTPValidationError):
            reason = " ".join(f"{item.loc[-1]}: {item.msg}" for item in error.detail)
        else:
            reason = "The endpoint does not exist any more." if error.status_code == 404 else error.detail
        self.message_user(request, f"Nothing was changed. {reason}", messages.ERROR)
        return redirect("admin:webhooks_endpoint_changelist")

    def save_model(
        self, request: HttpRequest, obj: Endpoint, form: ModelForm[Endpoint], change: bool
    ) -> None:
        organization: Organization = obj.organization
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        reason = values.pop("reason")
        if change:
            endpoints.update(
                organization=organization,
                endpoint_id=obj.uid,
                changes=EndpointPatch(**values),
                actor=actor_of(request),
                reason=reason,
            )
            return
        made = endpoints.create(
            organization=organization,
            url=values["url"],
            description=values.get("description", ""),
            event_types=values.get("event_types"),
            actor=actor_of(request),
            reason=reason,
        )
        obj.uid = made.endpoint.id
        obj.pk = Endpoint.objects.get(uid=obj.uid).pk


@contextmanager
def _answers(request: HttpRequest) -> Iterator[None]:
    """Say why something cannot be done now."""
    try:
        yield
    except deliveries.Disabled:
        messages.error(request, "The endpoint is disabled: nothing is sent to it. Enable it first.")
    except replays.UnderWay:
        messages.error(request, "What it missed is being sent already: wait for that to end.")
    except (HttpError, HTTPValidationError) as error:
        messages.error(request, f"Nothing was changed. {sentence(error)}")


def _waiting_in_words(endpoint: Endpoint) -> str:
    """How many messages wait for their next try and when the first has it; empty where none waits."""
    found = waiting.at(endpoint)
    if found.first_at is None:
        return ""
    return f"{count_in_words(found.count, are_more=found.are_more)}, the first at {_second(found.first_at)}"


def _lines(attempts: list[Attempt]) -> SafeString:
    return format_html_join(
        "",
        '<p class="break-words"><a class="text-link" href="{}">{}</a> · {} · {}{}</p>',
        (
            (
                reverse("admin:webhooks_attempt_change", args=[attempt.pk]),
                _second(attempt.timestamp),
                attempt.message.event_type,
                f"answered {attempt.status_code}" if attempt.status_code else "no answer",
                f" · {attempt.response[:_SHOWN_OF_ANSWER]}"
                if attempt.status != Status.SUCCESS and attempt.response
                else "",
            )
            for attempt in attempts
        ),
    )


def _second(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"


@admin.register(Replay)
class ReplayAdmin(FoundById[Replay]):
    """What was sent again of what endpoints missed, asked for by members or by support, and how far each is."""

    list_display = ("created_at", "organization", "endpoint_id", "outcome", "sent", "total", "created_by")
    list_filter = ("state",)
    list_select_related: ClassVar[Any] = ("organization", "created_by")
    fieldsets = (
        (
            None,
            {"fields": ("uid", "organization", "endpoint", "since", "until", "created_by", "created_at")},
        ),
        ("Progress", {"fields": ("outcome", "progress", "problem", "leased_until", "finished_at")}),
    )

    @display(description="state", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def outcome(self, replay: Replay) -> str:
        return replay.get_state_display()

    @admin.display
    @once
    def endpoint(self, replay: Replay) -> str:
        found = Endpoint.objects.existing().filter(uid=replay.endpoint_id).first()
        if found is None:
            return replay.endpoint_id
        url = reverse("admin:webhooks_endpoint_change", args=[found.pk])
        return format_html('<a class="text-link" href="{}">{}</a>', url, found)

    @admin.display
    def progress(self, replay: Replay) -> str:
        """It asks for itself again while there is something to wait for."""
        words = f"{replay.sent:,} of {replay.total:,} sent"
        if replay.state == Replay.State.COUNTING:
            words = f"{replay.total:,} found so far"
        asks = (
            ""
            if replay.is_finished
            else 'hx-get="" hx-trigger="every 2s" hx-select="#replay-progress" hx-swap="outerHTML"'
        )
        return format_html('<span id="replay-progress" {}>{}</span>', SafeString(asks), words)
