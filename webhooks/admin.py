import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db.models import Exists, OuterRef, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import EndpointPatch, MessageEndpointOut, MessageStatus
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from accounts.access import actor_of
from accounts.admin_base import (
    BigTableAdmin,
    M,
    ModelAdmin,
    ReadOnlyInline,
    asked_once,
    back_to,
    colleague,
    is_there,
    json_block,
)
from accounts.models import Organization
from webhooks import deliveries, endpoints
from webhooks.embedded import egress
from webhooks.events import EVENT_TYPES
from webhooks.gateway import EmbeddedSvix, get_svix
from webhooks.models import Application, Attempt, Delivery, Endpoint, Message, OutboxMessage, Replay, Status

_SHOWN_OF_ANSWER = 300  # characters

STATUS_COLORS = {
    Status.SUCCESS.label: "success",
    Status.FAIL.label: "danger",
    Status.SENDING.label: "warning",
    "Handed over": "success",
    "Refused": "danger",
    "Waiting": "warning",
    "Disabled": "danger",
    "Failing": "warning",
    "Unwanted": "info",
    "Done": "success",
    "Counting": "warning",
    "Failed": "danger",
}


def check_url(text: str) -> None:
    if problem := egress.url_problem(text):
        raise ValidationError(problem)


class HealthFilter(admin.SimpleListFilter):
    title = "health"
    parameter_name = "health"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("failing", "Failing"), ("disabled", "Disabled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> QuerySet[Endpoint]:
        if self.value() == "failing":
            return queryset.filter(disabled=False, failing_since__isnull=False)
        return queryset.filter(disabled=True) if self.value() == "disabled" else queryset


class EndpointForm(forms.ModelForm[Endpoint]):
    url = forms.CharField(
        label="URL",
        widget=UnfoldAdminTextInputWidget,
        validators=[URLValidator(schemes=["http", "https"]), check_url],
    )
    event_types = forms.MultipleChoiceField(
        choices=[(name, name) for name in EVENT_TYPES],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None means all, also those to come.",
    )

    class Meta:
        model = Endpoint
        fields = ("organization", "url", "description", "event_types", "disabled")

    def clean_event_types(self) -> list[str] | None:
        return self.cleaned_data["event_types"] or None


@admin.register(Endpoint)
class EndpointAdmin(ModelAdmin[Endpoint]):
    """The embedded engine's endpoints. A Svix server keeps its own, and then this list is empty."""

    form = EndpointForm
    list_display = ("url", "organization", "description", "wants", "state", "failing_since", "created_at")
    list_filter = (HealthFilter,)
    list_select_related = ("organization",)
    search_fields = ("url", "=uid", "=organization__uid")
    search_help_text = "Part of a URL, or the id of an endpoint (ep_…) or organization (org_…)"
    ordering = ("-pk",)
    autocomplete_fields = ("organization",)
    health = ("disabled_at", "disabled_reason", "failing_since", "exhausted_since")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Endpoint]:
        return super().get_queryset(request).filter(deleted_at=None)

    def get_fields(self, request: HttpRequest, obj: Endpoint | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("organization", "url", "description", "event_types")
        return (
            "uid",
            "organization",
            "url",
            "description",
            "event_types",
            "channels",
            "throttle_rate",
            "disabled",
            *self.health,
            "created_at",
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Endpoint | None = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        return ("uid", "organization", "channels", "throttle_rate", *self.health, "created_at")

    @admin.display(description="event types")
    def wants(self, endpoint: Endpoint) -> str:
        return "all" if endpoint.event_types is None else ", ".join(endpoint.event_types)

    @display(description="state", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def state(self, endpoint: Endpoint) -> str:
        if endpoint.disabled:
            return "Disabled"
        return "Failing" if endpoint.failing_since else ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return colleague(request).has_perm("webhooks.add_endpoint") and isinstance(get_svix(), EmbeddedSvix)

    def has_delete_permission(self, request: HttpRequest, obj: Endpoint | None = None) -> bool:
        return colleague(request).has_perm("webhooks.delete_endpoint")

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except (HttpError, HTTPValidationError) as error:
            return self._refused(request, error)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().delete_view(request, *args, **kwargs)
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
        if change:
            endpoints.update(
                organization=organization,
                endpoint_id=obj.uid,
                changes=EndpointPatch(**values),
                actor=actor_of(request),
            )
            return
        made = endpoints.create(
            organization=organization,
            url=values["url"],
            description=values.get("description", ""),
            event_types=values.get("event_types"),
            actor=actor_of(request),
        )
        obj.uid = made.endpoint.id
        obj.pk = Endpoint.objects.get(uid=obj.uid).pk

    def get_deleted_objects(self, objs: Iterable[Endpoint], request: HttpRequest) -> Any:
        """Name the endpoints alone: their messages and attempts, perhaps millions, stay."""
        return [str(endpoint) for endpoint in objs], {}, set(), []

    def delete_model(self, request: HttpRequest, obj: Endpoint) -> None:
        endpoints.delete(
            organization=obj.organization,
            endpoint_id=obj.uid,
            actor=actor_of(request),
        )


class FoundById(BigTableAdmin[M]):
    """A long list in which rows are found by their own id or by their organization's, each with its index."""

    list_select_related: ClassVar[Any] = ("organization",)
    search_fields = ("=uid",)
    search_help_text = "An id, or an organization's (org_…)"
    order_of_organization: ClassVar[tuple[str, ...]] = ("-pk",)  # as far as there is an index for it

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        if not search_term:
            return queryset, False
        if search_term.startswith("org_"):
            found = Organization.objects.filter(uid=search_term).values_list("pk", flat=True)
            of_organization = queryset.filter(organization_id__in=list(found))
            return of_organization.order_by(*self.order_of_organization), False
        return queryset.filter(uid=search_term.strip()), False


class SendsAgain(FoundById[M]):
    """Messages that a button sends again, through whatever engine has them."""

    actions_detail = ("resend",)

    def sendable(self) -> QuerySet[M]:
        """Those that an endpoint, or the URL of a job, may have been sent."""
        raise NotImplementedError

    def has_resend_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("webhooks.change_endpoint") and is_there(
            self.sendable(), object_id
        )

    @asked_once(
        "Send again",
        permission="resend",
        question="Send this message again?",
        follows="Each endpoint that has not taken it gets it once more now. If all have, all get it again. "
        "What went to the URL of a job goes there again.",
    )
    def resend(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        message: Any = get_object_or_404(self.sendable().select_related("organization"), pk=object_id)
        try:
            told = deliveries.get(organization=message.organization, message_id=message.uid)
            if told.direct:
                _resend_to_url(request, message.organization, told.direct)
                return back_to(message)
            behind = [there for there in told.destinations if there.status != MessageStatus.SUCCESS]
            for there in behind or told.destinations:
                _resend(request, message, there)
            if not told.destinations:
                messages.warning(request, "No endpoint wanted it.")
        except deliveries.Expired:
            messages.error(request, "Its content has been erased: it cannot be sent again.")
        except (HttpError, HTTPValidationError) as error:
            messages.error(request, f"The engine refuses: {error}")
        return back_to(message)


def _resend(request: HttpRequest, message: OutboxMessage | Message, there: MessageEndpointOut) -> None:
    try:
        deliveries.resend(
            organization=message.organization,
            message_id=message.uid,
            endpoint_id=there.id,
            actor=actor_of(request),
        )
    except deliveries.Disabled:
        messages.warning(request, f"{there.url} is disabled: nothing is sent to it.")
    else:
        messages.success(request, f"It is sent to {there.url} again.")


def _resend_to_url(request: HttpRequest, organization: Organization, direct: Delivery) -> None:
    deliveries.resend_to_url(organization=organization, delivery=direct, actor=actor_of(request))
    messages.success(request, f"It is sent to {direct.url} again.")


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Waiting"), ("refused", "Refused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxMessage]) -> QuerySet[OutboxMessage]:
        if self.value() == "waiting":
            return queryset.filter(handed_over_at=None, refused_at=None)
        if self.value() == "refused":
            return queryset.exclude(refused_at=None)
        return queryset


@admin.register(OutboxMessage)
class OutboxMessageAdmin(SendsAgain[OutboxMessage]):
    """Each message of any organization: what waits to be handed over and why, and what became of the rest."""

    list_display = ("uid", "organization", "event_type", "state", "attempts", "error", "created_at")
    list_filter = (StateFilter,)
    fieldsets = (
        (None, {"fields": ("uid", "organization", "event_type", "state", "channels", "url")}),
        ("Handing over", {"fields": ("handed_over_at", "attempts", "next_try", "last_error")}),
        ("Delivery", {"fields": ("delivery",)}),
        ("Content", {"fields": ("created_at", "content")}),
    )

    def sendable(self) -> QuerySet[OutboxMessage]:
        return OutboxMessage.objects.filter(handed_over_at__isnull=False)

    @display(description="state", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def state(self, message: OutboxMessage) -> str:
        if message.handed_over_at:
            return "Handed over"
        return "Refused" if message.refused_at else "Waiting"

    @admin.display(description="last error")
    def error(self, message: OutboxMessage) -> str:
        return message.last_error[:100]

    @admin.display
    def next_try(self, message: OutboxMessage) -> datetime | None:
        return None if message.handed_over_at or message.refused_at else message.next_attempt_at

    @admin.display(description="receivers and tries")
    def delivery(self, message: OutboxMessage) -> str:
        """Whether it reached its receivers, as the engine tells, and every try that was made."""
        if not message.handed_over_at:
            return "–"
        try:
            told = deliveries.get(organization=message.organization, message_id=message.uid)
        except (HttpError, HTTPValidationError) as error:
            return f"The engine does not tell: {error}"
        states = [
            (there.url, deliveries.STATES[there.status], "disabled" if there.disabled else "")
            for there in told.destinations
        ]
        tries = [
            (
                f"{made.timestamp:%Y-%m-%d %H:%M:%S} UTC",
                made.url,
                f"{deliveries.STATES[made.status]}, {made.response_status_code or 'no answer'}",
                made.response[:_SHOWN_OF_ANSWER],
            )
            for made in told.attempts
        ]
        if not states and not tries:
            return "No endpoint wanted it." if not message.url else "It has not been tried yet."
        return _lines(states) + _lines(tries)

    @admin.display
    def content(self, message: OutboxMessage) -> str:
        return json_block(json.loads(message.payload))


def _lines(rows: Sequence[tuple[str, ...]]) -> SafeString:
    lines = (" · ".join(filter(None, row)) for row in rows)
    return format_html_join("", '<p style="overflow-wrap: anywhere">{}</p>', ((line,) for line in lines))


class DeliveriesOfMessage(ReadOnlyInline[Delivery, Message]):
    model = Delivery
    fields = readonly_fields = ("target_url", "status", "attempts", "next_attempt_at")
    show_change_link = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).select_related("endpoint", "message").order_by("pk")


class AttemptsOfMessage(ReadOnlyInline[Attempt, Message]):
    model = Attempt
    fields = readonly_fields = ("timestamp", "url", "status", "status_code", "duration_ms", "trigger")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        return super().get_queryset(request).order_by("-pk")


@admin.register(Message)
class MessageAdmin(SendsAgain[Message]):
    """What the embedded engine took in. Of a Svix server's messages only those to URLs of jobs are here."""

    list_display = ("uid", "organization", "event_type", "outcome", "created_at")
    order_of_organization = ("-created_at", "-pk")
    search_help_text = "An id (msg_… or evt_…), or an organization's (org_…)"
    fieldsets = (
        (None, {"fields": ("uid", "organization", "event_type", "written", "channels", "created_at")}),
        ("Content", {"fields": ("content",)}),
    )
    inlines = (DeliveriesOfMessage, AttemptsOfMessage)

    def sendable(self) -> QuerySet[Message]:
        return Message.objects.filter(Exists(Delivery.objects.filter(message=OuterRef("pk"))))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Message], search_term: str
    ) -> tuple[QuerySet[Message], bool]:
        if search_term.startswith("evt_"):
            of_each = Application.objects.values("organization")  # along which there is an index
            return queryset.filter(organization__in=of_each, event_id=search_term.strip()), False
        return super().get_search_results(request, queryset, search_term)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        return super().get_queryset(request).prefetch_related("deliveries")

    @display(description="state", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def outcome(self, message: Message) -> str:
        """The worst of its receivers'."""
        found = {delivery.status for delivery in message.deliveries.all()}
        worst = (Status.FAIL, Status.SENDING, Status.PENDING, Status.CANCELED, Status.SUCCESS)
        return next((str(status.label) for status in worst if status in found), "Unwanted")

    @admin.display(description="as it was written")
    def written(self, message: Message) -> str:
        """Its place in the outbox, which keeps it for some days. Tests have none."""
        found = OutboxMessage.objects.filter(uid=message.event_id).first() if message.event_id else None
        if found is None:
            return message.event_id or "–"
        url = reverse("admin:webhooks_outboxmessage_change", args=[found.pk])
        return format_html('<a class="text-link" href="{}">{}</a>', url, found.uid)

    @admin.display
    def content(self, message: Message) -> str:
        return json_block(json.loads(message.payload))


@admin.register(Attempt)
class AttemptAdmin(FoundById[Attempt]):
    list_display = ("timestamp", "organization", "message", "url", "outcome", "status_code", "duration_ms")
    list_filter = ("status", "trigger")
    list_select_related: ClassVar[Any] = ("organization", "message")
    fieldsets = (
        (None, {"fields": ("uid", "organization", "message", "endpoint", "url", "timestamp", "trigger")}),
        ("Answer", {"fields": ("outcome", "status_code", "duration_ms", "response")}),
    )

    @display(description="status", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def outcome(self, attempt: Attempt) -> str:
        return attempt.get_status_display()


@admin.register(Replay)
class ReplayAdmin(FoundById[Replay]):
    """What members had sent again of what an endpoint missed, and how far each is."""

    list_display = ("created_at", "organization", "endpoint_id", "outcome", "sent", "total", "created_by")
    list_select_related: ClassVar[Any] = ("organization", "created_by")
    fieldsets = (
        (
            None,
            {"fields": ("uid", "organization", "endpoint_id", "since", "until", "created_by", "created_at")},
        ),
        ("Progress", {"fields": ("outcome", "sent", "total", "problem", "leased_until", "finished_at")}),
    )

    @display(description="state", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def outcome(self, replay: Replay) -> str:
        return replay.get_state_display()
