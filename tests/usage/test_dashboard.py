"""The usage page."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts import keys, prepared
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from tests.usage.rows import NOON, daily_jobs, daily_usage, job_row
from usage import reports
from usage.models import DailyJobs, JobMargin
from usage.views.dashboard import LABELS


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def page(client: Client, viewer: User) -> Client:
    client.force_login(viewer)
    return client


def url(organization: Organization) -> str:
    return f"/o/{organization.uid}/usage/"


def shown(page: Client, organization: Organization, **query: Any) -> Any:
    response = page.get(url(organization), query)
    assert response.status_code == 200
    return response.context


def chart(context: Any, name: str) -> Any:
    drawn = [*context["usage_charts"], *context["small_charts"]]
    return next(chart for id, _, chart in drawn if id == name)


def test_tiles_add_up_the_period(page: Client, organization: Organization, key: ApiKey) -> None:
    today = reports.today(organization)
    daily_usage(key, today, requests=2, pages=5, credits="7.5", cost="0.075")
    daily_usage(key, today - timedelta(days=29), requests=1, pages=1, credits=1, cost="0.01")
    daily_usage(key, today - timedelta(days=30), requests=100)

    totals = shown(page, organization)["found"].totals

    assert (totals.requests, totals.pages, float(totals.credits), float(totals.cost)) == (3, 6, 8.5, 0.085)


@pytest.mark.parametrize(("asked", "days"), [("7", 7), ("10", 10), ("30", 30), ("", 30)])
def test_periods_are_seven_ten_and_thirty_days(
    page: Client, organization: Organization, key: ApiKey, asked: str, days: int
) -> None:
    daily_usage(key, reports.today(organization))

    context = shown(page, organization, period=asked)

    assert context["asked"].period.days == days
    assert chart(context, "requests").width == days


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"period": "365"}, "period"),
        ({"period": "x\0"}, "period"),
        ({"period": "range"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "0001-01-01"}, "from"),
        ({"from": "2026-06-18", "to": "2026-06-17"}, "from"),
        ({"from": "2026-06-18", "to": "tomorrow"}, "to"),
        ({"from": "2000-01-01", "to": "2020-01-01"}, "to"),
        ({"from": "2020-01-01", "to": "2022-01-01", "by": "day"}, "by"),
        ({"period": "7", "by": "hour"}, "by"),
        ({"by": "minute"}, "by"),
        ({"group": "customer"}, "group"),
        ({"api_key": "key_nobody"}, "api_key"),
        ({"api_key": "\0"}, "api_key"),
        ({"environment": "moon"}, "environment"),
        ({"product": "Ｐarse"}, "product"),
        ({"file_type": "x" * 5000}, "file_type"),
        ({"region": "\0"}, "region"),
    ],
)
def test_senseless_parameters_are_named_and_left_out(
    page: Client, organization: Organization, key: ApiKey, query: dict[str, str], field: str
) -> None:
    daily_usage(key, reports.today(organization))

    response = page.get(url(organization), query)

    assert response.status_code == 400
    assert response.context["problem"].startswith(f"{LABELS[field]}: ")


def test_days_stay_typed_to_be_put_right(page: Client, organization: Organization, key: ApiKey) -> None:
    daily_usage(key, reports.today(organization))

    response = page.get(url(organization), {"period": "range", "from": "2026-11-20", "to": "2026-11-01"})

    html = " ".join(response.content.decode().split())
    assert "From: 2026-11-20 is after 2026-11-01." in html
    assert '<option value="range" selected>' in html
    assert 'name="from" value="2026-11-20"' in html
    assert 'name="to" value="2026-11-01"' in html


def test_the_rest_of_what_is_asked_for_is_shown(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    daily_usage(key, reports.today(organization), file_type="pdf", requests=5)
    daily_usage(key, reports.today(organization), file_type="docx", requests=3)

    context = page.get(url(organization), {"period": "7", "by": "hour", "file_type": "docx"}).context

    assert context["problem"] == "Steps: By the hour, at most 2 days can be shown; these are 7."
    assert (context["asked"].period.days, context["asked"].period.by) == (7, "day")
    assert context["found"].totals.requests == 3


def test_parameters_of_others_are_passed_over(page: Client, organization: Organization, key: ApiKey) -> None:
    daily_usage(key, reports.today(organization))

    assert not shown(page, organization, utm_campaign="x" * 200, gclid="\0")["problem"]


def test_what_the_page_itself_asks_for_is_answered_also_when_it_is_refused(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    daily_usage(key, reports.today(organization))

    response = page.get(url(organization), {"period": "range"}, headers={"HX-Request": "true"})

    assert response.status_code == 200
    assert "From: Use a day in the form yyyy-mm-dd" in response.content.decode()


def test_one_key_can_be_looked_at(page: Client, organization: Organization, key: ApiKey, owner: User) -> None:
    second, _ = keys.create_organization_key(organization=organization, name="staging", actor=Actor(owner))
    daily_usage(key, reports.today(organization), requests=5)
    daily_usage(second, reports.today(organization), requests=7)
    job_row(key, "of the first key", created_at=timezone.now())

    context = shown(page, organization, api_key=second.uid)

    assert context["found"].totals.requests == 7
    assert context["entries"] == []


def test_chart_stacks_endpoints_in_colours_of_their_own(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    daily_usage(key, reports.today(organization), product="parse", requests=4)
    daily_usage(key, reports.today(organization), product="edit", requests=2)

    legend = chart(shown(page, organization), "requests").legend

    assert [(entry.name, entry.series, entry.total) for entry in legend] == [
        ("Parse", 1, "4"),
        ("Edit", 4, "2"),
    ]


def test_totals_are_compared_with_the_period_before(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    day = NOON.date()
    daily_usage(key, day, requests=3, pages=1, credits=1, cost=0)
    daily_usage(key, day - timedelta(days=1), requests=2, pages=1, credits=2, cost=0)

    context = shown(page, organization, **{"from": day, "to": day})

    assert context["comparison"] == "compared with 17 Jun 2026"
    assert context["changes"] == {
        "requests": "50 % more than before",
        "pages": "as before",
        "credits": "50 % less than before",
        "cost": "",
        "p50": "",
        "success_rate": "",
    }


def test_today_is_not_compared_as_if_it_were_over(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    today = reports.today(organization)
    for days_ago, requests in ((0, 100), (1, 6), (2, 50), (3, 3)):
        daily_usage(key, today - timedelta(days=days_ago), requests=requests)

    context = shown(page, organization, **{"from": today - timedelta(days=1), "to": today})

    # Yesterday with the first of the two days before.
    assert context["changes"]["requests"] == "100 % more than before"
    assert context["comparison"].startswith("compared by whole days: ")
    assert context["found"].totals.requests == 106


def test_nothing_is_compared_with_days_before_the_first_usage(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    day = NOON.date()
    daily_usage(key, day)
    daily_usage(key, day - timedelta(days=2))

    context = shown(page, organization, **{"from": day - timedelta(days=1), "to": day})

    assert set(context["changes"].values()) == {"no data before"}
    assert context["comparison"] == "not compared with the days before: usage began on 16 Jun 2026"


@pytest.mark.parametrize(("days_ahead", "words"), [(0, "so far today"), (1, "")])
def test_days_that_are_not_over_are_not_compared(
    page: Client, organization: Organization, key: ApiKey, days_ahead: int, words: str
) -> None:
    today = reports.today(organization)
    daily_usage(key, today - timedelta(days=9), requests=5)
    first = today + timedelta(days=days_ahead)

    context = shown(page, organization, **{"from": first, "to": first + timedelta(days=1)})

    assert context["changes"].get("requests", "") == words


def test_bars_open_the_log_of_their_day_and_endpoint(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    today = reports.today(organization)
    daily_usage(key, today, product="extract")

    column = chart(shown(page, organization, api_key=key.uid), "requests").columns[-1]

    log = f"/o/{organization.uid}/jobs/?api_key={key.uid}&since={today}&until={today}"
    assert column.url == log
    assert [link.url for link in column.links] == [f"{log}&type=Extract"]
    assert page.get(column.links[0].url).status_code == 200


def test_environment_narrows_the_log_as_well(
    page: Client, organization: Organization, key: ApiKey, owner: User
) -> None:
    staging, _ = keys.create_organization_key(
        organization=organization, name="s", environment="staging", actor=Actor(owner)
    )
    now = timezone.now()
    for each in (key, staging):
        daily_usage(each, reports.today(organization))
        job_row(each, f"of-{each.environment}", created_at=now)

    context = shown(page, organization, environment="staging")
    log = page.get(chart(context, "requests").columns[-1].url)

    assert [entry.job.job_id for entry in context["entries"]] == ["of-staging"]
    assert [entry.job.job_id for entry in log.context["entries"]] == ["of-staging"]


def test_bar_of_an_hour_opens_the_log_of_that_hour(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    daily_usage(key, NOON.date())
    job_row(key, "of-the-one-before", created_at=NOON - timedelta(seconds=1))
    job_row(key, "of-the-hour", created_at=NOON + timedelta(minutes=59))
    job_row(key, "of-the-next", created_at=NOON + timedelta(hours=1))
    days = {"from": NOON.date(), "to": NOON.date()}

    column = chart(shown(page, organization, by="hour", **days), "requests").columns[12]

    log = page.get(column.url).context
    assert [entry.job.job_id for entry in log["entries"]] == ["of-the-hour"]
    day = page.get(f"/o/{organization.uid}/jobs/{log['whole_day']}").context
    assert len(day["entries"]) == 3


def test_latest_requests_are_those_of_the_period(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    day = NOON.date()
    daily_usage(key, day)
    job_row(key, "before", created_at=NOON - timedelta(days=1))
    job_row(key, "of-the-day")
    job_row(key, "after", created_at=NOON + timedelta(days=1))

    context = shown(page, organization, **{"from": day, "to": day})

    assert [entry.job.job_id for entry in context["entries"]] == ["of-the-day"]


def test_jobs_have_no_charts_by_hour(page: Client, organization: Organization, key: ApiKey) -> None:
    daily_usage(key, NOON.date())

    context = shown(page, organization, by="hour", **{"from": NOON.date(), "to": NOON.date()})

    assert [id for id, _, _ in context["small_charts"]] == ["cost", "pages"]


def test_duration_is_compared_with_the_period_before(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    longest = len(DailyJobs.DURATION_BUCKETS)
    for day, bucket in ((NOON.date(), 4), (NOON.date() - timedelta(days=1), 2)):
        durations = [0] * (longest + 1)
        durations[bucket] = 10
        JobMargin.objects.create(
            organization_id=organization.pk,
            day=day,
            region="eu",
            status="Completed",
            jobs=10,
            durations=durations,
        )

    daily_usage(key, NOON.date() - timedelta(days=1))

    context = shown(page, organization, **{"from": NOON.date(), "to": NOON.date()})

    # 0.875 seconds, and 0.375 before.
    assert context["changes"]["p50"] == "133 % longer than before"


@pytest.mark.parametrize(
    ("group", "name", "chart_id"),
    [
        ("feature", "Complex", "group"),
        ("api_key", "production", "group"),
        ("file_type", "pdf", "group"),
        ("region", "EU", "jobs"),
        ("status", "Completed", "jobs"),
    ],
)
def test_figures_are_told_apart_as_asked(
    page: Client, organization: Organization, key: ApiKey, group: str, name: str, chart_id: str
) -> None:
    daily_usage(key, NOON.date(), feature="complex")
    daily_jobs(key, "eu")

    context = shown(page, organization, group=group, **{"from": NOON.date(), "to": NOON.date()})

    assert name in chart(context, chart_id).legend[0].name


@pytest.mark.parametrize(
    ("query", "note"),
    [
        ({"region": "eu"}, "The region narrows jobs, success and duration only"),
        ({"file_type": "pdf"}, "The file type narrows requests, pages, credits and cost only"),
        ({"product": "parse"}, "the product is the endpoint that was called"),
    ],
)
def test_page_says_what_a_filter_does_not_cover(
    page: Client, organization: Organization, key: ApiKey, query: dict[str, str], note: str
) -> None:
    daily_usage(key, reports.today(organization))

    assert note in page.get(url(organization), query).content.decode()


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        (
            {"region": "eu"},
            ["<dt>Credits, all regions</dt>", "Requests by endpoint, all regions", "Success rate<"],
        ),
        (
            {"file_type": "pdf"},
            [
                "<dt>Credits</dt>",
                "<dt>Success rate, all file types</dt>",
                "Duration of jobs in seconds, all file types",
            ],
        ),
    ],
)
def test_figures_that_a_filter_does_not_narrow_say_so_themselves(
    page: Client, organization: Organization, key: ApiKey, query: dict[str, str], titles: list[str]
) -> None:
    daily_usage(key, reports.today(organization))

    html = page.get(url(organization), query).content.decode()

    assert [title for title in titles if title not in html] == []


@pytest.mark.parametrize(
    ("query", "note"),
    [
        ({"group": "feature"}, ""),
        ({"group": "region"}, " (by product)"),
        ({"group": "status", "region": "eu"}, " (by product, all regions)"),
    ],
)
def test_csv_that_is_not_quite_what_is_shown_says_so(
    page: Client, organization: Organization, key: ApiKey, query: dict[str, str], note: str
) -> None:
    daily_usage(key, reports.today(organization))

    html = page.get(url(organization), query).content.decode()

    assert f"Download usage data as CSV{note}</a>" in html


def test_csv_holds_what_is_shown(page: Client, organization: Organization, key: ApiKey) -> None:
    day = NOON.date()
    daily_usage(key, day, file_type="pdf", requests=2, credits=5)
    daily_usage(key, day, file_type="docx", requests=3)

    context = shown(
        page,
        organization,
        group="feature",
        file_type="pdf",
        environment="production",
        **{"from": day, "to": day},
    )
    response = page.get(context["export"])

    lines = b"".join(response.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    assert lines == ["date,group,credits,requestCount", f"{day},standard,5.000000,2"]


def test_page_works_with_every_table_and_chart_drawn(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    daily_usage(key, reports.today(organization), requests=1234)
    job_row(key, "<b>/odd id", created_at=timezone.now())

    html = page.get(url(organization)).content.decode()

    assert "1,234" in html
    assert not re.search(r"\sstyle=", html)
    assert "&lt;b&gt;/odd id" in html


def test_new_organization_learns_how_to_send_a_first_request(
    page: Client, organization: Organization
) -> None:
    response = page.get(url(organization))

    assert "No requests yet" in response.content.decode()
    assert "Bearer $COUNTINGHOUSE_API_KEY" in unescape(response.content.decode())
    assert "/api/v1/api-keys/whoami" in response.content.decode()
    assert f"curl {settings.API_URL.rstrip('/')}/parse" in response.content.decode()
    assert "Ask somebody who manages the keys" in response.content.decode()


def test_who_has_a_key_is_not_told_to_get_one(page: Client, organization: Organization, key: ApiKey) -> None:
    response = page.get(url(organization))

    assert "No requests yet" in response.content.decode()
    assert "Ask somebody who manages the keys" not in response.content.decode()


def test_quiet_period_is_no_new_organization(page: Client, organization: Organization, key: ApiKey) -> None:
    job_row(key)

    assert "Nothing was used in these days" in page.get(url(organization)).content.decode()


def test_another_organizations_usage_never_shows(
    page: Client, organization: Organization, other_organization: Organization, outsider: User, key: ApiKey
) -> None:
    foreign, _ = keys.create_organization_key(
        organization=other_organization, name="x", actor=Actor(outsider)
    )
    daily_usage(foreign, reports.today(organization), requests=5)
    job_row(foreign, created_at=timezone.now())

    daily_usage(key, reports.today(organization), requests=1)

    context = shown(page, organization)

    assert context["found"].totals.requests == 1
    assert context["entries"] == []
    assert page.get(url(organization), {"api_key": foreign.uid}).status_code == 400


def test_outsider_finds_nothing(client: Client, outsider: User, organization: Organization) -> None:
    client.force_login(outsider)

    assert client.get(url(organization)).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"group": "file_type"},
        {"product": "parse", "group": "region"},
        {"file_type": "pdf", "group": "api_key"},
    ],
)
def test_page_asks_at_most_twelve_questions_whatever_the_usage(
    page: Client,
    organization: Organization,
    key: ApiKey,
    owner: User,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: Any,
    query: dict[str, str],
) -> None:
    today = reports.today(organization)
    for number in range(20):
        extra, _ = keys.create_organization_key(
            organization=organization, name=f"k{number}", actor=Actor(owner)
        )
        daily_usage(extra, today - timedelta(days=number))
        job_row(extra, f"job-{number}", created_at=timezone.now())
    page.get(url(organization), query)
    # Prepared queries pass Django's own count by.
    prepared_ones: list[object] = []
    fetch = prepared.fetch

    def counted(*args: Any) -> Any:
        prepared_ones.append(args)
        return fetch(*args)

    monkeypatch.setattr(prepared, "fetch", counted)

    with django_assert_max_num_queries(12) as captured:
        page.get(url(organization), query | ({"api_key": extra.uid} if "group" in query else {}))

    assert prepared_ones
    assert len(captured) + len(prepared_ones) <= 12
