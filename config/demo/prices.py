"""The demo's price book: credits a page, in force since before any usage that is still accepted."""

from datetime import UTC, datetime
from decimal import Decimal

from usage.models import CreditRate, Feature, Product

EFFECTIVE_FROM = datetime(2020, 1, 1, tzinfo=UTC)
BATCH_FACTOR = Decimal("0.8")
OUR_CHOICE = "Chosen for the demo: no price of it is published."

CREDITS_PER_PAGE: list[tuple[Product, Feature, str, str]] = [
    (Product.PARSE, Feature.STANDARD, "1", ""),
    (Product.PARSE, Feature.COMPLEX, "2", ""),
    (Product.PARSE, Feature.AGENTIC, "2", ""),
    (Product.PARSE, Feature.AGENTIC_COMPLEX, "4", ""),
    (Product.PARSE, Feature.TEXT, "0.5", ""),
    (Product.EXTRACT, Feature.STANDARD, "2", ""),
    (Product.SPLIT, Feature.STANDARD, "2", ""),
    (Product.CLASSIFY, Feature.STANDARD, "0.5", ""),
    (Product.EDIT, Feature.STANDARD, "4", OUR_CHOICE),
    (Product.PIPELINE, Feature.STANDARD, "3", OUR_CHOICE),
]


def publish() -> None:
    """Put the rates in the price book, those that are not there yet."""
    for product, feature, credits, note in CREDITS_PER_PAGE:
        CreditRate.objects.get_or_create(
            product=product,
            feature=feature,
            effective_from=EFFECTIVE_FROM,
            defaults={"credits_per_unit": Decimal(credits), "batch_factor": BATCH_FACTOR, "note": note},
        )
