"""What rates to be would have meant for the usage of late, estimated from the days' totals.

The totals know pages and credits, not minimums, priorities or quantities. So what a line was charged is scaled by the
change of its price; where it was charged nothing, or by another unit, pages are counted, if these are what is charged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from psycopg.errors import QueryCanceled

from usage.models import CreditRate
from usage.price_book import NewRate, in_force

DAYS = 30
ORGANIZATIONS_SHOWN = 5
PATIENCE = 10_000  # milliseconds
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Effect:
    """Credits that were charged, and about how many it would have been; None where the totals do not tell."""

    credits: Decimal
    would_be: Decimal | None

    @property
    def change(self) -> Decimal | None:
        return None if self.would_be is None else self.would_be - self.credits

    @property
    def percent(self) -> Decimal | None:
        return 100 * self.change / self.credits if self.change is not None and self.credits else None


@dataclass(frozen=True)
class Concerned:
    """An organization that the change would have concerned."""

    organization_id: int
    name: str
    effect: Effect


@dataclass(frozen=True)
class Effects:
    """`lines` by product and feature; `total` and the organizations of those lines that can be told."""

    lines: dict[tuple[str, str], Effect]
    total: Effect
    organizations: list[Concerned]


NOTHING = Effect(Decimal(0), Decimal(0))


def of(rates: Sequence[NewRate]) -> Effects | None:
    """Ask for all lines and organizations in one query, along the totals of each organization's last days.

    None where they are so many that it takes longer than somebody waits: rates are published without it, too.
    """
    now = timezone.now()
    present = in_force(at=now)
    lines = []
    for rate in rates:
        ratio, per_page = _estimate(rate, present.get((rate.product, rate.feature)))
        lines.append({"product": rate.product, "feature": rate.feature, "ratio": ratio, "per_page": per_page})
    asked: dict[str, Any] = {
        "lines": _encode(lines).decode(),
        "since": now.date() - timedelta(days=DAYS),
        "limit": ORGANIZATIONS_SHOWN,
    }
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = %s", [PATIENCE])
            cursor.execute(_EFFECTS, asked)
            rows = cursor.fetchall()
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            return None
        raise
    found = {(rate.product, rate.feature): NOTHING for rate in rates}
    found |= {
        (product, feature): Effect(credits, would_be)
        for product, feature, organization_id, _, credits, would_be in rows
        if organization_id is None
    }
    told = [effect for effect in found.values() if effect.would_be is not None]
    return Effects(
        lines=found,
        total=Effect(
            sum((effect.credits for effect in told), Decimal(0)),
            sum((effect.would_be or Decimal(0) for effect in told), Decimal(0)) if told else None,
        ),
        organizations=[
            Concerned(organization_id, name, Effect(credits, would_be))
            for _, _, organization_id, name, credits, would_be in rows
            if organization_id is not None
        ],
    )


def _estimate(rate: NewRate, present: CreditRate | None) -> tuple[str | None, str | None]:
    """By what the line's credits are multiplied, or else its pages."""
    if present and present.unit == rate.unit and present.credits_per_unit:
        return f"{rate.credits_per_unit / present.credits_per_unit:.12f}", None
    if rate.unit == CreditRate.Unit.PAGE:
        return None, str(rate.credits_per_unit)
    return None, None


_EFFECTS = """
    WITH line AS (
        SELECT * FROM json_to_recordset(%(lines)s::json)
        AS line (product text, feature text, ratio numeric, per_page numeric)
    ), used AS MATERIALIZED (
        SELECT organization.id AS organization_id, organization.name, total.product, total.feature, total.credits,
            coalesce(total.credits * line.ratio, total.pages * line.per_page) AS would_be
        FROM accounts_organization AS organization
        CROSS JOIN LATERAL (
            SELECT product, feature, sum(pages) AS pages, sum(credits) AS credits
            FROM usage_dailyusage
            WHERE organization_id = organization.id AND day >= %(since)s
            GROUP BY product, feature
        ) AS total
        JOIN line ON line.product = total.product AND line.feature = total.feature
    )
    SELECT product, feature, NULL::bigint, NULL, sum(credits), sum(would_be)
    FROM used GROUP BY product, feature
    UNION ALL (
        SELECT NULL, NULL, organization_id, name, sum(credits), sum(would_be)
        FROM used WHERE would_be IS NOT NULL
        GROUP BY organization_id, name HAVING sum(would_be) <> sum(credits)
        ORDER BY abs(sum(would_be) - sum(credits)) DESC, organization_id LIMIT %(limit)s
    )
"""
