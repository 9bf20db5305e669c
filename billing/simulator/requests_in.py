"""Requests as the contract has them: form fields become typed parameters, or the error Stripe would answer."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from billing.simulator import contract
from billing.simulator.contract import Anything, Array, Choice, Enum, Kind, Mapping, Page, Record, Scalar
from billing.simulator.errors import StripeError, missing

TRUTH = {"true": True, "false": False, "True": True, "False": False}


def parse_form(text: str) -> dict[str, Any]:
    """Unfold `items[0][price]=…`; lists stay dictionaries of their indices, for the contract knows which are lists."""
    root: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head, bracket, rest = name.partition("[")
        keys = [head, *rest.removesuffix("]").split("][")] if bracket else [head]
        place = root
        for key in keys[:-1]:
            place = place.setdefault(key or str(len(place)), {})
            if not isinstance(place, dict):
                raise StripeError(f"Invalid object: {head}", param=head)
        place[keys[-1] or str(len(place))] = value
    return root


def parse_json(text: str) -> dict[str, Any]:
    """Read a body of the v2 API, which takes JSON."""
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise StripeError("The body is no JSON.") from error
    if not isinstance(given, dict):
        raise StripeError("The body is no JSON object.")
    return given


def check_address(url: str, param: str) -> None:
    """Raise StripeError for what is no address of a web page: people are led there by a link."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise StripeError(f"Not a valid URL: {url}", code="url_invalid", param=param)


def read(kind: Record | None, raw: dict[str, Any]) -> dict[str, Any]:
    """Return the typed parameters of an operation; raise StripeError for the first that is wrong."""
    if kind is None:
        if raw:
            raise _unknown(next(iter(raw)))
        return {}
    value: dict[str, Any] = _read(kind, raw, "")
    return value


def _read(kind: Kind, raw: Any, path: str) -> Any:
    match kind:
        case Choice():
            return _read_choice(kind, raw, path)
        case Record():
            return _read_record(kind, raw, path)
        case Array():
            return _read_array(kind, raw, path)
        case Mapping():
            if not isinstance(raw, dict):
                raise StripeError(f"Invalid object: {path}", param=path)
            # An empty value takes a key out of metadata.
            unset = {key: "" for key, value in raw.items() if value == "" and path.endswith("metadata")}
            given = {key: value for key, value in raw.items() if key not in unset}
            return unset | {key: _read(kind.of, value, f"{path}[{key}]") for key, value in given.items()}
        case Enum():
            for value in kind.values:
                if str(value) == str(raw):
                    return value
            names = [str(value) for value in kind.values if value != ""]
            allowed = f"{', '.join(names[:-1])}, or {names[-1]}" if len(names) > 1 else "".join(names)
            raise StripeError(f"Invalid {path}: must be one of {allowed}", param=path)
        case Scalar():
            return _read_scalar(kind, raw, path)
        case Anything() | Page():
            return raw


def _read_choice(kind: Choice, raw: Any, path: str) -> Any:
    found = []
    for option in kind.options:
        try:
            return _read(option, raw, path)
        except StripeError as error:
            found.append((option, error))
    for option, problem in found:  # the reason is told of the form that was meant
        if isinstance(raw, dict) == isinstance(option, Record | Array | Mapping) and option != Enum(("",)):
            raise problem
    raise found[-1][1]


def _read_record(kind: Record, raw: Any, path: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise StripeError(f"Invalid object: {path}", param=path)
    known = contract.fields(kind)
    for name in raw:
        if name not in known:
            raise _unknown(_join(path, name))
    for name, field in known.items():
        if field.required and name not in raw:
            raise missing(_join(path, name))
    return {name: _read(known[name].kind, value, _join(path, name)) for name, value in raw.items()}


def _read_array(kind: Array, raw: Any, path: str) -> list[Any]:
    if isinstance(raw, dict) and all(key.isdecimal() for key in raw):
        raw = [raw[key] for key in sorted(raw, key=int)]
    if not isinstance(raw, list):
        raise StripeError("Invalid array", param=path)
    return [_read(kind.of, value, f"{path}[{index}]") for index, value in enumerate(raw)]


def _read_scalar(kind: Scalar, raw: Any, path: str) -> Any:
    if isinstance(raw, dict | list):
        raise StripeError(f"Invalid string: {path}", param=path)
    match kind.name:
        case "boolean":
            if isinstance(raw, bool):
                return raw
            if raw not in TRUTH:
                raise StripeError(f"Invalid boolean: {raw}", param=path)
            return TRUTH[raw]
        case "integer":
            if not re.fullmatch(r"-?\d{1,18}", str(raw)):
                raise StripeError(f"Invalid integer: {raw}", code="parameter_invalid_integer", param=path)
            return int(raw)
        case "decimal" | "number":
            if not re.fullmatch(r"-?\d{1,18}(\.\d{1,12})?", str(raw)):
                raise StripeError(f"Invalid decimal: {raw}", param=path)
            return str(raw)
        case "null":
            raise StripeError(f"Invalid value: {path}", param=path)
    if raw == "" and path:
        raise StripeError(
            f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter;"
            f" however '{path}' cannot be unset. You should remove '{path}' from your request or supply a"
            " non-empty value.",
            code="parameter_invalid_empty",
            param=path,
        )
    return str(raw)


def _unknown(path: str) -> StripeError:
    return StripeError(f"Received unknown parameter: {path}", code="parameter_unknown", param=path)


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name
