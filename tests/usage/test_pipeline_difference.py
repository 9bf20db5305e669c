"""Two texts side by side."""

import random

import pytest

from usage import pipeline_difference
from usage.pipeline_difference import Row, difference


def shown(left: str, right: str) -> list[str]:
    """Each row as `kind left|right`."""
    return [
        f"{row.kind} {row.skipped}" if row.kind == "skipped" else f"{row.kind} {row.left}|{row.right}"
        for row in difference(left, right).rows
    ]


def test_equal_texts_have_none() -> None:
    assert difference("a\nb", "a\nb").is_empty


def test_lines_that_changed_went_and_came_are_told_apart() -> None:
    assert shown("a\nb\nc\nd", "a\nB\nc\ne\nd") == [
        "same a|a",
        "changed b|B",
        "same c|c",
        "added |e",
        "same d|d",
    ]
    assert shown("a\nb\nc", "a\nc") == ["same a|a", "removed b|", "same c|c"]


def test_lines_keep_their_numbers() -> None:
    rows = difference("a\nb\nc", "a\nc\nd").rows

    assert Row("removed", left_number=2, left="b") in rows
    assert Row("same", 3, "c", 2, "c") in rows
    assert Row("added", right_number=3, right="d") in rows


def test_what_stays_the_same_for_long_is_skipped() -> None:
    lines = [str(number) for number in range(30)]
    other = ["x" if line in ("10", "25") else line for line in lines]

    found = shown("\n".join(lines), "\n".join(other))

    assert found[0] == "skipped 7"
    assert found[1:5] == ["same 7|7", "same 8|8", "same 9|9", "changed 10|x"]
    assert found[8] == "skipped 8"
    assert found[-1] == "skipped 1"


def test_line_ends_within_texts_are_none() -> None:
    assert difference('"a\u2028b\x0bc"', '"a\u2028b\x0bd"').rows == [
        Row("changed", 1, '"a\u2028b\x0bc"', 1, '"a\u2028b\x0bd"')
    ]


def test_both_sides_can_be_read_off_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_difference, "CONTEXT", 10**6)
    rng = random.Random(7)
    for _ in range(200):
        before = rng.choices("abcd", k=rng.randrange(1, 15))
        after = rng.choices("abcd", k=rng.randrange(1, 15))
        rows = difference("\n".join(before), "\n".join(after)).rows or [
            Row("same", number, line, number, line) for number, line in enumerate(before, 1)
        ]

        assert [row.left for row in rows if row.left_number] == before
        assert [row.right for row in rows if row.right_number] == after


def test_texts_that_have_nothing_in_common_do_not_take_long() -> None:
    left = "\n".join(["0,"] * 60_000)
    right = "\n".join(["0,", "1,"] * 30_000)

    found = difference(left, right)

    assert len(found.rows) == pipeline_difference.MOST_SHOWN
    assert found.is_cut
