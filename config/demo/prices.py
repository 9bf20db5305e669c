"""The demo's price book, in force since before any usage that is still accepted."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from usage.models import CreditRate, Feature, Product

EFFECTIVE_FROM = datetime(2020, 1, 1, tzinfo=UTC)
BATCH_FACTOR = Decimal("0.8")
OUR_CHOICE = "Chosen for the demo: no price of it is published."
PAGE, CELLS_5000, CELLS_1000, CHART = CreditRate.Unit


@dataclass(frozen=True)
class Price:
    product: Product
    feature: Feature
    credits: str
    unit: CreditRate.Unit = PAGE
    minimum: str = "0"
    note: str = ""


PRICES = [
    Price(Product.PARSE, Feature.STANDARD, "1", note="Text, layout, simple tables."),
    Price(Product.PARSE, Feature.COMPLEX, "2", note="Merged cells, forms, figures that are described."),
    Price(Product.PARSE, Feature.AGENTIC, "2"),
    Price(Product.PARSE, Feature.AGENTIC_COMPLEX, "4"),
    Price(Product.PARSE, Feature.TEXT, "0.5", note="HTML, TXT, RTF."),
    Price(
        Product.PARSE, Feature.SPREADSHEET, "1", CELLS_5000, note="Tables found by empty rows and columns."
    ),
    Price(
        Product.PARSE, Feature.SPREADSHEET_ACCURATE, "1", CELLS_1000, note="Tables found by what they say."
    ),
    Price(Product.PARSE, Feature.CHART, "4", CHART, note="Beside the page that the chart is on."),
    Price(Product.EXTRACT, Feature.STANDARD, "2"),
    Price(Product.EXTRACT, Feature.DEEP, "4", minimum="30", note="The minimum holds for each document."),
    Price(Product.SPLIT, Feature.STANDARD, "2"),
    Price(Product.CLASSIFY, Feature.STANDARD, "0.5"),
    Price(Product.EDIT, Feature.STANDARD, "4", note=OUR_CHOICE),
    Price(Product.PIPELINE, Feature.STANDARD, "3", note=OUR_CHOICE),
]


def publish() -> None:
    """Put the rates in the price book, those that are not there yet."""
    for price in PRICES:
        CreditRate.objects.get_or_create(
            product=price.product,
            feature=price.feature,
            effective_from=EFFECTIVE_FROM,
            defaults={
                "credits_per_unit": Decimal(price.credits),
                "unit": price.unit,
                "minimum_credits": Decimal(price.minimum),
                # Only parsing can wait.
                "batch_factor": BATCH_FACTOR if price.product is Product.PARSE else Decimal(1),
                "note": price.note,
            },
        )
