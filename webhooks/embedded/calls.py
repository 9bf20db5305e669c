"""What all calls of the embedded engine's API have in common: request, answer, refusal, page."""

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from django.db import models
from pydantic import BaseModel, ValidationError

PAGE = 50
LONGEST_PAGE = 250

_CHANNEL = re.compile(r"[a-zA-Z0-9\-_.]{1,128}")

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True)
class Call:
    """A request: the names in its path, its query and its body."""

    names: dict[str, str]
    query: httpx.QueryParams
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    content: BaseModel | None = None


class Refusal(Exception):
    """An answer that says no."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


def not_found() -> Refusal:
    return Refusal(404, {"code": "not_found", "detail": "Entity not found"})


def conflict(detail: str) -> Refusal:
    return Refusal(409, {"code": "conflict", "detail": detail})


def invalid(field: str, message: str, *, where: str = "body") -> Refusal:
    return Refusal(422, {"detail": [{"loc": [where, field], "msg": message, "type": "value_error"}]})


def misshapen(error: ValidationError) -> Refusal:
    """Say what the SDK's models found wrong with a body."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    detail = [
        {"loc": ["body", *map(str, item["loc"])], "msg": item["msg"], "type": item["type"]} for item in found
    ]
    return Refusal(422, {"detail": detail})


def check_channels(channels: list[str], *, most: int) -> None:
    if not 1 <= len(channels) <= most or not all(map(_CHANNEL.fullmatch, channels)):
        raise invalid("channels", f"1 to {most} names of letters, digits, - _ .")


def page(rows: models.QuerySet[Row], call: Call) -> tuple[list[Row], bool]:
    """Return a page, newest first, after the row that `iterator` names, and whether it is the last."""
    limit = call.query.get("limit", str(PAGE))
    if not limit.isdecimal() or not 1 <= int(limit) <= LONGEST_PAGE:
        raise invalid("limit", f"1 to {LONGEST_PAGE}", where="query")
    if iterator := call.query.get("iterator"):
        rows = rows.filter(pk__lt=models.Subquery(rows.filter(uid=iterator).values("pk")[:1]))
    found = list(rows.order_by("-pk")[: int(limit) + 1])
    return found[: int(limit)], len(found) <= int(limit)
