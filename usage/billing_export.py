"""The air-gapped billing export: files of what was metered, which somebody carries to whoever bills for it.

A file is written, uploaded, read back and only then entered in `BillingExportFile`, by the commit that also deletes its
rows from the queue. Its manifest is made after that, so a file without one stems from an export that broke off: its
rows are still queued, and come again in a later file. One export runs at a time; it is the only transaction of this
project that stays open across an upload.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import IO, Any

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.db import connection, transaction
from isal import isal_zlib

from accounts import audit
from accounts.audit import Actor
from accounts.ids import random_base62
from usage import files
from usage.models import BillingExportFile
from webhooks.events import utc

logger = logging.getLogger(__name__)

COLUMNS = ("idempotency_key", "type", "num_pages", "attributes", "timestamp")
FOLDER = "usage_for_billing"
DEFAULT_COUNT = 1_000_000
MAX_COUNT = 10_000_000
LINK_LASTS = timedelta(days=6)
SWITCHED_OFF = (
    "Usage is not stored for billing here: set STORE_USAGE_FOR_BILLING=yes and start again. "
    "What is metered from then on can be exported."
)

_PIECE = 1024 * 1024
# What the last column is in every row: 2026-06-18T09:30:03.000000Z and a line break.
_TIME = 27
_TURN = "SELECT pg_try_advisory_xact_lock(hashtext('usage.billing_export'))"

_OLDEST = """
SELECT idempotency_key, type, num_pages, attributes, timestamp, id FROM usage_billingexportrow
ORDER BY timestamp, id LIMIT %s
"""

# One statement, hence one moment: it deletes what it answers, and nothing that is queued meanwhile.
_DELETE_OLDEST = """
DELETE FROM usage_billingexportrow WHERE (timestamp, id) <= (
    SELECT timestamp, id
    FROM (SELECT timestamp, id FROM usage_billingexportrow ORDER BY timestamp, id LIMIT %s) AS oldest
    ORDER BY timestamp DESC, id DESC LIMIT 1)
RETURNING idempotency_key, type, num_pages, attributes, timestamp, id
"""

_COPY = """
COPY (
    WITH taken AS ({taken})
    SELECT idempotency_key, type, num_pages, COALESCE(attributes, '{{}}') AS attributes,
        to_char(taken.timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS timestamp
    FROM taken ORDER BY taken.timestamp, taken.id)
TO STDOUT WITH (FORMAT csv)
"""


class SwitchedOff(Exception):
    """Usage is not stored for billing here."""


class AlreadyRunning(Exception):
    """Another export is being made at this moment."""


class Gone(Exception):
    """The file was deleted from the storage, as by a rule of the bucket."""


class NotStored(Exception):
    """The storage does not have the file as it was written. Nothing was deleted."""


def export(
    *,
    count: int = DEFAULT_COUNT,
    delete: bool = False,
    actor: Actor | None = None,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> BillingExportFile | None:
    """Write the oldest `count` rows of the queue to a file, and with `delete` take exactly these out of the queue.

    None when the queue is empty. `on_rows` is told as rows are written. Not to be called inside of a transaction.
    Raises SwitchedOff, AlreadyRunning, NotStored.
    """
    if not settings.STORE_USAGE_FOR_BILLING:
        raise SwitchedOff(SWITCHED_OFF)
    with transaction.atomic():
        _take_turn()
        last = BillingExportFile.objects.order_by("-number").first()
        if last:
            _mend_manifest(last)
        file = _write(number=last.number + 1 if last else 1, count=count, delete=delete, on_rows=on_rows)
        if file is None:
            return None
        file.save()
        audit.record(
            audit.Action.BILLING_USAGE_EXPORTED,
            actor=actor,
            target=file,
            after={"records": file.num_records, "deleted": delete, "sha256": file.sha256},
        )
    try:
        _save_manifest(file)
    except files.FAILURES:
        # The rows are safe, and whoever asked must get their link. The next export makes up for it.
        logger.warning("%s has no manifest yet", file, exc_info=True)
    return file


@dataclass(frozen=True)
class Links:
    """Links to a file and its manifest that last for six days."""

    file: str
    manifest: str


def links(file: BillingExportFile) -> Links:
    return Links(
        files.link(file.name, lasting=LINK_LASTS),
        files.link(manifest_name(file.name), lasting=LINK_LASTS),
    )


def new_links(file: BillingExportFile, *, actor: Actor) -> Links:
    """Links to a file and its manifest, made anew for somebody. Raises Gone, NotStored."""
    with storage_failures():
        if not files.exports().exists(file.name):
            raise Gone(f"{file} is no longer in the storage.")
        _mend_manifest(file)
    audit.record(audit.Action.BILLING_USAGE_LINKED, actor=actor, target=file)
    return links(file)


def manifest(file: BillingExportFile) -> dict[str, Any]:
    """What the reader of a file needs to tell that it is whole, and that none is missing.

    `series` is the same for all files of an installation. `follows` is the number of the file before it whose rows were
    deleted: files in between are copies, of rows that came again.
    """
    earlier = BillingExportFile.objects.filter(number__lt=file.number, deleted_rows=True)
    return {
        "series": BillingExportFile.objects.get(number=1).uid,
        "number": file.number,
        "follows": earlier.order_by("-number").values_list("number", flat=True).first(),
        "file": PurePosixPath(file.name).name,
        "records": file.num_records,
        "first_timestamp": utc(file.first_timestamp),
        "last_timestamp": utc(file.last_timestamp),
        "sha256": file.sha256,
        "size": file.size,
        "deleted": file.deleted_rows,
        "created_at": utc(file.created_at),
    }


def manifest_name(name: str) -> str:
    """The manifest's name beside a file of this name."""
    return name.removesuffix(".csv.gz") + ".json"


def manifest_text(file: BillingExportFile) -> str:
    return json.dumps(manifest(file), indent=2) + "\n"


def _take_turn() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_TURN)
        (is_ours,) = cursor.fetchone()
    if not is_ours:
        raise AlreadyRunning("Another export is being made: try again when it has ended.")


