"""Charts: first as plain data, then drawn as SVG, with a table of the same. `templates/usage/chart.html` places them.

Upwards everything is in pixels; along the time, bars and lines are in slots (hours, days or months) and labels in
percent of the width, so that the drawing fits any screen while its letters keep their size. It is written here and
not by a template, which takes ten times as long for the thousands of marks on a page.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from html import escape
from math import ceil, floor, log10

from django.utils.safestring import SafeString, mark_safe

Number = int | float | Decimal
_UNSAFE = re.compile("""[&<>"']""")

TOP = 22  # room for what is said of the slot under the pointer
PLOT = 190
BOTTOM = TOP + PLOT
HEIGHT = BOTTOM + 24
BAR_WIDTH = 0.72
MOST_LABELS = 10
# As many series as there are colours; what is beyond them is one.
MOST_SERIES = 6
OTHERS = "Others"


@dataclass(frozen=True)
class Slot:
    """An hour, a day or a month: what is written below it, what it is called, and in full; `url` opens it."""

    label: str
    name: str
    title: str
    url: str = ""


def day(day: date, url: str = "") -> Slot:
    return Slot(f"{day:%-d %b}", f"{day:%a %-d %b}", f"{day:%a %-d %b %Y}", url)


def month(first: date, last: date, url: str = "") -> Slot:
    """A month, or the days of it that are shown."""
    following = date.fromordinal(last.toordinal() + 1)
    whole = f"{first:%b %Y}"
    if first.day != 1 or following.day != 1:
        whole = f"{first:%-d}–{last:%-d %b %Y}" if first != last else f"{first:%-d %b %Y}"
    return Slot(f"{first:%b %y}", whole, whole, url)


def hour(begin: datetime, url: str = "") -> Slot:
    """An hour. Where clocks are put back, two have the same number: the offset tells them apart."""
    offset = f" (UTC{begin:%z})" if begin.fold or _comes_twice(begin) else ""
    return Slot(
        f"{begin:%H:%M}", f"{begin:%a %-d %b, %H:%M}{offset}", f"{begin:%a %-d %b %Y, %H:%M}{offset}", url
    )


def _comes_twice(begin: datetime) -> bool:
    return begin.utcoffset() != begin.replace(fold=1).utcoffset()


@dataclass(frozen=True)
class Series:
    """A number for each slot, or None where there is none to tell. `query` narrows a slot's address to it."""

    name: str
    values: Sequence[Number | None]
    colour: int = 1
    query: str = ""


def limited(series: Sequence[Series]) -> list[Series]:
    """As many series as can be told apart: the first ones in colours of their own, the others added up as one."""
    coloured = [
        Series(each.name, each.values, number, each.query) for number, each in enumerate(series, start=1)
    ]
    if len(coloured) <= MOST_SERIES:
        return coloured
    shown, rest = coloured[: MOST_SERIES - 1], coloured[MOST_SERIES - 1 :]
    sums = [
        sum(value or 0 for value in values) for values in zip(*(each.values for each in rest), strict=True)
    ]
    return [*shown, Series(f"{OTHERS} ({len(rest)})", sums, MOST_SERIES)]


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
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".")


def counted(unit: str) -> Callable[[Number], str]:
    """Write numbers of something: 1 request, 1,204 requests."""
    return lambda value: f"{plain(value)} {unit.removesuffix('s') if value == 1 else unit}"


@dataclass(frozen=True)
class Tick:
    """A line of the scale at the side."""

    label: str
    y: float


@dataclass(frozen=True)
class Label:
    """A slot written below; one that is `minor` is left out where there is little room."""

    text: str
    x: float
    minor: bool


@dataclass(frozen=True)
class Bar:
    """One part of a slot's stack; `series` is the number of its colour."""

    x: float
    y: float
    height: float
    series: int


@dataclass(frozen=True)
class Link:
    """A part of a stack that opens what it stands for."""

    y: float
    height: float
    url: str
    text: str


@dataclass(frozen=True)
class Dot:
    y: float
    series: int


