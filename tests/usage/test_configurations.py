"""Configurations read and told in words."""

import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from usage import configurations
from usage.configurations import Setting, read, steps


def told(settings: list[Setting], indent: str = "") -> list[str]:
    """The description as lines of text."""
    lines = []
    for setting in settings:
        lines.append(f"{indent}{setting.label}: {setting.value}".rstrip(": "))
        lines += told(setting.inside, indent + "  ")
    return lines


def test_each_section_is_a_step_with_its_settings_indented() -> None:
    config = {
        "options": {"ocr": "auto", "max_pages": 10, "languages": ["en", "de"], "strict": True},
        "figures": {"describe": False, "style": None, "tags": [], "note": ""},
        "citations": True,
    }

    assert told(steps(config)) == [
        "Options",
        "  Ocr: auto",
        "  Max pages: 10",
        "  Languages: en, de",
        "  Strict: yes",
        "Figures",
        "  Describe: no",
        "  Style: none",
        "  Tags: none",
        "  Note: (empty)",
        "Citations: yes",
    ]


def test_the_steps_of_a_pipeline_are_the_steps() -> None:
    assert told(steps({"steps": [{"parse": {"ocr": "auto"}}, {"a": 1, "b": 2}]})) == [
        "Parse",
        "  Ocr: auto",
        "Step",
        "  A: 1",
        "  B: 2",
    ]


def test_the_items_of_a_list_are_numbered_and_named_by_their_only_key() -> None:
    config = {"steps": [{"parse": {"ocr": "auto"}}, {"extract": {"schema": {}}}, {"a": 1, "b": 2}, "x"]}

    assert told(steps(config)) == [
        "Steps",
        "  1. Parse",
        "    Ocr: auto",
        "  2. Extract",
        "    Schema: none",
        "  3.",
        "    A: 1",
        "    B: 2",
        "  4.: x",
    ]


@pytest.mark.parametrize("value", [None, 5, "x", True, [], [1, [2]], {}, {"": {"": ""}}, {"_": 1}, 1.5])
def test_any_json_is_told(value: Any) -> None:
    assert isinstance(told(steps(value)), list)


def test_what_lies_deep_is_left_as_json() -> None:
    config = read('{"a":' * 99 + "1" + "}" * 99)

    lines = told(steps(config))

    assert len(lines) == configurations.DEEPEST_TOLD
    assert lines[-1].startswith('          A: {"a": {"a"')


def test_what_is_too_much_is_left_out_and_said_so() -> None:
    lines = told(steps({"a": {str(number): number for number in range(1000)}, "b": 1}))

    assert len(lines) == configurations.MOST_TOLD + 1
    assert lines[-1] == "And more: see the JSON"


def test_long_values_are_cut() -> None:
    [text, numbers] = told(steps({"text": "x" * 5000, "numbers": [0] * 5000}))

    assert text == f"Text: {'x' * configurations.LONGEST_TOLD}…"
    assert numbers.endswith(("0, 0…", "0, …"))


def test_what_would_be_mostly_indentation_stays_on_one_line() -> None:
    deep = read('{"a":' * 90 + json.dumps(["é"] * 20_000) + "}" * 90)

    assert "\n" not in configurations.pretty(deep)
    assert read(configurations.write(deep)) == deep


def test_a_configuration_is_read_as_it_is() -> None:
    config = {"a": [1, -2.5, 1e300, "é😀", None, True, {}], "b": {"c": []}, "": 0}

    assert read(json.dumps(config)) == config
    assert read(json.dumps(config, ensure_ascii=False, indent=4)) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1,}', "Line 1, column 9: Expecting property name enclosed in double quotes."),
        ('{"a": 1}\n x', "Line 2, column 2: Extra data."),
        ('{"a": "x\n"}', "Line 1, column 9: Invalid control character."),
        ('{"a" 1}', "Line 1, column 6: Expecting ':' delimiter."),
        ("null", "A configuration is a JSON object, {…}, and this is null."),
        ('{"a": -Infinity}', "JSON has no -Infinity."),
        ('{"a": -1e400}', "The number -1e400 is too large."),
        ('{"a": [{"b": "\\u0000"}]}', "Text must not contain the character U+0000."),
        ('{"\\ud800": 1}', "A text contains half a character (a surrogate without its other half)."),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as error:
        read(text)

    assert error.value.messages == [said]


def test_a_hundred_levels_are_read_and_one_more_is_not() -> None:
    read('{"a":' * 99 + "[1]" + "}" * 99)

    for text in ('{"a":' * 100 + "[1]" + "}" * 100, '{"a":' * 5000 + "1" + "}" * 5000):
        with pytest.raises(ValidationError, match="nested more than 100 deep"):
            read(text)


def test_the_limit_of_size_counts_bytes() -> None:
    fits = '{"a": "' + "é" * ((configurations.LARGEST - 9) // 2) + '"}'
    read(fits)

    with pytest.raises(ValidationError, match="at most 256 KB"):
        read(fits.replace("é", "漢", 2))
