"""The usage page."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from tests.usage.rows import daily_usage, job_row
from usage import reports


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


def test_tiles_add_up_the_period(page: Client, organization: Organization, key: ApiKey) -> None:
    today = reports.today(organization)
    daily_usage(key, today, requests=2, pages=5, credits="7.5", cost="0.075")
    daily_usage(key, today - timedelta(days=29), requests=1, pages=1, credits=1, cost="0.01")
    daily_usage(key, today - timedelta(days=30), requests=100)

    totals = shown(page, organization)["totals"]

    assert (totals.requests, totals.pages, float(totals.credits), float(totals.cost)) == (3, 6, 8.5, 0.085)


@pytest.mark.parametrize(("asked", "days"), [("7", 7), ("10", 10), ("30", 30), ("", 30)])
def test_periods_are_seven_ten_and_thirty_days(
    page: Client, organization: Organization, key: ApiKey, asked: str, days: int
) -> None:
    daily_usage(key, reports.today(organization))

    context = shown(page, organization, days=asked)

    assert context["days"] == days
    assert context["requests_chart"].width == days


@pytest.mark.parametrize(
    "query", [{"days": "365"}, {"days": "x\0"}, {"api_key": "key_nobody"}, {"api_key": "\0"}]
)
def test_senseless_parameters_are_ignored(
    page: Client, organization: Organization, key: ApiKey, query: dict[str, str]
) -> None:
    daily_usage(key, reports.today(organization), requests=5)

    context = shown(page, organization, **query)

    assert context["days"] == 30
    assert context["totals"].requests == 5


def test_one_key_can_be_looked_at(page: Client, organization: Organization, key: ApiKey, owner: User) -> None:
    second, _ = keys.create_organization_key(organization=organization, name="staging", actor=Actor(owner))
    daily_usage(key, reports.today(organization), requests=5)
    daily_usage(second, reports.today(organization), requests=7)
    job_row(key, "of the first key")

    context = shown(page, organization, api_key=second.uid)

    assert context["totals"].requests == 7
    assert context["entries"] == []


def test_chart_stacks_endpoints_in_colours_of_their_own(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    daily_usage(key, reports.today(organization), product="parse", requests=4)
    daily_usage(key, reports.today(organization), product="edit", requests=2)

    legend = shown(page, organization)["requests_chart"].legend

    assert [(entry.name, entry.series, entry.total) for entry in legend] == [
        ("Parse", 1, "4"),
        ("Edit", 4, "2"),
    ]


def test_totals_are_compared_with_the_days_before(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    today = reports.today(organization)
    daily_usage(key, today, requests=3, pages=1, credits=1, cost=0)
    daily_usage(key, today - timedelta(days=7), requests=2, pages=1, credits=2, cost=0)

    changes = shown(page, organization, days="7")["changes"]

    assert changes == {
        "requests": "50 % above the days before",
        "pages": "as in the days before",
        "credits": "50 % below the days before",
        "cost": "",
    }


def test_page_works_with_every_table_and_chart_drawn(
    page: Client, organization: Organization, key: ApiKey
) -> None:
    daily_usage(key, reports.today(organization), requests=1234)
    job_row(key, "<b>/odd id")

    html = page.get(url(organization)).content.decode()

    assert "1,234" in html
    assert not re.search(r"\sstyle=", html)
    assert "&lt;b&gt;/odd id" in html


def test_new_organization_learns_how_to_send_a_first_request(
    page: Client, organization: Organization
) -> None:
    response = page.get(url(organization))

    assert "No requests yet" in response.content.decode()
    assert "/api/v1/api-keys/whoami" in response.content.decode()


def test_quiet_period_is_no_new_organization(page: Client, organization: Organization, key: ApiKey) -> None:
    job_row(key)

    assert "Nothing was used in these days" in page.get(url(organization)).content.decode()


def test_another_organizations_usage_never_shows(
    page: Client, organization: Organization, other_organization: Organization, outsider: User
) -> None:
    foreign, _ = keys.create_organization_key(
        organization=other_organization, name="x", actor=Actor(outsider)
    )
    daily_usage(foreign, reports.today(organization), requests=5)
    job_row(foreign)

    context = shown(page, organization, api_key=foreign.uid)

    assert context["totals"].requests == 0
    assert context["entries"] == []


def test_outsider_finds_nothing(client: Client, outsider: User, organization: Organization) -> None:
    client.force_login(outsider)

    assert client.get(url(organization)).status_code == 404


def test_queries_do_not_grow_with_usage(
    page: Client, organization: Organization, key: ApiKey, owner: User, django_assert_max_num_queries: Any
) -> None:
    today = reports.today(organization)
    for number in range(20):
        extra, _ = keys.create_organization_key(
            organization=organization, name=f"k{number}", actor=Actor(owner)
        )
        daily_usage(extra, today - timedelta(days=number))
        job_row(extra, f"job-{number}")
    page.get(url(organization))

    with django_assert_max_num_queries(8):
        page.get(url(organization))
