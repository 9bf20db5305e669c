"""Large exports, made in the background: asked for, written by a worker into the storage, fetched until they expire.

A worker holds an export by a lease that it renews each second. The lease is also what tells workers apart: one that
was thought dead finds another's in its place, and stops. What is stored becomes the export's in the same statement that
ends it, so that a file is there as a whole or not at all.
"""

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.core.files.base import File
from django.db import OperationalError, connection, transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.http import FileResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from accounts import audit, notifications
from accounts.audit import Action, Actor
from accounts.models import NoticeKind, Organization
from usage import exports, files
from usage.exports import Export, Reading
from usage.models import UsageExportFile
from usage.reports import Filters, RecordFilters

logger = logging.getLogger(__name__)

State = UsageExportFile.State

KEPT = timedelta(days=7)
LISTED = timedelta(days=90)
LEASE = timedelta(seconds=60)
# Seconds between two looks at whether the export is still wanted.
BEAT = 1.0
# Seconds that one query may take; then something is wrong with it.
LONGEST = 6 * 3600
# How long somebody who was let in has to begin fetching a file from a bucket.
LINK = timedelta(minutes=5)
# An export that does not come to an end however often it is begun.
GIVEN_UP = timedelta(days=1)
# Of an organization, waiting or under way, of which one at a time is made.
UNFINISHED = 5
# Of all organizations. Below the worker's --concurrency in the Procfile: alerts must not wait for an export to end.
AT_ONCE = 2
_LOCK = 7_304_005


class TooManyUnfinished(Exception):
    """The organization waits for so many exports that it has to wait for one of them first."""


class NotFinished(Exception):
    """The export is still wanted by a worker: it can be cancelled."""


class AlreadyFinished(Exception):
    """There is nothing to cancel, or nothing to try again."""


class _Lost(Exception):
    """The export was cancelled, deleted, or taken up by another worker."""


def of(organization: Organization) -> QuerySet[UsageExportFile]:
    """The exports of an organization, newest first."""
    return UsageExportFile.objects.filter(organization=organization).order_by("-created_at", "-id")


def create(
    *,
    organization: Organization,
    filters: Filters | RecordFilters,
    is_gzipped: bool,
    actor: Actor,
) -> UsageExportFile:
    """Ask for an export. Raises `TooManyUnfinished`."""
    export = Export(organization, filters)
    with transaction.atomic():
        _lock(organization)
        made = UsageExportFile.objects.create(
            organization=organization,
            created_by=actor.answerable,
            kind=export.kind,
            filters=exports.written(filters),
            is_gzipped=is_gzipped,
        )
        after = {"kind": made.kind, "filters": made.filters, "gzip": is_gzipped}
        audit.record(
            Action.USAGE_EXPORT_CREATED, actor=actor, organization=organization, target=made, after=after
        )
    return made


def _lock(organization: Organization) -> None:
    Organization.objects.select_for_update().get(pk=organization.pk)
    if of(organization).filter(state__in=[State.WAITING, State.RUNNING]).count() >= UNFINISHED:
        raise TooManyUnfinished


def cancel(*, export: UsageExportFile, actor: Actor) -> None:
    """Stop an export that is not finished; its worker notices within a second. Raises `AlreadyFinished`."""
    unfinished = Q(pk=export.pk, state__in=[State.WAITING, State.RUNNING])
    _turn(unfinished, export, actor, Action.USAGE_EXPORT_CANCELLED, state=State.CANCELLED, leased_until=None)


def retry(*, export: UsageExportFile, actor: Actor) -> None:
    """Begin a failed or cancelled export anew. Raises `AlreadyFinished`, `TooManyUnfinished`."""
    with transaction.atomic():
        _lock(export.organization)
        _turn(
            Q(pk=export.pk, state__in=[State.FAILED, State.CANCELLED]),
            export,
            actor,
            Action.USAGE_EXPORT_RETRIED,
            state=State.WAITING,
            rows=0,
            rows_expected=None,
            problem="",
            finished_at=None,
            created_at=timezone.now(),
        )


