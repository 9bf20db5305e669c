"""Lists of the back office that cost the same with millions of rows: how they are paged, searched and narrowed by time.

Nothing is counted, and no page is found by counting up to it: an address names the row that a page follows or precedes.
A list that has to look through too much all the same is stopped, and says so.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

from django.contrib import messages
from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import DataError, OperationalError, connection, transaction
from django.db.models import BooleanField, F, Field, Func, Model, OrderBy, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from psycopg.errors import QueryCanceled

from accounts import words

M = TypeVar("M", bound=Model)

AFTER, BEFORE = "after", "before"
# How long one page may take. Each of ours takes milliseconds; a filter typed into the address may have no index.
LONGEST_READ = timedelta(seconds=10)
ROWS_AT_ONCE = 1_000


# ── The order of a list, and places in it ────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Order:
    """The columns that a list is sorted by, together unique and never null, each with whether it descends."""

    model: type[Model]
    columns: tuple[tuple[str, bool], ...]
    # Of what the rows were annotated with: a column of rows that each may have many of, taken from the one listed.
    annotated: "Mapping[str, Field[Any, Any]]"

    @classmethod
    def of(cls, rows: "QuerySet[Any]") -> "Order":
        columns: dict[str, bool] = {}
        for part in rows.query.order_by:
            if isinstance(part, OrderBy):
                column: Any = part.expression
                name, descends = column.name, part.descending
            else:
                name, descends = str(part).removeprefix("-"), str(part).startswith("-")
            columns.setdefault(name, descends)
            if name == "pk" or name == rows.model._meta.pk.name:  # no row is after it in any further column
                break
        annotations = rows.query.annotations
        annotated = {name: annotations[name].output_field for name in columns.keys() & annotations.keys()}
        return cls(rows.model, tuple(columns.items()), annotated)

    def place(self, row: Model) -> str:
        """The word by which an address names this row."""
        values = [self._field(name).value_to_string(self._owner(row, name)) for name, _ in self.columns]
        return json.dumps(values, separators=(",", ":"))

    def beyond(self, place: str, *, backwards: bool = False) -> Q:
        """The rows that follow a place, or precede it. Raises ValueError for what `place` did not write."""
        try:
            words = json.loads(place)
        except RecursionError as error:
            raise ValueError(place) from error
        if not isinstance(words, list) or len(words) != len(self.columns):
            raise ValueError(place)
        if not all(isinstance(word, str) for word in words):
            raise ValueError(place)
        values = [self._value(name, word) for (name, _), word in zip(self.columns, words, strict=True)]
        found, same = Q(), Q()
        for (name, descends), value in zip(self.columns, values, strict=True):
            further = "lt" if descends != backwards else "gt"
            found |= same & Q(**{f"{name}__{further}": value})
            same &= Q(**{name: value})
        if len(self.columns) > 1:  # said so that an index finds the place
            name, descends = self.columns[0]
            found &= Q(**{f"{name}__{'lte' if descends != backwards else 'gte'}": values[0]})
        return found

    def backwards(self) -> list[str]:
        return [name if descends else f"-{name}" for name, descends in self.columns]

    def _value(self, name: str, word: Any) -> Any:
        try:
            value = self._field(name).to_python(word)
        except ValidationError as error:
            raise ValueError(word) from error
        if value is None:
            raise ValueError(word)
        return value

    def _owner(self, row: Any, name: str) -> Any:
        """The row itself, or the one beside it that the column belongs to."""
        if name in self.annotated:
            return SimpleNamespace(**{self.annotated[name].attname: getattr(row, name)})
        for step in name.split("__")[:-1]:
            row = getattr(row, step)
        return row

    def _field(self, name: str) -> "Field[Any, Any]":
        if name in self.annotated:
            return self.annotated[name]
        model: Any = self.model
        *path, last = name.split("__")
        for step in path:
            model = model._meta.get_field(step).related_model
        field: Field[Any, Any] = model._meta.pk if last == "pk" else model._meta.get_field(last)
        return field


def in_parts(rows: "QuerySet[M]") -> "Iterator[M]":
    """All rows in their order, some at a time, each part by its place: while others write, and in little memory.

    Nothing is held open between the parts, so whoever goes away leaves no query behind.
    """
    order, place = Order.of(rows), None
    while True:
        part = list((rows.filter(order.beyond(place)) if place else rows)[:ROWS_AT_ONCE])
        yield from part
        if len(part) < ROWS_AT_ONCE:
            return
        place = order.place(part[-1])


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────
class PagedByPlace(ChangeList):
    """A list whose pages follow or precede a row, so that the thousandth costs what the first does."""

    first_link = previous_link = next_link = ""
    is_stopped = False

    def get_filters(self, request: HttpRequest) -> Any:
        for name in (AFTER, BEFORE):
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        return super().get_filters(request)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> "QuerySet[Any]":
        """Without the long texts that it does not show: a file of very many rows would take much memory."""
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        shown: Any = self.model_admin
        return rows.defer(*shown.list_leaves_out)

    def get_ordering(self, request: HttpRequest, queryset: "QuerySet[Any]") -> list[Any]:
        """As asked, where the column is one that the list offers to be sorted by."""
        if asked := self.params.get(ORDER_VAR):
            self.params[ORDER_VAR] = ".".join(filter(self._is_sortable, asked.split(".")))
        return super().get_ordering(request, queryset)

    def _is_sortable(self, column: str) -> bool:
        offered = {
            str(index)
            for index, name in enumerate(self.list_display)
            if self.sortable_by is None or name in self.sortable_by
        }
        return column.removeprefix("-") in offered

    def get_results(self, request: HttpRequest) -> None:
        order = Order.of(self.queryset)
        after, before = request.GET.get(AFTER), request.GET.get(BEFORE)
        rows: list[Any] = []
        try:
            if before:
                preceding = self.queryset.filter(order.beyond(before, backwards=True))
                rows = self._read(preceding.order_by(*order.backwards()))[::-1]
                if len(rows) <= self.list_per_page:  # less than a page precedes: that is the first page
                    before = None
            if not before:
                rows = self._read(self.queryset.filter(order.beyond(after)) if after else self.queryset)
        except (ValueError, OverflowError, DataError) as error:
            raise IncorrectLookupParameters(error) from error
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            self.is_stopped = True
            messages.error(
                request,
                "That would look through too many rows. Narrow it down, by an organization (org_…) or a time.",
            )
        more = len(rows) > self.list_per_page
        shown = rows[-self.list_per_page :] if before else rows[: self.list_per_page]
        if after or before:
            self.first_link = self.get_query_string()
        if shown and (after or (before and more)):
            self.previous_link = self.get_query_string({BEFORE: order.place(shown[0])})
        if shown and (before or more):
            self.next_link = self.get_query_string({AFTER: order.place(shown[-1])})
        self.result_list: Any = shown
        self.result_count = self.full_result_count = len(shown)
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.paginator: Any = SimpleNamespace(template_name="admin/pages_by_place.html")

    def _read(self, rows: "QuerySet[Any]") -> list[Any]:
        """A page, and one row more if there is one."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true)",
                [str(LONGEST_READ // timedelta(milliseconds=1))],
            )
            return list(rows[: self.list_per_page + 1])


# ── Search ───────────────────────────────────────────────────────────────────────────────────────────────────
# An id of ours (`ids.new_uid`) is in no name and no address: text is not looked through for it.
_ID = re.compile(r"[a-z]{2,6}_[0-9A-Za-z]{20}")
# How lists find the organization that their rows are of, and the person.
OF_ORGANIZATION = ("~organization__name,organization__billing_email", "=organization__uid")
OF_USER = ("~user__name,user__email", "=user__uid")


def found_by(rows: "QuerySet[M]", fields: tuple[str, ...], term: str) -> "QuerySet[M]":
    """The rows in which one of these fields holds the term. Each is a query of its own, and so has its index.

    `=field` is the term, `^field` begins with it, `~field,field` have words that begin with its words; a field without
    a sign contains it, which is for tables that stay small.
    """
    term = term.replace("\x00", "")
    if _ID.fullmatch(term):
        fields = tuple(field for field in fields if field.startswith("="))
    found = Q()
    for field in fields:
        for rows_of_field in _in_field(rows.model, field, term):
            found |= Q(_among(rows_of_field))
    return rows.filter(found) if found else rows.none()


def _among(rows: "QuerySet[Any, Any]") -> Func:
    """Whether a row is one of these, said so that PostgreSQL finds them first and does not walk the list for them."""
    ids = ArraySubquery(rows.order_by().values("pk"))
    return Func(F("pk"), ids, template="%(expressions)s)", arg_joiner=" = ANY(", output_field=BooleanField())


def _in_field(model: type[Model], field: str, term: str) -> "Iterator[QuerySet[Any, Any]]":
    rows: QuerySet[Any, Any] = model._default_manager.all()
    match field[0], field[1:]:
        case "=", name:
            if _holds(model, name, term):
                yield rows.filter(**{name: term})
        case "^", name:
            yield rows.filter(**{f"{name}__startswith": term})
        case "~", names:
            if query := words.beginning(term):
                yield rows.alias(found=words.Words(*names.split(","))).filter(found=query)
        case _:
            yield rows.filter(**{f"{field}__icontains": term})


def _holds(model: type[Model], name: str, term: str) -> bool:
    """Whether a field could hold the term at all: a number holds no text."""
    try:
        model._meta.get_field(name).to_python(term)  # type: ignore[union-attr]
    except FieldDoesNotExist:
        return True  # beyond a relation, where only ids are asked for
    except ValidationError:
        return False
    return True


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────
_SPANS: Mapping[str, tuple[str, timedelta]] = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last 24 hours", timedelta(days=1)),
    "week": ("Last 7 days", timedelta(days=7)),
    "month": ("Last 30 days", timedelta(days=30)),
}


def since(field: str, title: str = "time") -> type[SimpleListFilter]:
    """A filter by how long ago something was."""

    class Since(SimpleListFilter):
        parameter_name = "since"

        def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
            return [(name, label) for name, (label, _) in _SPANS.items()]

        def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
            span = _SPANS.get(self.value() or "")
            return queryset.filter(**{f"{field}__gte": timezone.now() - span[1]}) if span else queryset

    Since.title = title
    return Since
