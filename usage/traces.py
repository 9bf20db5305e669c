"""Reading a trace: one request a line, as TIMESTAMP, ContextTokens, GeneratedTokens. Each is read as a Parse job.

Files are read line by line, so their size does not matter. A line that is no request is named and skipped.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

COLUMNS = ["timestamp", "contexttokens", "generatedtokens"]
TOKENS_PER_PAGE = 500
TOKENS_PER_SECOND = 50
# Far beyond any real request: what is outside is a damaged line.
YEARS = range(1970, 2100)
MAX_TOKENS = 100_000_000
MAX_LINE_BYTES = 1_000


class MalformedLine(ValueError):
    """The line is no request; the message says why."""


class NotATrace(Exception):
    """There is no request in the file, or it cannot be read."""


@dataclass(frozen=True, slots=True)
class Row:
    """A request of the trace. `line` counts from 1, the header included."""

    line: int
    timestamp: datetime
    context_tokens: int
    generated_tokens: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.context_tokens // TOKENS_PER_PAGE))

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.generated_tokens / TOKENS_PER_SECOND

    @property
    def end(self) -> datetime:
        return self.timestamp + timedelta(seconds=self.duration)


@dataclass(frozen=True)
class Trace:
    """What a first reading of a file tells about it. `digest` is of its content, whatever its name."""

    path: Path
    digest: str
    requests: int
    pages: int
    malformed: int
    start: datetime
    end: datetime
    first: Row


def read(path: Path, *, on_malformed: Callable[[int, str], None]) -> Iterator[Row]:
    """The requests of the file in its order. `on_malformed` is told the line and the reason of each skipped one."""
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            try:
                row = _row(number, line)
            except MalformedLine as error:
                on_malformed(number, str(error))
            else:
                if row:
                    yield row


def survey(path: Path, *, on_malformed: Callable[[int, str], None]) -> Trace:
    """Read the whole file once and say what is in it. Raises NotATrace."""
    requests = pages = malformed = 0
    first: Row | None = None

    def note(line: int, reason: str) -> None:
        nonlocal malformed
        malformed += 1
        on_malformed(line, reason)

    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for row in read(path, on_malformed=note):
            if first is None:
                first, start, end = row, row.timestamp, row.end
            start, end = min(start, row.timestamp), max(end, row.end)
            requests += 1
            pages += row.pages
    except OSError as error:
        raise NotATrace(f"{path} cannot be read: {error.strerror}.") from error
    if first is None:
        raise NotATrace(f"{path} holds no request. Each line is TIMESTAMP,ContextTokens,GeneratedTokens.")
    return Trace(path, digest, requests, pages, malformed, start, end, first)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The file's lines; an endless one is cut short, so that it is malformed without being held in memory."""
    while line := file.readline(MAX_LINE_BYTES):
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
            pass
        yield line


def _row(number: int, line: bytes) -> Row | None:
    """The request on this line; None for a blank line and for the header. Raises MalformedLine."""
    if len(line) >= MAX_LINE_BYTES:
        raise MalformedLine("the line is too long")
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        fields = [field.strip() for field in next(csv.reader([text], strict=True), [])]
    except UnicodeDecodeError as error:
        raise MalformedLine("not UTF-8") from error
    except csv.Error as error:
        raise MalformedLine(str(error)) from error
    if not any(fields) and len(fields) <= 1:
        return None
    if "\0" in text:
        raise MalformedLine("a NUL character")
    if number == 1 and [field.lower() for field in fields] == COLUMNS:
        return None
    if len(fields) != len(COLUMNS):
        raise MalformedLine(f"{len(fields)} columns instead of {len(COLUMNS)}")
    return Row(
        line=number,
        timestamp=_timestamp(fields[0]),
        context_tokens=_tokens("ContextTokens", fields[1]),
        generated_tokens=_tokens("GeneratedTokens", fields[2]),
    )


def _timestamp(text: str) -> datetime:
    """Read the time, in UTC when the text names no zone. Digits past the microsecond are dropped."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedLine(f"TIMESTAMP {text[:40]!r} is no time") from error
    if moment.year not in YEARS:
        raise MalformedLine(f"TIMESTAMP {text[:40]!r} is not from {YEARS[0]} to {YEARS[-1]}")
    return moment


def _tokens(column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise MalformedLine(f"{column} {text[:40]!r} is no whole number of 0 or more")
    if len(text) > len(str(MAX_TOKENS)) or int(text) > MAX_TOKENS:
        raise MalformedLine(f"{column} {text[:40]} is more than {MAX_TOKENS:,}")
    return int(text)
