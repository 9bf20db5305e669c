"""Files for spreadsheets: no cell that one would run."""

import csv
from collections.abc import Iterator
from decimal import Decimal

import pytest

from accounts import spreadsheets


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_begins_like_a_formula_is_made_plain(text: str) -> None:
    assert spreadsheets.safe(text) == f"'{text}"


@pytest.mark.parametrize("cell", ["Northwind", "a=1", "", None, -1, Decimal("-0.5")])
def test_other_text_and_numbers_stay(cell: object) -> None:
    assert spreadsheets.safe(cell) == cell


def test_what_is_written_is_read_back() -> None:
    rows: list[list[object]] = [["a,b", 'say "hi"', "two\nlines"], [None, -1, "ü"]]

    lines = "".join(spreadsheets.lines(["x", "y", "z"], rows))

    assert list(csv.reader(lines.splitlines(keepends=True))) == [
        ["x", "y", "z"],
        ["a,b", 'say "hi"', "two\nlines"],
        ["", "-1", "ü"],
    ]


def test_a_download_begins_before_its_end_is_known() -> None:
    read = []

    def rows() -> Iterator[str]:
        for number in range(100):
            read.append(number)
            yield "x" * 10_000

    response = spreadsheets.download("a.csv", rows())
    first = next(iter(response))

    assert len(first) < 50_000
    assert len(read) < 10
    assert response["Content-Disposition"] == 'attachment; filename="a.csv"'
