"""Emptying the billing export into a folder."""

import hashlib
import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.usage import billing_rows as rows
from tests.usage.billing_rows import queued, waiting
from usage import billing_export, billing_handover, files
from usage.models import BillingExportFile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("exports_folder")]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("carried")


def export(folder: Path, count: int = 2) -> str:
    out = StringIO()
    call_command("export_billing_usage", str(folder), count=count, stdout=out)
    return out.getvalue()


def carried(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.csv.gz"))


def keys_in(folder: Path) -> list[list[str]]:
    return [rows.keys(path.read_bytes()) for path in carried(folder)]


def test_everything_is_exported_and_deleted(folder: Path) -> None:
    queued("a", "b", "c", "d", "e")

    out = export(folder)

    assert keys_in(folder) == [["a", "b"], ["c", "d"], ["e"]]
    assert waiting() == []
    assert "5 records in 3 files" in out


def test_usage_that_never_ceases_lets_it_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queued("a", "b", "c")
    fetch = billing_handover.fetch

    def more_comes(folder: Path, file: BillingExportFile) -> Path:
        queued(f"new {file.number}", timestamp=rows.NOON.replace(year=2027))
        return fetch(folder, file)

    monkeypatch.setattr(billing_handover, "fetch", more_comes)

    export(folder)

    assert keys_in(folder) == [["a", "b"], ["c", "new 1"], ["new 2"]]
    assert waiting() == ["new 3"]


def test_each_file_comes_with_its_manifest(folder: Path) -> None:
    queued("a", "b", "c")

    export(folder)

    for path in carried(folder):
        manifest = json.loads((folder / billing_export.manifest_name(path.name)).read_text())
        assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_goes_on_after_an_interruption(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queued("a", "b", "c", "d")
    fetch = billing_handover.fetch

    def interrupt(folder: Path, file: BillingExportFile) -> Path:
        if file.number == 2:
            raise KeyboardInterrupt
        return fetch(folder, file)

    with monkeypatch.context() as patched, pytest.raises(CommandError, match="goes on"):
        patched.setattr(billing_handover, "fetch", interrupt)
        export(folder, 1)
    assert keys_in(folder) == [["a"]]
    assert waiting() == ["c", "d"]

    export(folder, 10)

    assert keys_in(folder) == [["a"], ["b"], ["c", "d"]]


def test_a_file_that_came_over_in_part_is_fetched_again(folder: Path) -> None:
    queued("a")
    export(folder)
    [path] = carried(folder)
    path.write_bytes(path.read_bytes()[:10])

    export(folder)

    assert keys_in(folder) == [["a"]]


def test_a_new_folder_begins_with_the_next_file(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    queued("a")
    export(folder)
    queued("b")
    other = tmp_path_factory.mktemp("other")

    export(other)

    assert keys_in(other) == [["b"]]


def test_what_others_export_meanwhile_is_fetched_too(folder: Path) -> None:
    export(folder)
    queued("a", "b")
    billing_export.export(count=1)
    billing_export.export(count=1, delete=True)

    export(folder)

    assert keys_in(folder) == [["a"], ["b"]]


def test_files_that_are_gone_are_named_and_the_rest_exported(folder: Path) -> None:
    queued("a")
    export(folder)
    [path] = carried(folder)
    path.unlink()
    files.exports().delete(BillingExportFile.objects.get().name)
    queued("b")

    with pytest.raises(CommandError, match="no longer in the storage"):
        export(folder)

    assert keys_in(folder) == [["b"]]


def test_switched_off_it_says_what_to_set(folder: Path, settings: Settings) -> None:
    settings.STORE_USAGE_FOR_BILLING = False

    with pytest.raises(CommandError, match="STORE_USAGE_FOR_BILLING=yes"):
        export(folder)


def test_nothing_left_is_said(folder: Path) -> None:
    assert "Nothing is left" in export(folder)


@pytest.mark.parametrize("count", ["0", "-1", "10000001", "x"])
def test_a_count_out_of_range_is_refused(folder: Path, count: str) -> None:
    with pytest.raises(CommandError):
        call_command("export_billing_usage", str(folder), "--count", count)