def _turn(
    which: Q, export: UsageExportFile, actor: Actor, action: Action, *, state: str, **values: Any
) -> None:
    with transaction.atomic():
        before = export.state
        if not UsageExportFile.objects.filter(which).update(state=state, **values):
            raise AlreadyFinished
        audit.record(
            action,
            actor=actor,
            organization=export.organization,
            target=export,
            before={"state": before},
            after={"state": state},
        )


def delete(*, export: UsageExportFile, actor: Actor) -> None:
    """Delete a finished export with its file. Raises `NotFinished`."""
    with transaction.atomic():
        found = UsageExportFile.objects.select_for_update().filter(pk=export.pk).first()
        if found is None:
            return
        if found.state in {State.WAITING, State.RUNNING}:
            raise NotFinished
        audit.record(
            Action.USAGE_EXPORT_DELETED,
            actor=actor,
            organization=found.organization,
            target=found,
            before={"kind": found.kind, "filters": found.filters, "state": found.state},
        )
        found.delete()
    _discard(found)


def what(export: UsageExportFile) -> Export:
    """What an export of the background contains."""
    return Export(export.organization, exports.read(export.kind, export.filters))


def file_name(export: UsageExportFile) -> str:
    """The name under which its file is saved by whoever fetches it."""
    return what(export).name + (".gz" if export.is_gzipped else "")


def is_there(export: UsageExportFile, *, now: datetime | None = None) -> bool:
    """Whether the file can be fetched: finished, and not expired."""
    return (
        export.state == State.DONE
        and export.expires_at is not None
        and export.expires_at > (now or timezone.now())
    )


def state(export: UsageExportFile) -> str:
    """Its state in a word: one of `State`, or `expired`."""
    return "expired" if export.state == State.DONE and not is_there(export) else export.state


def answer(export: UsageExportFile) -> HttpResponseBase:
    """Send the file of an export that is there: from the folder, or by a short link to the bucket."""
    file = files.open_in_folder(export.path)
    if file is None:
        return HttpResponseRedirect(files.link(export.path, lasting=LINK, saved_as=file_name(export)))
    return FileResponse(
        file,
        as_attachment=True,
        filename=file_name(export),
        content_type="application/gzip" if export.is_gzipped else "text/csv; charset=utf-8",
        headers={"Cache-Control": "private, no-store"},
    )


def make_waiting() -> int:
    """Make the exports that wait, one after the other, and those whose worker died. Returns how many it took up."""
    taken = 0
    while (export := _claim()) is not None:
        taken += 1
        _make(export)
    return taken


def oldest_waiting() -> datetime | None:
    """When the export was asked for that has waited longest for a worker."""
    waiting = UsageExportFile.objects.filter(state=State.WAITING)
    return waiting.order_by("created_at").values_list("created_at", flat=True).first()


_LAST_TURN = (
    UsageExportFile.objects.filter(organization=OuterRef("organization"), finished_at__isnull=False)
    .order_by("-finished_at")
    .values("finished_at")[:1]
)


def _claim() -> UsageExportFile | None:
    """Take a lease on an export that waits, unless enough are under way.

    Organizations take turns: next comes the one for which nothing was ever made, or not for the longest time.
    """
    now = timezone.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        held = UsageExportFile.objects.filter(state=State.RUNNING, leased_until__gt=now)
        if held.count() >= AT_ONCE:
            return None
        free = UsageExportFile.objects.filter(
            Q(state=State.WAITING) | Q(state=State.RUNNING, leased_until__lte=now),
            organization__deleted_at=None,
        ).exclude(organization__in=held.values("organization"))
        by_turns = free.annotate(last_turn=Subquery(_LAST_TURN)).order_by(
            F("last_turn").asc(nulls_first=True), "created_at", "id"
        )
        export = by_turns.select_related("organization").first()
        if export is None:
            return None
        export.state, export.leased_until, export.rows, export.rows_expected = (
            State.RUNNING,
            now + LEASE,
            0,
            None,
        )
        export.save(update_fields=["state", "leased_until", "rows", "rows_expected"])
    return export


