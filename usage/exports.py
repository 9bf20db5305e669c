"""CSV of the request log and of usage records, written by PostgreSQL and passed on as it comes.

An export is one COPY, and so one snapshot, over a connection of its own: that of the request is wanted for the session.
Memory stays flat: a piece is on its way to the reader before the next one is asked for.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from django.db import connection
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.cache import patch_vary_headers
from isal import isal_zlib

from accounts.models import Organization
from usage import columns
from usage.columns import Column, Key
from usage.models import Job, UsageRecord
from usage.reports import Filters, RecordFilters

logger = logging.getLogger(__name__)

PIECE = 64 * 1024
# Seconds for which an export that somebody waits for may hold a connection; larger ones are made in the background.
LONGEST = 600
# At once: of an organization, and of a web process, which has other requests to answer.
OF_AN_ORGANIZATION = 2
_OF_THIS_PROCESS = threading.BoundedSemaphore(2)
_ACTIVE = psycopg.pq.TransactionStatus.ACTIVE
# Any number of ours, below which there is room for organizations.
_LOCK = 7_305 << 48
# The last line of an export that broke off: the web server would end it as if it were whole.
BROKEN_OFF = b'"INCOMPLETE: this export broke off. Ask for it again, or have it made in the background."\n'


class TooMany(Exception):
    """So many exports are being read that another one has to wait."""


@dataclass(frozen=True)
class Export:
    """What is exported: the jobs or the records of an organization that filters keep, newest first."""

    organization: Organization
    filters: Filters | RecordFilters

    @property
    def kind(self) -> str:
        return "jobs" if isinstance(self.filters, Filters) else "records"

    @property
    def columns(self) -> list[Column]:
        return columns.JOBS if isinstance(self.filters, Filters) else columns.RECORDS

    @property
    def name(self) -> str:
        """The name of its file, such as `jobs-org_7bUq-2026-06-01-2026-06-30.csv`."""
        days = [day.isoformat() for day in (self.filters.since, self.filters.until) if day]
        return "-".join([self.kind, self.organization.uid, *days]) + ".csv"

    def rows(self) -> Any:
        """The rows as a query set, newest first."""
        if isinstance(self.filters, Filters):
            jobs = Job.objects.filter(organization=self.organization)
            return self.filters.apply(jobs, self.organization).newest_first()
        records = UsageRecord.objects.filter(organization=self.organization)
        return self.filters.apply(records, self.organization).order_by("-timestamp", "-id")

    def query(self) -> tuple[str, list[Any]]:
        """The COPY that writes it, and the values of its placeholders."""
        keys = {
            id: Key(uid, name)
            for id, uid, name in self.organization.api_keys.values_list("id", "uid", "name")
        }
        inner, inner_values = self.rows().values_list(*columns.sources(self.columns)).query.sql_with_params()
        sql, values = columns.select(self.columns, keys, inner)
        return f"COPY ({sql}) TO STDOUT WITH (FORMAT csv)", [*values, *inner_values]


class Reading:
    """The bytes of an export, piece by piece. Whoever stops early closes it, which also ends the query.

    Raises `TooMany` where `slots` are given and all are taken. `rows` counts what has been read.
    """

    def __init__(self, export: Export, *, longest: int, slots: int | None = None) -> None:
        self.rows = 0
        query, values = export.query()
        self._stack = ExitStack()
        with ExitStack() as opening, connection.wrap_database_errors:
            database = connection.copy()
            database.inc_thread_sharing()
            database.connect()
            opening.callback(database.close)
            self._connection: psycopg.Connection[Any] = database.connection
            cursor = self._connection.cursor()
            cursor.execute("BEGIN READ ONLY")
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('datestyle', 'ISO', true)",
                [f"{longest}s"],
            )
            if slots is not None:
                first = _LOCK + export.organization.pk * OF_AN_ORGANIZATION
                cursor.execute(
                    "SELECT slot FROM generate_series(%s::bigint, %s) AS slot"
                    " WHERE pg_try_advisory_xact_lock(slot) LIMIT 1",
                    [first, first + slots - 1],
                )
                if cursor.fetchone() is None:
                    raise TooMany
            # Kept, for it ends the copy when it is let go; entered by hand, for it would wait for all rows at its end.
            self._copying = cursor.copy(query, values)
            self._copy = self._copying.__enter__()
            # While a reader stands still, the server waits within a row, where its own timeout does not count.
            watch = threading.Timer(longest + 5, self._give_up)
            watch.daemon = True
            watch.start()
            opening.callback(watch.cancel)
            self._stack = opening.pop_all()
        self._pieces = self._read(columns.header(export.columns))

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def __next__(self) -> bytes:
        return next(self._pieces)

    def _read(self, header: bytes) -> Iterator[bytes]:
        piece: list[Any] = [header]
        size = len(header)
        count = -1
        for row in self._copy:
            piece.append(row)
            size += len(row)
            if size >= PIECE:
                self.rows += len(piece) + count
                count = 0
                yield b"".join(piece)
                piece, size = [], 0
        self.rows += len(piece) + count
        yield b"".join(piece)

    def stop(self) -> None:
        """End the query, from another thread."""
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=5)

    def _give_up(self) -> None:
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back. What is still to come of the query is not waited for."""
        if not self._connection.closed and self._connection.info.transaction_status is _ACTIVE:
            self.stop()
        self._stack.close()


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same as a gzip file, at a speed that the database does not outrun."""
    compressor = isal_zlib.compressobj(level=2, wbits=31)
    for piece in pieces:
        if packed := compressor.compress(piece):
            yield packed
    yield compressor.flush()


class _Download:
    """What the web server sends: an export that says at its end if it broke off. Closed when the client leaves."""

    def __init__(self, reading: Reading, pack: Callable[[Iterable[bytes]], Iterator[bytes]]) -> None:
        self._reading = reading
        self._pieces = pack(self._whole())
        self._is_open = True

    def _whole(self) -> Iterator[bytes]:
        try:
            yield from self._reading
        except psycopg.Error:
            logger.warning("an export broke off after %d rows", self._reading.rows, exc_info=True)
            yield BROKEN_OFF

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._reading.close()
            _OF_THIS_PROCESS.release()


def download(request: HttpRequest, export: Export) -> StreamingHttpResponse:
    """Answer with the export: packed on its way where the client says it can, or as a .gz file with `?gzip=1`.

    Raises `TooMany`.
    """
    as_file = request.GET.get("gzip") in {"1", "true"}
    on_its_way = not as_file and accepts_gzip(request)
    if not _OF_THIS_PROCESS.acquire(blocking=False):
        raise TooMany
    try:
        reading = Reading(export, longest=LONGEST, slots=OF_AN_ORGANIZATION)
    except BaseException:
        _OF_THIS_PROCESS.release()
        raise
    response = StreamingHttpResponse(
        _Download(reading, gzipped if as_file or on_its_way else iter),
        content_type="application/gzip" if as_file else "text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{export.name}{".gz" if as_file else ""}"',
            "Cache-Control": "private, no-store",
        },
    )
    if on_its_way:
        response["Content-Encoding"] = "gzip"
    patch_vary_headers(response, ["Accept-Encoding"])
    return response


def accepts_gzip(request: HttpRequest) -> bool:
    for offer in request.headers.get("accept-encoding", "").split(","):
        name, _, weight = offer.replace(" ", "").partition(";q=")
        if name.lower() in {"gzip", "x-gzip"}:
            return weight.strip("0.") != "" or not weight
    return False


def written(filters: Filters | RecordFilters) -> dict[str, str]:
    """Filters as JSON, only those that are set."""
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in vars(filters).items()
        if value is not None
    }


def read(kind: str, filters: dict[str, str]) -> Filters | RecordFilters:
    """What `written` wrote."""
    values: dict[str, Any] = {
        name: date.fromisoformat(value) if name in {"since", "until"} else value
        for name, value in filters.items()
    }
    return Filters(**values) if kind == "jobs" else RecordFilters(**values)
