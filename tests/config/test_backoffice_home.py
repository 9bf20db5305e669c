"""The overview of the back office: numbers beside the same weekday, what needs attention, and who sees what."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import organizations
from accounts.models import ApiKey, Notification, Organization, Run, User
from billing.models import BillingAccount, Invoice, MeterDrift, MeterReport
from config import health, staff_groups, task_runs, waiting
from config.backoffice import home
from config.backoffice.home import Tile, Trouble
from tests.conftest import colleague, sign_in_verified
from tests.usage.rows import daily_usage
from usage import today, totals
from usage.models import DailyJobs, Entitlement, JobMargin, UsageRecord, UsageTotal
from webhooks.models import Endpoint, OutboxMessage

NOW = datetime(2026, 6, 18, 16, 40, tzinfo=UTC)  # a Thursday
TODAY, LAST_WEEK = NOW.date(), NOW.date() - timedelta(days=7)
Shown = dict[str, Any]


@pytest.fixture(autouse=True)
def migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", True)


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def shown(staff: User) -> Callable[..., Shown]:
    """What the page says to somebody, of everything as it is now."""

    def show(user: User = staff, now: datetime = NOW) -> Shown:
        cache.delete(home._KEY)
        request = RequestFactory().get("/admin/")
        request.user = User.objects.get(pk=user.pk)
        return home.context(request, now=now)

    return show


def tile(shown: Shown, label: str) -> Tile:
    [found] = [each for each in (*shown["tiles"], *shown["counts"]) if each.label == label]
    assert isinstance(found, Tile)
    return found


def trouble(shown: Shown, title: str) -> Trouble | None:
    return next((each for each in shown["troubles"] if each.title.startswith(title)), None)


def jobs(organization: Organization, day: date, status: str, count: int) -> None:
    JobMargin.objects.create(
        organization_id=organization.pk,
        day=day,
        region="eu",
        status=status,
        jobs=count,
        durations=[0] * (len(DailyJobs.DURATION_BUCKETS) + 1),
    )


def all_alive(now: datetime) -> None:
    """Every process and task as it is while all is well."""
    for name in (task_runs.BEAT, task_runs.DELIVER):
        Run.objects.create(name=name, started_at=now - timedelta(days=1), seen_at=now)
    for task in task_runs.TASKS:
        Run.objects.create(name=task, started_at=now, ended_at=now)


# ── Today ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_day_adds_up_all_organizations(
    key: ApiKey, other_organization: Organization, shown: Callable[..., Shown]
) -> None:
    other = ApiKey(pk=key.pk + 1, organization=other_organization)
    daily_usage(key, TODAY, requests=1_200, pages=3_000, credits=Decimal(3_500), cost=Decimal("35.5"))
    daily_usage(other, TODAY, requests=34, pages=50, credits=Decimal(60), cost=Decimal("0.6"))

    totals.count(now=NOW)

    found = shown()
    values = {each.label: each.value for each in found["tiles"]}
    assert values == {
        "Requests": "1,234",
        "Pages": "3,050",
        "Credits": "3,560",
        "List cost of usage": "$36.10",
        "Active organizations": "2",
        "Failed jobs": "0",
    }


def test_today_is_compared_with_the_same_weekday_as_it_then_was(
    key: ApiKey, shown: Callable[..., Shown]
) -> None:
    daily_usage(key, LAST_WEEK, requests=100)
    totals.count(now=NOW - timedelta(days=7))
    daily_usage(key, LAST_WEEK, requests=900, product="extract")  # later that day
    daily_usage(key, TODAY, requests=150)
    totals.recount(now=NOW)

    found = shown()

    assert tile(found, "Requests").note == "100 before (+50\N{NO-BREAK SPACE}%)"
    assert found["compared_with"] == "Thursday 11 June, as it was at 16:40 UTC"


def test_where_nobody_counted_then_it_is_compared_with_the_whole_day_and_says_so(
    key: ApiKey, shown: Callable[..., Shown]
) -> None:
    daily_usage(key, LAST_WEEK, requests=1_000)
    daily_usage(key, TODAY, requests=150)
    totals.recount(now=NOW)

    found = shown()

    assert tile(found, "Requests").note == "1,000 before"
    assert found["compared_with"] == "all of Thursday 11 June, as nobody counted then"


def test_without_a_week_of_usage_nothing_is_compared(key: ApiKey, shown: Callable[..., Shown]) -> None:
    daily_usage(key, TODAY)
    totals.count(now=NOW)

    found = shown()

    assert (tile(found, "Requests").note, found["compared_with"]) == ("", "")


def test_failed_jobs_are_told_with_their_share(
    organization: Organization, shown: Callable[..., Shown]
) -> None:
    jobs(organization, TODAY, "Completed", 60)
    jobs(organization, TODAY, "Failed", 40)
    jobs(organization, LAST_WEEK, "Completed", 99)
    jobs(organization, LAST_WEEK, "Failed", 1)
    totals.recount(now=NOW)

    found = shown()

    assert tile(found, "Failed jobs").value == "40"
    assert (
        tile(found, "Failed jobs").note == "40\N{NO-BREAK SPACE}% of 100 jobs · 1.0\N{NO-BREAK SPACE}% before"
    )
    assert tile(found, "Failed jobs").is_bad
    assert trouble(found, "40\N{NO-BREAK SPACE}% of today's jobs failed")


def test_a_usual_share_of_failures_is_no_trouble(
    organization: Organization, shown: Callable[..., Shown]
) -> None:
    for day in (TODAY, LAST_WEEK):
        jobs(organization, day, "Completed", 90)
        jobs(organization, day, "Failed", 30)
    totals.recount(now=NOW)

    assert not tile(shown(), "Failed jobs").is_bad


# ── Counting ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_counting_again_replaces_a_reading_of_the_same_few_minutes(key: ApiKey) -> None:
    daily_usage(key, TODAY)
    totals.recount(now=NOW)
    daily_usage(key, TODAY, product="extract")

    totals.count(now=NOW + timedelta(minutes=1))

    [reading] = UsageTotal.objects.filter(day=TODAY)
    assert (reading.requests, reading.counted_at) == (2, NOW + timedelta(minutes=1))


def test_what_comes_late_is_counted_when_all_is_counted_again(key: ApiKey) -> None:
    daily_usage(key, TODAY - timedelta(days=20))
    totals.recount(now=NOW)
    daily_usage(key, TODAY - timedelta(days=20), product="extract")

    totals.recount(now=NOW + timedelta(hours=1))

    day = TODAY - timedelta(days=20)
    assert totals.of_days(start=day, end=day)[day].requests == 2
    assert UsageTotal.objects.filter(day=day).count() == 1


def test_a_reading_from_before_the_clock_was_put_back_hides_no_newer_one(key: ApiKey) -> None:
    daily_usage(key, TODAY)
    totals.count(now=NOW + timedelta(hours=1))
    UsageTotal.objects.update(requests=99)
    totals.count(now=NOW)

    assert totals.of_days(start=TODAY, end=TODAY, now=NOW)[TODAY].requests == 1


def test_readings_of_a_day_are_kept_until_the_same_weekday_is_over(key: ApiKey) -> None:
    daily_usage(key, TODAY)
    for minutes in range(0, 60, 5):
        totals.count(now=NOW + timedelta(minutes=minutes))

    totals.recount(now=NOW + timedelta(days=7))
    kept = UsageTotal.objects.filter(day=TODAY).count()
    totals.recount(now=NOW + timedelta(days=10))

    assert kept == 13  # with the one of the recount
    assert UsageTotal.objects.filter(day=TODAY).count() == 1


def weekly(key: ApiKey, day: date, credits: int) -> None:
    """As much on each of the four same weekdays before a day."""
    for weeks in range(1, 5):
        daily_usage(key, day - timedelta(weeks=weeks), credits=Decimal(credits))


def test_movers_are_told_as_their_own_pages_tell_it(
    key: ApiKey, other_organization: Organization, shown: Callable[..., Shown]
) -> None:
    other = ApiKey(pk=key.pk + 1, organization=other_organization)
    weekly(key, TODAY, 300)
    weekly(other, TODAY, 300)
    daily_usage(key, TODAY, credits=Decimal(500))
    daily_usage(other, TODAY, credits=Decimal(20))

    totals.recount(now=NOW)  # two thirds of the day are over

    [(_, up), (_, down)] = shown()["movers"]["lists"]
    assert [(each.name, each.used, each.usual) for each in up] == [("Northwind", "500", "208")]
    assert [(each.name, each.used, each.usual) for each in down] == [("Contoso", "20", "208")]
    for moved, organization in ((up, key.organization), (down, other_organization)):
        assert organization
        [figure] = [each for each in today.of(organization, now=NOW).figures if each.name == "credits"]
        assert moved[0].change.replace("−", "-") == f"{figure.change:+}\N{NO-BREAK SPACE}%"


def test_a_quiet_weekday_is_compared_with_its_like(key: ApiKey, shown: Callable[..., Shown]) -> None:
    for days in range(1, 29):
        busy = days % 7 != 0  # all weekdays but today's
        daily_usage(key, TODAY - timedelta(days=days), credits=Decimal(1_000 if busy else 10))
    daily_usage(key, TODAY, credits=Decimal(20))

    totals.recount(now=NOW)

    [(_, up), (_, down)] = shown()["movers"]["lists"]
    assert ([each.name for each in up], down) == (["Northwind"], [])


def test_where_today_has_just_begun_yesterday_is_compared(key: ApiKey, shown: Callable[..., Shown]) -> None:
    early = NOW.replace(hour=1)
    weekly(key, TODAY - timedelta(days=1), 100)
    daily_usage(key, TODAY - timedelta(days=1), credits=Decimal(150))

    totals.recount(now=early)

    [(_, [moved]), (_, down)] = shown(now=early)["movers"]["lists"]
    assert (moved.used, moved.usual, moved.change) == ("150", "100", "+50\N{NO-BREAK SPACE}%")
    assert moved.is_yesterday
    assert down == []


def test_nobody_moves_who_has_no_usual_day(key: ApiKey, shown: Callable[..., Shown]) -> None:
    daily_usage(key, TODAY, credits=Decimal(900))

    totals.recount(now=NOW)

    assert [moved for _, moved in shown()["movers"]["lists"]] == [[], []]


def test_the_scale_of_revenue_is_in_dollars(shown: Callable[..., Shown]) -> None:
    [revenue] = [each.chart for each in shown()["charts"] if each.id == "revenue"]

    assert [tick.label[0] for tick in revenue.ticks] == ["$"] * len(revenue.ticks)


# ── Money and customers ──────────────────────────────────────────────────────────────────────────────────────
def test_what_was_paid_in_thirty_days_stands_beside_the_thirty_before(
    organization: Organization, shown: Callable[..., Shown]
) -> None:
    for number, (days, amount) in enumerate([(0, 10), (29, 20), (30, 5), (59, 4), (60, 1_000)]):
        Invoice.objects.create(
            organization=organization,
            stripe_id=f"in_{number}",
            status="paid",
            total=Decimal(amount),
            amount_due=Decimal(0),
            amount_paid=Decimal(amount),
            created_at=NOW,
            paid_at=NOW - timedelta(days=days),
        )

    paid = tile(shown(), "Paid in 30 days")

    assert (paid.value, paid.note) == ("$30.00", "$9.00 in the 30 before · through Stripe")


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"may_call": False}, "Suspended"),
        ({"credits_ceiling": 5, "credits_used": 5, "overage_allowed": False}, "Out of credits"),
        ({"spend_cap_reached_until": NOW + timedelta(days=1)}, "At their cap"),
    ],
)
def test_who_cannot_call_is_counted_by_why_and_listed(
    back_office: Client,
    organization: Organization,
    other_organization: Organization,
    shown: Callable[..., Shown],
    fields: Shown,
    label: str,
) -> None:
    Entitlement.objects.update(credits_ceiling=None, may_call=True, spend_cap_reached_until=None)
    before = tile(shown(), label).value
    Entitlement.objects.filter(pk=organization.pk).update(**fields)

    found = tile(shown(), label)

    assert (before, found.value) == ("0", "1")
    if label != "At their cap":  # which ends by the clock
        listed = back_office.get(found.url).context["cl"].result_list
        assert [each.organization for each in listed] == [organization]


def test_who_is_past_due_is_told_with_since_when(
    organization: Organization, shown: Callable[..., Shown]
) -> None:
    since = NOW - timedelta(days=2)
    BillingAccount.objects.update(subscription_status="past_due", past_due_since=since)

    found = shown()

    assert tile(found, "Past due").value == "1"
    problem = trouble(found, "1 organization past due")
    assert problem and problem.since == since


# ── What needs attention ─────────────────────────────────────────────────────────────────────────────────────
def test_when_all_is_well_the_page_says_so(back_office: Client, staff: User) -> None:
    all_alive(timezone.now())
    Notification.objects.all().delete()

    assert "All is well" in back_office.get("/admin/").content.decode()


def test_each_process_that_is_silent_is_told(shown: Callable[..., Shown], db: None) -> None:
    all_alive(NOW)
    Run.objects.filter(name__in=["beat", "deliver"]).update(seen_at=NOW - timedelta(minutes=5))

    found = shown()

    for name in ("Beat", "Deliver"):
        problem = trouble(found, f"{name} gives no sign of life")
        assert problem and problem.since == NOW - timedelta(minutes=5)


def test_that_no_worker_takes_up_tasks_is_told_once_and_not_for_each_task(
    shown: Callable[..., Shown], db: None
) -> None:
    all_alive(NOW)
    Run.objects.filter(name__contains=".").update(started_at=NOW - timedelta(hours=2))

    found = shown()

    assert trouble(found, "No worker takes up tasks")
    assert not [each for each in found["troubles"] if "overdue" in each.title]


def test_a_task_that_fails_or_is_overdue_is_told(shown: Callable[..., Shown], db: None) -> None:
    all_alive(NOW)
    Run.objects.filter(name="usage.tasks.fold_margins").update(
        problem="ValueError: no", failing_since=NOW - timedelta(hours=3)
    )
    Run.objects.filter(name="usage.tasks.settle_budgets").update(started_at=NOW - timedelta(hours=1))

    found = shown()

    failing = trouble(found, "Fold margins fails")
    assert failing and (failing.advice, failing.since) == ("ValueError: no", NOW - timedelta(hours=3))
    assert trouble(found, "Settle budgets is overdue")


def test_migrations_that_are_missing_are_told(
    shown: Callable[..., Shown], db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "missing_migrations", lambda: 2)

    assert trouble(shown(), "2 migrations are not applied")


def test_an_outbox_that_is_not_handed_over_is_told_with_since_when(
    organization: Organization, shown: Callable[..., Shown]
) -> None:
    for minutes in (3, 10):
        OutboxMessage.objects.create(
            organization=organization,
            event_type="job.completed",
            payload="{}",
            created_at=NOW - timedelta(minutes=minutes),
        )

    problem = trouble(shown(), "Webhook messages to hand over")

    # The first that was written stands for its organization, whatever its clock said.
    assert problem and problem.since == NOW - timedelta(minutes=3)


def test_the_oldest_message_of_all_organizations_counts(
    organization: Organization, other_organization: Organization
) -> None:
    for each, minutes in ((organization, 3), (other_organization, 10)):
        OutboxMessage.objects.create(
            organization=each,
            event_type="job.completed",
            payload="{}",
            created_at=NOW - timedelta(minutes=minutes),
        )

    found = {age.queue.name: age for age in waiting.ages(now=NOW)}

    assert found["outbox"].age == timedelta(minutes=10)
    assert found["outbox"].is_old


def test_endpoints_that_fail_or_were_switched_off_are_told(
    organization: Organization, shown: Callable[..., Shown]
) -> None:
    Endpoint.objects.create(organization=organization, url="https://a.example", failing_since=NOW)
    Endpoint.objects.create(
        organization=organization,
        url="https://b.example",
        disabled=True,
        disabled_at=NOW,
        disabled_reason="It failed for five days.",
    )
    Endpoint.objects.create(organization=organization, url="https://c.example", disabled=True)

    found = shown()

    assert tile(found, "Failing endpoints").value == "1"
    assert (tile(found, "Disabled endpoints").value, tile(found, "Disabled endpoints").is_bad) == ("2", True)
    assert trouble(found, "1 endpoint failing")
    assert trouble(found, "1 endpoint switched off since yesterday")


def test_drifts_and_refused_reports_are_told(organization: Organization, shown: Callable[..., Shown]) -> None:
    MeterDrift.objects.create(
        organization=organization, period_start=NOW, period_end=NOW, reported=5, counted=4, found_at=NOW
    )
    MeterReport.objects.create(
        organization=organization,
        hour=NOW,
        sequence=0,
        quantity=5,
        identifier="cr:1",
        period_start=NOW,
        timestamp=NOW,
        state=MeterReport.State.REFUSED,
    )

    found = shown()

    assert trouble(found, "Stripe's meter differs for 1 organization")
    assert trouble(found, "Stripe refused 1 meter report")


@pytest.mark.parametrize(("hours", "is_trouble"), [(1, True), (30, False)])
def test_usage_without_a_rate_is_counted_and_told_while_it_is_new(
    key: ApiKey,
    post_jobs: Callable[..., Shown],
    job: Callable[..., Shown],
    shown: Callable[..., Shown],
    hours: int,
    is_trouble: bool,
) -> None:
    report = job("job-1")
    report["usage"][0]["feature"] = "deep"
    post_jobs(report)
    [record] = UsageRecord.objects.filter(unrated=True)

    found = shown(now=record.timestamp + timedelta(hours=hours))

    assert tile(found, "Unrated usage").value == "1"
    assert bool(trouble(found, "Usage came in without a rate")) == is_trouble


# ── Who sees what ────────────────────────────────────────────────────────────────────────────────────────────
def test_numbers_of_the_webhooks_are_all_that_those_who_see_only_them_are_shown(
    db: None, shown: Callable[..., Shown]
) -> None:
    wanda = colleague("Wanda")
    wanda.user_permissions.set(Permission.objects.filter(codename__in=["view_endpoint", "view_message"]))

    found = shown(wanda)

    assert [each.label for each in found["counts"]] == ["Failing endpoints", "Disabled endpoints"]
    assert [age.queue.name for age in found["ages"]] == ["deliveries"]
    assert (found["tiles"], found["charts"], found["troubles"]) == ([], [], [])


def test_every_group_of_the_staff_sees_how_customers_are(db: None, shown: Callable[..., Shown]) -> None:
    found = shown(colleague("Sam", staff_groups.SUPPORT))

    assert len(found["ages"]) == len(waiting.QUEUES)
    assert len(found["charts"]) == 4


@pytest.mark.parametrize(("group", "is_told"), [(staff_groups.SUPPORT, False), (staff_groups.ENGINEER, True)])
def test_who_may_see_the_system_is_told_what_is_wrong_with_it(
    db: None, shown: Callable[..., Shown], group: str, is_told: bool
) -> None:
    found = shown(colleague("Sam", group))

    assert bool(trouble(found, "No worker")) == is_told


def test_nobody_sees_numbers_of_tables_that_they_may_not_see(db: None, shown: Callable[..., Shown]) -> None:
    found = shown(colleague("Nora"))

    for part in ("troubles", "tiles", "counts", "ages", "charts", "newest"):
        assert not found[part]
    assert found["movers"] is None


def test_who_may_see_nothing_is_told_whom_to_ask(db: None) -> None:
    client = Client()
    sign_in_verified(client, colleague("Nora"))

    assert "Ask a superuser" in client.get("/admin/").content.decode()


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_each_number_leads_to_a_list_that_answers(back_office: Client, shown: Callable[..., Shown]) -> None:
    found = shown()

    for each in (*found["tiles"], *found["counts"]):
        assert back_office.get(each.url).status_code == 200, each
    for queue in waiting.QUEUES:
        assert not queue.url or back_office.get(reverse(queue.url)).status_code == 200


def test_charts_have_a_table_of_the_same(key: ApiKey, back_office: Client) -> None:
    daily_usage(key, timezone.now().date(), requests=1_234)
    totals.count()

    page = back_office.get("/admin/").content.decode()

    for title in ("Requests", "Credits", "Failed jobs", "Revenue of 14 days"):
        assert f'aria-label="{title}, one by one"' in page
    assert page.count("The same as a table") == 4
    assert '<td class="number">1,234</td>' in page


def test_what_was_just_asked_is_not_asked_again(back_office: Client) -> None:
    back_office.get("/admin/")

    with CaptureQueriesContext(
        connection,
    ) as queries:
        page = back_office.get("/admin/").content.decode()

    assert not [query for query in queries if "usage_usagetotal" in query["sql"]]
    assert "As of" in page


def test_the_page_costs_the_same_however_many_organizations_there_are(
    key: ApiKey, owner: User, back_office: Client
) -> None:
    def questions() -> int:
        totals.recount()
        cache.delete(home._KEY)
        with CaptureQueriesContext(connection) as queries:
            back_office.get("/admin/")
        return len(queries)

    daily_usage(key, timezone.now().date())
    questions()
    few = questions()
    for number in range(8):
        organization = organizations.create(name=f"Number {number}", owner=owner)
        daily_usage(ApiKey(pk=key.pk + 1 + number, organization=organization), timezone.now().date())

    assert questions() == few
