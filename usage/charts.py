"""Charts as plain data, which `templates/usage/chart.html` draws as SVG.

Upwards everything is in pixels; along the days, bars and lines are in days and labels in percent of the width, so
that the drawing fits any screen while its letters keep their size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from math import ceil, floor, log10

Number = int | float | Decimal

TOP = 22  # room for what is said of the day under the pointer
PLOT = 190
BOTTOM = TOP + PLOT
HEIGHT = BOTTOM + 24
BAR_WIDTH = 0.72
MOST_LABELS = 10


def nice_ticks(top: Number, *, most: int = 5) -> list[float]:
    """Round numbers from 0 to at least `top`, evenly apart: 1, 2, 2.5 or 5 times a power of ten; never a part of one.

    Nothing at all still gets a scale, from 0 to 1.
    """
    highest = max(float(top), 1.0)
    rough = highest / most
    power = 10.0 ** floor(log10(rough))
    steps = (factor * power for factor in (1, 2, 2.5, 5, 10))
    step = next(step for step in steps if step >= rough * (1 - 1e-9) and (step >= 1 and step % 1 == 0))
    return [step * number for number in range(ceil(highest / step - 1e-9) + 1)]


def short(value: Number) -> str:
    """A number for a scale: 950, 1.2k, 3.5M."""
    number = float(value)
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def plain(value: Number) -> str:
    """A number in full, with at most two decimals."""
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Tick:
    """A line of the scale at the side."""

    label: str
    y: float


@dataclass(frozen=True)
class Label:
    """A day written below; one that is `minor` is left out where there is little room."""

    text: str
    x: float
    minor: bool


@dataclass(frozen=True)
class Bar:
    """One part of a day's stack; `series` is the number of its colour."""

    x: float
    y: float
    height: float
    series: int


@dataclass(frozen=True)
class Column:
    """All of a day that can be pointed at, with what is said then: in short, and in full."""

    x: float
    middle: float
    width: float
    summary: str
    details: str
    dot: float | None = None


@dataclass(frozen=True)
class Legend:
    """What a colour stands for, with the sum of its numbers."""

    name: str
    series: int
    total: str


@dataclass
class Chart:
    """A drawing with its table. `width` is the number of days; `line` and `area` are SVG paths."""

    unit: str
    width: int
    ticks: list[Tick]
    labels: list[Label]
    columns: list[Column]
    bars: list[Bar] = field(default_factory=list)
    line: str = ""
    area: str = ""
    legend: list[Legend] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[tuple[str, list[str]]] = field(default_factory=list)
    footer: list[str] = field(default_factory=list)
    height: int = HEIGHT
    top: int = TOP
    bottom: int = BOTTOM
    plot: int = PLOT
    label_y: int = BOTTOM + 17
    bar_width: float = BAR_WIDTH


def stacked_bars(
    days: Sequence[date], series: Sequence[tuple[int, str, Sequence[Number]]], *, unit: str
) -> Chart:
    """A bar a day of what each series adds. A series has the number of its colour, a name, and a number a day.

    What is below zero (corrections of another day's usage) has no height, but is counted in words and table.
    """
    totals = [sum(values[index] for _, _, values in series) for index in range(len(days))]
    heights = [sum(max(values[index], 0) for _, _, values in series) for index in range(len(days))]
    ticks = nice_ticks(max(heights, default=0))
    y_of = _scale(ticks)
    bars = []
    columns = []
    for index in range(len(days)):
        base = 0.0
        parts = []
        for colour, name, values in series:
            value = float(values[index])
            if value > 0:
                y = y_of(base + value)
                bars.append(Bar(round(index + (1 - BAR_WIDTH) / 2, 3), y, round(y_of(base) - y, 2), colour))
                base += value
            if value:
                parts.append(f"{name} {plain(values[index])}")
        columns.append(_column(days, index, totals[index], unit, parts))
    return Chart(
        unit=unit,
        width=max(len(days), 1),
        ticks=_ticks(ticks, y_of),
        labels=_labels(days),
        columns=columns,
        bars=bars,
        legend=[Legend(name, colour, plain(sum(values))) for colour, name, values in series],
        header=["Day", *(name for _, name, _ in series), "All"],
        rows=[
            (_long(day), [plain(values[index]) for _, _, values in series] + [plain(totals[index])])
            for index, day in reversed(list(enumerate(days)))
        ],
        footer=[plain(sum(values)) for _, _, values in series] + [plain(sum(totals))],
    )


def line(days: Sequence[date], values: Sequence[Number], *, unit: str) -> Chart:
    """A line through a number a day, with the area below it."""
    ticks = nice_ticks(max(values, default=0))
    y_of = _scale(ticks)
    heights = [y_of(max(float(value), 0.0)) for value in values]
    points = [f"{index + 0.5},{y}" for index, y in enumerate(heights)]
    path = "M" + " L".join(points) if points else ""
    return Chart(
        unit=unit,
        width=max(len(days), 1),
        ticks=_ticks(ticks, y_of),
        labels=_labels(days),
        columns=[
            _column(days, index, values[index], unit, [], dot=heights[index]) for index in range(len(days))
        ],
        line=path,
        area=f"{path} L{len(days) - 0.5},{BOTTOM} L0.5,{BOTTOM} Z" if points else "",
        header=["Day", unit.capitalize()],
        rows=[(_long(day), [plain(values[index])]) for index, day in reversed(list(enumerate(days)))],
        footer=[plain(sum(values))],
    )


def _scale(ticks: list[float]) -> Callable[[float], float]:
    return lambda value: round(BOTTOM - PLOT * value / ticks[-1], 2)


def _ticks(ticks: list[float], y_of: Callable[[float], float]) -> list[Tick]:
    return [Tick(short(tick), y_of(tick)) for tick in ticks]


def _middle(index: int, count: int) -> float:
    return round(100 * (index + 0.5) / count, 3)


def _labels(days: Sequence[date]) -> list[Label]:
    """At most ten days to write below, counted back from the last one, which is always among them."""
    step = max(ceil(len(days) / MOST_LABELS), 1)
    places = range(len(days) - 1, -1, -step)
    return [
        Label(f"{days[index]:%-d %b}", _middle(index, len(days)), minor=number % 2 == 1)
        for number, index in enumerate(places)
    ]


def _long(day: date) -> str:
    return f"{day:%a %-d %b %Y}"


def _column(
    days: Sequence[date], index: int, total: Number, unit: str, parts: list[str], *, dot: float | None = None
) -> Column:
    count = len(days)
    summary = f"{days[index]:%a %-d %b}: {plain(total)} {unit.removesuffix('s') if total == 1 else unit}"
    return Column(
        x=round(100 * index / count, 3),
        middle=_middle(index, count),
        width=round(100 / count, 3),
        summary=summary,
        details=f"{summary} ({', '.join(parts)})" if parts else summary,
        dot=dot,
    )
