"""The other end of the air-gapped billing export: taking files in, each record once, and seeing what is missing.

What was taken in is kept in a file of SQLite, since whoever bills need not run the rest of this project. A file comes
in as a whole, or not at all where it is not as its manifest says. Memory stays flat.
"""

import csv
import gzip
import hashlib
import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from usage.billing_export import COLUMNS, manifest_name

_BATCH = 10_000
_PIECE = 1024 * 1024
_LONGEST_CELL = 64 * 1024 * 1024
_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)

_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    sha256 TEXT PRIMARY KEY, series TEXT NOT NULL, number INTEGER NOT NULL, follows INTEGER, name TEXT NOT NULL,
    records INTEGER NOT NULL, new_records INTEGER NOT NULL, imported_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    series TEXT NOT NULL, idempotency_key TEXT NOT NULL, type TEXT NOT NULL, num_pages INTEGER NOT NULL,
    attributes TEXT NOT NULL, timestamp TEXT NOT NULL, PRIMARY KEY (series, idempotency_key)) WITHOUT ROWID;
CREATE TEMPORARY TABLE incoming (idempotency_key, type, num_pages, attributes, timestamp);
"""

_TAKE = """
INSERT OR IGNORE INTO records
SELECT ?, idempotency_key, type, num_pages, attributes, timestamp FROM incoming
"""

_CONTRADICTIONS = """
SELECT i.idempotency_key FROM incoming i JOIN records r ON r.series = ? AND r.idempotency_key = i.idempotency_key
WHERE (r.type, r.num_pages, r.attributes, r.timestamp) IS NOT (i.type, i.num_pages, i.attributes, i.timestamp)
"""


class Refused(Exception):
    """The file is not what its manifest says, and nothing of it was taken in."""


class Manifest(Struct):
    """What `billing_export.manifest` writes, as far as it is needed here."""

    series: Annotated[str, Meta(min_length=1, max_length=100)]
    number: Annotated[int, Meta(ge=1, le=10_000_000)]
    follows: Annotated[int, Meta(ge=1, le=10_000_000)] | None
    records: Annotated[int, Meta(ge=1)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


@dataclass
class Outcome:
    """What became of a file. `contradictions` are keys that were known with other values, which stand."""

    manifest: Manifest
    is_known: bool = False
    new: int = 0
    known: int = 0
    contradictions: int = 0
    # Another file with the same number: that installation's database may have been put back to an earlier state.
    replaces: str = ""


@dataclass(frozen=True)
class Total:
    """What is known of one type of usage, from one installation."""

    series: str
    type: str
    records: int
    pages: int
    first: str
    last: str


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """What was taken in so far, in this file, which is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = sqlite3.connect(path, timeout=60, isolation_level=None)
    try:
        state.executescript(_TABLES)
        yield state
    finally:
        state.close()


def read_manifest(path: Path) -> Manifest:
    """The manifest beside a file. Raises Refused."""
    beside = path.with_name(manifest_name(path.name))
    try:
        return msgspec.json.decode(beside.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise Refused(
            f"its manifest {beside.name} is not beside it. Ask for it; if there is none, the file stems from an export "
            "that broke off, and its records are in another file."
        ) from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"its manifest {beside.name} cannot be read: {error}") from error


def take_in(
    state: sqlite3.Connection,
    path: Path,
    manifest: Manifest,
    *,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> Outcome:
    """Take a file in, unless that was done before. Raises Refused."""
    outcome = Outcome(manifest)
    state.execute("BEGIN IMMEDIATE")
    try:
        outcome.is_known = _is_known(state, manifest)
        if not outcome.is_known:
            outcome.replaces = _same_number(state, manifest)
            _check_digest(path, manifest)
            _take_rows(state, path, outcome, on_rows)
            state.execute(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    manifest.sha256,
                    manifest.series,
                    manifest.number,
                    manifest.follows,
                    path.name,
                    manifest.records,
                    outcome.new,
                    datetime.now(UTC).isoformat(),
                ],
            )
        state.execute("COMMIT")
    except _UNREADABLE as error:
        state.execute("ROLLBACK")
        raise Refused(f"it cannot be read: {error}") from error
    except BaseException:
        state.execute("ROLLBACK")
        raise
    return outcome


