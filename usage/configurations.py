"""Configurations as JSON text: read with each fault named, laid out, and told step by step."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isinf
from typing import Any

from django.core.exceptions import ValidationError

from usage.reports_in import MAX_DEPTH

LARGEST = 256 * 1024  # bytes
LONGEST_NUMBER = 300  # digits
TOO_DEEP = f"It is nested more than {MAX_DEPTH} deep."
# A description is for reading: what lies deeper stands there as JSON, and what comes after so many lines is left out.
DEEPEST_TOLD = 6
MOST_TOLD = 300
LONGEST_TOLD = 1000  # characters, or items of a list


def read(text: str) -> dict[str, Any]:
    """The configuration that this text is. Raises ValidationError that says what is wrong with it, and where."""
    if is_too_large(text):
        raise ValidationError(f"A configuration has at most {LARGEST // 1024} KB, and this one has more.")
    if not text.strip():
        raise ValidationError("Write a JSON object, such as {}.")
    try:
        config = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        complaint = error.msg.removesuffix(" at").removesuffix(":")
        raise ValidationError(f"Line {error.lineno}, column {error.colno}: {complaint}.") from error
    except RecursionError as error:
        raise ValidationError(TOO_DEEP) from error
    if not isinstance(config, dict):
        raise ValidationError(f"A configuration is a JSON object, {{…}}, and this is {_KINDS[type(config)]}.")
    check(config)
    return config


def write(config: dict[str, Any]) -> str:
    """The text of this configuration, laid out for people unless that makes it too large. Raises as `read` does."""
    check(config)
    laid_out = pretty(config)
    text = json.dumps(config, ensure_ascii=False) if is_too_large(laid_out) else laid_out
    read(text)
    return text


def is_too_large(text: str) -> bool:
    return len(text.encode(errors="surrogatepass")) > LARGEST


_KINDS: dict[type, str] = {
    list: "an array",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValidationError(f"The key {_short(json.dumps(key))} is there twice in one object.")
        found[key] = value
    return found


def _no_constant(name: str) -> None:
    raise ValidationError(f"JSON has no {name}.")


def _float(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise ValidationError(f"The number {_short(digits)} is too large.")
    return number


def _int(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValidationError(f"The number {_short(digits)} is too large.")
    return int(digits)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


def check(config: Any) -> None:
    """Refuse what no database keeps or nobody could follow; level by level, so that no depth is too much for it."""
    level, depth = [config], 0
    while level:
        for text in _texts(level):
            if "\0" in text:
                raise ValidationError("Text must not contain the character U+0000.")
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ValidationError(
                    "A text contains half a character (a surrogate without its other half)."
                )
        containers = [value for value in level if isinstance(value, dict | list)]
        if containers and depth == MAX_DEPTH:
            raise ValidationError(TOO_DEEP)
        level = [inner for value in containers for inner in _inside(value)]
        depth += 1


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def pretty(value: Any) -> str:
    """JSON laid out for people, line by line; on one line where it is so deep that most of it would be indentation."""
    laid_out = json.dumps(value, indent=2, ensure_ascii=False)
    return laid_out if len(laid_out) <= 4 * LARGEST else json.dumps(value, ensure_ascii=False)


# ── Step by step ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Setting:
    """A line of the description: a label with its value, or with settings of its own."""

    label: str
    value: str = ""
    inside: list["Setting"] = field(default_factory=list)


def steps(config: Any) -> list[Setting]:
    """What this configuration says, in plain words and in its order: a step for each of its sections.

    Where all of it is a list of objects, as of a pipeline, these are the steps. It reads any JSON. What is too much to
    read is left to the JSON itself, and the last line says so.
    """
    teller = _Teller()
    match config:
        case dict() if len(config) == 1 and _are_objects(*config.values()):
            [listed] = config.values()
            told = teller.sections(_named(listed, "Step"), depth=1)
        case dict():
            told = teller.sections(config.items(), depth=1)
        case _:
            told = teller.sections([("configuration", config)], depth=1)
    if teller.left_out:
        told.append(Setting("And more", "see the JSON"))
    return told


class _Teller:
    def __init__(self) -> None:
        self.left_out = False
        self._told = 0

    def sections(self, pairs: Iterable[tuple[str, Any]], *, depth: int) -> list[Setting]:
        told = []
        for key, value in pairs:
            self._told += 1
            if self._told > MOST_TOLD:
                self.left_out = True
                break
            told.append(self._setting(_label(key), value, depth))
        return told

    def _setting(self, label: str, value: Any, depth: int) -> Setting:
        if depth < DEEPEST_TOLD:
            if isinstance(value, dict) and value:
                return Setting(label, inside=self.sections(value.items(), depth=depth + 1))
            if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
                return Setting(label, inside=self.sections(_numbered(value), depth=depth + 1))
        return Setting(label, _plain(value))


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _numbered(values: list[Any]) -> Iterator[tuple[str, Any]]:
    for number, (name, value) in enumerate(_named(values), 1):
        yield f"{number}. {name}".strip(), value


def _named(values: list[Any], default: str = "") -> Iterator[tuple[str, Any]]:
    """The items of a list. Of an object that has one key alone, that key is the name."""
    for value in values:
        if isinstance(value, dict) and len(value) == 1:
            [(key, inner)] = value.items()
            yield _label(key), inner
        else:
            yield default, value


def _label(key: str) -> str:
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:] or "(no name)"


def _plain(value: Any) -> str:
    match value:
        case None:
            return "none"
        case list() | dict() if not value:
            return "none"
        case bool():
            return "yes" if value else "no"
        case str():
            return _cut(value) if value.strip() else "(empty)"
        case list() if not any(isinstance(item, dict | list) for item in value):
            return _cut(", ".join(_plain(item) for item in value[:LONGEST_TOLD]))
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TOLD else text[:LONGEST_TOLD] + "…"
