"""HTML that escapes what it is given, and the frame of every page."""

import html as standard
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #5f6872; --line: #dfe3e8; --paper: #fff; --back: #f4f6f8;
  --accent: #4a3fd4; --on-accent: #fff; --good: #0a7a46; --bad: #b42318; --note: #fff4d6; --note-ink: #6b4b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --quiet: #a0a8b2; --line: #363c44; --paper: #1d2126;
  --back: #14171a; --accent: #8f86ff; --on-accent: #14112e; --good: #4cc38a; --bad: #ff8a7a; --note: #3a2f12;
  --note-ink: #ffd98a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
.simulated { background: var(--note); color: var(--note-ink); padding: .5rem 1rem; text-align: center; }
main { max-width: 46rem; margin: 1.5rem auto; padding: 0 1rem; }
main.wide { max-width: 76rem; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.25rem;
  margin-bottom: 1rem; overflow-x: auto; }
h1 { font-size: 1.35rem; margin: 0 0 1rem; } h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { text-align: left; color: var(--quiet); font-weight: 500; } th, td { padding: .35rem .6rem .35rem 0;
  vertical-align: top; border-bottom: 1px solid var(--line); } tr:last-child td { border-bottom: 0; }
.amount { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.total td { font-weight: 600; border-top: 2px solid var(--line); }
label { display: block; margin: .6rem 0; font-size: .92rem; }
input, select { display: block; width: 100%; margin-top: .2rem; padding: .5rem .6rem; font: inherit; color: inherit;
  background: var(--paper); border: 1px solid var(--line); border-radius: .4rem; }
button, .button { display: inline-block; padding: .5rem .95rem; font: inherit; border-radius: .4rem; cursor: pointer;
  border: 1px solid var(--line); background: var(--paper); color: var(--ink); text-decoration: none; }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); font-weight: 600; }
button.danger { color: var(--bad); border-color: var(--bad); }
button:focus-visible, input:focus-visible, select:focus-visible, a:focus-visible, summary:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 2px; }
form { display: inline-block; margin: 0 .4rem .4rem 0; } form.block { display: block; margin: 0; }
a { color: var(--accent); } .quiet { color: var(--quiet); } .good { color: var(--good); } .bad { color: var(--bad); }
.problem { border-left: 4px solid var(--bad); padding: .4rem .8rem; margin: 0 0 1rem; color: var(--bad); }
@media (max-width: 30rem) { table { font-size: .82rem; } th, td { padding-right: .3rem; }
  section { padding: .8rem .9rem; } }
code { font-size: .85em; overflow-wrap: anywhere; } td code { white-space: nowrap; } summary { cursor: pointer; }
"""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def html(template: str, *values: Any, **named: Any) -> Html:
    """Fill a template. Whatever is not Html is escaped; None is nothing, and a list is its parts in a row."""
    return Html(template.format(*map(_safe, values), **{name: _safe(value) for name, value in named.items()}))


def _safe(value: Any) -> Html:
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("")
    if isinstance(value, list):
        return Html("".join(map(_safe, value)))
    return Html(standard.escape(str(value)))


@dataclass
class Page:
    body: bytes
    status: int = 200
    kind: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


def page(title: str, *content: Html, status: int = 200, wide: bool = False) -> Page:
    """Return a whole page, which says that it is simulated."""
    text = html(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>'
        '<p class="simulated" role="note" style="margin:0"><strong>Simulated:</strong> no money moves. Card numbers'
        " here are test numbers.</p>"
        "<main{wide}><h1>{title}</h1>{content}</main></body></html>",
        title=title,
        style=Html(STYLE),
        wide=Html(' class="wide"') if wide else None,
        content=list(content),
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        "Referrer-Policy": "same-origin",  # with less, forms of its own pages would come from nowhere
        "X-Content-Type-Options": "nosniff",
    }
    return Page(text.encode(), status, headers=headers)


def redirect(to: str) -> Page:
    return Page(b"", 303, headers={"Location": to.replace("\r", "").replace("\n", "")})


def button(action: str, text: str, *, kind: str = "", **fields: Any) -> Html:
    """Return a form of one button."""
    return html(
        '<form method="post" action="{}">{}<button{}>{}</button></form>',
        action,
        hidden(fields),
        html(' class="{}"', kind) if kind else None,
        text,
    )


def hidden(fields: dict[str, Any]) -> list[Html]:
    return [html('<input type="hidden" name="{}" value="{}">', name, value) for name, value in fields.items()]


def text_field(
    label: str, name: str, value: Any = "", *, kind: str = "text", required: bool = False, more: str = ""
) -> Html:
    return html(
        '<label>{}<input name="{}" type="{}" value="{}"{} {}></label>',
        label,
        name,
        kind,
        value or "",
        Html(" required") if required else None,
        Html(more),
    )


def problem(text: str | None) -> Html:
    return html('<p class="problem" role="alert">{}</p>', text) if text else Html("")


def table(heads: Iterable[str], rows: Sequence[list[Any]], *, amounts: tuple[int, ...] = ()) -> Html:
    """Return a table; the columns in `amounts` stand to the right."""

    def cell(tag: str, index: int, value: Any) -> Html:
        return html(
            "<{tag}{right}>{}</{tag}>",
            value,
            tag=Html(tag),
            right=Html(' class="amount"') if index in amounts else None,
        )

    head = [cell("th", index, text) for index, text in enumerate(heads)]
    body = [
        html("<tr>{}</tr>", [cell("td", index, value) for index, value in enumerate(row)]) for row in rows
    ]
    return html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)


def section(title: str, *content: Html, id: str = "") -> Html:
    return html(
        "<section{}><h2>{}</h2>{}</section>", html(' id="{}"', id) if id else None, title, list(content)
    )


def moment(value: int | None) -> str:
    return f"{datetime.fromtimestamp(value, UTC):%-d %b %Y, %H:%M} UTC" if value else ""
