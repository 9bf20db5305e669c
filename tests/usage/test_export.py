"""`GET /api/v1/usage/export`, sentence by sentence of its description."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from tests.usage.rows import daily_usage

DAY = date(2026, 6, 18)
PERIOD = {"startDate": "2026-06-01", "endDate": "2026-06-30"}

Json = dict[str, Any]


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def client(organization_key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"Authorization": f"Bearer {organization_key[1]}"})


def export(client: Client, **query: Any) -> Json:
    response = client.get("/api/v1/usage/export", query)
    assert response.status_code == 200, response.content
    answer: Json = response.json()
    return answer


def refusal(client: Client, **query: Any) -> tuple[int, Json]:
    response = client.get("/api/v1/usage/export", query)
    return response.status_code, response.json()["error"]


def test_answer_has_exactly_the_described_fields(
    client: Client, key: ApiKey, organization: Organization
) -> None:
    daily_usage(key, DAY, credits="150.5", requests=75)

    answer = export(client, **PERIOD)

    assert answer == {
        "orgId": organization.uid,
        "startDate": "2026-06-01",
        "endDate": "2026-06-30",
        "groupBy": "product",
        "data": [{"date": "2026-06-18", "group": "parse", "credits": 150.5, "requestCount": 75}],
    }
    assert type(answer["data"][0]["requestCount"]) is int


def test_whole_credits_are_numbers_as_well(client: Client, key: ApiKey) -> None:
    daily_usage(key, DAY, credits=150)

    assert b'"credits":150.0' in client.get("/api/v1/usage/export", PERIOD).content


def test_default_is_the_last_thirty_days_by_product(client: Client, key: ApiKey) -> None:
    today = datetime.now(UTC).date()
    daily_usage(key, today)
    daily_usage(key, today - timedelta(days=30))
    daily_usage(key, today - timedelta(days=31))

    answer = export(client)

    assert answer["startDate"] == str(today - timedelta(days=30))
    assert answer["endDate"] == str(today)
    assert answer["groupBy"] == "product"
    assert [row["date"] for row in answer["data"]] == [str(today - timedelta(days=30)), str(today)]


@pytest.mark.parametrize("name", ["groupby", "from", "group", "\0"])
def test_names_that_nobody_knows_are_refused(client: Client, name: str) -> None:
    status, error = refusal(client, **{name: "feature"})

    assert (status, error["param"]) == (400, name)
    assert (
        "apiKey, endDate, feature, fileType, format, groupBy, orgId, product, startDate" in error["message"]
    )


def test_default_days_are_the_organizations_own(client: Client, organization: Organization) -> None:
    # Somewhere between these two zones, 26 hours apart, there is always a midnight.
    ends = set()
    for zone in ("Etc/GMT+12", "Pacific/Kiritimati"):
        organization.time_zone = zone
        organization.save()
        ends.add(export(client)["endDate"])

    assert len(ends) == 2


def test_both_days_of_the_range_count(client: Client, key: ApiKey) -> None:
    for day in range(1, 5):
        daily_usage(key, date(2026, 6, day))

    answer = export(client, startDate="2026-06-02", endDate="2026-06-03")

    assert [row["date"] for row in answer["data"]] == ["2026-06-02", "2026-06-03"]


def test_rows_are_sorted_by_day_then_group(client: Client, key: ApiKey) -> None:
    for day, product in ((2, "split"), (1, "parse"), (2, "edit"), (1, "extract")):
        daily_usage(key, date(2026, 6, day), product=product)

    answer = export(client, **PERIOD)

    assert [(row["date"][-1], row["group"]) for row in answer["data"]] == [
        ("1", "extract"),
        ("1", "parse"),
        ("2", "edit"),
        ("2", "split"),
    ]


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [
        ("product", {"parse": 2, "extract": 4}),
        ("feature", {"standard": 1, "agentic": 5}),
        ("file_type", {"pdf": 3, "docx": 3}),
    ],
)
def test_groups_add_up_what_they_leave_out(
    client: Client, key: ApiKey, group_by: str, groups: dict[str, int]
) -> None:
    daily_usage(key, DAY, product="parse", feature="standard", file_type="pdf", requests=1)
    daily_usage(key, DAY, product="parse", feature="agentic", file_type="docx", requests=1)
    daily_usage(key, DAY, product="extract", feature="agentic", file_type="pdf", requests=2)
    daily_usage(key, DAY, product="extract", feature="agentic", file_type="docx", requests=2)

    answer = export(client, groupBy=group_by, **PERIOD)

    assert {row["group"]: row["requestCount"] for row in answer["data"]} == groups
    assert answer["groupBy"] == group_by


def test_group_of_a_key_is_its_id(
    client: Client, key: ApiKey, organization: Organization, owner: User
) -> None:
    second, _ = keys.create_organization_key(organization=organization, name="staging", actor=Actor(owner))
    daily_usage(key, DAY, requests=1)
    daily_usage(second, DAY, requests=2)

    answer = export(client, groupBy="api_key", **PERIOD)

    assert {row["group"]: row["requestCount"] for row in answer["data"]} == {key.uid: 1, second.uid: 2}


def test_usage_of_keys_that_are_gone_is_still_there(client: Client, key: ApiKey) -> None:
    daily_usage(key, DAY, api_key_id=10**12, requests=1)
    daily_usage(key, DAY, api_key_id=10**12 + 1, requests=2)

    answer = export(client, groupBy="api_key", **PERIOD)

    assert [(row["group"], row["requestCount"]) for row in answer["data"]] == [("deleted", 3)]


@pytest.mark.parametrize(
    ("parameter", "column"), [("product", "product"), ("feature", "feature"), ("fileType", "file_type")]
)
def test_repeated_filter_keeps_any_of_its_values(
    client: Client, key: ApiKey, parameter: str, column: str
) -> None:
    for value in ("a", "b", "c"):
        daily_usage(key, DAY, **{column: value})

    answer = export(client, groupBy=column, **{parameter: ["a", "c"]}, **PERIOD)

    assert [row["group"] for row in answer["data"]] == ["a", "c"]


def test_key_filter_takes_ids(client: Client, key: ApiKey, organization: Organization, owner: User) -> None:
    second, _ = keys.create_organization_key(organization=organization, name="staging", actor=Actor(owner))
    daily_usage(key, DAY, requests=1)
    daily_usage(second, DAY, requests=2)

    assert [row["requestCount"] for row in export(client, apiKey=second.uid, **PERIOD)["data"]] == [2]
    assert [
        row["requestCount"] for row in export(client, apiKey=[key.uid, second.uid], **PERIOD)["data"]
    ] == [3]


def test_different_filters_narrow_together(client: Client, key: ApiKey) -> None:
    daily_usage(key, DAY, product="parse", file_type="pdf")
    daily_usage(key, DAY, product="parse", file_type="docx")
    daily_usage(key, DAY, product="split", file_type="pdf")

    answer = export(client, product="parse", fileType="pdf", **PERIOD)

    assert [row["requestCount"] for row in answer["data"]] == [1]


@pytest.mark.parametrize("parameter", ["product", "feature", "apiKey", "fileType"])
@pytest.mark.parametrize("value", ["nonsense", "", "' OR 1=1 --"])
def test_unknown_filter_value_gives_no_rows(client: Client, key: ApiKey, parameter: str, value: str) -> None:
    daily_usage(key, DAY)

    assert export(client, **{parameter: value}, **PERIOD)["data"] == []


@pytest.mark.parametrize(
    ("parameter", "group_by"),
    [("product", "product"), ("feature", "feature"), ("apiKey", "api_key"), ("fileType", "file_type")],
)
def test_unknown_value_of_the_grouping_itself_gives_no_rows(
    client: Client, key: ApiKey, parameter: str, group_by: str
) -> None:
    daily_usage(key, DAY)

    assert export(client, groupBy=group_by, **{parameter: "nonsense"}, **PERIOD)["data"] == []


def test_day_whose_usage_was_all_taken_back_is_absent(client: Client, key: ApiKey) -> None:
    daily_usage(key, DAY, requests=0, pages=0, credits=0, cost=0)

    assert export(client, **PERIOD)["data"] == []


@pytest.mark.parametrize("parameter", ["startDate", "endDate"])
@pytest.mark.parametrize(
    "value",
    ["yesterday", "2026-13-01", "2026-02-30", "20260601", "2026-6-1", "0000-01-01", "2026-06-01T00:00", "\0"],
)
def test_malformed_day_is_refused_by_name(client: Client, parameter: str, value: str) -> None:
    status, error = refusal(client, **{parameter: value})

    assert (status, error["type"], error["param"]) == (400, "invalid_request", parameter)


@pytest.mark.parametrize("period", [("0001-01-01", "9999-12-31"), ("9999-12-31", "9999-12-31")])
def test_any_range_of_years_is_fine(client: Client, period: tuple[str, str]) -> None:
    assert export(client, startDate=period[0], endDate=period[1])["data"] == []


def test_start_after_end_is_refused(client: Client) -> None:
    status, error = refusal(client, startDate="2026-06-02", endDate="2026-06-01")

    assert (status, error["param"]) == (400, "startDate")


def test_invalid_grouping_is_refused(client: Client) -> None:
    status, error = refusal(client, groupBy="region")

    assert (status, error["type"], error["param"]) == (400, "invalid_request", "groupBy")


def test_another_organizations_usage_never_shows(
    client: Client, other_organization: Organization, outsider: User
) -> None:
    foreign, _ = keys.create_organization_key(
        organization=other_organization, name="x", actor=Actor(outsider)
    )
    daily_usage(foreign, DAY)

    assert export(client, **PERIOD)["data"] == []
    assert export(client, apiKey=foreign.uid, **PERIOD)["data"] == []


def test_queries_do_not_grow_with_usage(
    client: Client, key: ApiKey, django_assert_max_num_queries: Any
) -> None:
    for day in range(1, 29):
        for product in ("parse", "split", "extract"):
            daily_usage(key, date(2026, 6, day), product=product)

    # The key, its creator's membership, the names of keys; the sums and their version are prepared.
    with django_assert_max_num_queries(4):
        assert len(export(client, groupBy="api_key", **PERIOD)["data"]) == 28