@dataclass(frozen=True)
class Column:
    """All of a slot that can be pointed at, with what is said then: in short, and in full."""

    x: float
    middle: float
    width: float
    summary: str
    details: str
    url: str = ""
    dots: list[Dot] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


@dataclass(frozen=True)
class Legend:
    """What a colour stands for, with what its numbers come to."""

    name: str
    series: int
    total: str


@dataclass(frozen=True)
class Line:
    """A line as an SVG path, with breaks where there is no number, and the area below it, if that is drawn."""

    path: str
    series: int
    area: str = ""


@dataclass(frozen=True)
class Cell:
    text: str
    url: str = ""


@dataclass(frozen=True)
class Row:
    """A slot in the table."""

    title: str
    url: str
    cells: list[Cell]


@dataclass
class Chart:
    """A drawing with its table. `width` is the number of slots."""

    width: int
    ticks: list[Tick]
    labels: list[Label]
    columns: list[Column]
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    legend: list[Legend] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    footer: list[str] = field(default_factory=list)

    @property
    def drawing(self) -> SafeString:
        """A scale, and beside it the marks, in slots that can be pointed at or reached by Tab."""
        return _markup(_scale_of(self), _marks(self))

    @property
    def table(self) -> SafeString:
        """The same in numbers, the last slot first."""
        return _markup(_table(self))


def stacked_bars(slots: Sequence[Slot], series: Sequence[Series], *, unit: str, kind: str = "Day") -> Chart:
    """A bar a slot of what each series adds, with all of them in numbers.

    What is below zero (corrections of another day's usage) has no height, but is counted in words and table.
    """
    write = counted(unit)
    values = [[value or 0 for value in each.values] for each in series]
    texts = [[plain(value) for value in numbers] for numbers in values]
    totals = [sum(each[index] for each in values) for index in range(len(slots))]
    heights = [sum(max(each[index], 0) for each in values) for index in range(len(slots))]
    ticks = nice_ticks(max(heights, default=0))
    y_of = _y_of(ticks)
    bars = []
    columns = []
    for index, slot in enumerate(slots):
        base = 0.0
        parts, links = [], []
        for each, numbers, written in zip(series, values, texts, strict=True):
            value = float(numbers[index])
            if value > 0:
                y, height = y_of(base + value), round(y_of(base) - y_of(base + value), 2)
                bars.append(Bar(round(index + (1 - BAR_WIDTH) / 2, 3), y, height, each.colour))
                if slot.url and each.query:
                    text = f"{slot.name}: {each.name} {written[index]}"
                    links.append(Link(y, height, slot.url + each.query, text))
                base += value
            if value:
                parts.append(f"{each.name} {written[index]}")
        columns.append(_column(slots, index, write(totals[index]), parts, links=links))
    return Chart(
        width=max(len(slots), 1),
        ticks=_ticks(ticks, y_of),
        labels=_labels(slots),
        columns=columns,
        bars=bars,
        legend=[
            Legend(each.name, each.colour, plain(sum(numbers)))
            for each, numbers in zip(series, values, strict=True)
        ],
        header=[kind, *(each.name for each in series), "All"],
        rows=[
            Row(
                slot.title,
                slot.url,
                [
                    Cell(written[index], slot.url and each.query and slot.url + each.query)
                    for each, written in zip(series, texts, strict=True)
                ]
                + [Cell(plain(totals[index]))],
            )
            for index, slot in reversed(list(enumerate(slots)))
        ],
        footer=[plain(sum(numbers)) for numbers in values] + [plain(sum(totals))],
    )


