import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import EndpointPatch
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from accounts.access import actor_of
from accounts.admin_base import (
    BigTableAdmin,
    M,
    ModelAdmin,
    ReadOnlyInline,
    colleague,
    json_block,
)
from accounts.models import Organization
from webhooks import endpoints
from webhooks.embedded import egress
from webhooks.events import EVENT_TYPES
from webhooks.gateway import EmbeddedSvix, get_svix
from webhooks.models import Attempt, Delivery, Endpoint, Message, OutboxMessage, Status

STATUS_COLORS = {
    Status.SUCCESS.label: "success",
    Status.FAIL.label: "danger",
    Status.SENDING.label: "warning",
    "Handed over": "success",
    "Refused": "danger",
    "Waiting": "warning",
    "Disabled": "danger",
}


def check_url(text: str) -> None:
    if problem := egress.url_problem(text):
        raise ValidationError(problem)


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
    list_display = ("url", "organization", "description", "wants", "state", "created_at")
    list_filter = ("disabled",)
    list_select_related = ("organization",)
    search_fields = ("url", "=uid", "=organization__uid")
    search_help_text = "Part of a URL, or the id of an endpoint (ep_…) or organization (org_…)"
    ordering = ("-pk",)
    autocomplete_fields = ("organization",)

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
            "disabled",
            "created_at",
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Endpoint | None = None) -> tuple[str, ...]:
        return ("uid", "organization", "channels", "created_at") if obj else ()

    @admin.display(description="event types")
    def wants(self, endpoint: Endpoint) -> str:
        return "all" if endpoint.event_types is None else ", ".join(endpoint.event_types)

    @display(description="state", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def state(self, endpoint: Endpoint) -> str:
        return "Disabled" if endpoint.disabled else ""

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
class OutboxMessageAdmin(FoundById[OutboxMessage]):
    """What waits to be handed over to the engine, and why."""

    list_display = ("uid", "organization", "event_type", "state", "attempts", "error", "created_at")
    list_filter = (StateFilter,)
    fieldsets = (
        (None, {"fields": ("uid", "organization", "event_type", "state", "channels", "url")}),
        ("Handing over", {"fields": ("handed_over_at", "attempts", "next_try", "last_error")}),
        ("Content", {"fields": ("created_at", "content")}),
    )

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

    @admin.display
    def content(self, message: OutboxMessage) -> str:
        return json_block(json.loads(message.payload))


class DeliveriesOfMessage(ReadOnlyInline[Delivery, Message]):
    model = Delivery
    fields = readonly_fields = ("target_url", "status", "attempts", "next_attempt_at")
    show_change_link = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).select_related("endpoint", "message").order_by("pk")


class AttemptsOfMessage(ReadOnlyInline[Attempt, Message]):
    model = Attempt
    fields = readonly_fields = ("timestamp", "url", "status_code", "duration_ms")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        return super().get_queryset(request).order_by("-pk")


@admin.register(Message)
class MessageAdmin(FoundById[Message]):
    list_display = ("uid", "organization", "event_type", "created_at")
    order_of_organization = ("-created_at", "-pk")
    fieldsets = (
        (None, {"fields": ("uid", "organization", "event_type", "event_id", "channels", "created_at")}),
        ("Content", {"fields": ("content",)}),
    )
    inlines = (DeliveriesOfMessage, AttemptsOfMessage)

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
