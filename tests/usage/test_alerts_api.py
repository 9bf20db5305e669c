"""Usage alerts over REST: made, several at once, read, changed, tested, deleted, and their firings."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Notification, Organization, User
from accounts.permissions import Scope
from tests.usage.rows import daily_usage
from usage import alert_notices, alerts
from usage.models import TriggeredAlert, UsageAlert

NOW = datetime(2026, 6, 18, 12, tzinfo=UTC)
ALERTS = "/api/v1/alerts"
RULE: dict[str, Any] = {"metric": "pages", "threshold": 100, "period": "monthly"}


@pytest.fixture(autouse=True)
def june() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def key(organization: Organization, owner: User) -> tuple[ApiKey, str]:
    return keys.create_organization_key(
        organization=organization, name="operations", scopes=[Scope.ALERTS], actor=Actor(owner)
    )


@pytest.fixture
def api(key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"Authorization": f"Bearer {key[1]}"})


def post(api: Client, body: Any, path: str = "") -> Any:
    return api.post(ALERTS + path, body, content_type="application/json")


def patch(api: Client, uid: str, body: Any) -> Any:
    return api.patch(f"{ALERTS}/{uid}", body, content_type="application/json")


def test_an_alert_is_made_and_says_where_it_stands(api: Client, key: tuple[ApiKey, str], owner: User) -> None:
    daily_usage(key[0], date(2026, 6, 2), pages=40)

    answer = post(api, RULE | {"name": "pilot"})

    assert answer.status_code == 201
    body = answer.json()
    assert body == {
        "id": UsageAlert.objects.get().uid,
        "name": "pilot",
        "metric": "pages",
        "threshold": 100.0,
        "period": "monthly",
        "api_key_id": None,
        "product": None,
        "enabled": True,
        "created_by": {"id": owner.uid, "name": owner.name, "email": owner.email},
        "created_at": "2026-06-18T12:00:00.000000Z",
        "current": {
            "period_start": "2026-06-01",
            "period_end": "2026-06-30",
            "value": 40.0,
            "fired_at": None,
        },
    }
    assert api.get(f"{ALERTS}/{body['id']}").json() == body
    assert api.get(ALERTS).json() == {"data": [body], "next_cursor": None}


def test_several_are_made_at_percentages_of_a_number(api: Client) -> None:
    answer = post(api, RULE | {"threshold": 999, "percentages": [100, 50, 80, 50]})

    assert answer.status_code == 201
    assert [alert["threshold"] for alert in answer.json()["data"]] == [500.0, 800.0, 999.0]
    entries = AuditEntry.objects.filter(action="alert.created")
    assert sorted(entry.after["threshold"] for entry in entries) == [500.0, 800.0, 999.0]


def test_an_alert_of_a_key_or_a_product(api: Client, key: tuple[ApiKey, str]) -> None:
    of_key = post(api, RULE | {"api_key_id": key[0].uid}).json()
    of_product = post(api, RULE | {"product": "extract"}).json()

    assert (of_key["api_key_id"], of_key["product"]) == (key[0].uid, None)
    assert (of_product["api_key_id"], of_product["product"]) == (None, "extract")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"metric": "requests"}, "metric"),
        ({"metric": None}, "metric"),
        ({"metric": ["pages"]}, "metric"),
        ({"threshold": 0}, "threshold"),
        ({"threshold": -5}, "threshold"),
        ({"threshold": "many"}, "threshold"),
        ({"threshold": 1e300}, "threshold"),
        ({"threshold": 10**12}, "threshold"),
        ({"threshold": 0.5}, "threshold"),
        ({"threshold": 0.005, "metric": "cost"}, "threshold"),
        ({"threshold": 0, "percentages": [50]}, "threshold"),
        ({"period": "yearly"}, "period"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": {"en": "x"}}, "name"),
        ({"product": "print"}, "product"),
        ({"api_key_id": "key_unknown"}, "api_key_id"),
        ({"api_key_id": "key_\u0000"}, "api_key_id"),
        ({"api_key_id": 5}, "api_key_id"),
        ({"enabled": "perhaps"}, "enabled"),
        ({"percentages": []}, "percentages"),
        ({"percentages": [0]}, "percentages"),
        ({"percentages": [50.5]}, "percentages"),
        ({"percentages": list(range(1, 12))}, "percentages"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_made(api: Client, change: dict[str, Any], param: str) -> None:
    answer = post(api, RULE | change)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not UsageAlert.objects.exists()


@pytest.mark.parametrize("missing", ["metric", "threshold", "period"])
def test_a_missing_field_is_named(api: Client, missing: str) -> None:
    answer = post(api, {name: value for name, value in RULE.items() if name != missing})

    assert answer.json()["error"]["param"] == missing


def test_one_key_or_one_product_but_not_both(api: Client, key: tuple[ApiKey, str]) -> None:
    answer = post(api, RULE | {"api_key_id": key[0].uid, "product": "parse"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "product")


def test_a_key_of_somebody_else_is_unknown(api: Client, other_organization: Organization) -> None:
    foreign, _ = keys.create_organization_key(organization=other_organization, name="x", actor=None)

    answer = post(api, RULE | {"api_key_id": foreign.uid})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "api_key_id")


def test_an_organization_has_so_many_alerts_at_most(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "MOST", 2)
    post(api, RULE)

    answer = post(api, RULE | {"percentages": [50, 80]})

    assert answer.status_code == 409
    assert UsageAlert.objects.count() == 1


def test_the_same_alert_is_not_made_twice(api: Client) -> None:
    made = post(api, RULE).json()

    answer = post(api, RULE | {"name": "another name", "percentages": [50, 100]})

    assert answer.status_code == 409
    assert (
        answer.json()["error"]["message"] == f"There is an alert at 100 pages a month already: {made['id']}."
    )
    assert UsageAlert.objects.count() == 1
    assert post(api, RULE | {"product": "parse"}).status_code == 201


def test_an_alert_is_not_changed_into_another(api: Client) -> None:
    first, second = post(api, RULE | {"percentages": [50, 100]}).json()["data"]

    answer = patch(api, first["id"], {"threshold": 100})

    assert answer.status_code == 409
    assert second["id"] in answer.json()["error"]["message"]
    assert patch(api, first["id"], {"name": "half"}).status_code == 200


def test_a_change_is_answered_and_audited(api: Client) -> None:
    made = post(api, RULE).json()

    answer = patch(api, made["id"], {"threshold": 150, "enabled": False})

    assert answer.status_code == 200
    assert answer.json() == made | {"threshold": 150.0, "enabled": False}
    entry = AuditEntry.objects.get(action="alert.updated")
    assert (entry.before, entry.after) == (
        {"threshold": 100.0, "is_enabled": True},
        {"threshold": 150.0, "is_enabled": False},
    )


def test_a_change_that_changes_nothing_leaves_no_trace(api: Client) -> None:
    made = post(api, RULE).json()

    assert patch(api, made["id"], {"threshold": 100}).json() == made
    assert not AuditEntry.objects.filter(action="alert.updated").exists()


def test_a_change_to_pages_needs_a_whole_number(api: Client) -> None:
    made = post(api, RULE | {"metric": "credits", "threshold": 1.5}).json()

    answer = patch(api, made["id"], {"metric": "pages"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "threshold")


def test_the_scope_can_be_taken_away(api: Client, key: tuple[ApiKey, str]) -> None:
    made = post(api, RULE | {"api_key_id": key[0].uid}).json()

    assert patch(api, made["id"], {"api_key_id": None, "product": "parse"}).json()["product"] == "parse"
    assert patch(api, made["id"], {"product": None}).json()["product"] is None


def test_a_deleted_alert_is_gone_and_audited(api: Client) -> None:
    made = post(api, RULE).json()

    assert api.delete(f"{ALERTS}/{made['id']}").status_code == 204

    assert api.get(f"{ALERTS}/{made['id']}").status_code == 404
    assert AuditEntry.objects.get(action="alert.deleted").before["threshold"] == 100.0


def test_a_test_says_who_was_told(api: Client, owner: User) -> None:
    made = post(api, RULE).json()

    answer = post(api, {}, f"/{made['id']}/test")

    assert answer.status_code == 200
    assert answer.json() == {
        "told": [{"id": owner.uid, "name": owner.name, "email": owner.email}],
        "webhook_message_id": None,
    }
    assert Notification.objects.get(kind="usage").title.startswith("Test of a usage alert")


def test_firings_say_what_was_used_and_who_was_told(
    api: Client, key: tuple[ApiKey, str], owner: User
) -> None:
    daily_usage(key[0], date(2026, 6, 2), pages=120)
    made = post(api, RULE).json()
    alert_notices.tell()

    answer = api.get(f"{ALERTS}/{made['id']}/firings").json()

    assert answer == {
        "data": [
            {
                "id": TriggeredAlert.objects.get().uid,
                "metric": "pages",
                "threshold": 100.0,
                "period": "monthly",
                "period_start": "2026-06-01",
                "period_end": "2026-06-30",
                "api_key_id": None,
                "product": None,
                "value": 120.0,
                "fired_at": "2026-06-18T12:00:00.000000Z",
                "told_at": "2026-06-18T12:00:00.000000Z",
                "told": [
                    {
                        "id": owner.uid,
                        "name": owner.name,
                        "email": owner.email,
                        "mail": "waiting",
                        "emailed_at": None,
                    }
                ],
                "webhook": None,
            }
        ],
        "next_cursor": None,
    }
    assert api.get(f"{ALERTS}/{made['id']}").json()["current"]["fired_at"] == "2026-06-18T12:00:00.000000Z"


def test_lists_go_on_by_cursor(api: Client, organization: Organization, key: tuple[ApiKey, str]) -> None:
    post(api, RULE | {"percentages": [50, 80, 100]})

    first = api.get(f"{ALERTS}?limit=2").json()
    second = api.get(f"{ALERTS}?limit=2&cursor={first['next_cursor']}").json()

    assert [alert["threshold"] for alert in first["data"] + second["data"]] == [100.0, 80.0, 50.0]
    assert second["next_cursor"] is None


def test_alerts_of_others_are_not_there(api: Client, other_organization: Organization) -> None:
    [foreign] = alerts.create(
        organization=other_organization,
        metric="pages",
        period="daily",
        thresholds=[Decimal(1)],
        actor=None,
    )

    answers = [
        api.get(f"{ALERTS}/{foreign.uid}"),
        patch(api, foreign.uid, {"threshold": 5}),
        api.delete(f"{ALERTS}/{foreign.uid}"),
        post(api, {}, f"/{foreign.uid}/test"),
        api.get(f"{ALERTS}/{foreign.uid}/firings"),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert api.get(ALERTS).json()["data"] == []


def test_a_list_takes_as_many_questions_however_long_it_is(
    api: Client, django_assert_max_num_queries: Any
) -> None:
    post(api, RULE | {"percentages": [10, 20, 30, 40, 50, 60, 70]})

    with django_assert_max_num_queries(9):
        assert len(api.get(ALERTS).json()["data"]) == 7
