import jsonschema
import pytest

from webhooks.events import EVENT_TYPES, EventType
from webhooks.gateway import EmbeddedSvix

each_type = pytest.mark.parametrize("event_type", list(EVENT_TYPES.values()), ids=list(EVENT_TYPES))


@each_type
def test_a_schema_is_a_schema(event_type: EventType) -> None:
    jsonschema.Draft202012Validator.check_schema(event_type.schema)


@each_type
def test_the_example_of_an_event_type_is_what_its_schema_says(event_type: EventType) -> None:
    jsonschema.validate(event_type.example, event_type.schema)


@each_type
def test_every_field_of_an_example_is_in_the_schema(event_type: EventType) -> None:
    assert event_type.example.keys() <= event_type.schema["properties"].keys()


@each_type
def test_the_embedded_engine_tells_the_same_of_it(event_type: EventType) -> None:
    told = EmbeddedSvix().event_type.get(event_type.name)

    assert (told.description, told.group_name) == (event_type.description, event_type.group)
    schema = (told.schemas or {})[str(event_type.version)]
    assert schema["properties"]["data"] == event_type.schema
    for example in schema["examples"]:
        jsonschema.validate(example, schema)
