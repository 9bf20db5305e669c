"""Running the short statements of ingest: each takes its rows as one JSON parameter.

Rows arrive sorted by the key they lock, so that two writers meet in the same order and never deadlock.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
from django.db import connection
from psycopg.types.json import JsonbLoader

_encode = msgspec.json.Encoder().encode


def run(query: str, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a statement over `rows` (structs or dicts with its column names), in the transaction that is open.

    Prepared and bound by the server: Django's own cursor would quote megabytes of JSON into the text. Raises
    psycopg's errors, not Django's.
    """
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        # Django reads jsonb as text, for its fields decode it themselves.
        cursor.adapters.register_loader("jsonb", JsonbLoader)
        cursor.execute(query, [_encode(rows).decode()], prepare=True)
        return cursor.fetchall() if cursor.description else []
