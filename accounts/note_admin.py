"""Support's notes in the back office: written, pinned as warnings, and taken back."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import truncatechars
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from accounts import form_once, notes
from accounts.access import actor_of
from accounts.admin_base import (
    ModelAdmin,
    Parent,
    ReadOnlyInline,
    asked_once,
    back_to,
    colleague,
    is_there,
    page_of,
    row_or_404,
)
from accounts.admin_lists import OF_ORGANIZATION, OF_USER
from accounts.models import Note, Organization, User

KIND_COLORS = {
    "Warning": "danger",
    "Incident": "warning",
    "Agreement": "success",
    "Identity check": "info",
}


class StandingFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("standing", "Standing"), ("removed", "Taken back")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Note]) -> QuerySet[Note]:
        if self.value() == "standing":
            return queryset.filter(removed_at=None)
        return queryset.filter(removed_at__isnull=False) if self.value() == "removed" else queryset


def words(note: Note) -> SafeString:
    """The text, struck out where the note was taken back."""
    template = '<span style="white-space: pre-line; overflow-wrap: anywhere{}">{}</span>'
    return format_html(template, "; text-decoration: line-through" if note.removed_at else "", note.text)


class NoteForm(ModelForm[Note]):
    form = forms.CharField(widget=forms.HiddenInput)  # see `form_once`

    class Meta:
        model = Note
        fields: tuple[str, ...] = ("organization", "user", "kind", "text", "is_pinned")
        labels = {"user": "Person"}
        help_texts = {
            "text": "It is kept as it is: a note can be taken back, and another one written. "
            "People can ask for what we hold about them, and these notes are part of it.",
            "is_pinned": "Show it as a warning wherever the organization or person is shown.",
        }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if bool(cleaned.get("organization")) == bool(cleaned.get("user")):
            raise forms.ValidationError("Say whom it is about: an organization or a person.")
        return cleaned


@admin.register(Note)
class NoteAdmin(ModelAdmin[Note]):
    form = NoteForm
    list_display = ("created_at", "about", "colored_kind", "beginning", "is_pinned", "created_by")
    list_filter = ("kind", "is_pinned", StandingFilter)
    list_select_related = ("organization", "user", "created_by")
    search_fields = (*OF_ORGANIZATION, *OF_USER, "=uid")
    search_help_text = "An organization's name or id (org_…), or a person's e-mail address or id (usr_…)"
    ordering = ("-created_at", "-id")
    autocomplete_fields = ("organization", "user")
    actions_detail = ("pin", "unpin", "take_back")

    def get_fields(self, request: HttpRequest, obj: Note | None = None) -> tuple[str, ...]:
        if obj is None:
            return (*NoteForm.Meta.fields, "form")
        return ("about", "colored_kind", "text_as_kept", "is_pinned", "created_by", "created_at", "removed")

    def get_readonly_fields(self, request: HttpRequest, obj: Note | None = None) -> tuple[str, ...]:
        return () if obj is None else self.get_fields(request, obj)

    @admin.display
    def about(self, note: Note) -> SafeString:
        subject: Model | None = note.organization or note.user
        assert subject is not None
        return format_html('<a class="text-link" href="{}">{}</a>', page_of(subject), subject)

    @display(description="kind", label=KIND_COLORS)  # type: ignore[untyped-decorator]
    def colored_kind(self, note: Note) -> str:
        return note.get_kind_display()

    @admin.display(description="text")
    def beginning(self, note: Note) -> SafeString:
        return words(Note(text=truncatechars(note.text, 120), removed_at=note.removed_at))

    @admin.display(description="text")
    def text_as_kept(self, note: Note) -> SafeString:
        return words(note)

    @admin.display(description="taken back")
    def removed(self, note: Note) -> str:
        if note.removed_at is None:
            return "–"
        return f"{note.removed_at:%Y-%m-%d %H:%M} UTC by {note.removed_by or 'somebody who has left'}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return colleague(request).has_perm("accounts.add_note")

    def has_change_permission(self, request: HttpRequest, obj: Note | None = None) -> bool:
        return False

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().add_view(request, form_url, {"title": "Write a note"} | (extra_context or {}))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_changeform_initial_data(request) | {"form": form_once.uid_of(request, "note")[1]}

    def save_model(self, request: HttpRequest, obj: Note, form: ModelForm[Note], change: bool) -> None:
        """Sent twice, the form writes one note."""
        said = form.cleaned_data
        obj.uid, _ = form_once.uid_of(request, "note")
        try:
            obj.pk = notes.add(
                about=said["organization"] or said["user"],
                kind=said["kind"],
                text=said["text"],
                is_pinned=said["is_pinned"],
                actor=actor_of(request),
                uid=obj.uid,
            ).pk
        except notes.AlreadyWritten:
            obj.pk = Note.objects.get(uid=obj.uid).pk
            messages.warning(request, "This form has written its note already. For another one open it anew.")
        else:
            messages.success(request, "The note is kept.")

    def response_add(
        self, request: HttpRequest, obj: Note, post_url_continue: str | None = None
    ) -> HttpResponse:
        subject: Model | None = obj.organization or obj.user
        assert subject is not None
        return redirect(page_of(subject))

    def has_pin_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._may_change(request, object_id, is_pinned=False)

    def has_unpin_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._may_change(request, object_id, is_pinned=True)

    def has_take_back_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self._may_change(request, object_id)

    def _may_change(self, request: HttpRequest, object_id: str | None, **state: Any) -> bool:
        standing = Note.objects.standing().filter(**state)
        return colleague(request).has_perm("accounts.change_note") and is_there(standing, object_id)

    @asked_once(
        "Pin",
        permission="pin",
        question="Pin this note?",
        follows="It is shown as a warning wherever the organization or person is shown.",
    )
    def pin(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        return self._pin(request, object_id, is_pinned=True)

    @asked_once(
        "Unpin",
        permission="unpin",
        question="Unpin this note?",
        follows="It is no longer shown as a warning. It stays in the list.",
    )
    def unpin(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        return self._pin(request, object_id, is_pinned=False)

    def _pin(self, request: HttpRequest, object_id: str, *, is_pinned: bool) -> HttpResponse:
        note = _note(object_id)
        if notes.pin(note=note, is_pinned=is_pinned, actor=actor_of(request)):
            messages.success(request, "The note is pinned." if is_pinned else "The note is no longer pinned.")
        return back_to(note)

    @asked_once(
        "Take back",
        permission="take_back",
        question="Take this note back?",
        follows="It stays in the list, struck out, and is shown as a warning no longer.",
        is_danger=True,
    )
    def take_back(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        note = _note(object_id)
        if notes.remove(note=note, actor=actor_of(request)):
            messages.success(request, "The note is taken back.")
        return back_to(note)


class _NotesInline(ReadOnlyInline[Note, Parent]):
    model = Note
    fields = readonly_fields = ("created_at", "kind", "text_as_kept", "is_pinned", "created_by")
    verbose_name_plural = "Notes"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Note]:
        of_all = super().get_queryset(request).select_related("organization", "user", "created_by")
        return of_all.newest_first()  # type: ignore[attr-defined, no-any-return]

    @admin.display(description="text")
    def text_as_kept(self, note: Note) -> SafeString:
        return words(note)


class NotesOnOrganization(_NotesInline[Organization]):
    pass


class NotesOnUser(_NotesInline[User]):
    fk_name = "user"


def write_on(subject: Model) -> HttpResponse:
    """Open the form for a note on an organization or person."""
    name = "organization" if isinstance(subject, Organization) else "user"
    return redirect(f"{reverse('admin:accounts_note_add')}?{name}={subject.pk}")


def _note(object_id: str) -> Note:
    return row_or_404(Note.objects.select_related("organization", "user"), object_id)
