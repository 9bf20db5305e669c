"""What the simulator knows, in one SQLite file: an object and its events are written in one transaction."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Object = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    customer TEXT,
    due_at INTEGER,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, seq);
CREATE INDEX IF NOT EXISTS objects_by_customer ON objects (customer, kind, seq);
CREATE INDEX IF NOT EXISTS objects_due ON objects (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS meter_events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    meter TEXT NOT NULL,
    identifier TEXT NOT NULL UNIQUE,
    customer TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    value INTEGER NOT NULL,
    created INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS meter_events_by_time ON meter_events (meter, customer, timestamp);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    answer TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS deliveries_pending ON deliveries (next_at) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event);
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    status INTEGER NOT NULL,
    answer TEXT NOT NULL,
    created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """Objects as JSON, with the columns that are searched. What only the simulator may see lies under `_sim`."""

    def __init__(self, file: Path) -> None:
        self.lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        with self.lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all or nothing. One transaction at a time; inside of another it is a savepoint."""
        with self.lock:
            self._depth += 1
            point = f"level_{self._depth}"
            self._db.execute("BEGIN IMMEDIATE" if self._depth == 1 else f"SAVEPOINT {point}")
            try:
                yield
            except BaseException:
                if self._depth == 1:
                    self._db.execute("ROLLBACK")
                else:
                    self._db.execute(f"ROLLBACK TO {point}")
                    self._db.execute(f"RELEASE {point}")
                raise
            else:
                self._db.execute("COMMIT" if self._depth == 1 else f"RELEASE {point}")
            finally:
                self._depth -= 1

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.lock:
            return self._db.execute(sql, values).fetchall()

    def execute(self, sql: str, *values: Any) -> int:
        """Run a statement and return the number of rows it changed."""
        with self.lock:
            return self._db.execute(sql, values).rowcount

    # Objects

    def insert(self, object: Object) -> None:
        self.execute(
            "INSERT INTO objects (id, kind, customer, due_at, body) VALUES (?, ?, ?, ?, ?)",
            object["id"],
            object["object"],
            _customer(object),
            _due(object),
            json.dumps(object),
        )

    def replace(self, object: Object) -> None:
        self.execute(
            "UPDATE objects SET customer = ?, due_at = ?, body = ? WHERE id = ?",
            _customer(object),
            _due(object),
            json.dumps(object),
            object["id"],
        )

    def delete(self, id: str) -> None:
        self.execute("DELETE FROM objects WHERE id = ?", id)

    def find(self, id: str) -> Object | None:
        for (body,) in self.rows("SELECT body FROM objects WHERE id = ?", id):
            found: Object = json.loads(body)
            return found
        return None

    def select(self, kind: str, **where: Any) -> list[Object]:
        """Return the objects of a kind with these values, newest first."""
        sql, values = self.condition(kind, where)
        return [
            json.loads(body)
            for (body,) in self.rows(f"SELECT body FROM objects WHERE {sql} ORDER BY seq DESC", *values)
        ]

    def condition(self, kind: str, where: dict[str, Any]) -> tuple[str, list[Any]]:
        """Return the SQL for objects of a kind whose fields have these values; a list of values means any of them."""
        parts, values = ["kind = ?"], [kind]
        for name, value in where.items():
            column = "customer" if name == "customer" else f"json_extract(body, '$.{name}')"
            if isinstance(value, list | tuple):
                parts.append(f"{column} IN ({', '.join('?' * len(value))})")
                values += value
            elif value is None:
                parts.append(f"{column} IS NULL")
            else:
                parts.append(f"{column} = ?")
                values.append(value)
        return " AND ".join(parts), values

    def next_due(self, until: int) -> Object | None:
        """Return what is due first, of what is due by then."""
        rows = self.rows("SELECT body FROM objects WHERE due_at <= ? ORDER BY due_at, seq LIMIT 1", until)
        return json.loads(rows[0][0]) if rows else None

    # Settings

    def setting(self, name: str, default: Any = None) -> Any:
        rows = self.rows("SELECT value FROM settings WHERE name = ?", name)
        return json.loads(rows[0][0]) if rows else default

    def set(self, name: str, value: Any) -> None:
        self.execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name,
            json.dumps(value),
        )


def _customer(object: Object) -> str | None:
    customer: str | None = object.get("customer")
    return customer


def _due(object: Object) -> int | None:
    due: int | None = object.get("_sim", {}).get("due")
    return due
