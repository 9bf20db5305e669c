"""Calls to be copied: whatever the configuration says, a shell and Python send exactly that."""

import json
import random
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pytest_django import Settings

from usage import configurations, pipeline_calls

# A curl that says what it was asked: its arguments, one after the other, and its body.
CURL = r"""curl() { printf '%s\0' "$@"; printf '\0'; cat; }
"""
ALPHABET = "abc \"'`$\\!#%&;|<>(){}[]*?~^\n\r\t\b\x01\x7f/=-+.,:_éß漢😀\u2028\u202e\u00a0\ufeff"
NASTY: list[dict[str, Any]] = [
    {},
    {"input": "s3://mine/document.pdf"},
    {"a": 'it\'s "quoted", $HOME `id` $(id) \\ !! !$ %s'},
    {"a": "JSON\nJSON\n'JSON'\nEOF"},
    {"a": "\\", "b": "\\'", "c": "\\\\!", "d": '\\"', "e": "\\u0021"},
    {"'": '"', "": [], "a": {"": {}}, "b": [[], {}, [[1]]]},
    {"t": True, "f": False, "n": None, "i": -0, "big": 10**200, "x": 1.5e-300, "y": -0.0, "z": 1e16},
    {"control": "\x01\x1f\x7f\x85\b\f\t\r\n", "line": "\u2028\u2029", "marks": "\u202e\ufeff"},
    {"{x}": "{y}", "%": "%(a)s", "#": "# no comment", '"""': "'''"},
]


def made_up(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 5 else 5)
    if kind < 3:
        return "".join(rng.choices(ALPHABET, k=rng.randrange(12)))
    if kind == 3:
        return rng.choice([True, False, None, rng.randrange(-(10**20), 10**20), rng.uniform(-1e9, 1e9)])
    if kind == 4:
        return rng.choice([[], {}, "JSON", "\nJSON\n", "!", "'"])
    if kind == 5:
        return [made_up(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {
        "".join(rng.choices(ALPHABET, k=rng.randrange(6))): made_up(rng, depth + 1)
        for _ in range(rng.randrange(5))
    }


def configurations_made_up() -> list[dict[str, Any]]:
    rng = random.Random(20261121)
    return [{"a": made_up(rng), "b": made_up(rng)} for _ in range(150)]


def in_bash(script: str) -> tuple[list[str], str]:
    """What curl is given by this script: its arguments, and its body."""
    done = subprocess.run(["bash", "-c", CURL + script], capture_output=True, check=True, timeout=30)
    assert done.stderr == b""
    arguments, _, body = done.stdout.partition(b"\0\0")
    return arguments.decode().split("\0"), body.decode()


def in_python(code: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What requests is given by this program."""
    asked: dict[str, Any] = {}

    def post(url: str, **fields: Any) -> Any:
        asked.update(fields, url=url)
        return SimpleNamespace(raise_for_status=lambda: None, json=dict)

    requests = ModuleType("requests")
    requests.post = post  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "requests", requests)
    monkeypatch.setenv("EXAMPLE_API_KEY", "the key")
    exec(code, {})
    return asked


def expected(config: dict[str, Any]) -> dict[str, Any]:
    return config if "input" in config else {"input": "https://example.com/document.pdf", **config}


def same(one: Any, other: Any) -> bool:
    """Equal down to the order of keys, and to true not being 1."""
    return json.dumps(one) == json.dumps(other)


@pytest.mark.parametrize("config", NASTY)
def test_the_shell_sends_exactly_the_configuration(config: dict[str, Any]) -> None:
    script = pipeline_calls.curl(config, type="Parse", variable="EXAMPLE_API_KEY")

    arguments, body = in_bash("EXAMPLE_API_KEY='the key'\n" + script)

    assert arguments == [
        "https://api.example.com/parse",
        "-H",
        "Authorization: Bearer the key",
        "-H",
        "Content-Type: application/json",
        "--data-binary",
        "@-",
    ]
    assert same(json.loads(body), expected(config))


def test_the_shell_sends_whatever_there_can_be() -> None:
    configs = configurations_made_up()
    scripts = [pipeline_calls.curl(config, type="Split", variable="K") for config in configs]

    done = subprocess.run(
        ["bash"],
        input=("curl() { cat; printf '\\0'; }\n" + "\n".join(scripts)).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert done.stderr == b""
    bodies = done.stdout.decode().split("\0")[:-1]
    assert len(bodies) == len(configs)
    for body, config in zip(bodies, configs, strict=True):
        assert same(json.loads(body), expected(config))


def test_the_shell_has_nothing_that_recalls_earlier_commands() -> None:
    for config in [*NASTY, *configurations_made_up()]:
        assert "!" not in pipeline_calls.curl(config, type="Parse", variable="K")


@pytest.mark.parametrize("config", NASTY)
def test_python_sends_exactly_the_configuration(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = pipeline_calls.python(config, type="Extract", variable="EXAMPLE_API_KEY")

    asked = in_python(code, monkeypatch)

    assert asked["url"] == "https://api.example.com/extract"
    assert asked["headers"] == {"Authorization": "Bearer the key"}
    assert same(asked["json"], expected(config))


def test_python_sends_whatever_there_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for config in configurations_made_up():
        code = pipeline_calls.python(config, type="Extract", variable="EXAMPLE_API_KEY")

        assert same(in_python(code, monkeypatch)["json"], expected(config))


def test_the_deepest_configuration_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configurations.read('{"a":' * 99 + "[1]" + "}" * 99)

    code = pipeline_calls.python(config, type="Parse", variable="EXAMPLE_API_KEY")
    _, body = in_bash(pipeline_calls.curl(config, type="Parse", variable="K"))

    assert same(in_python(code, monkeypatch)["json"], expected(config))
    assert same(json.loads(body), expected(config))


@pytest.mark.parametrize(
    "config",
    [
        {"prompt": "it's! " * 40_000},
        configurations.read('{"a":' * 90 + json.dumps(["é"] * 20_000) + "}" * 90),
    ],
)
def test_the_largest_configuration_is_no_trouble(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = pipeline_calls.python(config, type="Parse", variable="EXAMPLE_API_KEY")
    script = pipeline_calls.curl(config, type="Parse", variable="K")

    done = subprocess.run(
        ["bash"], input=("curl() { cat; }\n" + script).encode(), capture_output=True, check=True, timeout=30
    )

    assert same(json.loads(done.stdout), expected(config))
    assert same(in_python(code, monkeypatch)["json"], expected(config))


def test_the_address_of_the_api_is_the_operators(settings: Settings) -> None:
    settings.API_URL = "https://api.example.net/v2?tenant=a b&x='y'"

    arguments, _ = in_bash(pipeline_calls.curl({}, type="Pipeline", variable="K"))

    assert arguments[0] == "https://api.example.net/v2?tenant=a b&x='y'/pipeline"
