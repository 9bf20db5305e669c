"""Emptying the queue of the billing export into a folder, to be carried to whoever bills for it.

The folder remembers the number of its first file. From that one on it is to hold each file whose rows were deleted, so
that a run after an interruption fetches what the last one made, before it makes more.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from usage import billing_export, files
from usage.billing_export import Gone, NotStored
from usage.models import BillingExportFile, BillingExportRow

FIRST = "first-file-number.txt"
_PIECE = 1024 * 1024


def waiting() -> int:
    """How many records are in the queue."""
    return BillingExportRow.objects.count()


def missing(folder: Path) -> list[BillingExportFile]:
    """The files that are made, and not yet in the folder as they should be."""
    made = BillingExportFile.objects.filter(number__gte=_first(folder), deleted_rows=True)
    return [file for file in made.order_by("number") if not _is_here(folder, file)]


def export(
    folder: Path, *, count: int, on_rows: Callable[[int], object]
) -> Iterator[tuple[BillingExportFile, Path]]:
    """Export and delete until nothing is left, and fetch each file. Raises what exporting and fetching do.

    A file that is not full took all there was: where usage never ceases, another one would always follow.
    """
    _first(folder)
    while file := billing_export.export(count=count, delete=True, on_rows=on_rows):
        yield file, fetch(folder, file)
        if file.num_records < count:
            break


def fetch(folder: Path, file: BillingExportFile) -> Path:
    """Copy a file and its manifest into the folder, where they are as a whole or not at all. Raises Gone, NotStored."""
    path = folder / PurePosixPath(file.name).name
    part = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    with billing_export.storage_failures():
        try:
            stored = files.exports().open(file.name)
        except FileNotFoundError as error:
            raise Gone(f"{file} is no longer in the storage.") from error
        with stored, part.open("wb") as target:
            for chunk in stored.chunks(_PIECE):
                digest.update(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
    if digest.hexdigest() != file.sha256:
        part.unlink()
        raise NotStored(f"The storage answers {file} otherwise than it was written.")
    # Last the file itself, for where that is, nothing is fetched again.
    (folder / billing_export.manifest_name(path.name)).write_text(billing_export.manifest_text(file))
    part.replace(path)
    return path


def _first(folder: Path) -> int:
    """The number of the folder's first file: the next one to be made, where the folder is new."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FIRST
    if not path.exists():
        last = BillingExportFile.objects.order_by("-number").values_list("number", flat=True).first() or 0
        part = path.with_name(f"{FIRST}.part")
        part.write_text(f"{last + 1}\n")
        part.replace(path)
    return int(path.read_text())


def _is_here(folder: Path, file: BillingExportFile) -> bool:
    path = folder / PurePosixPath(file.name).name
    return path.exists() and path.stat().st_size == file.size
