"""Writing usage records together with everything that adds them up: cube, day totals, credits used.

Where usage is billed by files, what is to be handed over is queued along with them.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from msgspec import Struct

from usage import billing_queue, statements

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
# A day's own changes only ever go forward, whatever the clock does and whoever waited for whom: by that it is told
# whether its margins and what was told of it still hold.
_DAYS = """
INSERT INTO usage_usageday AS t (organization_id, day, requests, pages, credits, cost, changed_at)
SELECT x.*, clock_timestamp() FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, day date, requests bigint, pages bigint, credits numeric, cost numeric)
ON CONFLICT (organization_id, day) DO UPDATE SET
    requests = t.requests + excluded.requests, pages = t.pages + excluded.pages,
    credits = t.credits + excluded.credits, cost = t.cost + excluded.cost,
    changed_at = GREATEST(clock_timestamp(), t.changed_at + interval '1 microsecond')
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
    # What the record adds to the pages that are billed by files, where that is not `pages`: nothing if the job failed.
    billed_pages: int | None = None


def write(rows: Sequence[RecordRow]) -> None:
    """Insert records and bump every total of theirs, in the transaction that is open.

    Once in a transaction: totals locked a second time would be locked out of order.
    """
    if not rows:
        return
    statements.run(_RECORDS, rows)
    if settings.STORE_USAGE_FOR_BILLING:
        billing_queue.add(rows)
    cube = _sums((*_dimensions(row), row.requests, row.pages, row.credits, row.cost) for row in rows)
    statements.run(_CUBE, _named(cube, "api_key_id", "product", "feature", "file_type"))
    days = _sums((*row[:2], *row[-4:]) for row in cube)
    statements.run(_DAYS, _named(days))
    used: dict[int, Decimal] = {}
    for organization, *_, credits, _cost in days:
        used[organization] = used.get(organization, Decimal(0)) + credits
    statements.run(
        _CREDITS_USED, [{"organization_id": key, "credits": credits} for key, credits in used.items()]
    )


def _dimensions(row: RecordRow) -> tuple[Any, ...]:
    return row.organization_id, row.day, row.api_key_id, row.product, row.feature, row.file_type


def _sums(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Add up the last four columns (requests, pages, credits, cost) of each group of the others, sorted by group."""
    totals: dict[tuple[Any, ...], list[Any]] = {}
    for *group, requests, pages, credits, cost in rows:
        sums = totals.setdefault(tuple(group), [0, 0, Decimal(0), Decimal(0)])
        sums[0] += requests
        sums[1] += pages
        sums[2] += credits
        sums[3] += cost
    return [(*group, *sums) for group, sums in sorted(totals.items())]


def _named(rows: Iterable[tuple[Any, ...]], *dimensions: str) -> list[dict[str, Any]]:
    names = ("organization_id", "day", *dimensions, "requests", "pages", "credits", "cost")
    return [dict(zip(names, row, strict=True)) for row in rows]