def _make(export: UsageExportFile) -> None:
    """Write the file of an export that was claimed, and say how that went."""
    path = f"{_folder(export)}/{secrets.token_urlsafe(24)}.csv{'.gz' if export.is_gzipped else ''}"
    stored = ""
    try:
        with _Hold(export) as hold:
            _discard(export)  # what a worker that died had stored
            source = what(export)
            hold.expect(source.rows().count())
            reading = Reading(source, longest=LONGEST)
            try:
                hold.watch(reading)
                stored = files.exports().save(path, _Stream(hold.passed(reading, export.is_gzipped)))
            finally:
                reading.close()
            hold.stop()
            _finish(export, hold, stored)
            return
    except _Lost:
        logger.info("export %s is not wanted any more", export.uid)
    except files.FAILURES:
        logger.exception("export %s could not be stored", export.uid)
        _fail(export, hold, "The file could not be stored: there may be no room left. Try again later.")
    except (psycopg.errors.QueryCanceled, psycopg.errors.DataError):
        if not hold.is_lost:
            logger.exception("export %s was ended by the database", export.uid)
            _fail(export, hold, "The database took too long. Export fewer days at once.")
    except (psycopg.OperationalError, OperationalError):
        # The database went away. The lease runs out, and the export is begun anew.
        logger.warning("export %s lost the database", export.uid, exc_info=True)
    except Exception:  # one export that cannot be made must not hold up the others
        logger.exception("export %s could not be made", export.uid)
        _fail(export, hold, "Something went wrong here. Try again, or ask the support.")
    if stored:
        try:
            files.exports().delete(stored)
        except files.FAILURES:
            logger.exception("the file %s of an export could not be deleted", stored)


def _finish(export: UsageExportFile, hold: "_Hold", path: str) -> None:
    """Make the stored file the export's and announce it. Raises `_Lost` when it is not wanted any more."""
    now = timezone.now()
    with transaction.atomic():
        ours = UsageExportFile.objects.filter(pk=export.pk, state=State.RUNNING, leased_until=hold.lease)
        if not ours.update(
            state=State.DONE,
            leased_until=None,
            path=path,
            size=files.exports().size(path),
            rows=hold.rows,
            rows_expected=hold.rows,
            finished_at=now,
            expires_at=now + KEPT,
        ):
            raise _Lost
        _announce(
            export, "is ready", f"It has {hold.rows:,} rows and can be downloaded for {KEPT.days} days."
        )


def _fail(export: UsageExportFile, hold: "_Hold", problem: str) -> None:
    with transaction.atomic():
        ours = UsageExportFile.objects.filter(pk=export.pk, state=State.RUNNING, leased_until=hold.lease)
        if ours.update(state=State.FAILED, leased_until=None, problem=problem, finished_at=timezone.now()):
            _announce(export, "could not be made", problem)


def _announce(export: UsageExportFile, how: str, body: str) -> None:
    if export.created_by is None:
        return
    notifications.notify(
        [export.created_by],
        kind=NoticeKind.USAGE,
        key=f"usage_export:{export.uid}:{export.created_at.isoformat()}:{how}",
        title=f"Your export of {export.kind} of {export.organization.name} {how}",
        body=body,
        url=reverse("usage:exports", args=[export.organization.uid]),
        organization=export.organization,
    )


def _folder(export: UsageExportFile) -> str:
    return f"usage/{export.uid}"


def _delete_files(export: UsageExportFile) -> None:
    """Delete the file of an export, and whatever workers that died left beside it. Raises `files.FAILURES`."""
    storage, folder = files.exports(), _folder(export)
    with suppress(FileNotFoundError):
        for name in storage.listdir(folder)[1]:
            storage.delete(f"{folder}/{name}")
        storage.delete(folder)


