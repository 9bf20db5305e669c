"""Queries of the hot paths: prepared once a connection, and their values bound by the server.

Django's own cursor writes the values into the text of a query, which PostgreSQL then plans anew each time.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from django.db import connection
from psycopg.types.json import JsonbLoader


def fetch(query: LiteralString, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a query in the transaction that is open, if one is. Raises psycopg's errors, not Django's."""
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        # Django reads jsonb as text, for its fields decode it themselves.
        cursor.adapters.register_loader("jsonb", JsonbLoader)
        cursor.execute(query, values, prepare=True)
        return cursor.fetchall() if cursor.description else []
