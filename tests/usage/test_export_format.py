"""The usage export as CSV, and its answer of 304 as long as nothing has changed."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, Organization
from tests.usage.rows import daily_usage
from usage import margins

URL = "/api/v1/usage/export"
DAY = date(2026, 6, 18)
PERIOD = {"startDate": "2026-06-01", "endDate": "2026-06-30"}


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def client(organization_key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"Authorization": f"Bearer {organization_key[1]}"})


def ask(client: Client, tag: str = "", **query: Any) -> Any:
    headers = {"If-None-Match": tag} if tag else {}
    return client.get(URL, PERIOD | query, headers=headers)


def test_csv_is_a_file_with_the_same_rows(client: Client, key: ApiKey, organization: Organization) -> None:
    daily_usage(key, DAY, credits="150.5", requests=75)

    response = ask(client, format="csv")

    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == (
        f'attachment; filename="usage-{organization.uid}-2026-06-01-2026-06-30.csv"'
    )
    assert b"".join(response.streaming_content) == (
        b"date,group,credits,requestCount\r\n2026-06-18,parse,150.500000,75\r\n"
    )


def test_csv_runs_no_formula_and_keeps_negative_numbers(client: Client, key: ApiKey) -> None:
    daily_usage(key, DAY, file_type="=cmd()", credits=-2, requests=0)

    lines = b"".join(ask(client, format="csv", groupBy="file_type").streaming_content).decode().splitlines()

    assert lines[1] == "2026-06-18,'=cmd(),-2.000000,0"


def test_unknown_format_is_refused_by_name(client: Client) -> None:
    response = ask(client, format="xml")

    assert (response.status_code, response.json()["error"]["param"]) == (400, "format")


@pytest.mark.parametrize("format", ["json", "csv"])
def test_nothing_new_is_nothing_sent(client: Client, key: ApiKey, format: str) -> None:
    daily_usage(key, DAY)
    tag = ask(client, format=format)["ETag"]

    response = ask(client, tag, format=format)

    assert (response.status_code, response.content, response["ETag"]) == (304, b"", tag)


def test_any_change_of_a_day_is_told(client: Client, key: ApiKey) -> None:
    daily_usage(key, DAY)
    daily_usage(key, DAY + timedelta(days=1))
    tag = ask(client)["ETag"]
    daily_usage(key, DAY, file_type="docx")

    assert ask(client, tag).status_code == 200


def test_folding_changes_nothing(client: Client, key: ApiKey) -> None:
    daily_usage(key, DAY)
    tag = ask(client)["ETag"]
    assert margins.fold(now=timezone.now() + timedelta(minutes=5)) == 1

    assert ask(client, tag).status_code == 304


def test_change_of_another_day_is_none(client: Client, key: ApiKey) -> None:
    daily_usage(key, DAY)
    tag = ask(client)["ETag"]
    daily_usage(key, date(2026, 7, 1))

    assert ask(client, tag).status_code == 304


@pytest.mark.parametrize(
    "other", [{"groupBy": "feature"}, {"product": "parse"}, {"endDate": "2026-06-29"}, {"format": "csv"}]
)
def test_another_question_has_another_tag(client: Client, key: ApiKey, other: dict[str, str]) -> None:
    daily_usage(key, DAY)

    assert ask(client, ask(client)["ETag"], **other).status_code == 200


def test_key_that_is_gone_is_a_change_where_keys_are_told_apart(
    client: Client, key: ApiKey, personal_key: tuple[ApiKey, str]
) -> None:
    daily_usage(personal_key[0], DAY)
    tag = ask(client, groupBy="api_key")["ETag"]
    personal_key[0].delete()

    response = ask(client, tag, groupBy="api_key")

    assert response.status_code == 200
    assert response.json()["data"][0]["group"] == "deleted"