def _write(
    *, number: int, count: int, delete: bool, on_rows: Callable[[int], object]
) -> BillingExportFile | None:
    """Write a file and have it stored. It counts once it is saved and the transaction committed."""
    with storage_failures(), tempfile.TemporaryFile() as spool:
        packed = _Packed(spool)
        first, last, rows = _copy(packed, count=count, delete=delete, on_rows=on_rows)
        if not rows:
            return None
        packed.close()
        sha256, size = packed.digest.hexdigest(), spool.tell()
        name = f"{number:06}-{first:%Y%m%dT%H%M%SZ}-{last:%Y%m%dT%H%M%SZ}-{random_base62(8)}.csv.gz"
        stored = files.exports().save(f"{FOLDER}/{name}", File(spool))
        _verify(stored, sha256, size)
    return BillingExportFile(
        name=stored,
        number=number,
        num_records=rows,
        first_timestamp=first,
        last_timestamp=last,
        sha256=sha256,
        size=size,
        deleted_rows=delete,
    )


def _copy(
    packed: "_Packed", *, count: int, delete: bool, on_rows: Callable[[int], object]
) -> tuple[datetime, datetime, int]:
    """Write the oldest rows as CSV. Returns the first and last time, which without rows are none, and their count."""
    query = _COPY.format(taken=_DELETE_OLDEST if delete else _OLDEST)
    piece: list[Any] = [(",".join(COLUMNS) + "\n").encode()]
    first = row = memoryview(b"0001-01-01T00:00:00.000000Z\n")
    rows = size = told = 0
    with connection.wrap_database_errors, connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '128MB'")  # so that few rows are sorted on disk
        with cursor.copy(query, [count]) as copy:
            for row in copy:  # the server sends each row by itself
                if not rows:
                    first = row
                rows += 1
                piece.append(row)
                size += len(row)
                if size >= _PIECE:
                    packed.write(b"".join(piece))
                    on_rows(rows - told)
                    piece, size, told = [], 0, rows
    packed.write(b"".join(piece))
    on_rows(rows - told)
    return _time_of(first), _time_of(row), rows


def _time_of(row: Any) -> datetime:
    return datetime.fromisoformat(bytes(row[-_TIME - 1 : -1]).decode())


class _Packed:
    """A gzip file in the making, and the digest of what has been written of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._compressor = isal_zlib.compressobj(level=2, wbits=31)
        self.digest = hashlib.sha256()

    def write(self, text: bytes) -> None:
        self._put(self._compressor.compress(text))

    def close(self) -> None:
        self._put(self._compressor.flush())

    def _put(self, packed: bytes) -> None:
        self.digest.update(packed)
        self._file.write(packed)


def _verify(name: str, sha256: str, size: int) -> None:
    """Read a file back. Raises NotStored unless it is what was written."""
    digest, read = hashlib.sha256(), 0
    with files.exports().open(name) as stored:
        for chunk in stored.chunks(_PIECE):
            digest.update(chunk)
            read += len(chunk)
    if (digest.hexdigest(), read) != (sha256, size):
        raise NotStored(f"The storage answers {name} otherwise than it was written.")


def _save_manifest(file: BillingExportFile) -> None:
    files.exports().save(manifest_name(file.name), ContentFile(manifest_text(file).encode()))


def _mend_manifest(file: BillingExportFile) -> None:
    """Make the manifest of a file whose export broke off just before its end."""
    with storage_failures():
        if files.exports().exists(file.name) and not files.exports().exists(manifest_name(file.name)):
            _save_manifest(file)


@contextmanager
def storage_failures() -> Iterator[None]:
    try:
        yield
    except files.FAILURES as error:
        raise NotStored(f"The storage does not work: {error}") from error
