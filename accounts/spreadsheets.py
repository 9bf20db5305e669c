"""CSV that people open in a spreadsheet: streamed, and with no cell that the spreadsheet would run as a formula."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.http import StreamingHttpResponse

FORMULA = ("=", "+", "-", "@", "\t", "\r")
_AT_ONCE = 32 * 1024


class _Echo:
    """What csv writes to: it hands each line back."""

    def write(self, line: str) -> str:
        return line


def safe(cell: Any) -> Any:
    """A cell for people: text that begins like a formula gets an apostrophe. Numbers stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def lines(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The lines of a CSV one by one, so that it takes the same memory however many there are."""
    writer = csv.writer(_Echo())
    yield writer.writerow(header)
    for row in rows:
        yield writer.writerow([safe(cell) for cell in row])


def download(name: str, lines: Iterable[str]) -> StreamingHttpResponse:
    """Answer with these lines as a file of this name."""
    return StreamingHttpResponse(
        _in_blocks(lines),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _in_blocks(lines: Iterable[str]) -> Iterator[str]:
    """Some lines at once: each block is a write to the network."""
    block, size = [], 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size >= _AT_ONCE:
            yield "".join(block)
            block, size = [], 0
    yield "".join(block)
