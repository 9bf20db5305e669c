"""The day so far beside the same weekdays before it."""

from datetime import UTC, datetime, timedelta

import pytest

from accounts.models import ApiKey, Organization
from tests.usage.rows import daily_jobs, daily_usage
from usage import today
from usage.models import JobMargin

# A Thursday, three quarters of which are over.
NOW = datetime(2026, 6, 18, 18, 0, tzinfo=UTC)
DAY = NOW.date()


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


def test_usual_is_the_mean_of_the_last_four_same_weekdays(organization: Organization, key: ApiKey) -> None:
    daily_usage(key, DAY, requests=60)
    for weeks, requests in ((1, 10), (2, 20), (3, 30), (4, 100)):
        daily_usage(key, DAY - timedelta(weeks=weeks), requests=requests)
    daily_usage(key, DAY - timedelta(days=1), requests=5_000)

    figures = {figure.name: figure for figure in today.of(organization, now=NOW).figures}

    assert figures["requests"] == today.Figure("requests", today=60, usual=40, usual_by_now=30)
    assert figures["requests"].change == 100


def test_weeks_before_the_first_usage_are_not_compared(organization: Organization, key: ApiKey) -> None:
    daily_usage(key, DAY - timedelta(weeks=2), requests=10)

    found = today.of(organization, now=NOW)

    # Nothing was used a week ago, which counts; before two weeks ago there was nobody to use anything.
    assert found.compared == [DAY - timedelta(weeks=1), DAY - timedelta(weeks=2)]
    assert next(found.figures).usual == 5


def test_without_such_a_day_nothing_is_usual(organization: Organization, key: ApiKey) -> None:
    daily_usage(key, DAY)

    figure = next(today.of(organization, now=NOW).figures)

    assert (figure.usual, figure.usual_by_now, figure.change) == (None, None, None)


def test_a_day_of_23_hours_is_over_sooner(organization: Organization) -> None:
    organization.time_zone = "Europe/Berlin"  # where clocks were put forward that night
    noon = datetime(2026, 3, 29, 10, 0, tzinfo=UTC)

    assert today.of(organization, now=noon).share == pytest.approx(11 / 23)


def test_products_come_by_their_credits(organization: Organization, key: ApiKey) -> None:
    daily_usage(key, DAY, product="parse", credits=3)
    daily_usage(key, DAY - timedelta(days=29), product="extract", credits=4)
    daily_usage(key, DAY - timedelta(days=30), product="split", credits=100)

    assert list(today.of(organization, now=NOW).products) == ["Extract", "Parse"]


def test_failures_are_told_for_today_and_for_before(organization: Organization, key: ApiKey) -> None:
    daily_jobs(key, "eu")
    daily_jobs(key, "us")
    JobMargin.objects.filter(region="us").update(status="Failed")

    assert today.of(organization, now=NOW).failure_rate == 50
    assert today.of(organization, now=NOW).failure_rate_before is None
    assert today.of(organization, now=NOW + timedelta(days=1)).failure_rate_before == 50
