"""What is pointed out in configurations, by JSON Schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from config.checks import no_unreadable_schemas
from config.demo import jobs
from config.demo.cast import CUSTOMERS
from usage import pipeline_schema
from usage.pipeline_schema import Remark, remarks


@pytest.fixture
def write(tmp_path: Path, settings: Settings) -> Any:
    """Use a file with this in it."""

    def use(content: Any) -> None:
        path = tmp_path / "schema.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        pipeline_schema.load.cache_clear()
        settings.PIPELINE_SCHEMA = str(path)

    return use


def test_the_demos_schema_knows_all_the_configurations_of_the_demo() -> None:
    for customer in CUSTOMERS:
        for kind, configs in jobs.configurations(customer.work).items():
            assert pipeline_schema.is_known(kind.value)
            assert [remark for config in configs for remark in remarks(config, type=kind.value)] == []


def test_remarks_name_the_field_by_its_path() -> None:
    config = {"steps": [{"parse": {"chunks": {"max_characters": "many"}}}, {"translate": {}}], "stepz": 1}

    assert remarks(config, type="Pipeline") == [
        Remark("steps[0].parse.chunks", "'by' is missing"),
        Remark("steps[0].parse.chunks.max_characters", "should be a whole number"),
        Remark("steps[1].translate", "is not a field that is known here"),
        Remark("stepz", "is not a field that is known here: steps perhaps?"),
    ]


def test_a_company_describes_its_own(write: Any) -> None:
    write(
        {
            "Parse": {
                "type": "object",
                "properties": {
                    "size": {"type": ["integer", "null"], "maximum": 5},
                    "then": {"$ref": "#/$defs/Split"},
                },
                "patternProperties": {"^x-": {}},
                "additionalProperties": False,
            },
            "Split": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    )

    found = remarks({"size": 9, "x-mine": 1, "y-mine": 1, "then": {"a": "b", "c": 1}}, type="Parse")

    assert found == [
        Remark("size", "9 is greater than the maximum of 5"),
        Remark("then.c", "should be a text"),
        Remark("y-mine", "is not a field that is known here"),
    ]
    assert not pipeline_schema.is_known("Edit")
    assert remarks({"anything": 1}, type="Edit") == []


def test_without_a_schema_nothing_is_pointed_out(settings: Settings) -> None:
    settings.PIPELINE_SCHEMA = ""

    assert remarks({"anything": 1}, type="Parse") == []


def test_no_more_than_some_are_pointed_out_and_each_is_short() -> None:
    found = remarks({"x" * 1000 + str(number): 1 for number in range(200)}, type="Parse")

    assert len(found) == pipeline_schema.MOST
    assert all(len(remark.path) <= pipeline_schema.LONGEST for remark in found)


def test_a_reference_to_elsewhere_is_not_followed(write: Any) -> None:
    write({"Parse": {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}})

    [remark] = remarks({"a": 1}, type="Parse")

    assert "cannot be followed" in remark.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "must be a JSON object whose keys are among Parse"),
        ({"Print": {}}, "must be a JSON object whose keys are among Parse"),
        ({"Parse": {"type": "objekt"}}, "objekt"),
    ],
)
def test_a_bad_file_is_found_before_it_matters(
    write: Any, settings: Settings, content: Any, said: str
) -> None:
    write(content)

    with pytest.raises(ImproperlyConfigured, match=said):
        pipeline_schema.load(settings.PIPELINE_SCHEMA)
    [error] = no_unreadable_schemas(None)
    assert said in error.msg


def test_a_missing_file_is_found_too(settings: Settings) -> None:
    settings.PIPELINE_SCHEMA = "/nowhere/schema.json"

    [error] = no_unreadable_schemas(None)

    assert "/nowhere/schema.json cannot be read" in error.msg
