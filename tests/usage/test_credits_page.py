"""The page that says how credits are calculated."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Organization, User
from config.demo import prices
from usage import price_list
from usage.models import CreditRate, Feature, Product
from usage.pricing import Rate, charge

NOW = datetime(2026, 6, 18, tzinfo=UTC)


@pytest.fixture
def demo_prices(db: None) -> None:
    prices.publish()


def example(product: str, feature: str) -> str:
    lines = price_list.lines(CreditRate.objects.all(), at=NOW)[product]
    return next(line.example for line in lines if line.feature == feature)


@pytest.mark.parametrize(
    ("product", "feature", "sentence"),
    [
        ("Parse", "Standard", "12 pages: 12 × 1 = 12 credits"),
        ("Parse", "Text", "12 pages: 12 × 0.5 = 6 credits"),
        ("Parse", "Spreadsheet", "12,300 cells begin 3 times 5,000 cells: 3 × 1 = 3 credits"),
        ("Parse", "Spreadsheet Accurate", "12,300 cells begin 13 times 1,000 cells: 13 × 1 = 13 credits"),
        ("Parse", "Chart", "3 charts: 3 × 4 = 12 credits"),
        ("Extract", "Deep", "12 pages: 12 × 4 = 48 credits; a single one: 30, the minimum"),
    ],
)
def test_examples_are_worked_out(demo_prices: None, product: str, feature: str, sentence: str) -> None:
    assert example(product, feature) == sentence


@pytest.mark.parametrize(
    ("feature", "quantity", "credits"),
    [
        (Feature.SPREADSHEET, 0, 0),
        (Feature.SPREADSHEET, 1, 1),
        (Feature.SPREADSHEET, 5000, 1),
        (Feature.SPREADSHEET, 5001, 2),
        (Feature.SPREADSHEET_ACCURATE, 5001, 6),
        (Feature.CHART, 2, 8),
    ],
)
def test_demo_charges_begun_cells_and_charts(
    demo_prices: None, feature: Feature, quantity: int, credits: int
) -> None:
    version = CreditRate.objects.get(product=Product.PARSE, feature=feature)

    found = charge(Rate.of(version), pages=1, quantity=Decimal(quantity), priority="standard")

    assert found == credits


def test_coming_price_is_announced_and_not_yet_charged(
    client: Client, viewer: User, organization: Organization, demo_prices: None
) -> None:
    CreditRate.objects.create(
        product="parse",
        feature="standard",
        credits_per_unit=Decimal("1.5"),
        effective_from=timezone.now() + timedelta(days=3),
    )
    client.force_login(viewer)

    response = client.get(f"/o/{organization.uid}/usage/credits/")

    assert response.status_code == 200
    line = response.context["products"]["Parse"][0]
    assert line.now.credits == 1
    assert [price.credits for price in line.coming] == [Decimal("1.5")]
    assert "1.5 per page" in response.content.decode()


def test_price_that_has_not_begun_is_said_to_cost_nothing_yet(
    client: Client, viewer: User, organization: Organization
) -> None:
    CreditRate.objects.create(
        product="edit",
        feature="standard",
        credits_per_unit=4,
        effective_from=timezone.now() + timedelta(days=3),
    )
    client.force_login(viewer)

    assert "Not charged yet" in client.get(f"/o/{organization.uid}/usage/credits/").content.decode()


def test_empty_price_book_says_whom_to_ask(client: Client, viewer: User, organization: Organization) -> None:
    client.force_login(viewer)

    assert "No prices yet" in client.get(f"/o/{organization.uid}/usage/credits/").content.decode()
