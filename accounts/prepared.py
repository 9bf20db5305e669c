"""Queries of the hot paths: prepared once a connection, and their values bound by the server.

Django's own cursor writes the values into the text of a query, which PostgreSQL then plans anew each time.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, LiteralString

import psycopg
from django.db import connection


def fetch(query: LiteralString, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a query in the transaction that is open, if one is. Raises psycopg's errors, not Django's."""
    connection.ensure_connection()
    cursor = psycopg.Cursor(connection.connection)
    cursor.execute(query, values, prepare=True)
    return cursor.fetchall() if cursor.description else []


def pipeline() -> AbstractContextManager[object]:
    """Within it, statements that return nothing run while this process goes on. Their errors rise at its end."""
    connection.ensure_connection()
    return connection.connection.pipeline()  # type: ignore[no-any-return]
