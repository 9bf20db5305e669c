"""How times, numbers and states look."""

from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed_zone
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.templatetags.display import badge, lasting, moment, number


def test_a_moment_is_written_in_utc_for_the_browser_to_translate() -> None:
    in_berlin = datetime(2026, 11, 20, 15, 4, 5, 678000, tzinfo=fixed_zone(timedelta(hours=1)))

    assert moment(in_berlin) == (
        '<time datetime="2026-11-20T14:04:05.678000Z" title="2026-11-20 14:04:05 UTC" data-style="full">'
        "20 Nov 2026, 14:04 UTC</time>"
    )


@pytest.mark.parametrize(("style", "text"), [("seconds", "3 Jan 2026, 04:05:06 UTC"), ("date", "3 Jan 2026")])
def test_a_moment_has_styles(style: str, text: str) -> None:
    assert f">{text}<" in moment(datetime(2026, 1, 3, 4, 5, 6, tzinfo=UTC), style)


def test_a_short_moment_names_the_year_unless_it_is_this_one() -> None:
    this_year = datetime(timezone.now().year, 1, 3, 4, 5, 6, tzinfo=UTC)

    assert ">3 Jan, 04:05 UTC<" in moment(this_year, "short")
    assert ">3 Jan 2019, 04:05 UTC<" in moment(this_year.replace(year=2019), "short")


def test_what_never_happened_is_a_dash() -> None:
    assert moment(None) == "–"
    assert number(None) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1204, "1,204"), (Decimal("0.500000"), "0.5"), (12000.256, "12,000.26"), (100, "100")],
)
def test_numbers_have_separators_and_no_idle_zeros(value: float | Decimal, text: str) -> None:
    assert number(value) == text


def test_a_state_is_coloured_by_its_meaning() -> None:
    assert badge("revoked") == '<span class="badge bad">Revoked</span>'
    assert badge("InProgress", "In progress") == '<span class="badge info">In progress</span>'
    assert badge("<b>") == '<span class="badge ">&lt;b&gt;</span>'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "40 ms"),
        (12, "12 s"),
        (180, "3 min"),
        (7_500, "2 h 5 min"),
        (3 * 86_400, "3 days"),
    ],
)
def test_a_time_is_told_in_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert lasting(timedelta(seconds=seconds)) == text