def totals(state: sqlite3.Connection) -> list[Total]:
    """All that was taken in, added up by installation and type."""
    rows = state.execute(
        "SELECT series, type, COUNT(*), SUM(num_pages), MIN(timestamp), MAX(timestamp) FROM records"
        " GROUP BY series, type ORDER BY series, type"
    )
    return [Total(*row) for row in rows]


def gaps(state: sqlite3.Connection) -> dict[str, list[int]]:
    """The numbers of the files that are missing, by installation.

    Files between one and that which it follows were copies of what came again: they need not be there.
    """
    known: dict[str, dict[int, int]] = {}
    for series, number, follows in state.execute("SELECT series, number, follows FROM files"):
        known.setdefault(series, {})[number] = follows or 0
    found = {}
    for series, files in sorted(known.items()):
        copies = {between for number, follows in files.items() for between in range(follows + 1, number)}
        if missing := sorted(set(range(1, max(files))) - files.keys() - copies):
            found[series] = missing
    return found


def _is_known(state: sqlite3.Connection, manifest: Manifest) -> bool:
    return state.execute("SELECT 1 FROM files WHERE sha256 = ?", [manifest.sha256]).fetchone() is not None


def _same_number(state: sqlite3.Connection, manifest: Manifest) -> str:
    row = state.execute(
        "SELECT name FROM files WHERE series = ? AND number = ?", [manifest.series, manifest.number]
    ).fetchone()
    return row[0] if row else ""


def _check_digest(path: Path, manifest: Manifest) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    if digest.hexdigest() != manifest.sha256:
        raise Refused("its SHA-256 is not the manifest's: it was changed, or copied in part.")


def _take_rows(
    state: sqlite3.Connection, path: Path, outcome: Outcome, on_rows: Callable[[int], object]
) -> None:
    series = outcome.manifest.series
    rows = _rows(path)
    while batch := list(islice(rows, _BATCH)):
        state.executemany("INSERT INTO incoming VALUES (?, ?, ?, ?, ?)", batch)
        new = state.execute(_TAKE, [series]).rowcount
        outcome.new += new
        outcome.known += len(batch) - new
        if new < len(batch):
            outcome.contradictions += len(state.execute(_CONTRADICTIONS, [series]).fetchall())
        state.execute("DELETE FROM incoming")
        on_rows(len(batch))
    if outcome.new + outcome.known != outcome.manifest.records:
        raise Refused(
            f"it has {outcome.new + outcome.known:,} records, and {outcome.manifest.records:,} by its manifest."
        )


def _rows(path: Path) -> Iterator[tuple[str, str, int, str, str]]:
    csv.field_size_limit(_LONGEST_CELL)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        lines = csv.reader(file, strict=True)
        if next(lines, None) != list(COLUMNS):
            raise Refused(f"its columns are not {', '.join(COLUMNS)}.")
        for row in lines:
            try:
                yield _row(row)
            except (ValueError, RecursionError) as error:
                raise Refused(f"line {lines.line_num:,} is wrong: {error}") from error


_NUMBER = re.compile(r"-?[0-9]{1,18}")


def _row(row: list[str]) -> tuple[str, str, int, str, str]:
    key, type, num_pages, attributes, timestamp = row
    if not key or not type:
        raise ValueError("it lacks its key or type")
    if not _NUMBER.fullmatch(num_pages):
        raise ValueError(f"{num_pages[:30]!r} is no number of pages")
    if not isinstance(json.loads(attributes), dict):
        raise ValueError("its attributes are no JSON object")
    if datetime.fromisoformat(timestamp).tzinfo is None:
        raise ValueError("its timestamp has no zone")
    return key, type, int(num_pages), attributes, timestamp
