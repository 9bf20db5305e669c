"""Lists by cursor: `limit`, `starting_after`, `ending_before`, `created`."""

import json
from typing import Any

from billing.simulator.errors import StripeError, no_such
from billing.simulator.simulator import Simulator, page_of
from billing.simulator.store import Object

COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def page(sim: Simulator, kind: str, url: str, params: dict[str, Any], **where: Any) -> dict[str, Any]:
    """Return a page of stored objects, newest first."""
    limit = _limit(params)
    condition, values = sim.store.condition(kind, where)
    for comparison, bound in _created(params).items():
        condition += f" AND json_extract(body, '$.created') {comparison} ?"
        values.append(bound)
    backwards = "ending_before" in params
    cursor = params.get("ending_before", params.get("starting_after"))
    if cursor is not None:
        name = "ending_before" if backwards else "starting_after"
        rows = sim.store.rows("SELECT seq FROM objects WHERE id = ? AND kind = ?", cursor, kind)
        if not rows:
            raise no_such(kind, cursor, param=name)
        condition += f" AND seq {'>' if backwards else '<'} ?"
        values.append(rows[0][0])
    order = "ASC" if backwards else "DESC"
    rows = sim.store.rows(
        f"SELECT body FROM objects WHERE {condition} ORDER BY seq {order} LIMIT ?", *values, limit + 1
    )
    found = [json.loads(body) for (body,) in rows[:limit]]
    return page_of(url, found[::-1] if backwards else found, has_more=len(rows) > limit)


def page_within(url: str, items: list[Object], params: dict[str, Any]) -> dict[str, Any]:
    """Return a page of what lies inside of another object, such as the lines of an invoice."""
    limit = _limit(params)
    ids = [item["id"] for item in items]
    for name in ("starting_after", "ending_before"):
        if name in params and params[name] not in ids:
            raise no_such(items[0]["object"] if items else "line_item", params[name], param=name)
    if "ending_before" in params:
        before = items[: ids.index(params["ending_before"])]
        return page_of(url, before[-limit:], has_more=len(before) > limit)
    start = ids.index(params["starting_after"]) + 1 if "starting_after" in params else 0
    return page_of(url, items[start : start + limit], has_more=len(items) > start + limit)


def _limit(params: dict[str, Any]) -> int:
    limit: int = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise StripeError("Invalid limit: must be between 1 and 100.", param="limit")
    return limit


def _created(params: dict[str, Any]) -> dict[str, int]:
    created = params.get("created")
    if created is None:
        return {}
    if isinstance(created, int):
        return {"=": created}
    return {COMPARISONS[name]: bound for name, bound in created.items()}
