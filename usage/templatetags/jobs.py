"""How what a job took looks on every page: `{% load jobs %}`."""

from decimal import Decimal
from typing import Any

from django import template

from accounts.templatetags.display import NOTHING
from usage import price_list
from usage.models import Job

register = template.Library()


@register.filter
def duration(seconds: float | None) -> str:
    """Write seconds for people: 0.42 s · 12.3 s · 4 min 05 s · 2 h 13 min."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


@register.filter
def exact(value: Decimal | None) -> str:
    """Write a number with all its decimals, but without closing zeros: 0.000125 · 1,204 · −3."""
    if value is None:
        return NOTHING
    text = f"{value:,f}".replace("-", "−")
    return text.rstrip("0").rstrip(".") if "." in text else text


@register.filter
def exact_dollars(value: Decimal) -> str:
    """Write an amount of money with all its decimals: $0.000125 · $1,204.50 · −$3.00."""
    return price_list.dollars(value)


@register.filter
def dollars(value: Decimal | None) -> str:
    """Write an amount of money: $1,204.50."""
    if value is None:
        return NOTHING
    return f"−${-value:,.2f}" if value < 0 else f"${value:,.2f}"


@register.inclusion_tag("usage/erased.html", takes_context=True)
def erased(context: template.Context, job: Job, detail: str) -> dict[str, Any]:
    """Say of a detail of `Job.DETAILS` that it was erased, and when; nothing where there was none to erase."""
    return {"job": job if detail in (job.erased or []) else None, "request": context["request"]}
