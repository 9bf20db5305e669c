"""Which days a name means, what they are compared with, and how they are cut where clocks change."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError

from usage import periods
from usage.periods import Granularity

TODAY = date(2026, 6, 18)


@pytest.mark.parametrize(
    ("query", "today", "days", "before"),
    [
        ({}, "2026-06-18", ("2026-05-20", "2026-06-18"), ("2026-04-20", "2026-05-19")),
        ({"period": "7"}, "2026-03-01", ("2026-02-23", "2026-03-01"), ("2026-02-16", "2026-02-22")),
        ({"period": "month"}, "2026-06-18", ("2026-06-01", "2026-06-18"), ("2026-05-01", "2026-05-18")),
        # February has fewer days, and in leap years one fewer fewer.
        ({"period": "month"}, "2026-03-31", ("2026-03-01", "2026-03-31"), ("2026-02-01", "2026-02-28")),
        ({"period": "month"}, "2024-03-31", ("2024-03-01", "2024-03-31"), ("2024-02-01", "2024-02-29")),
        ({"period": "month"}, "2026-01-01", ("2026-01-01", "2026-01-01"), ("2025-12-01", "2025-12-01")),
        ({"period": "last_month"}, "2024-03-15", ("2024-02-01", "2024-02-29"), ("2024-01-01", "2024-01-31")),
        ({"period": "last_month"}, "2026-01-31", ("2025-12-01", "2025-12-31"), ("2025-11-01", "2025-11-30")),
        (
            {"from": "2024-02-28", "to": "2024-03-01"},
            "2026-06-18",
            ("2024-02-28", "2024-03-01"),
            ("2024-02-25", "2024-02-27"),
        ),
        ({"from": "2026-06-18"}, "2026-06-18", ("2026-06-18", "2026-06-18"), ("2026-06-17", "2026-06-17")),
    ],
)
def test_names_mean_these_days(
    query: dict[str, str], today: str, days: tuple[str, str], before: tuple[str, str]
) -> None:
    period = periods.read(query, today=date.fromisoformat(today))

    assert (str(period.start), str(period.end)) == days
    assert (str(period.before_start), str(period.before_end)) == before


def test_days_of_a_name_win_over_dates_left_in_the_form() -> None:
    period = periods.read({"period": "7", "from": "2020-01-01", "to": "nonsense"}, today=TODAY)

    assert period.days == 7


@pytest.mark.parametrize(("days", "by"), [(92, "day"), (93, "month")])
def test_long_ranges_are_cut_into_months(days: int, by: str) -> None:
    start = TODAY - timedelta(days=days - 1)

    assert periods.read({"from": str(start), "to": str(TODAY)}, today=TODAY).by == by


def test_leap_year_can_be_cut_into_days_and_no_longer_time() -> None:
    assert periods.read({"from": "2024-01-01", "to": "2024-12-31", "by": "day"}, today=TODAY).days == 366
    with pytest.raises(ValidationError) as refused:
        periods.read({"from": "2024-01-01", "to": "2025-01-01", "by": "day"}, today=TODAY)
    assert "by" in refused.value.message_dict


def test_months_are_cut_at_their_ends_and_the_ranges() -> None:
    period = periods.read({"from": "2024-01-30", "to": "2024-03-02", "by": "month"}, today=TODAY)

    spans = period.spans(ZoneInfo("UTC"))

    assert [(str(span.first), str(span.last)) for span in spans] == [
        ("2024-01-30", "2024-01-31"),
        ("2024-02-01", "2024-02-29"),
        ("2024-03-01", "2024-03-02"),
    ]
    assert [period.place(span.first) for span in spans] == [0, 1, 2]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        # Here midnight itself is skipped.
        ("America/Santiago", "2026-09-06", 23),
        ("Australia/Lord_Howe", "2026-04-05", 25),
        ("Asia/Kathmandu", "2026-06-18", 24),
        ("UTC", "2026-06-18", 24),
    ],
)
def test_day_has_as_many_hours_as_the_clocks_say(zone: str, day: str, hours: int) -> None:
    period = periods.read({"from": day, "to": day, "by": "hour"}, today=TODAY)

    spans = period.spans(ZoneInfo(zone))

    assert len(spans) == hours
    assert {span.first for span in spans} == {date.fromisoformat(day)}
    moments = [span.begin.astimezone(UTC) for span in spans if span.begin]
    assert moments[0] == period.hours(ZoneInfo(zone))[0]
    assert {b - a for a, b in itertools.pairwise(moments)} == {timedelta(hours=1)}


def test_a_half_hours_change_ends_the_day_on_the_half_hour() -> None:
    period = periods.read({"from": "2026-04-05", "to": "2026-04-05", "by": "hour"}, today=TODAY)

    begin, end = period.hours(ZoneInfo("Australia/Lord_Howe"))

    assert end - begin == timedelta(hours=24, minutes=30)
    assert period.by is Granularity.HOUR
    assert begin == datetime(2026, 4, 4, 13, tzinfo=UTC)
