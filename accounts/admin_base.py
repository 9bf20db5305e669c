"""What the admins of all apps have in common: nothing secret is shown or searched, and every change is recorded."""

import json
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.contrib.admin import ShowFacets
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.paginator import InfinitePaginator

from accounts import audit, notes
from accounts.access import actor_of
from accounts.models import Organization, User

# Unfold carries no types; its classes extend Django's, whose types serve for both.
if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as UnfoldModelAdmin
    from django.contrib.admin import TabularInline as UnfoldTabularInline
else:
    from unfold.admin import ModelAdmin as UnfoldModelAdmin
    from unfold.admin import TabularInline as UnfoldTabularInline

M = TypeVar("M", bound=Model)
Parent = TypeVar("Parent", bound=Model)
View = TypeVar("View", bound=Callable[..., HttpResponse])

# Fields that a filter in the address (`?key__startswith=a`) could otherwise spell out letter by letter.
SECRET_FIELDS = frozenset(
    {
        "password",
        "secret_hash",
        "previous_secret_hash",
        "token_hash",
        "key",
        "stored_secret",
        "stored_headers",
        "old_secrets",
    }
)


def colleague(request: HttpRequest) -> User:
    """Whoever is in the admin: its site lets only the staff through."""
    assert isinstance(request.user, User)
    return request.user


def is_there(rows: QuerySet[Any], object_id: str | None) -> bool:
    """Whether the row that an address names is one of these. Addresses hold anything; None names no row yet."""
    if object_id is None:
        return True
    with suppress(ValueError):
        return rows.filter(pk=object_id).exists()
    return False


def json_block(value: object) -> str:
    """A JSON value laid out over lines."""
    if not value:
        return "–"
    return format_html(
        '<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>',
        json.dumps(value, indent=2, ensure_ascii=False),
    )


def plain_number(value: Decimal | None) -> str:
    """A number with thousands marked and no trailing zeros."""
    if value is None:
        return "–"
    digits = f"{value:,f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def asked_once(
    label: str,
    *,
    permission: str,
    question: str,
    follows: str,
    is_danger: bool = False,
    form_class: type[BaseDialogForm] | None = None,
) -> Callable[[View], View]:
    """A button on the page of a row, which asks once and says what follows. The method answers with `back_to`.

    `form_class` is what has to be filled in for it, if anything has.
    """
    decorate: Callable[[View], View] = action(
        description=label,
        permissions=[permission],
        variant=ActionVariant.DANGER if is_danger else ActionVariant.DEFAULT,
        dialog={
            "title": question,
            "description": follows,
            "form_class": form_class,
            "form_submit_text": label,
        },
    )
    return decorate


def back_to(row: Model) -> HttpResponse:
    """Open the page of a row afresh, once its dialog has done something."""
    meta = row._meta
    url = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])
    return HttpResponse(headers={"HX-Redirect": url})


class ModelAdmin(UnfoldModelAdmin[M]):
    """Shows and calls; what may change follows from the class. Nothing is counted in full for the sake of a list."""

    show_full_result_count = False
    list_per_page = 50
    actions: Any = None
    change_form_outer_before_template = "admin/accounts/warnings.html"

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return SECRET_FIELDS.isdisjoint(lookup.split("__")) and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: M | None = None, **kwargs: Any
    ) -> HttpResponse:
        """Show with every row what support has pinned to the organization or person it belongs to."""
        if obj is not None:
            context["warnings"] = notes.warnings_of(obj)
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)  # type: ignore[misc]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


class ReadOnlyAdmin(ModelAdmin[M]):
    """For facts: nobody changes them here, superusers neither."""

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


class BigTableAdmin(ReadOnlyAdmin[M]):
    """For tables of millions of rows: pages without a count, newest first by primary key."""

    paginator = InfinitePaginator
    ordering = ("-pk",)
    sortable_by = ()  # nothing but this order has an index
    show_facets = ShowFacets.NEVER


class RecordedAdmin(ModelAdmin[M]):
    """For what staff may change: each change leaves an audit row with the values before and after."""

    changed: ClassVar[audit.Action]

    def organization_of(self, obj: M) -> Organization | None:
        return None

    def save_model(self, request: HttpRequest, obj: M, form: ModelForm[M], change: bool) -> None:
        """Write only the fields that changed: others may have moved on since the page was opened."""
        if not form.changed_data:
            return
        obj.save(update_fields=form.changed_data)
        audit.record(
            self.changed,
            actor=actor_of(request),
            organization=self.organization_of(obj),
            target=obj,
            before={name: form.initial.get(name) for name in form.changed_data},
            after={name: form.cleaned_data.get(name) for name in form.changed_data},
        )


class ReadOnlyInline(UnfoldTabularInline[M, Parent]):
    """A list of related rows on the page of another."""

    extra = 0
    can_delete = False
    show_change_link = True
    hide_title = True
    per_page = 20

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