def lines(
    slots: Sequence[Slot],
    series: Sequence[Series],
    *,
    write: Callable[[Number], str],
    footer: Sequence[str] = (),
    ticks: list[float] | None = None,
    unit: str = "",
    kind: str = "Day",
) -> Chart:
    """A line for each series, with the area below it if there is but one. `write` puts a number in words.

    `footer` is what the columns of the table come to, where they come to anything; `ticks` are a fixed scale, and
    `unit` is written before their numbers.
    """
    known = [value for each in series for value in each.values if value is not None]
    ticks = ticks or nice_ticks(max(known, default=0))
    y_of = _y_of(ticks)
    heights = [
        [None if value is None else y_of(max(float(value), 0.0)) for value in each.values] for each in series
    ]
    columns = []
    for index in range(len(slots)):
        said = [(each.name, write(value)) for each in series if (value := each.values[index]) is not None]
        dots = [
            Dot(y, each.colour)
            for each, ys in zip(series, heights, strict=True)
            if (y := ys[index]) is not None
        ]
        words = (
            said[0][1] if len(series) == 1 and said else ", ".join(f"{name} {text}" for name, text in said)
        )
        columns.append(_column(slots, index, words or "none", [], dots=dots))
    return Chart(
        width=max(len(slots), 1),
        ticks=_ticks(ticks, y_of, unit=unit),
        labels=_labels(slots),
        columns=columns,
        lines=[
            _line(ys, each.colour, with_area=len(series) == 1)
            for each, ys in zip(series, heights, strict=True)
            if any(y is not None for y in ys)
        ],
        legend=[Legend(each.name, each.colour, "") for each in series] if len(series) > 1 else [],
        header=[kind, *(each.name for each in series)],
        rows=[
            Row(
                slot.title,
                slot.url,
                [Cell("–" if (value := each.values[index]) is None else write(value)) for each in series],
            )
            for index, slot in reversed(list(enumerate(slots)))
        ],
        footer=list(footer),
    )


def _line(heights: Sequence[float | None], colour: int, *, with_area: bool) -> Line:
    paths, areas = [], []
    run: list[tuple[float, float]] = []
    for index, y in [*enumerate(heights), (len(heights), None)]:
        if y is not None:
            run.append((index + 0.5, y))
        elif run:
            path = "M" + " L".join(f"{x},{height}" for x, height in run)
            paths.append(path)
            areas.append(f"{path} L{run[-1][0]},{BOTTOM} L{run[0][0]},{BOTTOM} Z")
            run = []
    return Line(" ".join(paths), colour, " ".join(areas) if with_area else "")


def _y_of(ticks: list[float]) -> Callable[[float], float]:
    return lambda value: round(BOTTOM - PLOT * value / ticks[-1], 2)


def _ticks(ticks: list[float], y_of: Callable[[float], float], *, unit: str = "") -> list[Tick]:
    return [Tick(unit + short(tick), y_of(tick)) for tick in ticks]


def _middle(index: int, count: int) -> float:
    return round(100 * (index + 0.5) / count, 3)


def _labels(slots: Sequence[Slot]) -> list[Label]:
    """At most ten slots to write below, counted back from the last one, which is always among them."""
    step = max(ceil(len(slots) / MOST_LABELS), 1)
    places = range(len(slots) - 1, -1, -step)
    return [
        Label(slots[index].label, _middle(index, len(slots)), minor=number % 2 == 1)
        for number, index in enumerate(places)
    ]


def _column(
    slots: Sequence[Slot],
    index: int,
    words: str,
    parts: list[str],
    *,
    dots: list[Dot] | None = None,
    links: list[Link] | None = None,
) -> Column:
    count = len(slots)
    summary = f"{slots[index].name}: {words}"
    return Column(
        x=round(100 * index / count, 3),
        middle=_middle(index, count),
        width=round(100 / count, 3),
        summary=summary,
        details=f"{summary} ({', '.join(parts)})" if parts else summary,
        url=slots[index].url,
        dots=dots or [],
        links=links or [],
    )


# ── Drawing ──────────────────────────────────────────────────────────────────────────────────────────────────
def _markup(*parts: Iterator[str]) -> SafeString:
    # Every text of others has been escaped where it is put in.
    return mark_safe("".join(piece for part in parts for piece in part))


def _safe(text: str) -> str:
    """Most texts have nothing to escape, and to see that is quick."""
    return escape(text) if _UNSAFE.search(text) else text


