"""What the fields of a configuration should be, and which of one are not known: by JSON Schema, one for each type.

`PIPELINE_SCHEMA` names a JSON file that maps types of jobs to schemas. A schema that knows all the fields of an object
says so by `"additionalProperties": false`. The schemas of the other types can be referred to as `#/$defs/<type>`, and
one with references of its own needs an `$id`. A type without a schema is not checked. What is found is pointed out and
hinders nothing: the API itself decides.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from jsonschema import Draft202012Validator, SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from usage.models import JobType

MOST = 50
LONGEST = 200  # characters of a message

Schemas = dict[str, Any]


@dataclass(frozen=True)
class Remark:
    """Something to look at. `path` leads to the field, such as `options.pages` or `steps[0].parse`."""

    path: str
    message: str


@cache
def load(path: str) -> Schemas:
    """The schemas in this file, none for no file. Raises ImproperlyConfigured that says what is wrong with it."""
    if not path:
        return {}
    try:
        schemas: Schemas = json.loads(Path(path).read_text())
        if not isinstance(schemas, dict) or not schemas.keys() <= set(JobType.values):
            raise ImproperlyConfigured(
                f"{path} must be a JSON object whose keys are among {', '.join(JobType.values)}."
            )
        for schema in schemas.values():
            Draft202012Validator.check_schema(schema)
    except (OSError, ValueError, RecursionError) as error:
        raise ImproperlyConfigured(f"{path} cannot be read as JSON: {error}") from error
    except SchemaError as error:
        raise ImproperlyConfigured(f"{path}: {error.json_path}: {error.message}") from error
    return schemas


def is_known(type: str) -> bool:
    return type in load(settings.PIPELINE_SCHEMA)


def remarks(config: dict[str, Any], *, type: str) -> list[Remark]:
    """What of this configuration is not as the schema of its type says, in the order of the paths; the first few."""
    schemas = load(settings.PIPELINE_SCHEMA)
    if type not in schemas:
        return []
    schema = {"$ref": f"#/$defs/{type}", "$defs": schemas}
    # A registry of our own: what is not in it would otherwise be fetched from wherever the schema says.
    validator = Draft202012Validator(schema, registry=Registry())
    try:
        found = list(islice(_remarks(validator.iter_errors(config)), MOST))
    except (Unresolvable, RecursionError) as error:
        return [Remark("", f"The schema of {type} cannot be followed: {error}"[:LONGEST])]
    return sorted(found, key=lambda remark: remark.path)


def _remarks(errors: Iterator[ValidationError]) -> Iterator[Remark]:
    for error in errors:
        path = list(error.absolute_path)
        match error.validator:
            case "additionalProperties" if isinstance(error.instance, dict) and isinstance(
                error.schema, dict
            ):
                known = error.schema.get("properties", {})
                patterns = error.schema.get("patternProperties", {})
                for key in error.instance.keys() - known.keys():
                    if not any(re.search(pattern, key) for pattern in patterns):
                        yield Remark(_path([*path, key]), _unknown(key, known))
            case "type":
                wanted = error.validator_value
                kinds = [wanted] if isinstance(wanted, str) else wanted
                yield Remark(
                    _path(path), f"should be {' or '.join(_KINDS.get(kind, kind) for kind in kinds)}"
                )
            case "enum":
                values = ", ".join(json.dumps(value) for value in error.validator_value)
                yield Remark(_path(path), f"should be one of {values}"[:LONGEST])
            case "required" if isinstance(error.instance, dict):
                # An error for each missing field, which its message names.
                yield Remark(
                    _path(path), error.message.replace(" is a required property", " is missing")[:LONGEST]
                )
            case _:
                yield Remark(_path(path), error.message[:LONGEST])


_KINDS = {
    "object": "an object",
    "array": "an array",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
}


def _unknown(key: str, known: Any) -> str:
    close = get_close_matches(key[:LONGEST], known, n=1)
    return (
        f"is not a field that is known here: {close[0]} perhaps?"
        if close
        else "is not a field that is known here"
    )


def _path(parts: Sequence[str | int]) -> str:
    words = ""
    for part in parts:
        if isinstance(part, int):
            words += f"[{part}]"
        else:
            words += f".{part}" if words else part
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"
