"""Alerts in words: amounts, periods, and what they look at."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from usage.models import Product, TriggeredAlert, UsageAlert

Metric, Kind = UsageAlert.Metric, UsageAlert.Period
_EACH = {Kind.DAILY: "a day", Kind.WEEKLY: "a week", Kind.MONTHLY: "a month"}
_NOW = {Kind.DAILY: "today", Kind.WEEKLY: "this week", Kind.MONTHLY: "this month"}


def amount(metric: str, value: Decimal) -> str:
    """8,000 pages · 12.5 credits · $1,204.50."""
    if metric == Metric.COST:
        return f"−${-value:,.2f}" if value < 0 else f"${value:,.2f}"
    return f"{digits(value, separator=',')} {metric.removesuffix('s') if value == 1 else metric}"


def digits(value: Decimal, *, separator: str = "") -> str:
    """A number with all its decimals, but without closing zeros."""
    text = f"{value:{separator}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def each(kind: str) -> str:
    return _EACH[Kind(kind)]


def so_far(kind: str) -> str:
    return _NOW[Kind(kind)]


def when(kind: str, start: date) -> str:
    """on 18 June 2026 · in the week from 15 June 2026 · in June 2026."""
    if kind == Kind.DAILY:
        return f"on {start:%-d %B %Y}"
    return f"in the week from {start:%-d %B %Y}" if kind == Kind.WEEKLY else f"in {start:%B %Y}"


def scope(alert: UsageAlert) -> str:
    """What of the organization an alert looks at: a key's id, or a product; empty for all."""
    return alert.api_key.uid if alert.api_key else alert.product


def about(scope: str, key_names: Mapping[str, str]) -> str:
    """With the API key checkout · of Parse · empty for all."""
    if scope in Product.values:
        return f"of {Product(scope).label}"
    return f"with the API key {key_names.get(scope, scope)}" if scope else ""


def rule(alert: UsageAlert | TriggeredAlert, about: str) -> str:
    """8,000 pages a month of Parse."""
    return f"{amount(alert.metric, alert.threshold)} {each(alert.period)} {about}".strip()
