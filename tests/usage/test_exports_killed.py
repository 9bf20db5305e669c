"""Exports whose process is killed, at each of their steps: no row is lost or doubled, and no file is left over."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.audit import Actor
from accounts.models import ApiKey, Notification, Organization, User
from tests.usage import billing_rows as rows
from tests.usage.billing_rows import queued, waiting
from tests.usage.rows import job_row
from usage import billing_export, export_files
from usage.billing_export import AlreadyRunning
from usage.models import BillingExportFile, UsageExportFile
from usage.reports import Filters

pytestmark = pytest.mark.django_db(transaction=True)

# Runs `what` in a process of its own, which dies as soon as it comes to `step`.
_DIE = """
import os, signal, sys
from importlib import import_module
import django
from django.conf import settings
django.setup()
settings.STORE_USAGE_FOR_BILLING = True
settings.STORAGES = settings.STORAGES | {
    "exports": {"BACKEND": "usage.files.Folder", "OPTIONS": {"location": sys.argv[1]}}}
from usage import billing_export, export_files, files
place, _, name = sys.argv[2].rpartition(".")
module, _, cls = place.partition(":")
owner = getattr(import_module(module), cls) if cls else import_module(module)
real = getattr(owner, name)
def die(*args, **kwargs):
    if sys.argv[3] == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, die)
exec(sys.argv[4])
"""


def die(folder: Path, step: str, what: str, *, when: str = "before") -> None:
    database, _ = os.environ["DATABASE_URL"].rsplit("/", 1)
    process = subprocess.run(
        [sys.executable, "-c", _DIE, str(folder), step, when, what],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": f"{database}/{connection.settings_dict['NAME']}"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()


def export_the_rest() -> None:
    """As whoever calls the export does: again and again, and later while the server still sees the dead one's turn."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if billing_export.export(count=2, delete=True) is None:
                return
        except AlreadyRunning:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("usage.billing_export._copy", "before"),
        ("usage.billing_export:_Packed.close", "before"),
        ("usage.files:os.fsync", "before"),
        ("usage.files:os.replace", "after"),
        ("usage.billing_export._verify", "before"),
        ("usage.billing_export._verify", "after"),
        ("usage.billing_export:BillingExportFile.save", "after"),
        ("usage.billing_export:audit.record", "after"),
        ("usage.billing_export._save_manifest", "before"),
        ("usage.billing_export._save_manifest", "after"),
    ],
)
def test_billing_export_killed_at_any_step_loses_and_doubles_nothing(
    exports_folder: Path, step: str, when: str
) -> None:
    queued("a", "b", "c")

    die(exports_folder, step, "billing_export.export(count=2, delete=True)", when=when)
    export_the_rest()

    made = list(BillingExportFile.objects.order_by("number"))
    assert [file.number for file in made] == list(range(1, len(made) + 1))
    assert [key for file in made for key in rows.keys(rows.stored(file.name))] == ["a", "b", "c"]
    assert waiting() == []
    manifests = {path.stem for path in exports_folder.rglob("*.json")}
    assert manifests == {Path(file.name).name.removesuffix(".csv.gz") for file in made}


def test_copy_killed_before_its_entry_is_made_again(exports_folder: Path) -> None:
    queued("a", "b")

    die(exports_folder, "usage.billing_export:audit.record", "billing_export.export()")

    assert waiting() == ["a", "b"]
    assert not BillingExportFile.objects.exists()


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("usage.exports:Reading._read", "before"),
        ("usage.files:os.fsync", "before"),
        ("usage.files:Folder._save", "after"),
        ("usage.export_files._finish", "before"),
        ("usage.export_files._announce", "after"),
    ],
)
def test_export_of_a_worker_killed_at_any_step_ends_as_one_file_told_once(
    exports_folder: Path,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    member: User,
    step: str,
    when: str,
) -> None:
    job_row(organization_key[0], "one")
    export = export_files.create(
        organization=organization, filters=Filters(), is_gzipped=False, actor=Actor(member)
    )

    die(exports_folder, step, "export_files.make_waiting()", when=when)
    while_leased = export_files.make_waiting()
    UsageExportFile.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    export_files.make_waiting()

    export.refresh_from_db()
    assert while_leased == 0
    assert (export.state, export.rows) == ("done", 1)
    assert [path for path in exports_folder.rglob("*") if path.is_file()] == [exports_folder / export.path]
    assert (exports_folder / export.path).read_bytes().count(b"\n") == 2
    assert Notification.objects.filter(user=member).count() == 1
