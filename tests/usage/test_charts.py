"""Charts as data: scales that read well, and no input that breaks them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest

from usage import charts
from usage.charts import Series, Slot

WEEK = [charts.day(date(2026, 6, 1) + timedelta(days=number)) for number in range(7)]


def credits_line(slots: list[Slot], values: Sequence[charts.Number | None]) -> charts.Chart:
    return charts.lines(slots, [Series("Credits", values)], write=charts.counted("credits"))


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
    chart = charts.stacked_bars(
        WEEK[:1], [Series("Parse", [6], 1), Series("Extract", [4], 2)], unit="requests"
    )

    lower, upper = chart.bars
    assert (lower.series, upper.series) == (1, 2)
    assert lower.y + lower.height == charts.BOTTOM
    assert upper.y + upper.height == pytest.approx(lower.y)
    assert upper.y == charts.TOP


def test_nothing_is_drawn_for_nothing() -> None:
    bars = charts.stacked_bars(WEEK, [], unit="requests")
    line = credits_line(WEEK, [Decimal(0)] * 7)

    assert bars.bars == []
    assert [tick.label for tick in bars.ticks] == ["0", "1"]
    assert {dot.y for column in line.columns for dot in column.dots} == {charts.BOTTOM}


def test_no_day_at_all_is_no_error() -> None:
    assert charts.stacked_bars([], [], unit="requests").rows == []
    assert credits_line([], []).lines == []


def test_one_day_fills_the_width() -> None:
    column = credits_line(WEEK[:1], [Decimal(5)]).columns[0]

    assert (column.x, column.middle, column.width) == (0, 50, 100)


def test_corrections_below_zero_are_told_but_not_drawn() -> None:
    chart = charts.stacked_bars(
        WEEK[:1], [Series("Parse", [-2], 1), Series("Split", [3], 3)], unit="requests"
    )

    assert [bar.series for bar in chart.bars] == [3]
    assert chart.columns[0].details == "Mon 1 Jun: 1 request (Parse -2, Split 3)"
    assert all(bar.height >= 0 and bar.y >= charts.TOP for bar in chart.bars)


@pytest.mark.parametrize("count", [1, 7, 10, 30, 60, 365])
def test_few_days_are_written_below_and_the_last_is_one(count: int) -> None:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(count)]

    labels = credits_line([charts.day(day) for day in days], [0] * count).labels

    assert len(labels) <= charts.MOST_LABELS
    assert labels[0].text == f"{days[-1]:%-d %b}"
    assert not labels[0].minor


def test_table_has_every_number_newest_first() -> None:
    chart = charts.stacked_bars(
        WEEK[:2], [Series("Parse", [6, 1], 1), Series("Extract", [4, 1000], 2)], unit="requests"
    )

    assert chart.header == ["Day", "Parse", "Extract", "All"]
    assert [(row.title, [cell.text for cell in row.cells]) for row in chart.rows] == [
        ("Tue 2 Jun 2026", ["1", "1,000", "1,001"]),
        ("Mon 1 Jun 2026", ["6", "4", "10"]),
    ]
    assert chart.footer == ["7", "1,004", "1,011"]


def test_line_breaks_where_there_is_no_number() -> None:
    chart = credits_line(WEEK[:4], [1, None, 1, 0])

    [line] = chart.lines
    assert line.path.count("M") == 2
    assert [len(column.dots) for column in chart.columns] == [1, 0, 1, 1]
    assert chart.columns[1].details == "Tue 2 Jun: none"
    assert chart.rows[2].cells[0].text == "–"


def test_several_lines_are_told_apart_by_a_legend() -> None:
    series = [Series("p50", [1.0], 1), Series("p95", [2.0], 2)]

    chart = charts.lines(WEEK[:1], series, write=lambda value: f"{value} s")

    assert [entry.name for entry in chart.legend] == ["p50", "p95"]
    assert chart.columns[0].details == "Mon 1 Jun: p50 1.0 s, p95 2.0 s"


def test_parts_of_a_bar_open_what_they_stand_for() -> None:
    slots = [charts.day(date(2026, 6, 1), "/jobs/?day=1")]

    chart = charts.stacked_bars(slots, [Series("Parse", [6], 1, "&type=Parse")], unit="requests")

    assert chart.columns[0].url == "/jobs/?day=1"
    assert chart.columns[0].links[0].url == "/jobs/?day=1&type=Parse"
    assert chart.rows[0].cells[0].url == "/jobs/?day=1&type=Parse"


def test_what_others_have_named_is_never_markup() -> None:
    slots = [Slot("<i>", "<i>", '<i x="1">', '/jobs/?a=1&b="2"')]

    chart = charts.stacked_bars(slots, [Series("<script>&", [6], 1, "&type=<b>")], unit="requests")

    markup = chart.drawing + chart.table
    assert "<script>" not in markup
    assert "<i" not in markup
    assert "&lt;script&gt;&amp;" in markup
    assert 'href="/jobs/?a=1&amp;b=&quot;2&quot;&amp;type=&lt;b&gt;"' in markup


def test_drawing_is_well_formed_and_every_slot_is_reached_by_keyboard() -> None:
    slots = [charts.day(date(2026, 6, 1), "/jobs/?day=1"), charts.day(date(2026, 6, 2))]
    bars = charts.stacked_bars(slots, [Series("Parse", [6, 1], 1, "&type=Parse")], unit="requests")
    line = credits_line(slots, [1, None])

    for chart in (bars, line):
        root = ElementTree.fromstring(f"<div>{chart.drawing}{chart.table}</div>")
        columns = root.findall(".//g[@class='day']")
        assert len(columns) == 2
        assert columns[0][0].tag == "a" and columns[0][0].get("tabindex") is None
        assert columns[1][0].get("tabindex") == "0"
        assert all(column[0].get("aria-label") for column in columns)


def test_more_series_than_colours_become_one() -> None:
    series = charts.limited([Series(f"s{number}", [number, None]) for number in range(9)])

    assert [each.colour for each in series] == [1, 2, 3, 4, 5, 6]
    assert series[-1].name == "Others (4)"
    assert list(series[-1].values) == [5 + 6 + 7 + 8, 0]


def test_both_hours_of_the_night_clocks_go_back_have_names_of_their_own() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    begin = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)

    names = [charts.hour((begin + timedelta(hours=n)).astimezone(berlin)).name for n in range(3)]

    assert names == [
        "Sun 25 Oct, 02:00 (UTC+0200)",
        "Sun 25 Oct, 02:00 (UTC+0100)",
        "Sun 25 Oct, 03:00",
    ]


def test_a_part_of_a_month_is_called_by_its_days() -> None:
    assert charts.month(date(2024, 2, 1), date(2024, 2, 29)).name == "Feb 2024"
    assert charts.month(date(2024, 2, 1), date(2024, 2, 28)).name == "1–28 Feb 2024"
    assert charts.month(date(2024, 2, 29), date(2024, 2, 29)).name == "29 Feb 2024"
