"""Taking in the files of a billing export, at the other end."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.usage.billing_rows import queued
from usage import billing_export, billing_handover

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("exports_folder")]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("carried")


@pytest.fixture
def take_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run the import into a state of its own; answers what it printed, also where it failed."""
    state = tmp_path_factory.mktemp("vendor") / "state.sqlite3"

    def run(*paths: Path, fails: str = "") -> str:
        out, err = StringIO(), StringIO()
        arguments = [str(path) for path in paths]
        if fails:
            with pytest.raises(CommandError, match=fails):
                call_command("import_billing_usage", *arguments, state=state, stdout=out, stderr=err)
        else:
            call_command("import_billing_usage", *arguments, state=state, stdout=out, stderr=err)
        return out.getvalue() + err.getvalue()

    return run


def export(folder: Path, count: int = 2) -> str:
    out = StringIO()
    call_command("export_billing_usage", str(folder), count=count, stdout=out)
    return out.getvalue()


def carried(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.csv.gz"))


def rewrite(path: Path, content: bytes) -> None:
    """Another content, with a manifest that vouches for it."""
    path.write_bytes(content)
    beside = path.with_name(billing_export.manifest_name(path.name))
    manifest = json.loads(beside.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    beside.write_text(json.dumps(manifest))


def test_files_are_taken_in_and_added_up(folder: Path, take_in: Callable[..., str]) -> None:
    queued("a", "b", "c", num_pages=5)
    queued("d", type="extract", num_pages=7)
    queued("correction:e", num_pages=-5)
    export(folder)

    out = take_in(folder)

    assert "2 new records" in out
    lines = {tuple(line.split()[1:4]) for line in out.splitlines() if line.startswith("bef_")}
    assert lines == {("parse", "4", "10"), ("extract", "1", "7")}
    assert out.splitlines()[-1].split() == ["all", "5", "17"]


def test_files_known_already_are_skipped(folder: Path, take_in: Callable[..., str]) -> None:
    queued("a", "b", "c")
    export(folder)
    take_in(folder)

    out = take_in(*folder.iterdir())

    assert out.count("taken in before, skipped") == 2
    assert out.splitlines()[-1].split() == ["all", "3", "9"]


def test_missing_files_are_named(folder: Path, take_in: Callable[..., str]) -> None:
    queued("a", "b", "c", "d", "e", "f")
    export(folder, 1)
    paths = carried(folder)

    out = take_in(paths[1], paths[5], fails="4 are missing")

    *_, missing, advice = out.splitlines()
    assert missing.startswith("Missing of bef_")
    assert missing.endswith("1, 3–5")
    assert "Billing export files" in advice


def test_missing_files_that_come_later_close_the_gap(folder: Path, take_in: Callable[..., str]) -> None:
    queued("a", "b", "c")
    export(folder, 1)
    first, second, third = carried(folder)
    take_in(third, first, fails="1 are missing")

    assert "Missing" not in take_in(second)


def test_copies_need_not_be_there(folder: Path, take_in: Callable[..., str]) -> None:
    export(folder)
    queued("a", "b")
    billing_export.export(count=1, delete=True)
    billing_export.export()
    billing_export.export()
    export(folder)

    assert [path.name[:6] for path in carried(folder)] == ["000001", "000004"]
    assert "Missing" not in take_in(folder)


def test_a_row_that_comes_in_two_files_counts_once(folder: Path, take_in: Callable[..., str]) -> None:
    queued("a", "b")
    copy = billing_export.export(count=1)
    assert copy is not None
    export(folder)
    billing_handover.fetch(folder, copy)

    out = take_in(folder)

    assert "1 new records, 1 duplicates" in out
    assert out.splitlines()[-1].split() == ["all", "2", "6"]


def test_a_file_of_an_export_that_broke_off_is_refused_and_nothing_counts_twice(
    folder: Path, take_in: Callable[..., str]
) -> None:
    queued("a", "b")
    export(folder)
    [path] = carried(folder)
    shutil.copy(path, folder / "000001-orphan.csv.gz")

    out = take_in(folder, fails="1 files were refused")

    assert "000001-orphan.csv.gz is refused: its manifest" in out
    assert "all" in out
    assert " 2 " in out


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: content[:-5], "SHA-256"),
        (lambda content: content + b"x", "SHA-256"),
        (lambda content: b"", "SHA-256"),
    ],
)
def test_a_changed_file_is_refused(folder: Path, take_in: Callable[..., str], change: Any, why: str) -> None:
    queued("a", "b")
    export(folder)
    [path] = carried(folder)
    path.write_bytes(change(path.read_bytes()))

    assert why in take_in(folder, fails="refused")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("idempotency_key,type,num_pages\na,parse,3\n", "columns"),
        ("", "columns"),
        ("HEADER", "0 records, and 2"),
        ("HEADERa,parse,3,{},2026-06-18T12:00:00Z\n", "1 records, and 2"),
        ("HEADERa,parse,x,{},2026-06-18T12:00:00Z\n", "number of pages"),
        ("HEADERa,parse,3,[],2026-06-18T12:00:00Z\n", "JSON object"),
        ("HEADERa,parse,3,{,2026-06-18T12:00:00Z\n", "line 2"),
        ("HEADERa,parse,3,{},yesterday\n", "line 2"),
        ("HEADERa,parse,3,{},2026-06-18T12:00:00\n", "no zone"),
        ("HEADER,parse,3,{},2026-06-18T12:00:00Z\n", "key or type"),
        ("HEADERa,parse\n", "line 2"),
        ('HEADER"a', "cannot be read"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_as_a_whole(
    folder: Path, take_in: Callable[..., str], text: str, why: str
) -> None:
    queued("a", "b")
    export(folder)
    [path] = carried(folder)
    header = ",".join(billing_export.COLUMNS) + "\n"
    rewrite(path, gzip.compress(text.replace("HEADER", header).encode()))

    out = take_in(folder, fails="refused")

    assert why in out
    assert out.splitlines()[-1].split() == ["all", "0", "0"] or "all" in out


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"x" * 1000, mtime=0)[:20], gzip.compress(b"\xff", mtime=0)]
)
def test_a_file_that_does_not_unpack_is_refused(
    folder: Path, take_in: Callable[..., str], content: bytes
) -> None:
    queued("a")
    export(folder)
    rewrite(carried(folder)[0], content)

    assert "cannot be read" in take_in(folder, fails="refused")


