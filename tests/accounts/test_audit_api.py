"""GET /api/v1/audit."""

from typing import Any

import pytest
from django.test import Client

from accounts import audit, keys
from accounts.audit import Action, Actor
from accounts.models import ApiKey, Organization, User


@pytest.fixture
def key(organization: Organization, owner: User) -> tuple[ApiKey, str]:
    return keys.create_organization_key(
        organization=organization, name="siem", scopes=["audit"], actor=Actor(owner, ip="203.0.113.7")
    )


@pytest.fixture
def call(client: Client, key: tuple[ApiKey, str]) -> Any:
    return lambda **query: client.get("/api/v1/audit", query, headers={"Authorization": f"Bearer {key[1]}"})


def test_an_entry_has_who_what_whom_and_from_where(call: Any, key: tuple[ApiKey, str], owner: User) -> None:
    entry = call(limit=1).json()["data"][0]

    assert entry.pop("id").startswith("aud_")
    assert entry.pop("created_at").endswith("Z")
    assert entry.pop("after")["name"] == "siem"
    assert entry == {
        "action": "api_key.created",
        "actor": {"id": owner.uid, "name": "olivia@example.com"},
        "api_key_id": None,
        "target": {"type": "apikey", "id": key[0].uid, "name": str(key[0])},
        "ip": "203.0.113.7",
        "before": {},
    }


def test_pages_follow_each_other(call: Any, organization: Organization) -> None:
    for _ in range(3):
        audit.record(Action.MEMBER_ADDED, actor=None, organization=organization, target=organization)

    actions, query = [], {"limit": "2"}
    while True:
        answer = call(**query).json()
        actions += [entry["action"] for entry in answer["data"]]
        if answer["next_cursor"] is None:
            break
        query["cursor"] = answer["next_cursor"]

    assert actions == ["member.added"] * 3 + ["api_key.created", "organization.created"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"action": "api_key.*"}, 1),
        ({"action": "api_key.created"}, 1),
        ({"actor": "olivia"}, 2),
        ({"actor": "nobody"}, 0),
        ({"target": "key_nothing"}, 0),
        ({"since": "2000-01-01", "until": "9999-12-31"}, 2),
        ({"until": "2000-01-01"}, 0),
    ],
)
def test_filters(call: Any, query: dict[str, str], found: int) -> None:
    assert len(call(**query).json()["data"]) == found


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"cursor": "moon"}, "cursor"),
        ({"since": "soon"}, "since"),
        ({"since": "2026-02-02", "until": "2026-02-01"}, "since"),
        ({"actor": "nul\0"}, "actor"),
        ({"target": "nul\0"}, "target"),
        ({"action": "nul\0"}, "action"),
        ({"action": "robot.fed"}, "action"),
    ],
)
def test_a_bad_parameter_is_named(call: Any, query: dict[str, str], param: str) -> None:
    response = call(**query)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_without_the_scope_it_is_refused(client: Client, organization_key: tuple[ApiKey, str]) -> None:
    response = client.get("/api/v1/audit", headers={"Authorization": f"Bearer {organization_key[1]}"})

    assert response.status_code == 403
