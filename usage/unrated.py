"""Usage that no rate covered: it was recorded at 0 credits, and stays there until somebody looks after it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from accounts.models import Organization
from usage.models import CreditRate, Feature, Product

# The newest of such records are looked at; a product without a price may soon have millions.
LOOKED_AT = 10_000
ORGANIZATIONS_SHOWN = 5


@dataclass(frozen=True)
class Unrated:
    """What was used of a product's feature without a rate, and not corrected since."""

    product: str
    feature: str
    unit: str  # that is likely meant, by what was reported
    records: int
    pages: int
    quantity: Decimal | None
    first_seen: datetime
    last_seen: datetime
    organizations: list[Organization]
    more_organizations: int

    @property
    def product_label(self) -> str:
        return str(Product(self.product).label) if self.product in Product.values else self.product

    @property
    def feature_label(self) -> str:
        return str(Feature(self.feature).label) if self.feature in Feature.values else self.feature


def found() -> tuple[list[Unrated], bool]:
    """Unrated usage by product and feature, most records first, and whether there is more than was looked at."""
    with connection.cursor() as cursor:
        cursor.execute(_FOUND, [LOOKED_AT])
        rows = cursor.fetchall()
    shown = {pk for row in rows for pk in row[-2][:ORGANIZATIONS_SHOWN]}
    organizations = Organization.objects.in_bulk(shown)
    looked_at = rows[0][-1] if rows else 0
    return [
        Unrated(
            product,
            feature,
            _unit(feature, has_quantity=has_quantity),
            records,
            pages,
            quantity,
            first_seen,
            last_seen,
            [organizations[pk] for pk in ids[:ORGANIZATIONS_SHOWN] if pk in organizations],
            max(len(ids) - ORGANIZATIONS_SHOWN, 0),
        )
        for product, feature, has_quantity, records, pages, quantity, first_seen, last_seen, ids, _ in rows
    ], looked_at >= LOOKED_AT


def _unit(feature: str, *, has_quantity: bool) -> str:
    if not has_quantity:
        return CreditRate.Unit.PAGE
    if feature == Feature.CHART:
        return CreditRate.Unit.CHART
    return CreditRate.Unit.CELLS_5000 if feature == Feature.SPREADSHEET else CreditRate.Unit.CELLS_1000


# What takes a record back, or stands in for it, has its job and timestamp, and so lies in the same partition.
_FOUND = """
    WITH newest AS MATERIALIZED (
        SELECT id, organization_id, job_id, idempotency_key, timestamp, product, feature, pages, quantity, corrects
        FROM usage_usagerecord WHERE unrated ORDER BY id DESC LIMIT %s
    ), standing AS (
        SELECT newest.* FROM newest
        LEFT JOIN LATERAL (
            SELECT 1 AS is_corrected FROM usage_usagerecord AS correction
            WHERE correction.organization_id = newest.organization_id AND correction.job_id = newest.job_id
                AND correction.timestamp = newest.timestamp AND correction.corrects = newest.idempotency_key
            LIMIT 1
        ) AS correction ON true
        WHERE is_corrected IS NULL AND NOT (corrects <> '' AND (pages < 0 OR coalesce(quantity, 0) < 0))
    )
    SELECT product, feature, quantity IS NOT NULL, count(*), sum(pages), sum(quantity), min(timestamp), max(timestamp),
        array_agg(DISTINCT organization_id), (SELECT count(*) FROM newest)
    FROM standing
    GROUP BY 1, 2, 3
    ORDER BY 4 DESC, 1, 2, 3
"""
