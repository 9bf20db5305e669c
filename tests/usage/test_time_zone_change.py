"""Reports are counted in the day of the zone in force when they arrive; what was counted stays where it is."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from accounts import organizations
from accounts.models import ApiKey, Organization
from tests.usage.conftest import item
from usage import ingest, reports_in
from usage.models import DailyJobs, UsageDay

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TAKES_OVER = datetime(2026, 11, 20, 15, tzinfo=UTC)


@pytest.fixture
def report(job: Callable[..., dict[str, Any]], rates: None) -> Callable[[str, datetime], None]:
    """Report a job of this moment, at this moment."""

    def report(job_id: str, now: datetime) -> None:
        at = now.isoformat()
        body = reports_in.encode(
            {"jobs": [job(job_id, created_at=at, usage=[item(f"{job_id}:1", timestamp=at)])]}
        )
        assert ingest.ingest(reports_in.read_json(body), now=now).accepted == 1

    return report


def days() -> dict[date, int]:
    return dict(UsageDay.objects.values_list("day", "requests"))


@pytest.mark.parametrize("is_settled", [False, True])
def test_the_day_changes_at_the_instant_settled_or_not(
    report: Callable[[str, datetime], None],
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    is_settled: bool,
) -> None:
    organizations.update(organization=organization, changes={"time_zone": "Asia/Tokyo"}, actor=None, now=NOON)
    report("before", TAKES_OVER - timedelta(microseconds=1))
    if is_settled:
        organizations.settle_time_zones(now=TAKES_OVER)

    report("after", TAKES_OVER)

    assert days() == {date(2026, 11, 20): 1, date(2026, 11, 21): 1}
    assert set(DailyJobs.objects.values_list("day", flat=True)) == {date(2026, 11, 20), date(2026, 11, 21)}
