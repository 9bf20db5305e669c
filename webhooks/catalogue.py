"""The catalogue as people read it: event types in groups, with their fields and a payload each."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from webhooks.events import EVENT_TYPES, EventType, utc

# When the examples say they happened.
_THEN = datetime(2026, 3, 4, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Field:
    """A field of the data, with dots where it lies in another."""

    name: str
    type: str
    description: str
    is_required: bool


@dataclass(frozen=True)
class Entry:
    event_type: EventType
    fields: list[Field]
    payload: str


@dataclass(frozen=True)
class Group:
    """The types that begin with the same word, such as `job`."""

    name: str
    label: str
    entries: list[Entry]


def groups() -> list[Group]:
    found: dict[str, list[Entry]] = {}
    for event_type in EVENT_TYPES.values():
        entry = Entry(event_type, _fields(event_type.schema), example(event_type))
        found.setdefault(event_type.name.partition(".")[0], []).append(entry)
    return [Group(name, label(name), entries) for name, entries in found.items()]


def label(group: str) -> str:
    """A group's name as people write it."""
    words = {"api": "API"}
    first, *rest = group.split("_")
    return " ".join([words.get(first, first.capitalize()), *rest])


def example(event_type: EventType) -> str:
    """A payload as it is sent, written for people."""
    payload = {"type": event_type.name, "timestamp": utc(_THEN), "data": event_type.example}
    return json.dumps(payload, indent=2, ensure_ascii=False)


def _fields(schema: dict[str, Any], place: str = "") -> list[Field]:
    required = schema.get("required", [])
    found = []
    for name, field in schema.get("properties", {}).items():
        inner = field.get("items", {}) if _type(field).startswith("array") else field
        path = f"{place}{name}" + ("[]" if inner is not field else "")
        found.append(Field(path, _type(field), field.get("description", ""), name in required))
        found += _fields(inner, f"{path}.")
    return found


def _type(field: dict[str, Any]) -> str:
    """What JSON type a field is, as the schema says it."""
    if "const" in field:
        return json.dumps(field["const"])
    if "enum" in field:
        return " | ".join(json.dumps(value) for value in field["enum"])
    types = field.get("type", "any")
    text = types if isinstance(types, str) else " | ".join(types)
    return f"{text} ({field['format']})" if "format" in field else text