def _scale_of(chart: Chart) -> Iterator[str]:
    yield f'<svg class="scale" width="48" height="{HEIGHT}" aria-hidden="true">'
    for tick in chart.ticks:
        yield f'<text x="40" y="{tick.y}" dy=".32em" text-anchor="end">{tick.label}</text>'
    yield "</svg>"


def _marks(chart: Chart) -> Iterator[str]:
    yield f'<svg class="marks" height="{HEIGHT}">'
    for number, tick in enumerate(chart.ticks):
        kind = "grid" if number else "axis"
        yield f'<line class="{kind}" x1="0" x2="100%" y1="{tick.y}" y2="{tick.y}"/>'
    yield (
        f'<svg width="100%" height="{HEIGHT}" viewBox="0 0 {chart.width} {HEIGHT}" preserveAspectRatio="none" '
        'aria-hidden="true">'
    )
    bars: dict[int, list[str]] = {}
    for bar in chart.bars:
        path = f"M{bar.x},{bar.y}h{BAR_WIDTH}v{bar.height}h-{BAR_WIDTH}z"
        bars.setdefault(bar.series, []).append(path)
    for series, paths in bars.items():
        yield f'<path class="s{series}" d="{"".join(paths)}"/>'
    for line in chart.lines:
        if line.area:
            yield f'<path class="area s{line.series}" d="{line.area}"/>'
        yield f'<path class="line s{line.series}" d="{line.path}" vector-effect="non-scaling-stroke"/>'
    yield "</svg>"
    for label in chart.labels:
        minor = ' class="minor"' if label.minor else ""
        yield (
            f'<text{minor} x="{label.x}%" y="{BOTTOM + 17}" text-anchor="middle" aria-hidden="true">'
            f"{_safe(label.text)}</text>"
        )
    for column in chart.columns:
        yield from _slot(column)
    yield "</svg>"


def _slot(column: Column) -> Iterator[str]:
    across = f'x="{column.x}%" width="{column.width}%"'
    area = f'<rect {across} y="{TOP}" height="{PLOT}"/>'
    details = _safe(column.details)
    yield '<g class="day">'
    if column.url:
        label = f"{details}. Show these requests in the log"
        yield f'<a href="{_safe(column.url)}" aria-label="{label}">{area}</a>'
        # The same by mouse for a part of the bar; by keyboard the table has it.
        for link in column.links:
            yield (
                f'<a href="{_safe(link.url)}" tabindex="-1" aria-hidden="true"><title>{_safe(link.text)}</title>'
                f'<rect {across} y="{link.y}" height="{link.height}"/></a>'
            )
    else:
        yield f'<g tabindex="0" role="img" aria-label="{details}">{area}</g>'
    for dot in column.dots:
        yield f'<circle class="s{dot.series}" cx="{column.middle}%" cy="{dot.y}" r="2.5"/>'
    text = 'x="100%" y="10" text-anchor="end" aria-hidden="true"'
    if column.summary == column.details:
        yield f"<text {text}>{details}</text></g>"
    else:
        yield f'<text class="wide" {text}>{details}</text>'
        yield f'<text class="narrow" {text}>{_safe(column.summary)}</text></g>'


def _table(chart: Chart) -> Iterator[str]:
    yield "<table><thead><tr>"
    for number, name in enumerate(chart.header):
        kind = ' class="number"' if number else ""
        yield f'<th scope="col"{kind}>{_safe(name)}</th>'
    yield "</tr></thead><tbody>"
    for row in chart.rows:
        yield f'<tr><th scope="row">{_linked(row.title, row.url)}</th>'
        for cell in row.cells:
            yield f'<td class="number">{_linked(cell.text, cell.url if cell.text != "0" else "")}</td>'
        yield "</tr>"
    yield "</tbody>"
    if chart.footer:
        yield '<tfoot><tr><th scope="row">All</th>'
        for value in chart.footer:
            yield f'<td class="number">{_safe(value)}</td>'
        yield "</tr></tfoot>"
    yield "</table>"


def _linked(text: str, url: str) -> str:
    return f'<a href="{_safe(url)}">{_safe(text)}</a>' if url else _safe(text)
