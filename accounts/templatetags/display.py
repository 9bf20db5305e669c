"""How times, numbers and states look on every page: `{% load display %}`."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

NOTHING = "–"

# What a state means for the reader, by its name anywhere in the project; others are neutral.
TONES = {
    "active": "good",
    "completed": "good",
    "delivered": "good",
    "done": "good",
    "verified": "good",
    "inprogress": "info",
    "completing": "info",
    "pending": "info",
    "running": "info",
    "waiting": "info",
    "unread": "info",
    "production": "info",
    "expired": "warn",
    "retrying": "warn",
    "disabled": "warn",
    "cancelled": "warn",
    "failed": "bad",
    "revoked": "bad",
    "suspended": "bad",
}
_FORMATS = {
    "full": "%-d %b %Y, %H:%M UTC",
    "short": "%-d %b, %H:%M UTC",
    "seconds": "%-d %b %Y, %H:%M:%S UTC",
    "date": "%-d %b %Y",
}


@register.simple_tag
def moment(time: datetime | None, style: str = "full") -> SafeString | str:
    """Show a moment in UTC, which the browser rewrites in the reader's zone. Styles: full, short, seconds, date.

    A short one has no year, as long as it is this one.
    """
    if not time:  # a template's word for what is not there is an empty text
        return NOTHING
    time = time.astimezone(UTC)
    if style == "short" and time.year != timezone.now().year:
        style = "full"
    return format_html(
        '<time datetime="{}" title="{} UTC" data-style="{}">{}</time>',
        time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        time.strftime("%Y-%m-%d %H:%M:%S"),
        style,
        time.strftime(_FORMATS[style]),
    )


@register.simple_tag
def badge(state: str, label: str = "") -> SafeString:
    """Show a state as a badge, coloured by what it means and never by colour alone."""
    tone = TONES.get(state.lower(), "")
    return format_html('<span class="badge {}">{}</span>', tone, label or state[:1].upper() + state[1:])


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw a symbol of static/icons.svg. It is decoration: what it stands for is written beside it."""
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("icons.svg"), name
    )


@register.filter
def number(value: Decimal | float | None) -> str:
    """Write a number with separators and, at most, two decimals: 1,204 · 0.5 · 12,000.25."""
    if value is None:
        return NOTHING
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".")


@register.filter
def lasting(time: timedelta | None) -> str:
    """How long something took or has lasted: 40 ms · 12 s · 3 min · 2 h 5 min · 3 days."""
    if time is None:
        return NOTHING
    seconds = time.total_seconds()
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days"
