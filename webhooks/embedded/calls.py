"""What all calls of the embedded engine's API have in common: request, answer, refusal, page."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import httpx
from django.db import models
from django.db.models import Q
from pydantic import BaseModel, ValidationError

PAGE = 50
LONGEST_PAGE = 250
EARLIEST = 1970  # the year; nothing was sent before

_NAME = re.compile(r"[a-zA-Z0-9\-_.]{1,256}")
_CHANNEL = re.compile(r"[a-zA-Z0-9\-_.]{1,128}")
_FORM = "letters, digits, - _ ."

Row = TypeVar("Row", bound=models.Model)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Call:
    """A request: the names in its path, its query and its body."""

    names: dict[str, str]
    query: httpx.QueryParams
    body: bytes

    def flag(self, name: str, *, default: bool) -> bool:
        return self._one_of(name, {"true": True, "false": False}, default)

    def number(self, name: str, *allowed: int) -> int | None:
        numbers: dict[str, int | None] = {str(number): number for number in allowed}
        return self._one_of(name, numbers, None)

    def word(self, name: str, *allowed: str) -> str | None:
        words: dict[str, str | None] = {word: word for word in allowed}
        return self._one_of(name, words, None)

    def moment(self, name: str) -> datetime | None:
        """A time in the query; one without a zone is UTC."""
        text = self.query.get(name)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            if moment.year >= EARLIEST:
                return moment
        except (ValueError, OverflowError):
            pass
        raise bad_request("validation", f"{name} is not a time")

    def event_types(self) -> list[str]:
        """The types to look for, separated by commas; none means all."""
        names = [name for text in self.query.get_list("event_types") for name in text.split(",") if name]
        for name in names:
            check_name("event_types", name, where="query")
        return names

    def channel(self) -> str | None:
        channel: str | None = self.query.get("channel")
        if channel is not None and not _CHANNEL.fullmatch(channel):
            raise invalid("channel", f"1 to 128 {_FORM}", where="query")
        return channel

    def iterator(self) -> tuple[str, bool]:
        """The name that a page leads on from, empty for the first, and whether it leads back."""
        text = self.query.get("iterator", "")
        name = text.removeprefix("-")
        if text:
            check_name("iterator", name, where="query")
        return name, name != text

    def limit(self) -> int:
        text = self.query.get("limit", str(PAGE))
        if not text.isdecimal() or not 1 <= int(text[:9]) <= LONGEST_PAGE:
            raise invalid("limit", f"1 to {LONGEST_PAGE}", where="query")
        return int(text)

    def _one_of(self, name: str, allowed: dict[str, Value], default: Value) -> Value:
        text = self.query.get(name)
        if text is None:
            return default
        if text not in allowed:
            raise bad_request("validation", f"{name} is one of {', '.join(allowed)}")
        return allowed[text]


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


def conflict(detail: str, *, code: str = "conflict") -> Refusal:
    return Refusal(409, {"code": code, "detail": detail})


def bad_request(code: str, detail: str) -> Refusal:
    return Refusal(400, {"code": code, "detail": detail})


def invalid(field: str, message: str, *, where: str = "body") -> Refusal:
    return Refusal(422, {"detail": [{"loc": [where, field], "msg": message, "type": "value_error"}]})


def misshapen(error: ValidationError) -> Refusal:
    """Say what the SDK's models found wrong with a body."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    detail = [
        {"loc": ["body", *map(str, item["loc"])], "msg": item["msg"], "type": item["type"]} for item in found
    ]
    return Refusal(422, {"detail": detail})


def check_name(field: str, name: str, *, not_like: str = "", where: str = "body") -> None:
    """Refuse what cannot name something, and what looks like an id: `not_like` is the prefix of those."""
    if not _NAME.fullmatch(name):
        raise invalid(field, f"1 to 256 {_FORM}", where=where)
    if not_like and name.startswith(not_like):
        raise invalid(field, f"May not begin with {not_like}, as ids do", where=where)


def check_channels(channels: list[str], *, most: int) -> None:
    if not 1 <= len(channels) <= most or not all(map(_CHANNEL.fullmatch, channels)):
        raise invalid("channels", f"1 to {most} names of {_FORM}")


def check_text(field: str, text: str) -> None:
    if any(character < " " or character == "\x7f" for character in text):
        raise invalid(field, "May not contain control characters")


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A part of a list. `iterator` leads on, `prev_iterator` back."""

    rows: list[Row]
    names: list[str]
    done: bool

    @property
    def around(self) -> dict[str, Any]:
        """What a list says of itself besides its data."""
        return {
            "iterator": self.names[-1] if self.names else None,
            "prev_iterator": f"-{self.names[0]}" if self.names else None,
            "done": self.done,
        }


def page(
    rows: models.QuerySet[Row],
    call: Call,
    *,
    among: models.QuerySet[Row],
    moment: str = "created_at",
    name: str = "uid",
    ascending: bool = False,
) -> Page[Row]:
    """Return the rows after the one that `iterator` names, or before it when it is preceded by `-`.

    The order is that of `moment`. The named row is looked for `among` more than what is listed, for it may have
    changed meanwhile. As with a Svix server, only `after` lists the first rows since then, not the last.
    """
    if "tag" in call.query:
        raise invalid("tag", "The embedded engine keeps no tags", where="query")
    limit = call.limit()
    before, after = call.moment("before"), call.moment("after")
    if before:
        rows = rows.filter(**{f"{moment}__lt": before})
    if after:
        rows = rows.filter(**{f"{moment}__gt": after})
    iterator, is_backwards = call.iterator()
    is_backwards = is_backwards or bool(after and not before and not iterator)
    grows = ascending != is_backwards
    if iterator:
        found = among.filter(**{name: iterator}).values_list(moment, "pk").first()
        if found:
            side = "gt" if grows else "lt"
            rows = rows.filter(**{f"{moment}__{side}e": found[0]}).filter(
                Q(**{f"{moment}__{side}": found[0]}) | Q(**{f"pk__{side}": found[1]})
            )
        elif not is_backwards:  # what the iterator named is gone, and all that is older with it
            rows = rows.none()
    sign = "" if grows else "-"
    listed = list(rows.order_by(f"{sign}{moment}", f"{sign}pk")[: limit + 1])
    done = len(listed) <= limit
    del listed[limit:]
    if is_backwards:
        listed.reverse()
    return Page(listed, [_name_of(row, name) for row in listed], done)


def _name_of(row: models.Model, path: str) -> str:
    value: Any = row
    for name in path.split("__"):
        value = getattr(value, name)
    return str(value)
