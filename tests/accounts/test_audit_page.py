"""The audit page: what happened in words, and files of it."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import audit, audit_sentences, keys
from accounts.audit import Action, Actor
from accounts.models import ApiKey, Organization, User
from accounts.views.audit import PAGE


@pytest.fixture
def page(client: Client, owner: User, organization: Organization) -> Any:
    """What the owner sees of the trail."""
    client.force_login(owner)
    return lambda **query: client.get(f"/o/{organization.uid}/audit/", query)


@pytest.fixture
def download(client: Client, owner: User, organization: Organization) -> Any:
    client.force_login(owner)
    return lambda **query: client.get(f"/o/{organization.uid}/audit.csv", query)


def text(response: Any) -> str:
    return " ".join(response.content.decode().split())


def test_every_action_has_a_sentence() -> None:
    assert list(audit_sentences.SENTENCES) == list(Action)
    assert all(words.count("{}") == 1 for words in audit_sentences.SENTENCES.values())


def test_every_group_of_the_filter_has_actions() -> None:
    for _, choices in audit_sentences.choices():
        assert len(choices) > 1


def test_an_action_that_is_no_longer_recorded_stands_for_itself() -> None:
    assert audit_sentences.sentence("robot.fed", "R2", {}) == "robot.fed <strong>R2</strong>"


def test_what_happened_is_told_in_words(page: Any, organization_key: tuple[ApiKey, str], owner: User) -> None:
    key = organization_key[0]
    keys.revoke(key=key, actor=Actor(owner, ip="203.0.113.7"))

    shown = text(page())

    assert f"revoked the API key <strong>{key}</strong>" in shown
    assert "203.0.113.7" in shown
    assert "<del>active</del>" in shown
    assert "<ins>revoked</ins>" in shown


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"disabled": True, "reason": "Too slow"}, "disabled the webhook endpoint"),
        ({"disabled": False}, "enabled the webhook endpoint"),
        ({"disabled": True, "url": "https://example.com"}, "changed the webhook endpoint"),
        ({"url": "https://example.com"}, "changed the webhook endpoint"),
    ],
)
def test_switching_an_endpoint_is_told_as_that(after: dict[str, Any], words: str) -> None:
    assert audit_sentences.sentence(Action.ENDPOINT_UPDATED, "E", after) == f"{words} <strong>E</strong>"


def test_the_reason_stands_in_the_line(page: Any, organization: Organization) -> None:
    audit.record(
        Action.ENDPOINT_UPDATED,
        actor=None,
        organization=organization,
        target=organization,
        after={"disabled": True, "reason": "It took too long"},
    )

    assert (
        'disabled the webhook endpoint <strong>Northwind</strong> <span class="muted">“It took too long”'
        in text(page())
    )


def test_names_are_text_whatever_they_hold(page: Any, organization: Organization, owner: User) -> None:
    organization.name = "<script>{}"

    audit.record(
        Action.ORGANIZATION_UPDATED,
        actor=Actor(owner),
        organization=organization,
        target=organization,
        after={"<b>": ["<i>"]},
    )

    shown = text(page())
    assert "<strong>&lt;script&gt;{}</strong>" in shown
    assert "<b>" not in shown
    assert "<i>" not in shown


def test_filters_are_in_the_address(page: Any, organization_key: tuple[ApiKey, str]) -> None:
    response = page(action="api_key.*", actor="olivia", since="2020-01-01")

    assert [entry["line"].action for entry in response.context["entries"]] == ["api_key.created"]
    assert '<option value="api_key.*" selected>' in text(response)
    assert "audit.csv?action=api_key.%2A&amp;actor=olivia&amp;since=2020-01-01" in text(response)


def test_nothing_found_leads_back(page: Any) -> None:
    assert "Nothing matches" in text(page(action="api_key.leaked"))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"action": "robot.fed"}, "action"),
        ({"since": "soon"}, "since"),
        ({"since": "2026-02-30"}, "since"),
        ({"since": "2026-02-02", "until": "2026-02-01"}, "until"),
        ({"actor": "x" * 255}, "actor"),
        ({"actor": "nul\0"}, "actor"),
        ({"target": "nul\0"}, "target"),
    ],
)
def test_a_bad_filter_is_explained_beside_its_field(
    page: Any, download: Any, query: dict[str, str], field: str
) -> None:
    for response in (page(**query), download(**query)):
        assert response.status_code == 400
        assert field in response.context["form"].errors


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_first_and_the_last_day_of_all_can_be_asked_for(
    page: Any, organization: Organization, day: str
) -> None:
    Organization.objects.update(time_zone="Asia/Tokyo")

    assert page(since=day, until=day).status_code == 200


def test_a_foreign_place_is_refused(page: Any) -> None:
    assert page(older_than="moon").status_code == 400


def test_pages_follow_each_other_with_the_same_filters(page: Any, organization: Organization) -> None:
    for _ in range(PAGE + 1):
        audit.record(Action.MEMBER_ADDED, actor=None, organization=organization, target=organization)

    older = page(action="member.added").context["older"]
    response = page(**dict(part.split("=") for part in older.removeprefix("?").split("&")))

    assert len(response.context["entries"]) == 1
    assert "Back to the newest" in text(response)


def test_the_number_of_queries_does_not_grow(page: Any, organization: Organization, owner: User) -> None:
    page()
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            page()
        counts.append(len(queries))
        for _ in range(10):
            audit.record(
                Action.MEMBER_ADDED, actor=Actor(owner), organization=organization, target=organization
            )

    assert counts[0] == counts[1]


def test_the_file_has_the_same_filters(download: Any, organization_key: tuple[ApiKey, str]) -> None:
    response = download(action="api_key.*")

    lines = response.getvalue().decode().splitlines()
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert len(lines) == 2
    assert ",api_key.created," in lines[1]


def test_no_cell_of_the_file_is_a_formula(download: Any, organization: Organization, owner: User) -> None:
    organization.name = "=HYPERLINK(1)"
    audit.record(Action.ORGANIZATION_UPDATED, actor=None, organization=organization, target=organization)

    assert ",'=HYPERLINK(1)," in download().getvalue().decode()
