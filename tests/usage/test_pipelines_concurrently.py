"""Several people at one draft at once: one of them is told."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection

from accounts.models import AuditEntry, Organization
from usage import pipelines
from usage.models import PipelineDraft

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*works: Callable[[], object]) -> list[object]:
    """What each of these answered or raised, begun at the same moment on connections of their own."""
    barrier = threading.Barrier(len(works))
    found: list[object] = []

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 (it is what is looked at)
            found.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_of_those_who_save_the_same_version_one_wins(organization: Organization) -> None:
    draft = pipelines.create(organization=organization, name="first", text="{}", actor=None)

    def rename(name: str) -> Callable[[], object]:
        return lambda: pipelines.update(draft=draft, changes={"name": name}, version=1, actor=None)

    found = at_once(*(rename(f"by {number}") for number in range(6)))

    [kept] = [answer for answer in found if isinstance(answer, PipelineDraft)]
    assert sum(isinstance(answer, pipelines.Changed) for answer in found) == 5
    draft.refresh_from_db()
    assert (draft.name, draft.version) == (kept.name, 2)
    assert AuditEntry.objects.filter(action="pipeline.updated").count() == 1


def test_a_draft_is_saved_or_deleted_and_never_both_halfway(organization: Organization) -> None:
    draft = pipelines.create(organization=organization, name="first", text="{}", actor=None)

    found = at_once(
        lambda: pipelines.update(draft=draft, changes={"name": "second"}, version=1, actor=None),
        lambda: pipelines.delete(draft=draft, actor=None),
    )

    assert not PipelineDraft.objects.exists()
    assert True in found
    assert any(isinstance(answer, PipelineDraft | PipelineDraft.DoesNotExist) for answer in found)


def test_those_who_create_at_once_do_not_get_past_the_limit(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "MOST", 3)

    found = at_once(
        *[lambda: pipelines.create(organization=organization, name="x", text="{}", actor=None)] * 8
    )

    assert PipelineDraft.objects.count() == 3
    assert sum(isinstance(answer, pipelines.TooMany) for answer in found) == 5
