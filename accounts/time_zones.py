"""The zone in which an organization's days and months are cut, and when a new one takes over."""

from datetime import UTC, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

# Zones named after a place. The others are old names of these, or of no use where clocks change.
_CONTINENTS = frozenset(
    {
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    }
)


@cache
def names() -> tuple[str, ...]:
    """The zones to choose from, UTC first."""
    return ("UTC", *sorted(name for name in available_timezones() if name.split("/")[0] in _CONTINENTS))


def in_force(name: str, next_name: str, next_at: datetime | None, *, now: datetime) -> ZoneInfo:
    """The zone that cuts days at `now`, whether or not the next one has been settled as the current one."""
    return ZoneInfo(next_name if next_at is not None and next_at <= now else name)


def next_midnight(name: str, *, now: datetime) -> datetime:
    """The moment, in UTC, at which the next day begins in this zone. Where clocks skip midnight, it begins later."""
    zone = ZoneInfo(name)
    tomorrow = now.astimezone(zone).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), tzinfo=zone).astimezone(UTC)
