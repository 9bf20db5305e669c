"""The event types of an engine."""

from collections.abc import Iterator

import pytest
from svix.api import EventTypeDeleteOptions, EventTypeListOptions
from svix.exceptions import HTTPValidationError
from svix.models import EventTypeIn, EventTypePatch, EventTypeUpsertIn

from accounts.ids import new_uid
from tests.contract.conftest import Engine, refused

SCHEMAS = {"1": {"type": "object", "examples": [{"parcel": 7}]}}


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    name = f"aa.{new_uid('type')}"
    engine.svix.event_type.create(EventTypeIn(name=name, description="First", schemas=SCHEMAS))
    yield name
    engine.svix.event_type.delete(name, EventTypeDeleteOptions(expunge=True))


def test_an_event_type_is_made_once_and_found_by_name(engine: Engine, name: str) -> None:
    found = engine.svix.event_type.get(name)

    assert (found.description, found.archived, found.schemas) == ("First", False, SCHEMAS)
    again = EventTypeIn(name=name, description="Second")
    assert refused(lambda: engine.svix.event_type.create(again)) == (409, "event_type_exists")
    assert refused(lambda: engine.svix.event_type.get("no.such")) == (404, "not_found")
    with pytest.raises(HTTPValidationError):
        engine.svix.event_type.create(EventTypeIn(name="two words", description=""))


def test_endpoints_may_ask_for_it_until_it_is_archived(engine: Engine, app: str, name: str) -> None:
    assert engine.endpoint(app, event_types=[name]).event_types == [name]

    engine.svix.event_type.delete(name)

    assert engine.svix.event_type.get(name).archived
    with pytest.raises(HTTPValidationError):
        engine.endpoint(app, event_types=[name])
    engine.svix.event_type.create(EventTypeIn(name=name, description="Back"))
    assert engine.endpoint(app, event_types=[name]).event_types == [name]


def test_an_upsert_replaces_it_and_a_patch_changes_what_is_given(engine: Engine, name: str) -> None:
    patched = engine.svix.event_type.patch(name, EventTypePatch(deprecated=True))
    replaced = engine.svix.event_type.upsert(name, EventTypeUpsertIn(description="Second"))

    assert (patched.description, patched.deprecated, patched.schemas) == ("First", True, SCHEMAS)
    assert (replaced.description, replaced.deprecated, replaced.schemas) == ("Second", False, None)


def test_they_are_listed_by_name_in_pages(engine: Engine, name: str) -> None:
    listed = engine.svix.event_type.list

    everything = [one.name for one in listed(EventTypeListOptions(limit=250)).data]
    first = listed(EventTypeListOptions(limit=1, with_content=True))
    second = listed(EventTypeListOptions(limit=1, iterator=first.iterator))
    back = listed(EventTypeListOptions(limit=1, iterator=second.prev_iterator))
    engine.svix.event_type.delete(name)

    assert {name, "job.completed", "job.failed"} <= set(everything)
    assert everything == sorted(everything)
    assert [first.data[0].name, second.data[0].name] == everything[:2]
    assert [back.data[0].name, first.done] == [everything[0], False]
    assert name not in [one.name for one in listed(EventTypeListOptions(limit=250)).data]
    archived = listed(EventTypeListOptions(limit=250, include_archived=True))
    assert name in [one.name for one in archived.data]
