"""A billing export that breaks off, at each of its steps: no row is lost, and what comes twice can be told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import OperationalError
from django.test import Client

from accounts import audit
from tests.usage import billing_rows as rows
from tests.usage.billing_rows import answer, ask, fetch, manifest_of, queued, waiting
from usage import billing_export, files
from usage.billing_export import NotStored
from usage.files import Folder
from usage.models import BillingExportFile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("exports_folder")]


class Crash(BaseException):
    """The process ends here."""


def crash(*args: Any, **kwargs: Any) -> Any:
    raise Crash


def stored(folder: Path, ending: str) -> set[str]:
    return {path.name for path in folder.rglob(f"*{ending}")}


def export(count: int = 2) -> BillingExportFile | None:
    return billing_export.export(count=count, delete=True)


def test_before_the_upload_nothing_has_happened(
    monkeypatch: pytest.MonkeyPatch, exports_folder: Path
) -> None:
    queued("a", "b", "c")
    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(Folder, "_save", crash)
        export()

    assert waiting() == ["a", "b", "c"]
    assert stored(exports_folder, "") == set()
    assert not BillingExportFile.objects.exists()


def test_after_the_upload_the_rows_are_still_there_and_the_file_is_an_orphan(
    monkeypatch: pytest.MonkeyPatch, exports_folder: Path
) -> None:
    queued("a", "b", "c")
    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(audit, "record", crash)
        export()
    orphans = stored(exports_folder, ".csv.gz")
    assert waiting() == ["a", "b", "c"]
    assert len(orphans) == 1
    assert stored(exports_folder, ".json") == set()

    file = export()

    assert file is not None
    assert file.number == 1
    assert rows.keys(rows.stored(file.name)) == ["a", "b"]
    assert {name.removesuffix(".json") for name in stored(exports_folder, ".json")} == {
        name.removesuffix(".csv.gz") for name in stored(exports_folder, ".csv.gz") - orphans
    }


def test_a_commit_that_fails_loses_nothing(monkeypatch: pytest.MonkeyPatch, data_plane: Client) -> None:
    queued("a", "b")

    def fail(*args: object, **kwargs: object) -> None:
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as patched:
        patched.setattr(audit, "record", fail)
        response = ask(data_plane, {"delete": True})

    assert response.status_code == 503
    assert waiting() == ["a", "b"]
    assert answer(data_plane, delete=True)["num_records"] == 2


def test_after_the_commit_the_next_export_makes_up_for_the_manifest(
    monkeypatch: pytest.MonkeyPatch, exports_folder: Path
) -> None:
    queued("a", "b", "c")
    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(billing_export, "_save_manifest", crash)
        export()
    committed = BillingExportFile.objects.get()
    assert waiting() == ["c"]
    assert stored(exports_folder, ".json") == set()

    export()

    assert manifest_of(committed)["sha256"] == committed.sha256
    assert len(stored(exports_folder, ".json")) == 2


def test_an_empty_queue_makes_up_for_the_manifest_too(
    monkeypatch: pytest.MonkeyPatch, exports_folder: Path
) -> None:
    queued("a")
    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(billing_export, "_save_manifest", crash)
        export()

    assert export() is None

    assert len(stored(exports_folder, ".json")) == 1


def test_a_manifest_that_cannot_be_stored_keeps_nobody_from_the_link(
    monkeypatch: pytest.MonkeyPatch, data_plane: Client, exports_folder: Path
) -> None:
    queued("a")
    save = Folder._save

    def refuse(self: Folder, name: str, content: Any) -> str:
        if name.endswith(".json"):
            raise OSError("no space left")
        return save(self, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "_save", refuse)
        found = answer(data_plane, delete=True)

    assert rows.keys(fetch(Client(), found["presigned_url"])) == ["a"]
    export()
    assert len(stored(exports_folder, ".json")) == 1


def test_an_answer_that_got_lost_leaves_file_and_manifest(data_plane: Client) -> None:
    queued("a", "b")

    answer(data_plane, count=1, delete=True)  # which nobody reads
    answer(data_plane, count=1, delete=True)

    first, second = BillingExportFile.objects.order_by("number")
    assert manifest_of(second)["follows"] == manifest_of(first)["number"] == 1
    assert rows.keys(rows.stored(first.name)) == ["a"]


def corrupt(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("change", [corrupt, lambda content: content[:-1], lambda content: b""])
def test_what_the_storage_answers_otherwise_is_not_deleted(
    monkeypatch: pytest.MonkeyPatch, data_plane: Client, change: Callable[[bytes], bytes]
) -> None:
    queued("a", "b")
    save = Folder._save

    def store_something_else(self: Folder, name: str, content: Any) -> str:
        content.seek(0)
        return save(self, name, ContentFile(change(content.read())))

    monkeypatch.setattr(Folder, "_save", store_something_else)

    with pytest.raises(NotStored):
        export()
    response = ask(data_plane, {"delete": True})

    assert response.status_code == 503
    assert json.loads(response.content)["error"]["code"] == "not_stored"
    assert response["Retry-After"]
    assert waiting() == ["a", "b"]
    assert not BillingExportFile.objects.exists()


def test_a_storage_that_refuses_is_told_plainly(monkeypatch: pytest.MonkeyPatch, data_plane: Client) -> None:
    queued("a")

    def refuse(*args: object) -> str:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(Folder, "_save", refuse)

    response = ask(data_plane, {"delete": True})

    assert response.status_code == 503
    assert "read-only" not in response.content.decode()
    assert waiting() == ["a"]


def test_numbers_have_no_gaps_whatever_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    queued("a", "b", "c", "d")
    for step in ("_verify", "_save_manifest"):
        export(1)
        with monkeypatch.context() as patched, pytest.raises(Crash):
            patched.setattr(billing_export, step, crash)
            export(1)
    export(10)

    made = list(BillingExportFile.objects.order_by("number"))
    assert [file.number for file in made] == list(range(1, len(made) + 1))
    assert sum(file.num_records for file in made) == 4
    assert [key for file in made for key in rows.keys(rows.stored(file.name))] == ["a", "b", "c", "d"]


def test_the_manifest_describes_the_file() -> None:
    queued("a", "b", "c")

    billing_export.export(count=1)
    export(2)

    copy, file = BillingExportFile.objects.order_by("number")
    content = rows.stored(file.name)
    assert manifest_of(copy) | {"sha256": "", "size": 0, "created_at": ""} == {
        "series": copy.uid,
        "number": 1,
        "follows": None,
        "file": copy.name.removeprefix("usage_for_billing/"),
        "records": 1,
        "first_timestamp": "2026-06-18T12:00:00.000000Z",
        "last_timestamp": "2026-06-18T12:00:00.000000Z",
        "sha256": "",
        "size": 0,
        "deleted": False,
        "created_at": "",
    }
    found = manifest_of(file)
    assert (found["series"], found["number"], found["records"]) == (copy.uid, 2, 2)
    assert (found["follows"], found["deleted"], found["size"]) == (None, True, len(content))
    assert found["last_timestamp"] == "2026-06-18T12:01:00.000000Z"


def test_files_are_recognised_when_the_storage_lost_them(exports_folder: Path) -> None:
    queued("a", "b")
    file = export(1)
    assert file is not None
    files.exports().delete(file.name)
    files.exports().delete(billing_export.manifest_name(file.name))

    export(1)

    assert not files.exports().exists(billing_export.manifest_name(file.name))
