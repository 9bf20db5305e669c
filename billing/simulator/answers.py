"""Answers held against the contract: with `--strict`, an answer that Stripe could not give is an error."""

from decimal import Decimal, InvalidOperation
from typing import Any

from billing.simulator import contract
from billing.simulator.contract import Anything, Array, Choice, Enum, Kind, Mapping, Page, Record, Scalar


class ContractBroken(AssertionError):
    """The simulator was about to answer what Stripe's own types do not allow."""


def check(kind: Kind, answer: Any, what: str) -> None:
    """Raise ContractBroken where an answer departs from its type."""
    if found := problems(kind, answer, what):
        raise ContractBroken("; ".join(found[:5]))


def problems(kind: Kind, value: Any, path: str) -> list[str]:
    """Return each place at which a value departs from its type."""
    match kind:
        case Choice():
            return min((problems(option, value, path) for option in kind.options), key=len)
        case Record():
            return _record_problems(kind, value, path)
        case Array():
            if not isinstance(value, list):
                return [f"{path} is no list"]
            return [p for i, item in enumerate(value) for p in problems(kind.of, item, f"{path}[{i}]")]
        case Page():
            if not isinstance(value, dict) or not isinstance(value.get("data"), list):
                return [f"{path} is no list object"]
            return problems(Array(kind.of), value["data"], f"{path}.data")
        case Mapping():
            if not isinstance(value, dict):
                return [f"{path} is no map"]
            return [p for key, item in value.items() for p in problems(kind.of, item, f"{path}.{key}")]
        case Enum():
            return [] if value in kind.values else [f"{path} is {value!r}, not one of {kind.values[:12]}"]
        case Scalar():
            return [] if _is(kind.name, value) else [f"{path} is {value!r}, no {kind.name}"]
        case Anything():
            return []


def _record_problems(kind: Record, value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is {value!r}, no {kind.name}"]
    known = contract.fields(kind)
    if value.get("deleted") is True and "id" in value:
        return []
    if "object" in known and problems(known["object"].kind, value.get("object"), path):
        return [f"{path} is of another kind than {kind.name}", *[path] * 50]
    found = [f"{path}.{name} is unknown to {kind.name}" for name in value if name not in known]
    found += [
        f"{path}.{name} is missing" for name, field in known.items() if field.required and name not in value
    ]
    for name, item in value.items():
        if name in known:
            found += problems(known[name].kind, item, f"{path}.{name}")
    return found


def _is(name: str, value: Any) -> bool:
    match name:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "decimal":
            return isinstance(value, str) and _is_decimal(value)
        case "null":
            return value is None
    return False


def _is_decimal(text: str) -> bool:
    try:
        Decimal(text)
    except InvalidOperation:
        return False
    return True
