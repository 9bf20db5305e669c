"""The columns of the request log and of usage records: one list each, for the page, the API and the CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from accounts import spreadsheets


class Kind(Enum):
    """What a column holds, and so how it is written."""

    TEXT = "text that somebody outside wrote"
    WORD = "one of our own words"
    NUMBER = "a number"
    FLAG = "yes or no"
    TIME = "a moment"
    KEY_ID = "the public id of an API key"
    KEY_NAME = "the name of an API key"


@dataclass(frozen=True)
class Column:
    """`source` is the column of the database, `label` the heading; without one the page leaves the column out."""

    name: str
    kind: Kind
    label: str = ""
    source: str = ""

    @property
    def is_number(self) -> bool:
        return self.kind is Kind.NUMBER


JOBS = [
    Column("job_id", Kind.TEXT, "Job ID"),
    Column("created_at", Kind.TIME, "Time"),
    Column("duration", Kind.NUMBER, "Duration"),
    Column("type", Kind.WORD, "Endpoint"),
    Column("status", Kind.WORD, "Status"),
    Column("num_pages", Kind.NUMBER, "Pages"),
    Column("credits", Kind.NUMBER, "Credits"),
    Column("region", Kind.TEXT, "Region"),
    Column("file_type", Kind.TEXT, "File type"),
    Column("api_key", Kind.KEY_NAME, "API key", source="api_key_id"),
    Column("api_key_id", Kind.KEY_ID),
]

RECORDS = [
    Column("idempotency_key", Kind.TEXT),
    Column("job_id", Kind.TEXT),
    Column("timestamp", Kind.TIME),
    Column("day", Kind.WORD),
    Column("api_key", Kind.KEY_NAME, source="api_key_id"),
    Column("api_key_id", Kind.KEY_ID),
    Column("product", Kind.WORD),
    Column("feature", Kind.WORD),
    Column("file_type", Kind.TEXT),
    Column("region", Kind.TEXT),
    Column("priority", Kind.WORD),
    Column("requests", Kind.NUMBER),
    Column("pages", Kind.NUMBER),
    Column("quantity", Kind.NUMBER),
    Column("credits", Kind.NUMBER),
    Column("cost", Kind.NUMBER),
    Column("unrated", Kind.FLAG),
    Column("corrects", Kind.TEXT),
    Column("reason", Kind.TEXT),
]

# Of a text that a spreadsheet would run, the first character's code.
_FORMULA = ", ".join(str(ord(sign)) for sign in spreadsheets.FORMULA)


@dataclass(frozen=True)
class Key:
    """What a CSV says of an API key."""

    uid: str
    name: str


def select(columns: Sequence[Column], keys: Mapping[int, Key], rows: str) -> tuple[str, list[Any]]:
    """The SQL of these columns of `rows`, a query that yields their sources, and the values of its placeholders.

    Texts that begin like a formula get an apostrophe, as in `spreadsheets.safe`; numbers never.
    """
    names = {str(id): spreadsheets.safe(key.name) for id, key in keys.items()}
    uids = {str(id): key.uid for id, key in keys.items()}
    values: list[Any] = []
    written = []
    for column in columns:
        source = f'line."{column.source or column.name}"'
        match column.kind:
            case Kind.TEXT:
                sql = f"CASE WHEN ascii({source}) IN ({_FORMULA}) THEN '''' || {source} ELSE {source} END"
            case Kind.TIME:
                sql = f"""to_char({source} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
            case Kind.FLAG:
                sql = f"{source}::text"
            case Kind.KEY_NAME | Kind.KEY_ID:
                # Looked up in a constant: a join would have to be sorted again.
                sql = f"%s::jsonb ->> {source}::text"
                values.append(msgspec.json.encode(names if column.kind is Kind.KEY_NAME else uids).decode())
            case Kind.NUMBER if column.name in {"credits", "cost", "quantity"}:
                sql = f"trim_scale({source})"
            case _:
                sql = source
        written.append(sql)
    return f"SELECT {', '.join(written)} FROM ({rows}) AS line", values


def sources(columns: Sequence[Column]) -> list[str]:
    """The columns of the database that these are written from."""
    return list(dict.fromkeys(column.source or column.name for column in columns))


def header(columns: Sequence[Column]) -> bytes:
    """The first line of the CSV."""
    return (",".join(column.name for column in columns) + "\n").encode()
