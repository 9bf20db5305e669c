"""Running the short statements of ingest: each takes its rows as one JSON parameter.

Rows arrive sorted by the key they lock, so that two writers meet in the same order and never deadlock.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import msgspec

from accounts import prepared

_encode = msgspec.json.Encoder().encode


def run(query: LiteralString, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a statement over `rows` (structs or dicts with its column names), in the transaction that is open."""
    return prepared.fetch(query, [_encode(rows).decode()])
