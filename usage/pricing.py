"""What a usage item costs, by the price book."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from usage.models import CreditRate

MICRO = Decimal("0.000001")
# How much of an item's quantity a unit is; pages are counted on their own.
UNIT_SIZES: dict[str, int] = {
    CreditRate.Unit.CELLS_5000: 5000,
    CreditRate.Unit.CELLS_1000: 1000,
    CreditRate.Unit.CHART: 1,
}


@dataclass(frozen=True)
class Rate:
    """One version of a line of the price book."""

    id: int
    unit: str
    credits_per_unit: Decimal
    minimum_credits: Decimal
    batch_factor: Decimal
    effective_from: datetime

    @classmethod
    def of(cls, version: CreditRate) -> "Rate":
        return cls(
            id=version.pk,
            unit=version.unit,
            credits_per_unit=version.credits_per_unit,
            minimum_credits=version.minimum_credits,
            batch_factor=version.batch_factor,
            effective_from=version.effective_from,
        )


class PriceBook:
    """All rates in force at any time, read once and asked many times."""

    def __init__(self, rates: Iterable[CreditRate]) -> None:
        self._versions: dict[tuple[str, str], list[Rate]] = defaultdict(list)
        for rate in sorted(rates, key=lambda rate: rate.effective_from, reverse=True):
            self._versions[rate.product, rate.feature].append(Rate.of(rate))

    @classmethod
    def current(cls) -> "PriceBook":
        return cls(CreditRate.objects.all())

    def rate(self, product: str, feature: str, at: datetime) -> Rate | None:
        """The rate in force at that moment, or None."""
        for rate in self._versions.get((product, feature), ()):
            if rate.effective_from <= at:
                return rate
        return None


def units(unit: str, *, pages: int, quantity: Decimal | None) -> Decimal:
    """How many of a rate's units were begun."""
    size = UNIT_SIZES.get(unit)
    used = Decimal(pages) if size is None else (quantity or Decimal(0)) / size
    return used.to_integral_value(ROUND_CEILING)


def charge(rate: Rate | None, *, pages: int, quantity: Decimal | None, priority: str) -> Decimal:
    """Credits for one usage item; 0 without a rate. Cells are charged by the begun 1,000 or 5,000, charts one by one.

    The minimum holds for the record after the batch discount. Rounded half up to a millionth.
    """
    if rate is None:
        return Decimal(0)
    credits = units(rate.unit, pages=pages, quantity=quantity) * rate.credits_per_unit
    if priority == "batch":
        credits *= rate.batch_factor
    return max(credits, rate.minimum_credits).quantize(MICRO, ROUND_HALF_UP)


def credit_price(credits: Decimal, cost: Decimal, *, now: Decimal) -> Decimal:
    """What a credit cost when a record was written: the price of now, if it makes these credits cost this much.

    Costs are rounded to a millionth, so very few credits do not tell a price of their own.
    """
    if (credits * now).quantize(MICRO, ROUND_HALF_UP) == cost:
        return now
    return (cost / credits).quantize(MICRO, ROUND_HALF_UP) if credits else now
