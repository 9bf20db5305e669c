"""Alerts that fire: once a period, in the organization's own days, weeks and months, for whatever they look at."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
import time_machine
from django.db.models.functions import Now

from accounts import keys
from accounts.models import ApiKey, Organization, User
from tests.usage.conftest import item
from tests.usage.rows import daily_usage
from usage import alerts, firings, ingest, reports_in, spending, tasks
from usage.models import AlertMark, TriggeredAlert, UsageAlert, UsageDay

# A Thursday. What the database says it is does not matter here.
NOW = datetime(2026, 6, 18, 12, tzinfo=UTC)
TODAY = NOW.date()
Use = Callable[..., None]


@pytest.fixture(autouse=True)
def june() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def use(key: ApiKey) -> Use:
    """Add usage of a day to the totals, as ingest does."""

    numbers = count()

    def add(day: date, pages: int = 100, *, key: ApiKey = key, **fields: Any) -> None:
        sums = {"pages": pages, "credits": Decimal(pages), "cost": Decimal(pages) / 100}
        daily_usage(key, day, file_type=f"type {next(numbers)}", **(sums | fields))
        # By the clock of the database, which no test moves.
        UsageDay.objects.filter(organization_id=key.organization_id or 0, day=day).update(changed_at=Now())

    return add


@pytest.fixture
def alert(organization: Organization) -> Callable[..., UsageAlert]:
    """An alert at 100 pages a day; name what differs."""

    def make(**fields: Any) -> UsageAlert:
        rule = {"metric": "pages", "period": "daily", "thresholds": [Decimal(100)]} | fields
        [made] = alerts.create(organization=organization, actor=None, **rule)
        return made

    return make


def fired() -> list[tuple[date, Decimal]]:
    return list(TriggeredAlert.objects.order_by("period_start").values_list("period_start", "value"))


def test_an_alert_fires_at_its_threshold_and_not_below(alert: Callable[..., UsageAlert], use: Use) -> None:
    alert()
    use(TODAY, 99)
    assert firings.evaluate(now=NOW) == 0

    use(TODAY, 1)

    assert firings.evaluate(now=NOW) == 1
    assert fired() == [(TODAY, 100)]


def test_it_fires_once_a_period(alert: Callable[..., UsageAlert], use: Use) -> None:
    alert()
    use(TODAY)

    assert [firings.evaluate(now=NOW) for _ in range(3)] == [1, 0, 0]
    use(TODAY, 900)
    assert firings.evaluate(now=NOW) == 0
    assert firings.evaluate_all(now=NOW) == 0


def test_a_new_period_arms_it_again(alert: Callable[..., UsageAlert], use: Use) -> None:
    alert()
    use(TODAY)
    firings.evaluate(now=NOW)
    tomorrow = TODAY + timedelta(days=1)
    use(tomorrow, 150)

    assert firings.evaluate(now=NOW + timedelta(days=1)) == 1
    assert fired() == [(TODAY, 100), (tomorrow, 150)]


@pytest.mark.parametrize(("metric", "threshold"), [("pages", 100), ("credits", 200), ("cost", 3)])
def test_each_metric_is_counted(
    alert: Callable[..., UsageAlert], use: Use, metric: str, threshold: int
) -> None:
    alert(metric=metric, thresholds=[Decimal(threshold)])
    use(TODAY, 99, credits=Decimal("199.999999"), cost=Decimal("2.99"))
    assert firings.evaluate(now=NOW) == 0

    use(TODAY, 1, credits=Decimal("0.000001"), cost=Decimal("0.01"))

    assert firings.evaluate(now=NOW) == 1
    assert TriggeredAlert.objects.get().value == threshold


def test_a_week_begins_on_monday(alert: Callable[..., UsageAlert], use: Use) -> None:
    alert(period="weekly")
    monday = date(2026, 6, 15)
    use(monday - timedelta(days=1), 99)
    use(monday, 99)
    assert firings.evaluate(now=NOW) == 0

    use(TODAY, 1)

    assert firings.evaluate(now=NOW) == 1
    assert fired() == [(monday, 100)]


def test_a_month_has_its_own_days_only(alert: Callable[..., UsageAlert], use: Use) -> None:
    alert(period="monthly")
    for day in (date(2026, 5, 31), date(2026, 7, 1)):
        use(day)
    assert firings.evaluate(now=NOW) == 0

    use(date(2026, 6, 1), 40)
    use(date(2026, 6, 30), 60)

    assert firings.evaluate(now=NOW) == 1
    assert fired() == [(date(2026, 6, 1), 100)]


def test_february_has_its_leap_day(alert: Callable[..., UsageAlert], use: Use) -> None:
    alert(period="monthly")
    use(date(2028, 2, 29), 100)

    assert firings.evaluate(now=datetime(2028, 2, 29, 23, 59, tzinfo=UTC)) == 1
    assert fired() == [(date(2028, 2, 1), 100)]


def test_an_alert_of_a_key_counts_that_key_alone(
    organization: Organization, alert: Callable[..., UsageAlert], use: Use, key: ApiKey
) -> None:
    other, _ = keys.create_organization_key(organization=organization, name="other", actor=None)
    alert(api_key=key)
    use(TODAY, 99)
    use(TODAY, 500, key=other)
    assert firings.evaluate(now=NOW) == 0

    use(TODAY, 1)

    assert firings.evaluate(now=NOW) == 1
    assert TriggeredAlert.objects.values_list("value", "scope").get() == (100, key.uid)


def test_an_alert_of_a_product_counts_that_product_alone(alert: Callable[..., UsageAlert], use: Use) -> None:
    alert(product="extract")
    use(TODAY, 500)
    assert firings.evaluate(now=NOW) == 0

    use(TODAY, 100, product="extract")

    assert firings.evaluate(now=NOW) == 1
    assert TriggeredAlert.objects.values_list("value", "scope").get() == (100, "extract")


def test_other_organizations_do_not_count(
    alert: Callable[..., UsageAlert], use: Use, other_organization: Organization
) -> None:
    foreign, _ = keys.create_organization_key(organization=other_organization, name="x", actor=None)
    alert()
    alert(product="parse")
    use(TODAY, key=foreign)

    assert firings.evaluate(now=NOW) == 0


def test_one_that_is_off_does_not_fire_until_it_is_on(alert: Callable[..., UsageAlert], use: Use) -> None:
    made = alert(is_enabled=False)
    use(TODAY)
    assert firings.evaluate(now=NOW) == 0

    alerts.update(alert=made, changes={"is_enabled": True}, actor=None)

    assert fired() == [(TODAY, 100)]


def test_a_deleted_organization_has_none(
    alert: Callable[..., UsageAlert], use: Use, organization: Organization
) -> None:
    alert()
    Organization.objects.update(deleted_at=NOW)
    use(TODAY)

    assert firings.evaluate(now=NOW) == 0


# ── Late records ─────────────────────────────────────────────────────────────────────────────────────────────


def made_before(made: UsageAlert, days: int) -> None:
    UsageAlert.objects.filter(pk=made.pk).update(in_force_from=TODAY - timedelta(days=days))


def test_late_usage_fires_for_the_period_it_belongs_to(alert: Callable[..., UsageAlert], use: Use) -> None:
    made_before(alert(), 10)
    made_before(alert(period="weekly"), 10)
    firings.evaluate(now=NOW)
    yesterday = TODAY - timedelta(days=1)

    use(yesterday)

    assert firings.evaluate(now=NOW) == 2
    assert fired() == [(date(2026, 6, 15), 100), (yesterday, 100)]


def test_late_usage_fires_for_last_week_and_last_month(alert: Callable[..., UsageAlert], use: Use) -> None:
    made_before(alert(period="weekly"), 40)
    made_before(alert(period="monthly"), 40)
    firings.evaluate(now=NOW)

    use(date(2026, 6, 14))
    use(date(2026, 5, 31))

    assert firings.evaluate(now=NOW) == 4
    assert [start.isoformat() for start, _ in fired()] == [
        "2026-05-01",
        "2026-05-25",
        "2026-06-01",
        "2026-06-08",
    ]


def test_usage_that_is_very_late_fires_for_its_period_too(alert: Callable[..., UsageAlert], use: Use) -> None:
    made_before(alert(), 400)
    made_before(alert(period="monthly"), 400)
    firings.evaluate(now=NOW)

    use(date(2025, 12, 31))

    assert firings.evaluate(now=NOW) == 2
    assert fired() == [(date(2025, 12, 1), 100), (date(2025, 12, 31), 100)]


def test_days_that_nobody_looked_at_fire_when_somebody_does_again(
    alert: Callable[..., UsageAlert], use: Use
) -> None:
    made_before(alert(), 10)
    firings.evaluate(now=NOW)
    for days in range(3):
        use(TODAY + timedelta(days=days))

    assert firings.evaluate(now=NOW + timedelta(days=5)) == 3


@pytest.mark.parametrize(
    "changes", [{"threshold": Decimal(50)}, {"product": "parse"}, {"is_enabled": True}], ids=str
)
def test_a_changed_alert_tells_nothing_of_what_was_over_before(
    alert: Callable[..., UsageAlert], use: Use, changes: dict[str, Any]
) -> None:
    made = alert(is_enabled="is_enabled" not in changes)
    made_before(made, 10)
    firings.evaluate(now=NOW)
    alerts.update(alert=made, changes=changes, actor=None)

    use(TODAY - timedelta(days=1))

    assert firings.evaluate(now=NOW) == 0


def test_a_new_name_changes_nothing_of_what_an_alert_tells(
    alert: Callable[..., UsageAlert], use: Use
) -> None:
    made = alert()
    made_before(made, 10)
    firings.evaluate(now=NOW)
    alerts.update(alert=made, changes={"name": "pilot"}, actor=None)

    use(TODAY - timedelta(days=1))

    assert firings.evaluate(now=NOW) == 1


def test_nobody_is_told_of_a_period_that_was_over_when_the_alert_was_made(
    alert: Callable[..., UsageAlert], use: Use
) -> None:
    alert()
    firings.evaluate(now=NOW)

    use(TODAY - timedelta(days=1))

    assert firings.evaluate(now=NOW) == 0


def test_usage_reported_ahead_of_midnight_fires_after_it(alert: Callable[..., UsageAlert], use: Use) -> None:
    alert()
    evening, tomorrow = datetime(2026, 6, 18, 23, 58, tzinfo=UTC), TODAY + timedelta(days=1)
    use(tomorrow)
    assert firings.evaluate(now=evening) == 0

    assert firings.evaluate(now=evening + timedelta(minutes=4)) == 1
    assert fired() == [(tomorrow, 100)]


# ── Time zones ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("zone", "now", "day"),
    [
        ("Pacific/Auckland", "2026-06-18T12:00:00+00:00", "2026-06-19"),
        ("America/New_York", "2026-06-18T03:59:00+00:00", "2026-06-17"),
        # The hour that is skipped, and the one that comes twice.
        ("Europe/Berlin", "2026-03-28T23:00:00+00:00", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T22:00:00+00:00", "2026-03-30"),
        ("Europe/Berlin", "2026-10-25T22:59:00+00:00", "2026-10-25"),
        ("America/Santiago", "2026-09-06T04:00:00+00:00", "2026-09-06"),  # begins at 1 in the morning
    ],
)
def test_days_are_the_organizations(
    alert: Callable[..., UsageAlert], use: Use, zone: str, now: str, day: str
) -> None:
    moment = datetime.fromisoformat(now)
    alert()
    UsageAlert.objects.update(in_force_from=date.fromisoformat(day))
    Organization.objects.update(time_zone=zone)
    use(date.fromisoformat(day))

    firings.evaluate(now=moment)

    assert fired() == [(date.fromisoformat(day), 100)]


def test_a_new_zone_counts_from_its_moment_on(alert: Callable[..., UsageAlert], use: Use) -> None:
    takes_over = datetime(2026, 6, 18, 15, tzinfo=UTC)
    Organization.objects.update(next_time_zone="Asia/Tokyo", next_time_zone_at=takes_over)
    alert()
    tomorrow = TODAY + timedelta(days=1)
    use(TODAY)
    use(tomorrow)

    firings.evaluate(now=takes_over - timedelta(seconds=1))
    assert fired() == [(TODAY, 100)]

    firings.evaluate(now=takes_over)
    assert fired() == [(TODAY, 100), (tomorrow, 100)]


# ── Changes of the rule ──────────────────────────────────────────────────────────────────────────────────────


def test_a_new_alert_fires_for_what_its_period_has_used_already(
    alert: Callable[..., UsageAlert], use: Use
) -> None:
    use(TODAY, 120)

    alert()

    assert fired() == [(TODAY, 120)]


def test_a_raised_threshold_can_be_reached_in_the_same_period(
    alert: Callable[..., UsageAlert], use: Use
) -> None:
    made = alert()
    use(TODAY)
    firings.evaluate(now=NOW)
    alerts.update(alert=made, changes={"threshold": Decimal(150)}, actor=None)
    assert TriggeredAlert.objects.count() == 1

    use(TODAY, 60)

    assert firings.evaluate(now=NOW) == 1
    assert TriggeredAlert.objects.order_by("-id").values_list("threshold", "value")[0] == (150, 160)


def test_a_threshold_set_back_does_not_fire_again(alert: Callable[..., UsageAlert], use: Use) -> None:
    made = alert()
    use(TODAY)
    firings.evaluate(now=NOW)

    for threshold in (150, 100):
        alerts.update(alert=made, changes={"threshold": Decimal(threshold)}, actor=None)

    assert TriggeredAlert.objects.count() == 1


# ── What is looked at ────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_through_the_gateway_fires(
    rates: None, alert: Callable[..., UsageAlert], job: Callable[..., dict[str, Any]]
) -> None:
    alert(thresholds=[Decimal(3)])
    firings.evaluate(now=NOW)
    at = NOW.isoformat()
    body = {"jobs": [job("job-1", created_at=at, usage=[item("job-1:1", timestamp=at)])]}

    ingest.ingest(reports_in.read_json(reports_in.encode(body)), now=NOW)

    assert firings.evaluate(now=NOW) == 1


def test_unchanged_days_are_not_looked_at_again_but_by_the_sweep(
    alert: Callable[..., UsageAlert], use: Use
) -> None:
    alert()
    firings.evaluate(now=NOW)
    use(TODAY)
    UsageDay.objects.update(changed_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert firings.evaluate(now=NOW) == 0

    assert firings.evaluate_all(now=NOW) == 1


def test_a_clock_that_is_put_back_hides_nothing(alert: Callable[..., UsageAlert], use: Use) -> None:
    alert()
    firings.evaluate(now=NOW)
    AlertMark.objects.update(looked_until=datetime(2199, 1, 1, tzinfo=UTC))

    use(TODAY)

    assert firings.evaluate(now=NOW) == 1


def test_caps_are_settled_though_alerts_cannot_be_looked_at(
    organization: Organization, key: ApiKey, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    spending.set_cap(organization=organization, amount=Decimal(1), actor=None)
    firings.evaluate(now=NOW)
    use(TODAY, cost=Decimal(1))

    def stumble(*_: Any, **__: Any) -> int:
        raise ValueError("no answer")

    monkeypatch.setattr(firings, "_fire", stumble)

    with pytest.raises(ValueError, match="no answer"):
        firings.evaluate(now=NOW)
    assert spending.cap_of(organization, now=NOW).is_reached


def test_what_fired_is_told_though_no_more_can_be_looked_at(
    alert: Callable[..., UsageAlert], use: Use, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(TODAY)
    alert()

    def stumble() -> int:
        raise ValueError("no answer")

    monkeypatch.setattr(firings, "evaluate", stumble)

    with pytest.raises(ValueError, match="no answer"):
        tasks.evaluate_alerts()
    assert TriggeredAlert.objects.get().told_at is not None


def test_questions_do_not_grow_with_alerts(
    organization: Organization,
    owner: User,
    alert: Callable[..., UsageAlert],
    use: Use,
    django_assert_num_queries: Callable[[int], Any],
) -> None:
    firings.evaluate(now=NOW)
    alerts.create(
        organization=organization,
        metric="pages",
        period="daily",
        thresholds=[Decimal(number) for number in range(1, 50)],
        actor=None,
    )
    use(TODAY)

    with django_assert_num_queries(5):
        assert firings.evaluate(now=NOW) == 49
