"""A configuration as a call of the company's API, to be pasted into a shell or a program.

The API takes `POST API_URL/<type>` with the configuration as its body, and the document under `input`. No content can
break out of its quotes: a here-document with a quoted end takes everything, but for a line that is its end, which is
no JSON; and Python's own `repr` writes its literals.
"""

from shlex import quote
from typing import Any

from django.conf import settings

from usage.configurations import pretty

DOCUMENT = "https://example.com/document.pdf"


def _address(type: str) -> str:
    return f"{settings.API_URL.rstrip('/')}/{type.lower()}"


def _body(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with a document to be replaced by one's own, unless it names one."""
    return config if "input" in config else {"input": DOCUMENT} | config


def curl(config: dict[str, Any], *, type: str, variable: str) -> str:
    """The call for a shell, which finds the key in its environment under this name."""
    # Whoever pastes it has a shell that might put earlier commands in place of `!`, which only texts of JSON contain.
    body = pretty(_body(config)).replace("!", "\\u0021")
    return (
        f"curl {quote(_address(type))} \\\n"
        f'  -H "Authorization: Bearer ${variable}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        "  --data-binary @- <<'JSON'\n"
        f"{body}\n"
        "JSON"
    )


def python(config: dict[str, Any], *, type: str, variable: str) -> str:
    """The call in Python, with requests."""
    body = _body(config)
    literal = _literal(body, 4) if "\n" in pretty(body) else repr(body)
    return (
        "import os\n"
        "\n"
        "import requests\n"
        "\n"
        "response = requests.post(\n"
        f"    {_address(type)!r},\n"
        f'    headers={{"Authorization": f"Bearer {{os.environ[{variable!r}]}}"}},\n'
        f"    json={literal},\n"
        "    timeout=300,\n"
        ")\n"
        "response.raise_for_status()\n"
        "print(response.json())"
    )


def _literal(value: Any, indent: int) -> str:
    match value:
        case dict() if value:
            inside = [f"{key!r}: {_literal(inner, indent + 4)}" for key, inner in value.items()]
        case list() if value:
            inside = [_literal(inner, indent + 4) for inner in value]
        case _:
            return repr(value)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    lines = "".join(f"{' ' * (indent + 4)}{line},\n" for line in inside)
    return f"{opening}\n{lines}{' ' * indent}{closing}"
