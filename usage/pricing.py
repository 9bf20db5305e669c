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


def charge(rate: Rate | None, *, pages: int, quantity: Decimal | None, priority: str) -> Decimal:
    """Credits for one usage item; 0 without a rate. Cells are charged by the begun 1,000 or 5,000, charts one by one.

    The minimum holds for the record after the batch discount. Rounded half up to a millionth.
    """
    if rate is None:
        return Decimal(0)
    size = UNIT_SIZES.get(rate.unit)
    begun = Decimal(pages) if size is None else (quantity or Decimal(0)) / size
    credits = begun.to_integral_value(ROUND_CEILING) * rate.credits_per_unit
    if priority == "batch":
        credits *= rate.batch_factor
    return max(credits, rate.minimum_credits).quantize(MICRO, ROUND_HALF_UP)
