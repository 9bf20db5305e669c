"""A place in a list that is sorted by time and id, as an opaque word that a caller hands back to go on."""

import base64
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
