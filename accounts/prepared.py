"""Queries of the hot paths: prepared once a connection, and their values bound by the server.

Django's own cursor writes the values into the text of a query, which PostgreSQL then plans anew each time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from django.db import OperationalError, connection


def fetch(query: LiteralString, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a query in the transaction that is open, if one is.

    Outside one, a connection that was lost since its last use is made anew and the query sent again; so there it must
    be one that only reads.
    """
    connection.ensure_connection()
    try:
        return _fetch(query, values)
    except OperationalError:
        if connection.in_atomic_block or connection.is_usable():
            raise
    connection.close()
    connection.ensure_connection()
    return _fetch(query, values)


def _fetch(query: LiteralString, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.wrap_database_errors:
        cursor = psycopg.Cursor(connection.connection)
        cursor.execute(query, values, prepare=True)
        # Not its description, which is worked out column by column.
        return cursor.fetchall() if cursor.pgresult and cursor.pgresult.nfields else []


@contextmanager
def pipeline() -> Iterator[None]:
    """Within it, statements that return nothing run while this process goes on. Their errors rise at its end."""
    connection.ensure_connection()
    with connection.wrap_database_errors, connection.connection.pipeline():
        yield
