"""Exports made in the background."""

import csv
import gzip
import io
import os
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.files.storage import storages
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import organizations
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Notification, Organization, User
from tests.usage.rows import job_row
from tests.usage.test_csv import many_jobs
from usage import erasure, export_files, exports
from usage.export_files import AlreadyFinished, NotFinished, TooManyUnfinished
from usage.exports import Reading
from usage.models import UsageExportFile
from usage.reports import Filters

pytestmark = pytest.mark.django_db(transaction=True)

State = UsageExportFile.State


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    """The folder where files of exports are kept."""
    settings.STORAGES = settings.STORAGES | {
        "exports": {"BACKEND": "usage.files.Folder", "OPTIONS": {"location": tmp_path}}
    }
    storages._storages.clear()  # type: ignore[attr-defined]
    return tmp_path


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def actor(member: User) -> Actor:
    return Actor(member)


@pytest.fixture
def export(organization: Organization, actor: Actor) -> UsageExportFile:
    return asked_for(organization, actor)


@pytest.fixture
def page(client: Client, member: User) -> Client:
    client.force_login(member)
    return client


@pytest.fixture
def url(organization: Organization) -> str:
    return f"/o/{organization.uid}/usage/exports/"


def asked_for(
    organization: Organization, actor: Actor, *, filters: Filters | None = None, is_gzipped: bool = False
) -> UsageExportFile:
    return export_files.create(
        organization=organization, filters=filters or Filters(), is_gzipped=is_gzipped, actor=actor
    )


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def fetched(page: Client, url: str, export: UsageExportFile) -> bytes:
    response: Any = page.get(f"{url}{export.uid}/download/")
    assert response.status_code == 200
    return b"".join(response.streaming_content)


def test_file_holds_what_was_asked_for(
    page: Client, url: str, organization: Organization, actor: Actor, key: ApiKey
) -> None:
    job_row(key, "kept", region="eu")
    job_row(key, "left out", region="us")
    export = asked_for(organization, actor, filters=Filters(region="eu"), is_gzipped=True)

    export_files.make_waiting()

    export.refresh_from_db()
    text = gzip.decompress(fetched(page, url, export)).decode()
    assert [line["job_id"] for line in csv.DictReader(io.StringIO(text))] == ["kept"]
    assert (export.state, export.rows, export.rows_expected) == (State.DONE, 1, 1)
    assert export.size == len(fetched(page, url, export))


def test_whoever_asked_is_told(export: UsageExportFile, member: User, url: str) -> None:
    export_files.make_waiting()

    [notice] = Notification.objects.filter(user=member)
    assert notice.title == "Your export of jobs of Northwind is ready"
    assert (notice.kind, notice.url) == ("usage", url)


def test_it_is_in_the_audit_trail(export: UsageExportFile, member: User) -> None:
    entry = AuditEntry.objects.get(action="usage_export.created")

    assert (entry.actor, entry.target_uid, entry.after["kind"]) == (member, export.uid, "jobs")


def test_oldest_is_made_first(organization: Organization, actor: Actor) -> None:
    first = asked_for(organization, actor)
    asked_for(organization, actor)

    claimed = export_files._claim()

    assert claimed == first


def test_organization_has_one_made_at_a_time(
    organization: Organization, actor: Actor, other_organization: Organization, outsider: User
) -> None:
    first = asked_for(organization, actor)
    asked_for(organization, actor)
    theirs = asked_for(other_organization, Actor(outsider))

    claimed = [export_files._claim() for _ in range(3)]

    assert claimed == [first, theirs, None]


def test_only_so_many_are_made_at_once_that_a_worker_is_left_for_the_rest(actor: Actor, owner: User) -> None:
    for number in range(export_files.AT_ONCE + 1):
        asked_for(organizations.create(name=f"Northwind {number}", owner=owner), actor)

    claimed = [export_files._claim() for _ in range(export_files.AT_ONCE + 1)]

    assert claimed[-1] is None
    assert all(claimed[:-1])
    [workers] = re.findall(r"--concurrency (\d+)", (settings.BASE_DIR / "Procfile").read_text())
    assert int(workers) > export_files.AT_ONCE


def test_organizations_take_turns(
    organization: Organization, actor: Actor, other_organization: Organization, outsider: User
) -> None:
    order = []
    mine = [asked_for(organization, actor) for _ in range(3)]
    theirs = [asked_for(other_organization, Actor(outsider)) for _ in range(2)]

    while claimed := export_files._claim():
        order.append(claimed)
        UsageExportFile.objects.filter(pk=claimed.pk).update(state=State.DONE, finished_at=timezone.now())

    assert order == [mine[0], theirs[0], mine[1], theirs[1], mine[2]]


def test_export_of_a_deleted_organization_waits_for_its_return(
    export: UsageExportFile, organization: Organization, owner: User
) -> None:
    organizations.delete(organization=organization, actor=Actor(owner))
    meanwhile = export_files._claim()
    organizations.restore(organization=organization, actor=None)

    assert meanwhile is None
    assert export_files._claim() == export