def _discard(export: UsageExportFile) -> bool:
    """Delete its files if that is possible now; says whether it was."""
    try:
        _delete_files(export)
    except files.FAILURES:
        logger.exception("the files of export %s could not be deleted", export.uid)
        return False
    return True


class _Hold:
    """Keeps the lease of an export while it is made, and notices when it is lost: by a thread, for the database may
    think long before the first row, and a bucket after the last."""

    def __init__(self, export: UsageExportFile) -> None:
        assert export.leased_until is not None
        self.lease = export.leased_until
        self.is_lost = False
        self._export = export
        self._expected: int | None = None
        self._reading: Reading | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> "_Hold":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def rows(self) -> int:
        return self._reading.rows if self._reading else 0

    def expect(self, rows: int) -> None:
        self._expected = rows

    def watch(self, reading: Reading) -> None:
        self._reading = reading

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def passed(self, reading: Reading, is_gzipped: bool) -> Iterator[bytes]:
        """The pieces of a reading, as long as the lease is held."""
        for piece in exports.gzipped(reading) if is_gzipped else reading:
            if self.is_lost:
                raise _Lost
            yield piece

    def _renew(self) -> None:
        try:
            while not self._ended.wait(BEAT):
                lease = timezone.now() + LEASE
                try:
                    held = UsageExportFile.objects.filter(
                        pk=self._export.pk, state=State.RUNNING, leased_until=self.lease
                    ).update(leased_until=lease, rows=self.rows, rows_expected=self._expected)
                except OperationalError:
                    connection.close()  # and ask again over a new one
                    continue
                if not held:
                    self.is_lost = True
                    if self._reading:
                        self._reading.stop()
                    return
                self.lease = lease
        finally:
            connection.close()


class _Stream(File):  # type: ignore[type-arg]
    """A file that is read once, from its beginning, while it is being made."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__(None)
        self._pieces = pieces
        self._rest = b""

    def seekable(self) -> bool:
        return False

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        return self._pieces

    def read(self, size: int = -1) -> bytes:
        parts = [self._rest]
        length = len(self._rest)
        while size < 0 or length < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            parts.append(piece)
            length += len(piece)
        whole = b"".join(parts)
        end = len(whole) if size < 0 else size
        self._rest = whole[end:]
        return whole[:end]

    def close(self) -> None:
        """Nothing: what is read from is closed by whoever opened it."""


def sweep(*, now: datetime) -> int:
    """Delete the files that have expired, and what lies too long; give up what does not come to an end.

    Returns how many exports were changed.
    """
    changed = 0
    for export in UsageExportFile.objects.filter(expires_at__lte=now).exclude(path=""):
        if _discard(export):
            changed += UsageExportFile.objects.filter(pk=export.pk).update(path="")
    changed += UsageExportFile.objects.filter(
        state__in=[State.WAITING, State.RUNNING], created_at__lte=now - GIVEN_UP
    ).update(
        state=State.FAILED,
        leased_until=None,
        problem="It did not come to an end within a day. Export fewer days at once.",
        finished_at=now,
    )
    old = UsageExportFile.objects.filter(created_at__lte=now - LISTED, path="")
    for export in old.exclude(state__in=[State.WAITING, State.RUNNING]):
        if _discard(export):
            changed += UsageExportFile.objects.filter(pk=export.pk).delete()[0]
    _delete_parts()
    return changed


def _delete_parts() -> None:
    """Delete what processes that were killed had begun to write into the folder, whichever kind of export it was."""
    storage = files.exports()
    if not isinstance(storage, files.Folder):
        return
    for part in Path(storage.location).rglob("*.part"):
        with suppress(FileNotFoundError):
            if part.stat().st_mtime < time.time() - GIVEN_UP.total_seconds():
                part.unlink()


def erase(organization: Organization) -> None:
    """Delete all exports of an organization with their files."""
    for export in of(organization):
        _delete_files(export)
        export.delete()
