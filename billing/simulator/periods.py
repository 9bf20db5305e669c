"""Billing periods: whole intervals from an anchor, by the calendar in UTC; and shares of money to the cent."""

import calendar
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

DAY = 86_400
HOUR = 3_600


def after(anchor: int, recurring: dict[str, Any], number: int) -> int:
    """Return the moment that is a number of intervals after the anchor. The 31st becomes the last of a short month."""
    count: int = recurring["interval_count"] * number
    match recurring["interval"]:
        case "day":
            return anchor + count * DAY
        case "week":
            return anchor + count * 7 * DAY
        case "year":
            count *= 12
    moment = datetime.fromtimestamp(anchor, UTC)
    month = moment.month - 1 + count
    year, month = moment.year + month // 12, month % 12 + 1
    day = min(moment.day, calendar.monthrange(year, month)[1])
    return int(moment.replace(year=year, month=month, day=day).timestamp())


def next_boundary(anchor: int, recurring: dict[str, Any], moment: int) -> int:
    """Return the first boundary of a period after a moment."""
    longest = {"day": DAY, "week": 7 * DAY, "month": 31 * DAY, "year": 366 * DAY}[recurring["interval"]]
    number = (moment - anchor) // (longest * recurring["interval_count"])
    while after(anchor, recurring, number) <= moment:
        number += 1
    return after(anchor, recurring, number)


def previous_boundary(anchor: int, recurring: dict[str, Any], moment: int) -> int:
    """Return the last boundary of a period before a moment."""
    number = 0
    while after(anchor, recurring, number) >= moment:
        number -= 1
    while after(anchor, recurring, number + 1) < moment:
        number += 1
    return after(anchor, recurring, number)


def cents(amount: Fraction) -> int:
    """Round to whole cents, halves away from zero."""
    sign = -1 if amount < 0 else 1
    return sign * int(abs(amount) + Fraction(1, 2))


def share(amount: int, part: int, whole: int) -> int:
    """Return the part of an amount that falls to a part of its time."""
    return cents(Fraction(amount * part, whole)) if whole else 0


def day_name(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%-d %b %Y}"
