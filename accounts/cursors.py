"""Lists that are sorted newest first, a part at a time.

A place in such a list is an opaque word that a caller hands back to go on. Any part costs the same: it is found by its
place, not by counting up to it.
"""

import base64
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from django.core.exceptions import BadRequest
from django.db.models import Model, Q, QuerySet
from django.http import QueryDict

M = TypeVar("M", bound=Model)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = struct.Struct(">qq")


class BadCursor(ValueError):
    """The word was not made here."""


@dataclass(frozen=True)
class Cursor:
    """The row that a page ended with. Two rows of one moment are told apart by their id."""

    created_at: datetime
    id: int

    def __str__(self) -> str:
        microseconds = (self.created_at - _EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(_FORM.pack(microseconds, self.id)).decode().rstrip("=")

    @classmethod
    def parse(cls, word: str) -> "Cursor":
        """Read what `str` wrote. Raises `BadCursor` for anything else."""
        try:
            packed = base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True)
            microseconds, id = _FORM.unpack(packed)
            cursor = cls(_EPOCH + timedelta(microseconds=microseconds), id)
        except (ValueError, struct.error, OverflowError):
            raise BadCursor(word) from None
        if str(cursor) != word:
            raise BadCursor(word)
        return cursor


def page(rows: "QuerySet[M, Any]", *, limit: int, older_than: Cursor | None) -> tuple[list[M], Cursor | None]:
    """Some of these rows, which have a `created_at`, newest first; and where the next ones begin, if there are any."""
    if older_than:
        # Said so that an index finds the place.
        rows = rows.filter(
            Q(created_at__lt=older_than.created_at) | Q(id__lt=older_than.id),
            created_at__lte=older_than.created_at,
        )
    found = list(rows.order_by("-created_at", "-id")[: limit + 1])
    shown = found[:limit]
    last: Any = shown[-1] if found[limit:] else None
    return shown, Cursor(last.created_at, last.pk) if last else None


def page_by_id(
    rows: "QuerySet[M, Any]", *, limit: int, older_than: Cursor | None
) -> tuple[list[M], Cursor | None]:
    """The same of rows whose order is that of their ids, as of a ledger, where each line follows from the last."""
    if older_than:
        rows = rows.filter(id__lt=older_than.id)
    found = list(rows.order_by("-id")[: limit + 1])
    shown = found[:limit]
    last: Any = shown[-1] if found[limit:] else None
    return shown, Cursor(last.created_at, last.pk) if last else None


def in_address(query: QueryDict, name: str = "older_than") -> Cursor | None:
    """The place in a list that the address of a page names. Raises BadRequest for what was not made here."""
    word = query.get(name)
    try:
        return Cursor.parse(word) if word else None
    except BadCursor as error:
        raise BadRequest("This place in the list was not made here.") from error
