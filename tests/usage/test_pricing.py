"""What a usage item costs. Pure arithmetic, no database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from usage.models import CreditRate
from usage.pricing import PriceBook, Rate, charge

START = datetime(2026, 1, 1, tzinfo=UTC)


def rate(**fields: object) -> Rate:
    values = {
        "id": 1,
        "unit": "page",
        "credits_per_unit": Decimal(2),
        "minimum_credits": Decimal(0),
        "batch_factor": Decimal("0.8"),
        "effective_from": START,
    }
    return Rate(**(values | fields))  # type: ignore[arg-type]


def credits(
    of: Rate | None, *, pages: int = 0, quantity: str | None = None, priority: str = "standard"
) -> Decimal:
    return charge(
        of, pages=pages, quantity=None if quantity is None else Decimal(quantity), priority=priority
    )


def test_pages_cost_the_rate_each() -> None:
    assert credits(rate(), pages=7) == 14


def test_without_a_rate_nothing_is_charged() -> None:
    assert credits(None, pages=7) == 0


def test_batch_priority_is_discounted() -> None:
    assert credits(rate(), pages=5, priority="batch") == 8


@pytest.mark.parametrize(("cells", "charged"), [("0", 0), ("1", 1), ("5000", 1), ("5001", 2), ("12000.5", 3)])
def test_cells_are_charged_by_the_begun_five_thousand(cells: str, charged: int) -> None:
    assert credits(rate(unit="5000_cells", credits_per_unit=Decimal(1)), pages=99, quantity=cells) == charged


def test_the_minimum_holds_after_the_discount() -> None:
    assert credits(rate(minimum_credits=Decimal(3)), pages=1, priority="batch") == 3


def test_fractions_round_half_up_to_a_millionth() -> None:
    assert credits(rate(credits_per_unit=Decimal("0.0000005")), pages=1) == Decimal("0.000001")


def test_the_price_book_answers_with_the_version_in_force() -> None:
    later = START + timedelta(days=30)
    book = PriceBook(
        CreditRate(pk=number, product="parse", feature="standard", credits_per_unit=number, effective_from=at)
        for number, at in ((1, START), (2, later))
    )

    found = [book.rate("parse", "standard", at) for at in (START - timedelta(seconds=1), START, later)]

    assert [version and version.id for version in found] == [None, 1, 2]
    assert book.rate("edit", "standard", later) is None
