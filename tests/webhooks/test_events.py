import jsonschema  # type: ignore[import-untyped]
import pytest

from webhooks.events import EVENT_TYPES, EventType


@pytest.mark.parametrize("event_type", list(EVENT_TYPES.values()), ids=list(EVENT_TYPES))
def test_the_example_of_an_event_type_is_what_its_schema_says(event_type: EventType) -> None:
    jsonschema.validate(event_type.example, event_type.schema)


@pytest.mark.parametrize("event_type", list(EVENT_TYPES.values()), ids=list(EVENT_TYPES))
def test_every_field_of_an_example_is_in_the_schema(event_type: EventType) -> None:
    assert event_type.example.keys() <= event_type.schema["properties"].keys()
