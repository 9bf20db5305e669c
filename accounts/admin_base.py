"""What the admins of all apps have in common: nothing secret is shown or searched, and every change is recorded."""

import json
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlencode

from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.paginator import InfinitePaginator

from accounts import admin_csv, audit, notes, pasted, spreadsheets
from accounts.access import actor_of
from accounts.admin_forms import Dialog
from accounts.admin_lists import PagedByPlace, found_by
from accounts.models import Organization, User
from accounts.redaction import without_keys

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


def row_or_404(rows: QuerySet[M], object_id: str) -> M:
    """The row that an address names."""
    with suppress(ValueError):
        return get_object_or_404(rows, pk=object_id)
    raise Http404


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
    form_class: type[Dialog] = Dialog,
) -> Callable[[View], View]:
    """A button on the page of a row, which asks once and says what follows. The method answers with `back_to`.

    `form_class` is what has to be filled in for it, if anything has. Opened by its address, as in another tab, it asks
    on a page of its own.
    """
    decorate: Callable[[Any], Callable[..., HttpResponse]] = action(
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

    def ask(view: View) -> View:
        dialog = decorate(view)

        @wraps(dialog)
        def on_any_page(shown: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            response = dialog(shown, request, *args, **kwargs)
            if request.headers.get("HX-Request"):
                return response
            if "HX-Redirect" in response:
                return redirect(response["HX-Redirect"])
            page = shown.admin_site.each_context(request) | {
                "opts": shown.opts,
                "title": label,
                "dialog": mark_safe(response.content.decode()),  # as unfold made it, escaped
                "back_url": reverse(f"admin:{shown.opts.app_label}_{shown.opts.model_name}_changelist"),
            }
            status = 400 if request.method == "POST" else 200
            return render(request, "admin/dialog_page.html", page, status=status)

        return on_any_page  # type: ignore[return-value]

    return ask


def page_of(row: Model) -> str:
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])


def dialog_link(url: str, label: str) -> SafeString:
    """A link to an act that is `asked_once`, which asks on the page that the link is on."""
    return format_html(
        '<a class="font-medium text-link" href="{0}" hx-get="{0}" hx-target="#modal-content" hx-select="#dialog" '
        'x-on:htmx:after-on-load="openModal = true">{1}</a>',
        url,
        label,
    )


def back_to(row: Model) -> HttpResponse:
    """Open the page of a row afresh, once its dialog has done something."""
    return HttpResponse(headers={"HX-Redirect": page_of(row)})


