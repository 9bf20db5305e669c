"""Finding rows by how the words of their texts begin: part of a name, an address or a URL, each with an index.

PostgreSQL's own words and a GIN index do it, without an extension, which an ordinary user could perhaps not create.
Whatever is no letter or digit parts words, so `example` finds an address at example.com.
"""

import re
from typing import Any, ClassVar

from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db.models import Func

_BETWEEN = re.compile(r"[!-/:-@\[-`{-~\s]+")
_MOST_WORDS = 8


class Words(Func):
    """The words of these columns: what an index keeps, and what `beginning` is looked for in."""

    template = "to_tsvector('simple', regexp_replace(%(expressions)s, '[!-/:-@[-`{-~]+', ' ', 'g'))"
    arg_joiner = " || ' ' || "
    output_field: ClassVar[SearchVectorField[Any, Any]] = SearchVectorField()


def beginning(text: str) -> SearchQuery | None:
    """Words that begin with each word of this text; None if it has none."""
    words = [word for word in _BETWEEN.split(text) if word][:_MOST_WORDS]
    if not words:
        return None
    return SearchQuery(" & ".join(f"'{word}':*" for word in words), config="simple", search_type="raw")
