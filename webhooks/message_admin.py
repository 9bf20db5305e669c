"""Messages in the back office: the outbox, what the engine made of them, every try, and sending them again."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest
from django.db.models import Exists, F, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods
from svix.exceptions import HttpError, HTTPValidationError
from unfold.decorators import action, display

from accounts.access import actor_of
from accounts.admin_base import (
    FoundById,
    M,
    ReadOnlyInline,
    asked_once,
    back_to,
    colleague,
    is_there,
    json_block,
)
from accounts.admin_forms import ToldReasonDialog, ToldReasonForm
from accounts.admin_lists import since
from accounts.models import Organization
from webhooks import deliveries, retries
from webhooks.admin_base import STATUS_COLORS, ask, once
from webhooks.admin_forms import RetryForm, count_in_words, window
from webhooks.endpoints import sentence
from webhooks.models import EXPIRED, Application, Attempt, Delivery, Endpoint, Message, OutboxMessage, Status

_SHOWN_OF_ANSWER = 300  # characters
# What is sent again in one go: a page of the list.
MOST_SELECTED = 50


class SendsAgain(FoundById[M]):
    """Messages that a button sends again, through whatever engine has them: one, or those chosen in the list."""

    actions_detail: Any = ("resend",)
    actions: Any = ("resend_selected",)
    list_per_page = MOST_SELECTED
    list_disable_select_all = True

    def sendable(self) -> QuerySet[M]:
        """Those that an endpoint, or the URL of a job, may have been sent."""
        raise NotImplementedError

    def has_resend_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("webhooks.resend_outboxmessage") and is_there(
            self.sendable(), object_id
        )

    @asked_once(
        "Send again",
        permission="resend",
        question="Send this message again?",
        follows="Each endpoint that has not taken it gets it once more now. If all have, all get it again. "
        "What went to the URL of a job goes there again.",
        form_class=ToldReasonDialog,
    )
    def resend(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        message: Any = get_object_or_404(self.sendable().select_related("organization"), pk=object_id)
        try:
            sent = _resend(request, message, form.cleaned_data["reason"])
        except deliveries.Expired:
            messages.error(request, "Its content has been erased: it cannot be sent again.")
        except (HttpError, HTTPValidationError) as error:
            messages.error(request, f"The engine refuses: {error}")
        else:
            for url in sent.urls:
                messages.success(request, f"It is sent to {url} again.")
            for url in sent.disabled:
                messages.warning(request, f"{url} is disabled: nothing is sent to it.")
            if not sent.urls and not sent.disabled:
                messages.warning(request, "No endpoint wanted it.")
        return back_to(message)

    @action(description="Send again…", permissions=["resend"])  # type: ignore[untyped-decorator]
    def resend_selected(self, request: HttpRequest, queryset: QuerySet[M]) -> HttpResponse | None:
        """Ask why, and send those chosen again. One that cannot be sent holds up no other."""
        chosen = _chosen(request)
        form = ToldReasonForm(request.POST if "reason" in request.POST else None)
        if not form.is_valid():
            return ask(
                self,
                request,
                title="Send messages again",
                lead="Each endpoint that has not taken a message gets it once more now. If all have, all get it "
                "again. What went to the URL of a job goes there again.",
                facts=[("Chosen", count_in_words(len(chosen), are_more=False))],
                form=form,
                hidden=_hidden("resend_selected", chosen),
                submit_label="Send again",
            )
        rows = self.sendable().filter(pk__in=chosen).select_related("organization").order_by("pk")
        sent, problems = 0, []
        for message in rows:
            try:
                told = _resend(request, message, form.cleaned_data["reason"])
            except deliveries.Expired:
                problems.append(f"{message}: its content has been erased.")
            except (HttpError, HTTPValidationError) as error:
                problems.append(f"{message}: {sentence(error)}")
            else:
                sent += bool(told.urls)
                problems += [f"{message}: {url} is disabled." for url in told.disabled]
                if not told.urls and not told.disabled:
                    problems.append(f"{message}: no endpoint wanted it.")
        if missing := len(chosen) - len(rows):
            problems.append(
                f"{missing} of those chosen have gone nowhere yet, so there is nothing to repeat."
            )
        if sent:
            messages.success(request, f"Sent again: {count_in_words(sent, are_more=False)}.")
        for problem in problems:
            messages.warning(request, problem)
        return None


def _resend(request: HttpRequest, message: Any, reason: str) -> deliveries.SentAgain:
    return deliveries.resend_where_due(
        organization=message.organization, message_id=message.uid, actor=actor_of(request), reason=reason
    )


def _chosen(request: HttpRequest) -> list[int]:
    """The rows that are ticked: never more than a page, whatever a form says of the rest of the list."""
    try:
        return [int(pk) for pk in request.POST.getlist(ACTION_CHECKBOX_NAME)][:MOST_SELECTED]
    except ValueError as error:
        raise BadRequest("These rows were not listed here.") from error


def _hidden(name: str, chosen: Sequence[int]) -> list[tuple[str, str]]:
    return [("action", name), *((ACTION_CHECKBOX_NAME, str(pk)) for pk in chosen)]


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

    list_leaves_out = ("payload",)
    actions_detail = ("resend", "retry")
    actions = ("resend_selected", "retry_selected")
    actions_list = ("retry_refused",)

    list_display = ("uid", "organization", "event_type", "state", "attempts", "error", "created_at")
    list_filter = (StateFilter, since("created_at"))
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
    @once
    def delivery(self, message: OutboxMessage) -> str:
        """Whether it reached its receivers, as the engine tells, and every try that was made."""
        return how_it_went(message) if message.handed_over_at else "–"

    @admin.display
    @once
    def content(self, message: OutboxMessage) -> str:
        """The content, or who has it: the outbox keeps none of what is handed over."""
        if message.payload != EXPIRED:
            return json_block(json.loads(message.payload))
        if not message.handed_over_at:
            return "It has been erased, as the organization's retention has it."
        taken = Message.objects.filter(organization=message.organization_id, event_id=message.uid)
        found = taken.only("uid", "expunged_at").first()
        if found is None:
            return f"It was handed over: the Svix server has it, by the event id {message.uid}."
        url = reverse("admin:webhooks_message_change", args=[found.pk])
        words = "it has been erased there since" if found.expunged_at else "its content stands there"
        return format_html(
            'It was handed over to the engine as <a class="text-link" href="{}">{}</a>: {}.',
            url,
            found.uid,
            words,
        )

    # ── Handing over once more ───────────────────────────────────────────────────────────────────────────────

    def has_retry_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("webhooks.retry_outboxmessage") and is_there(
            retries.retriable(), object_id
        )

    @asked_once(
        "Try now",
        permission="retry",
        question="Hand this message over now?",
        follows="One that was refused is tried once more; one that waits need not wait any longer, nor what stands "
        "before it. The engine takes each message once.",
        form_class=ToldReasonDialog,
    )
    def retry(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        message = get_object_or_404(retries.retriable(), pk=object_id)
        self._told(request, retries.retry(ids=[message.pk], actor=actor_of(request), **_why(form)), of=1)
        return back_to(message)

    @action(description="Hand over now…", permissions=["retry"])  # type: ignore[untyped-decorator]
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[OutboxMessage]) -> HttpResponse | None:
        """Ask why, and have those chosen tried that wait or were refused."""
        chosen = _chosen(request)
        form = ToldReasonForm(request.POST if "reason" in request.POST else None)
        if not form.is_valid():
            return ask(
                self,
                request,
                title="Hand messages over now",
                lead="Those that were refused are tried once more; those that wait need not wait any longer. "
                "What the engine has already is left alone.",
                facts=[("Chosen", count_in_words(len(chosen), are_more=False))],
                form=form,
                hidden=_hidden("retry_selected", chosen),
                submit_label="Hand over now",
            )
        done = retries.retry(ids=chosen, actor=actor_of(request), **_why(form))
        self._told(request, done, of=len(chosen))
        return None

    @action(description="Retry refused…", permissions=["retry"], icon="replay")  # type: ignore[untyped-decorator]
    @method_decorator(require_http_methods(["GET", "POST"]))
    def retry_refused(self, request: HttpRequest) -> HttpResponse:
        """Ask which refused messages are meant, show how many there are, and have them tried by a second click."""
        here = reverse("admin:webhooks_outboxmessage_retry_refused")
        form = RetryForm(request.GET if "since" in request.GET else None, initial=window())
        if not form.is_valid():
            return ask(
                self,
                request,
                title="Retry refused messages",
                lead="For when the cause is gone: a setting of the Svix server, or a bug in what was sent. "
                "Nothing is tried before you have seen how many they are.",
                form=form,
                submit_label="Show what is meant",
                method="get",
            )
        reason = ToldReasonForm(request.POST if request.method == "POST" else None)
        refused = form.refused
        if reason.is_valid():
            done = retries.retry_refused(refused, actor=actor_of(request), **_why(reason))
            self._told(request, done, of=done)
            return redirect("admin:webhooks_outboxmessage_changelist")
        counts = refused.counts()
        organizations = Organization.objects.in_bulk({pk for pk, _ in counts})
        total = sum(counts.values())
        return ask(
            self,
            request,
            title="Retry refused messages",
            lead=f"{count_in_words(total, are_more=total == retries.MOST_AT_ONCE).capitalize()} refused between "
            f"{_minute(refused.since)} and {_minute(refused.until)}"
            + (f"; {retries.MOST_AT_ONCE:,} are tried at a time." if total == retries.MOST_AT_ONCE else "."),
            facts=[
                (f"{organizations[pk]}, {event_type}", f"{count:,}")
                for (pk, event_type), count in counts.most_common(20)
                if pk in organizations
            ],
            form=reason if total else None,
            submit_label="Try them once more",
            back_url=here,
        )

    def _told(self, request: HttpRequest, done: int, *, of: int) -> None:
        if done:
            messages.success(
                request, f"To be handed over now: {count_in_words(done, are_more=False)}. Reload to see."
            )
        if done < of or not done:
            messages.warning(
                request,
                f"Left alone, for the engine has them or their content is erased: {of - done}."
                if of
                else "There was nothing to be tried.",
            )


def is_sendable(message: OutboxMessage | Message) -> bool:
    """Whether there is something to repeat."""
    shown_by: Any = admin.site.get_model_admin(type(message))
    return bool(shown_by.sendable().filter(pk=message.pk).exists())


def how_it_went(message: OutboxMessage | Message) -> str:
    """Where a message stands with each receiver, and its last tries, as the engine tells."""
    try:
        told = deliveries.get(organization=message.organization, message_id=message.uid)
    except (HttpError, HTTPValidationError) as error:
        return f"The engine does not tell: {error}"
    if told.message is None:
        return "It waits in the outbox."
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
        return "It has not been tried yet." if told.url else "No endpoint wanted it."
    return _lines(states) + _lines(tries)


def _why(form: Any) -> dict[str, str]:
    return {"reason": form.cleaned_data["reason"]}


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"


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

    list_leaves_out = ("payload",)
    list_display = ("uid", "organization", "event_type", "outcome", "created_at")
    list_filter = (since("created_at"),)
    order_of_organization = ("-created_at", "-pk")
    search_help_text = "An id (msg_… or evt_…), or an organization's (org_…) or endpoint's (ep_…)"
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
        if search_term.startswith("ep_"):
            found = queryset.filter(deliveries__endpoint_id=_endpoint_id(search_term)).annotate(
                to_be_sent_at=F("deliveries__created_at"), delivery_id=F("deliveries__id")
            )
            return found.order_by("-to_be_sent_at", "-delivery_id"), False
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
    @once
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


class OutcomeFilter(admin.SimpleListFilter):
    """How an attempt ended: a message's other states are none of an attempt's."""

    title = parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(status.value), str(status.label)) for status in (Status.FAIL, Status.SUCCESS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Attempt]) -> QuerySet[Attempt]:
        chosen = {str(status.value): status for status in (Status.FAIL, Status.SUCCESS)}.get(
            self.value() or ""
        )
        return queryset if chosen is None else queryset.filter(status=chosen)


@admin.register(Attempt)
class AttemptAdmin(FoundById[Attempt]):
    list_leaves_out = ("response", "message__payload")
    search_help_text = "An id (atmpt_…), or an organization's (org_…) or endpoint's (ep_…)"
    list_display = ("timestamp", "organization", "message", "url", "outcome", "status_code", "duration_ms")
    list_filter = (OutcomeFilter, "trigger", since("timestamp"))
    list_select_related: ClassVar[Any] = ("organization", "message")
    fieldsets = (
        (None, {"fields": ("uid", "organization", "message", "endpoint", "url", "timestamp", "trigger")}),
        ("Answer", {"fields": ("outcome", "status_code", "duration_ms", "response")}),
    )

    @display(description="status", label=STATUS_COLORS)  # type: ignore[untyped-decorator]
    def outcome(self, attempt: Attempt) -> str:
        return attempt.get_status_display()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Attempt], search_term: str
    ) -> tuple[QuerySet[Attempt], bool]:
        if search_term.startswith("ep_"):
            found = queryset.filter(endpoint_id=_endpoint_id(search_term))
            return found.order_by("-timestamp", "-pk"), False
        return super().get_search_results(request, queryset, search_term)


def _endpoint_id(uid: str) -> int:
    """Looked up first, so that PostgreSQL knows it by its number, along which there is an index."""
    return Endpoint.objects.filter(uid=uid.strip()).values_list("pk", flat=True).first() or -1
