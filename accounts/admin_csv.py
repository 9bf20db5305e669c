"""A list of the back office as CSV: its columns as text and numbers, for work with them elsewhere."""

import html
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model
from django.utils.html import strip_tags
from django.utils.safestring import SafeString

from accounts import spreadsheets
from accounts.admin_lists import in_parts
from accounts.audit import time_text

# A number as pages show it: with its thousands marked, perhaps in dollars.
_SHOWN_NUMBER = re.compile(r"(\$[-−]?|[-−]?\$?)\d{1,3}(,\d{3})*(\.\d+)?")


def lines(listed: ChangeList) -> Iterator[str]:
    """All that is listed, as it is narrowed and sorted: read in parts, so that it takes little memory however long.

    Names may be shared. So a column that names another row is followed by one with that row's id.
    """
    admin: ModelAdmin[Any] = listed.model_admin
    header: list[str] = []
    columns: list[Callable[[Model], Any]] = []
    for name in listed.list_display:
        if name == "action_checkbox":
            continue
        label = str(label_for_field(name, listed.model, admin))
        header.append(label)
        columns.append(partial(_cell, name, admin))
        if _names_another_row(name, listed.model):
            header.append(f"{label} id")
            columns.append(partial(_id_of, str(name)))
    rows: Iterable[Model] = in_parts(listed.queryset)
    return spreadsheets.lines(header, ([column(row) for column in columns] for row in rows))


def _names_another_row(name: Any, model: type[Model]) -> bool:
    if name not in {field.name for field in model._meta.fields}:
        return False
    related = model._meta.get_field(name).related_model
    return isinstance(related, type) and hasattr(related, "uid")


def _cell(name: Any, admin: "ModelAdmin[Any]", row: Model) -> Any:
    try:
        field, _, value = lookup_field(name, row, admin)
    except ObjectDoesNotExist:
        return ""
    if field is not None:
        choices = dict(getattr(field, "flatchoices", ()))
        return _plain(choices.get(value, value) if choices else value)
    # Only what a method says for the page alone may be a number in disguise: what people wrote stays as it is.
    if type(value) is str and _SHOWN_NUMBER.fullmatch(value):
        return Decimal(re.sub(r"[$,]", "", value).replace("−", "-"))
    return _plain(value)


def _id_of(name: str, row: Model) -> str:
    try:
        return getattr(getattr(row, name), "uid", "")
    except ObjectDoesNotExist:
        return ""


def _plain(value: Any) -> Any:
    match value:
        case None | "–":
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float() | Decimal():
            return value
        case datetime():
            return time_text(value)
        case date():
            return value.isoformat()
        case SafeString():
            return html.unescape(strip_tags(value)).strip()
        case list() | tuple():
            return ", ".join(str(_plain(part)) for part in value)
    return str(value)