@pytest.mark.parametrize(
    "manifest", ["", "[]", "{}", '{"series": "x", "number": 0}', "\0", '{"number": 99999999999}']
)
def test_a_manifest_that_is_none_is_refused(folder: Path, take_in: Callable[..., str], manifest: str) -> None:
    queued("a")
    export(folder)
    [path] = carried(folder)
    (folder / billing_export.manifest_name(path.name)).write_text(manifest)

    assert "manifest" in take_in(folder, fails="refused")


def test_contradictions_are_told_and_the_first_stands(folder: Path, take_in: Callable[..., str]) -> None:
    queued("a", num_pages=3)
    export(folder)
    take_in(folder)
    queued("a", num_pages=99)
    export(folder)

    out = take_in(folder, fails="contradict")

    assert "1 CONTRADICT" in out
    assert out.splitlines()[-1].split() == ["all", "1", "3"]


def test_a_number_used_twice_is_told_and_its_records_count(folder: Path, take_in: Callable[..., str]) -> None:
    queued("a")
    export(folder)
    take_in(folder)
    [path] = carried(folder)
    text = gzip.decompress(path.read_bytes()).replace(b"\na,", b"\nz,")
    rewrite(path, gzip.compress(text))

    out = take_in(folder, fails="contradict")

    assert "WAS ANOTHER FILE" in out
    assert out.splitlines()[-1].split() == ["all", "2", "6"]


def test_a_file_that_is_not_there_is_named(take_in: Callable[..., str], folder: Path) -> None:
    take_in(folder / "nothing.csv.gz", fails="There is no")


def test_the_other_end_needs_no_database(folder: Path, take_in: Callable[..., str]) -> None:
    queued("a")
    export(folder)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "django.db.backends.utils.CursorWrapper.execute", lambda *args: pytest.fail("asked the database")
        )
        out = take_in(folder)

    assert "1 new records" in out
