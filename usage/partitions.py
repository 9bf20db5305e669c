"""The monthly partitions of usage records.

`CREATE TABLE … PARTITION OF` would wait for every open insert, so a month is made as a table of its own and attached.
There is no default partition: rows in it would forbid creating the month they belong to.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import connection, transaction

# Any number of ours; it serialises the making of partitions between processes.
_LOCK = 7_304_001


def month_of(moment: datetime) -> tuple[int, int]:
    """The UTC month a record of this moment is stored under."""
    moment = moment.astimezone(UTC)
    return moment.year, moment.month


def next_month(month: tuple[int, int]) -> tuple[int, int]:
    year, number = month
    return (year + 1, 1) if number == 12 else (year, number + 1)


def _name(month: tuple[int, int]) -> str:
    return f"usage_usagerecord_{month[0]:04}_{month[1]:02}"


def ensure(months: Iterable[tuple[int, int]]) -> None:
    """Attach the partitions of these months that are missing. Call it before the transaction that writes records."""
    wanted = sorted(set(months))
    with connection.cursor() as cursor:
        missing = _missing(cursor, wanted)
        if not missing:
            return
        with transaction.atomic():
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            for month in _missing(cursor, missing):
                name = _name(month)
                bounds = [f"{year:04}-{number:02}-01 00:00+00" for year, number in (month, next_month(month))]
                cursor.execute(
                    f"CREATE TABLE {name} (LIKE usage_usagerecord INCLUDING ALL EXCLUDING IDENTITY);"
                    f"ALTER TABLE usage_usagerecord ATTACH PARTITION {name}"
                    f" FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')"
                )


def _missing(cursor: object, months: list[tuple[int, int]]) -> list[tuple[int, int]]:
    names = [_name(month) for month in months]
    # Not by to_regclass(): what it did not find a moment ago, it may remember as missing.
    cursor.execute(  # type: ignore[attr-defined]
        "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND pg_table_is_visible(oid)", [names]
    )
    present = {name for (name,) in cursor.fetchall()}  # type: ignore[attr-defined]
    return [month for month in months if _name(month) not in present]