def test_export_that_cannot_be_made_holds_up_no_other(
    organization: Organization,
    actor: Actor,
    other_organization: Organization,
    outsider: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = asked_for(organization, actor)
    good = asked_for(other_organization, Actor(outsider))
    what = export_files.what

    def fail(export: UsageExportFile) -> Any:
        return what(export) if export == good else 1 / 0

    monkeypatch.setattr(export_files, "what", fail)

    export_files.make_waiting()

    states = dict(UsageExportFile.objects.values_list("pk", "state"))
    assert states == {bad.pk: State.FAILED, good.pk: State.DONE}


def test_export_of_a_killed_worker_is_made_anew(export: UsageExportFile, key: ApiKey) -> None:
    job_row(key)
    export_files._claim()
    UsageExportFile.objects.update(rows=7, leased_until=timezone.now() - timedelta(seconds=1))

    export_files.make_waiting()

    export.refresh_from_db()
    assert (export.state, export.rows) == (State.DONE, 1)


def test_worker_thought_dead_cannot_finish_what_another_took_up(
    export: UsageExportFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = export_files._claim()
    assert slow
    theirs = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(export_files, "BEAT", 60.0)
    UsageExportFile.objects.update(leased_until=theirs)

    export_files._make(slow)

    export.refresh_from_db()
    assert (export.state, export.leased_until, export.path) == (State.RUNNING, theirs, "")
    assert stored(folder) == []


def test_what_a_killed_worker_left_goes_when_another_begins(
    export: UsageExportFile, folder: Path, key: ApiKey
) -> None:
    job_row(key)
    left = folder / "usage" / export.uid
    left.mkdir(parents=True)
    (left / "whole.csv").touch()
    (left / "begun.part").touch()

    export_files.make_waiting()

    export.refresh_from_db()
    assert stored(folder) == [folder / export.path]


def test_cancelled_export_stops_within_its_work(
    export: UsageExportFile, actor: Actor, key: ApiKey, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_jobs(key, 5_000)
    monkeypatch.setattr(export_files, "BEAT", 0.02)
    read = Reading._read

    def endless(self: Reading, header: bytes) -> Iterator[bytes]:
        yield from read(self, header)
        export_files.cancel(export=export, actor=actor)
        while True:
            threading.Event().wait(0.01)
            yield b"more\n"

    monkeypatch.setattr(Reading, "_read", endless)

    export_files.make_waiting()

    export.refresh_from_db()
    assert export.state == State.CANCELLED
    assert stored(folder) == []


def test_progress_is_told_while_it_is_made(
    export: UsageExportFile, key: ApiKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_jobs(key, 2_000)
    monkeypatch.setattr(export_files, "BEAT", 0.02)
    seen = []
    read = Reading._read

    def slow(self: Reading, header: bytes) -> Iterator[bytes]:
        for piece in read(self, header):
            yield piece
            threading.Event().wait(0.2)
            seen.append(UsageExportFile.objects.values_list("rows", "rows_expected").get())

    monkeypatch.setattr(Reading, "_read", slow)

    export_files.make_waiting()

    assert seen[0][0] > 0
    assert seen[0][1] == 2_000


def test_full_storage_is_told_and_can_be_tried_again(
    export: UsageExportFile, actor: Actor, folder: Path, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("usage.files.Folder._save", full)
        export_files.make_waiting()
    export.refresh_from_db()
    failed = export.state, export.problem
    told = Notification.objects.get(user=member).title
    export_files.retry(export=export, actor=actor)
    export_files.make_waiting()

    assert failed[0] == State.FAILED
    assert failed[1].startswith("The file could not be stored")
    assert told.endswith("could not be made")
    export.refresh_from_db()
    assert (export.state, export.problem) == (State.DONE, "")


def test_lost_database_leaves_it_to_the_next_worker(
    export: UsageExportFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Reading, header: bytes) -> Iterator[bytes]:
        yield header
        raise psycopg.OperationalError

    monkeypatch.setattr(Reading, "_read", lost)

    export_files.make_waiting()

    export.refresh_from_db()
    assert export.state == State.RUNNING
    assert stored(folder) == []


def test_expired_file_is_deleted_and_no_longer_sent(
    page: Client, url: str, export: UsageExportFile, folder: Path
) -> None:
    export_files.make_waiting()
    later = timezone.now() + timedelta(days=7, minutes=1)
    UsageExportFile.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    before_the_sweep = page.get(f"{url}{export.uid}/download/")
    export_files.sweep(now=later)

    assert before_the_sweep["Location"] == url
    assert stored(folder) == []
    assert "Expired" in page.get(url).content.decode()


def test_file_that_cannot_be_deleted_is_tried_again(
    export: UsageExportFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_files.make_waiting()
    later = timezone.now() + timedelta(days=8)

    def refuse(*_: object) -> None:
        raise PermissionError("read-only file system")

    with monkeypatch.context() as broken:
        broken.setattr("usage.files.Folder.delete", refuse)
        export_files.sweep(now=later)
    had = len(stored(folder))
    export_files.sweep(now=later)

    assert had == 1
    assert stored(folder) == []


def test_what_killed_processes_had_begun_to_write_goes_after_a_day(folder: Path) -> None:
    day_old, new = folder / "usage_for_billing" / "old.part", folder / "usage_for_billing" / "new.part"
    day_old.parent.mkdir()
    day_old.touch()
    new.touch()
    os.utime(day_old, (0, 0))

    export_files.sweep(now=timezone.now())

    assert stored(folder) == [new]


def test_what_never_ends_is_given_up(export: UsageExportFile) -> None:
    export_files.sweep(now=timezone.now() + timedelta(days=1, minutes=1))

    export.refresh_from_db()
    assert export.state == State.FAILED


def test_old_lines_go(export: UsageExportFile) -> None:
    UsageExportFile.objects.update(state=State.CANCELLED)

    export_files.sweep(now=timezone.now() + timedelta(days=91))

    assert not UsageExportFile.objects.exists()


def test_deleting_takes_the_file_along(page: Client, url: str, export: UsageExportFile, folder: Path) -> None:
    export_files.make_waiting()
    had = len(stored(folder))

    page.post(f"{url}{export.uid}/delete/")

    assert had == 1
    assert list((folder / "usage").iterdir()) == []
    assert not UsageExportFile.objects.exists()


def test_export_under_way_is_not_deleted(export: UsageExportFile, actor: Actor) -> None:
    with pytest.raises(NotFinished):
        export_files.delete(export=export, actor=actor)


def test_what_has_ended_is_not_cancelled(export: UsageExportFile, actor: Actor) -> None:
    export_files.make_waiting()

    with pytest.raises(AlreadyFinished):
        export_files.cancel(export=export, actor=actor)


def test_organization_waits_for_five_at_most(organization: Organization, actor: Actor) -> None:
    for _ in range(5):
        asked_for(organization, actor)

    with pytest.raises(TooManyUnfinished):
        asked_for(organization, actor)


def test_erased_organization_leaves_no_file(
    export: UsageExportFile, organization: Organization, folder: Path
) -> None:
    export_files.make_waiting()

    erasure.erase(organization)

    assert stored(folder) == []
    assert not UsageExportFile.objects.exists()


def test_form_asks_for_one(page: Client, url: str, key: ApiKey) -> None:
    form = {
        "kind": "records",
        "since": "2026-06-01",
        "api_key": key.uid,
        "product": "parse",
        "status": "Failed",
        "is_gzipped": "on",
    }

    response = page.post(f"{url}create/", form)

    assert response.status_code == 302
    made = UsageExportFile.objects.get()
    assert (made.kind, made.is_gzipped) == ("records", True)
    assert made.filters == {"since": "2026-06-01", "api_key": key.uid, "product": "parse"}


@pytest.mark.parametrize("wrong", [{"kind": "secrets"}, {"since": "soon"}, {"api_key": "key_nobody"}])
def test_senseless_form_is_refused(page: Client, url: str, wrong: dict[str, str]) -> None:
    response = page.post(f"{url}create/", {"kind": "jobs"} | wrong)

    assert response.status_code == 400
    assert list(response.context["form"].errors) == list(wrong)
    assert not UsageExportFile.objects.exists()


def test_foreign_export_is_not_there(
    page: Client, url: str, other_organization: Organization, outsider: User
) -> None:
    foreign = asked_for(other_organization, Actor(outsider))

    codes = [page.get(f"{url}{foreign.uid}/download/").status_code]
    codes += [page.post(f"{url}{foreign.uid}/{act}/").status_code for act in ("cancel", "retry", "delete")]

    assert codes == [404] * 4


def test_member_who_became_a_viewer_cannot_fetch_it(
    page: Client, url: str, export: UsageExportFile, member: User, organization: Organization
) -> None:
    export_files.make_waiting()
    organization.memberships.filter(user=member).update(role="viewer")

    assert page.get(f"{url}{export.uid}/download/").status_code == 403


def test_questions_do_not_grow_with_the_list(
    page: Client, url: str, organization: Organization, actor: Actor, django_assert_max_num_queries: Any
) -> None:
    UsageExportFile.objects.bulk_create(
        UsageExportFile(organization=organization, created_by=actor.user, kind="jobs", state=State.CANCELLED)
        for _ in range(30)
    )
    page.get(url)

    with django_assert_max_num_queries(9):
        page.get(url)


def test_filters_come_back_as_they_were() -> None:
    filters = Filters(region="eu", since=timezone.now().date(), job_id="x")

    assert exports.read("jobs", exports.written(filters)) == filters
