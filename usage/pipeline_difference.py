"""Two configurations side by side, line by line."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice

CONTEXT = 3  # equal lines shown around each difference
# Where more lines than this differ, they are not matched: it would take long, and nobody would follow it.
MOST_MATCHED = 1000
MOST_SHOWN = 2000


@dataclass(frozen=True)
class Row:
    """A line of either side; the side that has none is empty. `kind`: same, changed, removed, added or skipped."""

    kind: str
    left_number: int | None = None
    left: str = ""
    right_number: int | None = None
    right: str = ""
    skipped: int = 0


@dataclass(frozen=True)
class Difference:
    rows: list[Row]
    is_cut: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.rows


def difference(left: str, right: str) -> Difference:
    """What became of `left`, with some equal lines around each change; no rows if the two are the same."""
    before, after = left.split("\n"), right.split("\n")
    if before == after:
        return Difference([])
    rows = list(islice(_rows(before, after), MOST_SHOWN + 1))
    return Difference(rows[:MOST_SHOWN], is_cut=len(rows) > MOST_SHOWN)


def _rows(before: list[str], after: list[str]) -> Iterator[Row]:
    for tag, i1, i2, j1, j2 in _operations(before, after):
        if tag != "equal":
            yield from _changed(before, after, i1, i2, j1, j2)
            continue
        # At either end of the texts no change follows that these lines would be around.
        head = CONTEXT if i1 or j1 else 0
        tail = CONTEXT if i2 < len(before) or j2 < len(after) else 0
        skipped = i2 - i1 - head - tail
        for step in range(i2 - i1):
            if skipped > 0 and head <= step < head + skipped:
                if step == head:
                    yield Row("skipped", skipped=skipped)
                continue
            yield Row("same", i1 + step + 1, before[i1 + step], j1 + step + 1, after[j1 + step])


def _changed(before: list[str], after: list[str], i1: int, i2: int, j1: int, j2: int) -> Iterator[Row]:
    paired = min(i2 - i1, j2 - j1)
    for i, j in zip(range(i1, i1 + paired), range(j1, j1 + paired), strict=True):
        yield Row("changed", i + 1, before[i], j + 1, after[j])
    for i in range(i1 + paired, i2):
        yield Row("removed", left_number=i + 1, left=before[i])
    for j in range(j1 + paired, j2):
        yield Row("added", right_number=j + 1, right=after[j])


def _operations(before: list[str], after: list[str]) -> list[tuple[str, int, int, int, int]]:
    """As difflib says them, but that no texts take long: what they begin and end with alike is not looked at."""
    shorter = min(len(before), len(after))
    start = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    end = next((n for n in range(shorter - start) if before[-1 - n] != after[-1 - n]), shorter - start)
    left, right = before[start : len(before) - end], after[start : len(after) - end]
    found = [("equal", 0, start, 0, start)] if start else []
    if max(len(left), len(right)) > MOST_MATCHED:
        found.append(("replace", start, start + len(left), start, start + len(right)))
    else:
        found += [
            (tag, start + i1, start + i2, start + j1, start + j2)
            for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right).get_opcodes()
        ]
    if end:
        found.append(("equal", len(before) - end, len(before), len(after) - end, len(after)))
    return found
