"""Billing exports while others export, and while the data plane reports."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests.usage import billing_rows as rows
from tests.usage.billing_rows import ask, queued, waiting
from tests.usage.conftest import item
from usage import billing_export, ingest, reports_in
from usage.billing_export import AlreadyRunning
from usage.files import Folder
from usage.models import BillingExportFile

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("exports_folder")]


class Elsewhere(threading.Thread):
    """Something done over a connection of its own; its error is raised by `end`."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._do = do
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._do()
        except BaseException as error:  # noqa: BLE001
            self._error = error
        finally:
            connection.close()

    def end(self) -> None:
        self.join(60)
        assert not self.is_alive()
        if self._error:
            raise self._error


@pytest.fixture
def held_upload(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """An upload says that it has begun, and waits until it may go on."""
    begun, go_on = threading.Event(), threading.Event()
    save = Folder._save

    def wait(self: Folder, name: str, content: Any) -> str:
        if name.endswith(".csv.gz"):
            begun.set()
            assert go_on.wait(30)
        return save(self, name, content)

    monkeypatch.setattr(Folder, "_save", wait)
    return begun, go_on


def test_a_second_caller_is_told_to_try_again(
    data_plane: Client, held_upload: tuple[threading.Event, threading.Event]
) -> None:
    begun, go_on = held_upload
    queued("a", "b")
    first = Elsewhere(lambda: billing_export.export(count=1, delete=True))
    assert begun.wait(30)

    response = ask(data_plane, {"delete": True})
    go_on.set()
    first.end()

    assert response.status_code == 409
    assert response["Retry-After"]
    assert b"export_running" in response.content
    assert waiting() == ["b"]
    assert BillingExportFile.objects.count() == 1


def test_many_callers_at_once_export_each_row_once() -> None:
    queued(*(f"key-{number:03}" for number in range(100)))

    def drain() -> None:
        while True:
            try:
                if billing_export.export(count=7, delete=True) is None:
                    return
            except AlreadyRunning:
                continue

    for thread in [Elsewhere(drain) for _ in range(4)]:
        thread.end()

    files = list(BillingExportFile.objects.order_by("number"))
    assert [file.number for file in files] == list(range(1, 16))
    exported = [key for file in files for key in rows.keys(rows.stored(file.name))]
    assert exported == [f"key-{number:03}" for number in range(100)]


def test_what_is_queued_meanwhile_is_not_deleted(
    held_upload: tuple[threading.Event, threading.Event], exports_folder: object
) -> None:
    begun, go_on = held_upload
    queued("a", "b", timestamp=rows.NOON)
    export = Elsewhere(lambda: billing_export.export(delete=True))
    assert begun.wait(30)

    queued("earlier than all", timestamp=rows.NOON.replace(year=2020))
    go_on.set()
    export.end()

    assert waiting() == ["earlier than all"]
    assert rows.keys(rows.stored(BillingExportFile.objects.get().name)) == ["a", "b"]


def test_exports_and_reports_at_once_lose_nothing_and_repeat_nothing(
    rates: None, job: Callable[..., dict[str, Any]]
) -> None:
    reported = [f"usage-{number:03}" for number in range(150)]
    done = threading.Event()

    def report() -> None:
        for start in range(0, len(reported), 5):
            batch = [job(f"job-{key}", usage=[item(key)]) for key in reported[start : start + 5]]
            outcome = ingest.ingest(
                reports_in.read_json(reports_in.encode({"jobs": batch})), now=timezone.now()
            )
            assert not outcome.rejected

    def export() -> None:
        while not done.is_set() or waiting():
            billing_export.export(count=4, delete=True)

    writer, exporter = Elsewhere(report), Elsewhere(export)
    writer.end()
    done.set()
    exporter.end()

    exported = [key for file in BillingExportFile.objects.all() for key in rows.keys(rows.stored(file.name))]
    assert sorted(exported) == reported
    assert waiting() == []
