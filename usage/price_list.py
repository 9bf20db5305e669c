"""The price book as customers read it: what each feature of each product costs, in words, with examples worked out."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from usage.models import CreditRate, Feature, Product
from usage.pricing import UNIT_SIZES, Rate, charge

Unit = CreditRate.Unit
# A unit in words, one and many, and how many an example counts: so many that rounding shows.
UNITS = {
    Unit.PAGE: ("page", "pages", 12),
    Unit.CELLS_1000: ("1,000 cells", "cells", 12_300),
    Unit.CELLS_5000: ("5,000 cells", "cells", 12_300),
    Unit.CHART: ("chart", "charts", 3),
}


@dataclass(frozen=True)
class Price:
    """One version of a price, in words."""

    credits: Decimal
    unit: str
    minimum: Decimal
    batch_factor: Decimal
    effective_from: datetime
    note: str

    @property
    def batch_discount(self) -> Decimal:
        """What batch priority saves, in percent; below 0 it costs more."""
        return (1 - self.batch_factor) * 100


@dataclass(frozen=True)
class Line:
    """What a feature costs now, if it has begun to cost anything, what it will cost, and an example of what it does."""

    feature: str
    now: Price | None
    coming: list[Price]
    example: str


def lines(rates: Iterable[CreditRate], *, at: datetime) -> dict[str, list[Line]]:
    """The lines in force or announced at that moment, by product, in the order products and features are named."""
    versions: dict[tuple[str, str], list[CreditRate]] = defaultdict(list)
    for rate in sorted(rates, key=lambda rate: rate.effective_from):
        versions[rate.product, rate.feature].append(rate)
    found: dict[str, list[Line]] = {}
    for product in Product:
        of_product = [
            _line(feature, versions[product, feature], at)
            for feature in Feature
            if (product, feature) in versions
        ]
        if of_product:
            found[str(product.label)] = of_product
    return found


def _line(feature: Feature, versions: list[CreditRate], at: datetime) -> Line:
    begun = [rate for rate in versions if rate.effective_from <= at]
    coming = [rate for rate in versions if rate.effective_from > at]
    shown = begun[-1] if begun else coming[0]
    return Line(
        feature=str(feature.label),
        now=_price(begun[-1]) if begun else None,
        coming=[_price(rate) for rate in coming],
        example=_example(shown),
    )


def _price(rate: CreditRate) -> Price:
    return Price(
        credits=rate.credits_per_unit,
        unit=UNITS[Unit(rate.unit)][0],
        minimum=rate.minimum_credits,
        batch_factor=rate.batch_factor,
        effective_from=rate.effective_from,
        note=rate.note,
    )


def _example(version: CreditRate) -> str:
    """An example in one sentence, charged as usage is: 12,300 cells are 13 times 1,000 begun: 13 × 1 = 13 credits."""
    one, many, count = UNITS[Unit(version.unit)]
    rate = Rate.of(version)
    credits = charge(rate, pages=count, quantity=Decimal(count), priority="standard")
    least = charge(rate, pages=1, quantity=Decimal(1), priority="standard")
    size = UNIT_SIZES.get(version.unit, 1)
    units = -(-count // size)
    begun = f" begin {units:,} times {one}" if size > 1 else ""
    words = f"{count:,} {many}{begun}: {units:,} × {plain(version.credits_per_unit)}"
    if credits > version.credits_per_unit * units:
        return f"{words}, but at least {plain(credits)} credits"
    words += f" = {plain(credits)} credits"
    return (
        words if least == version.credits_per_unit else f"{words}; a single one: {plain(least)}, the minimum"
    )


def plain(value: Decimal) -> str:
    """A number with all its decimals, but without closing zeros."""
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def dollars(value: Decimal) -> str:
    """An amount of money with all its decimals, at least two: $0.000125 · $1,204.50 · −$3.00."""
    whole, _, decimals = f"{abs(value):,f}".partition(".")
    return f"{'−' if value < 0 else ''}${whole}.{decimals.rstrip('0').ljust(2, '0')}"
