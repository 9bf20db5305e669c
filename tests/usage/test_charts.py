"""Charts as data: scales that read well, and no input that breaks them."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from usage import charts

WEEK = [date(2026, 6, 1) + timedelta(days=number) for number in range(7)]


@pytest.mark.parametrize(
    ("top", "ticks"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (3, [0, 1, 2, 3]),
        (7, [0, 2, 4, 6, 8]),
        (10, [0, 2, 4, 6, 8, 10]),
        (11, [0, 5, 10, 15]),
        (99, [0, 20, 40, 60, 80, 100]),
        (101, [0, 25, 50, 75, 100, 125]),
        (1234, [0, 250, 500, 750, 1000, 1250]),
        (Decimal("0.4"), [0, 1]),
    ],
)
def test_ticks_are_round_and_reach_the_top(top: float, ticks: list[float]) -> None:
    assert charts.nice_ticks(top) == ticks


@pytest.mark.parametrize("top", [1, 2, 9, 17, 123, 999, 1001, 54_321, 10**9, 10**15])
def test_ticks_are_few_whole_and_enough(top: int) -> None:
    ticks = charts.nice_ticks(top)

    assert 2 <= len(ticks) <= 7
    assert ticks[-1] >= top
    assert all(tick == int(tick) for tick in ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (1000, "1k"), (1250, "1.25k"), (2_500_000, "2.5M"), (10**12, "1T")],
)
def test_scale_is_short(value: float, text: str) -> None:
    assert charts.short(value) == text


def test_bars_of_a_day_stand_on_each_other() -> None:
    chart = charts.stacked_bars(WEEK[:1], [(1, "Parse", [6]), (2, "Extract", [4])], unit="requests")

    lower, upper = chart.bars
    assert (lower.series, upper.series) == (1, 2)
    assert lower.y + lower.height == charts.BOTTOM
    assert upper.y + upper.height == pytest.approx(lower.y)
    assert upper.y == charts.TOP


def test_nothing_is_drawn_for_nothing() -> None:
    bars = charts.stacked_bars(WEEK, [], unit="requests")
    line = charts.line(WEEK, [Decimal(0)] * 7, unit="credits")

    assert bars.bars == []
    assert [tick.label for tick in bars.ticks] == ["0", "1"]
    assert {column.dot for column in line.columns} == {charts.BOTTOM}


def test_no_day_at_all_is_no_error() -> None:
    assert charts.stacked_bars([], [], unit="requests").rows == []
    assert charts.line([], [], unit="credits").line == ""


def test_one_day_fills_the_width() -> None:
    column = charts.line(WEEK[:1], [Decimal(5)], unit="credits").columns[0]

    assert (column.x, column.middle, column.width) == (0, 50, 100)


def test_corrections_below_zero_are_told_but_not_drawn() -> None:
    chart = charts.stacked_bars(WEEK[:1], [(1, "Parse", [-2]), (2, "Split", [3])], unit="requests")

    assert [bar.series for bar in chart.bars] == [2]
    assert chart.columns[0].details == "Mon 1 Jun: 1 request (Parse -2, Split 3)"
    assert all(bar.height >= 0 and bar.y >= charts.TOP for bar in chart.bars)


@pytest.mark.parametrize("count", [1, 7, 10, 30, 60, 365])
def test_few_days_are_written_below_and_the_last_is_one(count: int) -> None:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(count)]

    labels = charts.line(days, [0] * count, unit="credits").labels

    assert len(labels) <= charts.MOST_LABELS
    assert labels[0].text == f"{days[-1]:%-d %b}"
    assert not labels[0].minor


def test_table_has_every_number_newest_first() -> None:
    chart = charts.stacked_bars(WEEK[:2], [(1, "Parse", [6, 1]), (2, "Extract", [4, 1000])], unit="requests")

    assert chart.header == ["Day", "Parse", "Extract", "All"]
    assert chart.rows == [
        ("Tue 2 Jun 2026", ["1", "1,000", "1,001"]),
        ("Mon 1 Jun 2026", ["6", "4", "10"]),
    ]
    assert chart.footer == ["7", "1,004", "1,011"]