class ModelAdmin(UnfoldModelAdmin[M]):
    """Shows and calls; what may change follows from the class.

    Its list is newest first, costs the same however long it is (see `admin_lists`), and can be taken along as CSV.
    """

    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = InfinitePaginator  # of what is offered to be chosen from, in forms
    list_per_page = 50
    ordering: ClassVar[Any] = ("-pk",)
    sortable_by: ClassVar[
        Any
    ] = ()  # any other order needs an index, or a table that stays small, and no empty cells
    actions: Any = None
    # Long texts of its rows that the list does not show, and so does not read.
    list_leaves_out: ClassVar[tuple[str, ...]] = ()
    change_form_outer_before_template = "admin/accounts/warnings.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PagedByPlace

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        """What is found by the signs of `admin_lists.found_by`."""
        term = search_term.strip()
        if not term:
            return queryset, False
        return found_by(queryset, tuple(self.get_search_fields(request)), term), False

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What was done to a row stands in the audit trail, under its id, or else its customer's."""
        row = self.get_object(request, object_id)
        if row is None or not self.has_view_permission(request, row):
            raise PermissionDenied
        known = getattr(row, "uid", None) or getattr(getattr(row, "organization", None), "uid", None)
        trail = reverse("admin:accounts_auditentry_changelist")
        return redirect(f"{trail}?{urlencode({SEARCH_VAR: known or str(row.pk)})}")

    def _search(self, request: HttpRequest) -> HttpResponse:
        asked = request.POST.copy()
        asked.pop("csrfmiddlewaretoken", None)
        if answer := pasted.answer(request, request.POST[SEARCH_VAR], back=self._list_url):
            return answer
        return redirect(f"{self._list_url}?{asked.urlencode()}")

    def _leave_secret(self, request: HttpRequest) -> HttpResponse | None:
        """Away from an address that holds a secret all the same, or what no table holds."""
        given = [(name, value) for name, values in request.GET.lists() for value in values]
        for name, value in given:
            looked_for = name == SEARCH_VAR or pasted.is_secret(value)
            if looked_for and (answer := pasted.answer(request, value, back=self._list_url)):
                return answer
        return redirect(self._list_url) if any("\0" in value for _, value in given) else None

    @property
    def _list_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    # ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", self.admin_site.admin_view(self.csv), name=name), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A search comes in the body, as its term may be a key, and goes on in the address where it is none."""
        if request.method == "POST" and SEARCH_VAR in request.POST:
            return self._search(request)
        if leave := self._leave_secret(request):
            return leave
        page = super().changelist_view(request, extra_context)
        if isinstance(page, TemplateResponse) and page.context_data and not page.context_data["is_popup"]:
            page.context_data["actions_list"].append(
                {
                    "title": "CSV",
                    "icon": "download",
                    "variant": ActionVariant.DEFAULT,
                    "attrs": {"download": True, "title": "What is listed, all pages of it"},
                    "path": f"{self._list_url}csv/{page.context_data['cl'].get_query_string()}",
                }
            )
        return page

    def csv(self, request: HttpRequest) -> HttpResponseBase:
        """What is listed, all pages of it. It takes customers' data along, so the audit trail tells who did."""
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        if leave := self._leave_secret(request):
            return leave
        try:
            listed: Any = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return redirect(self._list_url)
        if listed.is_stopped:
            return redirect(self._list_url)
        audit.record(
            audit.Action.ADMIN_LIST_EXPORTED,
            actor=actor_of(request),
            target=ContentType.objects.get_for_model(self.model, for_concrete_model=False),
            after={
                "list": self.opts.label,
                "search": without_keys(listed.query),
                "filters": {
                    name: [without_keys(value) for value in request.GET.getlist(name)]
                    for name in listed.filter_params
                    if name != SEARCH_VAR
                },
            },
        )
        now = timezone.now()
        return spreadsheets.download(f"{self.opts.model_name}-{now:%Y-%m-%d}.csv", admin_csv.lines(listed))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return SECRET_FIELDS.isdisjoint(lookup.split("__")) and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: M | None = None, **kwargs: Any
    ) -> HttpResponse:
        """Show with every row what support has pinned to the organization or person it belongs to."""
        if obj is not None:
            context["warnings"] = notes.warnings_of(obj)
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)  # type: ignore[misc]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """What an address fills a new row's form with, but for ids of other rows that are none."""
        given: dict[str, Any] = super().get_changeform_initial_data(request)
        others = {field.name for field in self.opts.get_fields() if field.many_to_one or field.one_to_one}
        return {name: value for name, value in given.items() if name not in others or str(value).isdecimal()}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


class ReadOnlyAdmin(ModelAdmin[M]):
    """For facts: nobody changes them here, superusers neither."""

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


class BigTableAdmin(ReadOnlyAdmin[M]):
    """For tables of millions of rows, whose lists are never sorted otherwise and searched by what has an index."""


class FoundById(BigTableAdmin[M]):
    """One that is looked into by organization, or for one row by its id: each has its index."""

    list_select_related: ClassVar[Any] = ("organization",)
    id_field = "uid"
    search_fields = ("=uid",)
    search_help_text = "An id, or an organization's (org_…)"
    order_of_organization: ClassVar[tuple[str, ...]] = ("-pk",)  # as far as there is an index for it

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith("org_"):
            found = Organization.objects.filter(uid=term).values_list("pk", flat=True).first()
            of_organization = queryset.filter(organization_id=found or -1)
            return of_organization.order_by(*self.order_of_organization), False
        return queryset.filter(**{self.id_field: term}), False


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
