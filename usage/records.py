"""Writing usage records together with everything that adds them up: cube, day totals, credits used."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from usage import statements

_RECORDS = """
INSERT INTO usage_usagerecord (
    organization_id, idempotency_key, job_id, api_key_id, product, feature, file_type, region, priority,
    requests, pages, quantity, credits, cost, rate_id, unrated, corrects, reason, day, timestamp, attributes)
SELECT * FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, idempotency_key text, job_id text, api_key_id bigint, product text, feature text,
    file_type text, region text, priority text, requests smallint, pages integer, quantity numeric,
    credits numeric, cost numeric, rate_id bigint, unrated boolean, corrects text, reason text, day date,
    timestamp timestamptz, attributes jsonb)
"""

_CUBE = """
INSERT INTO usage_dailyusage AS t (
    organization_id, day, api_key_id, product, feature, file_type, requests, pages, credits, cost)
SELECT * FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, day date, api_key_id bigint, product text, feature text, file_type text,
    requests bigint, pages bigint, credits numeric, cost numeric)
ON CONFLICT (organization_id, day, api_key_id, product, feature, file_type) DO UPDATE SET
    requests = t.requests + excluded.requests, pages = t.pages + excluded.pages,
    credits = t.credits + excluded.credits, cost = t.cost + excluded.cost
"""

# clock_timestamp(): a reader that looks for changes must not miss a long transaction's, which began before its look.
_DAYS = """
INSERT INTO usage_usageday AS t (organization_id, day, requests, pages, credits, cost, changed_at)
SELECT x.*, clock_timestamp() FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, day date, requests bigint, pages bigint, credits numeric, cost numeric)
ON CONFLICT (organization_id, day) DO UPDATE SET
    requests = t.requests + excluded.requests, pages = t.pages + excluded.pages,
    credits = t.credits + excluded.credits, cost = t.cost + excluded.cost, changed_at = excluded.changed_at
"""

# One organization after the other, in the order given, so that two writers lock them alike.
_CREDITS_USED = """
WITH x AS (SELECT * FROM json_to_recordset(%s::json) AS x (organization_id bigint, credits numeric)),
locked AS MATERIALIZED (
    SELECT e.organization_id FROM usage_entitlement e WHERE e.organization_id IN (SELECT organization_id FROM x)
    ORDER BY e.organization_id FOR UPDATE)
UPDATE usage_entitlement e SET credits_used = e.credits_used + x.credits
FROM x JOIN locked USING (organization_id) WHERE e.organization_id = x.organization_id
"""


class RecordRow(Struct):
    """A row of `UsageRecord`, with the columns of `_RECORDS` in their order."""

    organization_id: int
    idempotency_key: str
    job_id: str
    api_key_id: int
    product: str
    feature: str
    file_type: str
    region: str
    priority: str
    requests: int
    pages: int
    quantity: Decimal | None
    credits: Decimal
    cost: Decimal
    rate_id: int | None
    unrated: bool
    corrects: str
    reason: str
    day: date
    timestamp: datetime
    attributes: dict[str, Any] | None


def write(rows: Sequence[RecordRow]) -> None:
    """Insert records and bump every total of theirs, in the transaction that is open."""
    if not rows:
        return
    statements.run(_RECORDS, rows)
    cube = _totals(
        rows, lambda r: (r.organization_id, r.day, r.api_key_id, r.product, r.feature, r.file_type)
    )
    names = ("organization_id", "day", "api_key_id", "product", "feature", "file_type", *_MEASURES)
    statements.run(_CUBE, [dict(zip(names, row, strict=True)) for row in cube])
    days = _totals(rows, lambda r: (r.organization_id, r.day))
    statements.run(
        _DAYS, [dict(zip(("organization_id", "day", *_MEASURES), row, strict=True)) for row in days]
    )
    used = _totals(rows, lambda r: (r.organization_id,))
    statements.run(_CREDITS_USED, [{"organization_id": row[0], "credits": row[3]} for row in used])


_MEASURES = ("requests", "pages", "credits", "cost")


def _totals(
    rows: Iterable[RecordRow], key_of: Callable[[RecordRow], tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Key and summed measures of each group, sorted by key."""
    totals: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        sums = totals.setdefault(key_of(row), [0, 0, Decimal(0), Decimal(0)])
        sums[0] += row.requests
        sums[1] += row.pages
        sums[2] += row.credits
        sums[3] += row.cost
    return [(*key, *sums) for key, sums in sorted(totals.items())]
