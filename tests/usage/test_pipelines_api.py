"""Pipeline drafts over REST, and the token by which the Studio reads one."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.signing import TimestampSigner
from django.test import Client
from pytest_django import Settings

from accounts import keys, organizations
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Organization, User
from tests.usage.rows import job_row
from usage import configurations, pipelines
from usage.models import PipelineDraft

PIPELINES = "/api/v1/pipelines"
CONFIG: dict[str, Any] = {"options": {"ocr": "auto"}}


@pytest.fixture
def api(organization_key: tuple[ApiKey, str]) -> Client:
    return Client(headers={"Authorization": f"Bearer {organization_key[1]}"})


@pytest.fixture
def draft(organization: Organization, owner: User) -> PipelineDraft:
    return pipelines.create(
        organization=organization, name="Invoices", type="Parse", text=json.dumps(CONFIG), actor=Actor(owner)
    )


def post(api: Client, body: Any) -> Any:
    return api.post(PIPELINES, body, content_type="application/json")


def patch(api: Client, draft: PipelineDraft, body: Any) -> Any:
    return api.patch(f"{PIPELINES}/{draft.uid}", body, content_type="application/json")


def test_a_draft_is_made_anew_and_read(api: Client, owner: User) -> None:
    with time_machine.travel(datetime(2026, 6, 18, 12, tzinfo=UTC), tick=False):
        answer = post(api, {"name": "Invoices", "type": "Parse", "config": CONFIG | {"output": {"x": 1}}})

    assert answer.status_code == 201
    body = answer.json()
    line = {
        "id": PipelineDraft.objects.get().uid,
        "name": "Invoices",
        "type": "Parse",
        "job_id": None,
        "version": 1,
        "created_by": {"id": owner.uid, "name": "Olivia", "email": "olivia@example.com"},
        "created_at": "2026-06-18T12:00:00.000000Z",
        "updated_at": "2026-06-18T12:00:00.000000Z",
    }
    assert body == line | {
        "config": {"options": {"ocr": "auto"}, "output": {"x": 1}},
        "original_config": None,
        "warnings": [{"path": "output.x", "message": "is not a field that is known here"}],
    }
    assert api.get(f"{PIPELINES}/{body['id']}").json() == body
    assert api.get(PIPELINES).json() == {"data": [line], "next_cursor": None}
    assert AuditEntry.objects.get(action="pipeline.created").after == {"name": "Invoices", "type": "Parse"}


def test_a_draft_is_made_of_a_job(api: Client, organization_key: tuple[ApiKey, str]) -> None:
    job_row(organization_key[0], "job-1", type="Split", config={"sections": []})

    named = post(api, {"job_id": "job-1", "name": "Mine"}).json()
    unnamed = post(api, {"job_id": "job-1"}).json()

    assert (named["name"], named["type"], named["job_id"]) == ("Mine", "Split", "job-1")
    assert named["config"] == named["original_config"] == {"sections": []}
    assert unnamed["name"] == "Split from job-1"


def test_a_configuration_may_be_the_text_that_a_job_has(api: Client) -> None:
    answer = post(api, {"name": "Invoices", "config": '{"a": 1.50}'})

    assert answer.json()["config"] == {"a": 1.5}
    assert PipelineDraft.objects.get().text == '{"a": 1.50}'


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "x"}, "config"),
        ({"config": {}}, "name"),
        ({"name": "", "config": {}}, "name"),
        ({"name": None, "config": {}}, "name"),
        ({"name": ["x"], "config": {}}, "name"),
        ({"name": "x" * 121, "config": {}}, "name"),
        ({"name": "a\u0000b", "config": {}}, "name"),
        ({"name": "a\u202eb", "config": {}}, "name"),
        ({"name": "x", "config": []}, "config"),
        ({"name": "x", "config": None}, "config"),
        ({"name": "x", "config": "{"}, "config"),
        ({"name": "x", "config": '{"a": 1, "a": 2}'}, "config"),
        ({"name": "x", "config": {"a": "\u0000"}}, "config"),
        ({"name": "x", "config": {"a\u0000": 1}}, "config"),
        ({"name": "x", "config": {"a": "x" * configurations.LARGEST}}, "config"),
        ({"name": "x", "config": {}, "type": "Print"}, "type"),
        ({"name": "x", "config": {}, "type": ["Parse"]}, "type"),
        ({"name": "x", "config": {}, "colour": "red"}, "colour"),
        ({"job_id": "job-1", "config": {}}, "config"),
        ({"job_id": "job-1", "type": "Parse"}, "type"),
        ({"job_id": "nothing"}, "job_id"),
        ({"job_id": "job-\u0000"}, "job_id"),
        ({"job_id": {"id": 1}}, "job_id"),
        ({"job_id": "x" * 129}, "job_id"),
        ({"job_id": "plain"}, "job_id"),
        ({"job_id": "job-1", "name": "a\nb"}, "name"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_made(
    api: Client, organization_key: tuple[ApiKey, str], body: dict[str, Any], param: str
) -> None:
    job_row(organization_key[0], "job-1", config=CONFIG)
    job_row(organization_key[0], "plain")

    answer = post(api, body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not PipelineDraft.objects.exists()


@pytest.mark.parametrize("body", ["[]", '"x"', "5", "{", '{"name": "x", "config": {"a": 1e999}}'])
def test_a_bad_body_is_refused(api: Client, body: str) -> None:
    assert post(api, body).status_code == 400


def test_half_a_character_is_refused(api: Client) -> None:
    answer = post(api, '{"name": "x", "config": {"a": "\\ud800"}}')

    assert answer.json()["error"]["param"] == "config"


@pytest.mark.parametrize("depth", [101, 500])
def test_a_deep_configuration_is_refused(api: Client, depth: int) -> None:
    answer = post(api, '{"name": "x", "config": {"a": %s}}' % ("[" * depth + "]" * depth))

    assert answer.status_code == 400
    assert "nested more than 100 deep" in answer.json()["error"]["message"]


def test_a_body_too_deep_to_be_read_is_refused(api: Client) -> None:
    answer = post(api, '{"name": "x", "config": {"a": %s}}' % ("[" * 100_000))

    assert answer.status_code == 400
    assert "nested too deep" in answer.json()["error"]["message"]


def test_an_erased_configuration_is_said_to_be(api: Client, organization_key: tuple[ApiKey, str]) -> None:
    job_row(organization_key[0], "job-1", erased=["configuration"], erased_at=datetime.now(UTC))

    answer = post(api, {"job_id": "job-1"})

    assert answer.json()["error"]["message"] == "The configuration of this job was erased."


def test_a_job_of_others_is_as_unknown_as_any(
    api: Client, outsider: User, other_organization: Organization
) -> None:
    key, _ = keys.create_organization_key(
        organization=other_organization, name="theirs", actor=Actor(outsider)
    )
    job_row(key, "theirs", config=CONFIG)

    assert post(api, {"job_id": "theirs"}).json()["error"]["param"] == "job_id"


def test_one_too_many_is_a_conflict(
    api: Client, draft: PipelineDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "MOST", 1)

    assert post(api, {"name": "x", "config": {}}).status_code == 409


def test_a_change_counts_the_version_up_and_is_audited(api: Client, draft: PipelineDraft) -> None:
    answer = patch(api, draft, {"name": "Bills", "config": {"b": 2}, "type": "Edit", "version": 1})

    assert answer.status_code == 200
    body = answer.json()
    assert (body["name"], body["config"], body["type"], body["version"]) == ("Bills", {"b": 2}, "Edit", 2)
    assert body["updated_at"] > body["created_at"]
    entry = AuditEntry.objects.get(action="pipeline.updated")
    assert entry.before == {"name": "Invoices", "type": "Parse", "version": 1}
    assert entry.after == {"name": "Bills", "type": "Edit", "version": 2}


def test_a_change_of_an_older_version_is_a_conflict(api: Client, draft: PipelineDraft) -> None:
    patch(api, draft, {"name": "Bills", "version": 1})

    answer = patch(api, draft, {"config": {}, "version": 1})

    assert answer.status_code == 409
    assert answer.json()["error"]["param"] == "version"
    assert api.get(f"{PIPELINES}/{draft.uid}").json()["config"] == CONFIG


def test_a_change_without_a_version_is_made_to_whatever_there_is(api: Client, draft: PipelineDraft) -> None:
    for name in ("Bills", "Receipts"):
        assert patch(api, draft, {"name": name}).status_code == 200

    draft.refresh_from_db()
    assert (draft.name, draft.version) == ("Receipts", 3)


def test_a_change_of_nothing_counts_nothing(api: Client, draft: PipelineDraft) -> None:
    for body in ({}, {"name": "Invoices"}, {"name": "Invoices", "version": 7}):
        assert patch(api, draft, body).json()["version"] == 1

    assert not AuditEntry.objects.filter(action="pipeline.updated").exists()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": ""}, "name"),
        ({"config": 5}, "config"),
        ({"type": None}, "type"),
        ({"version": 0}, "version"),
        ({"version": 2**40}, "version"),
        ({"version": "x"}, "version"),
        ({"job_id": "job-1"}, "job_id"),
    ],
)
def test_a_bad_change_is_named_and_changes_nothing(
    api: Client, draft: PipelineDraft, body: dict[str, Any], param: str
) -> None:
    answer = patch(api, draft, body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    draft.refresh_from_db()
    assert draft.version == 1


def test_a_deleted_draft_is_gone(api: Client, draft: PipelineDraft) -> None:
    assert api.delete(f"{PIPELINES}/{draft.uid}").status_code == 204

    assert api.delete(f"{PIPELINES}/{draft.uid}").status_code == 404
    assert AuditEntry.objects.get(action="pipeline.deleted").before["name"] == "Invoices"


def test_the_list_goes_on_by_cursor(api: Client, organization: Organization) -> None:
    for number in range(5):
        PipelineDraft.objects.create(organization=organization, name=str(number), text="{}")

    first = api.get(PIPELINES, {"limit": 3}).json()
    second = api.get(PIPELINES, {"limit": 3, "cursor": first["next_cursor"]}).json()

    assert [line["name"] for line in first["data"] + second["data"]] == ["4", "3", "2", "1", "0"]
    assert second["next_cursor"] is None
    assert "config" not in first["data"][0]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 501}, {"limit": "x"}, {"cursor": "x"}])
def test_a_bad_place_in_the_list_is_named(api: Client, query: dict[str, Any]) -> None:
    answer = api.get(PIPELINES, query)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(query))


# ── The Studio ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def token(draft: PipelineDraft, viewer: User) -> str:
    return pipelines.studio_address(draft, user=viewer).rpartition("draft=")[2]


def test_the_studio_reads_the_draft_by_its_token(
    client: Client, draft: PipelineDraft, token: str, settings: Settings
) -> None:
    settings.STUDIO_URL = "https://studio.example/new?x=1"

    answer = client.get(f"/api/v1/studio/pipelines/{token}")

    assert answer.status_code == 200
    assert answer.json() == {
        "id": draft.uid,
        "organization_id": draft.organization.uid,
        "name": "Invoices",
        "type": "Parse",
        "version": 1,
        "config": CONFIG,
    }
    assert answer["Access-Control-Allow-Origin"] == "https://studio.example"
    assert answer["Cache-Control"] == "no-store"


def test_a_token_lasts_an_hour(client: Client, token: str) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=59)):
        assert client.get(f"/api/v1/studio/pipelines/{token}").status_code == 200
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=61)):
        answer = client.get(f"/api/v1/studio/pipelines/{token}")

    assert answer.status_code == 410
    assert "expired" in answer.json()["error"]["message"]


def test_a_token_opens_no_other_draft(
    client: Client, token: str, viewer: User, other_organization: Organization
) -> None:
    theirs = PipelineDraft.objects.create(organization=other_organization, name="theirs", text="{}")
    _, _, signature = token.partition(".")
    foreign = TimestampSigner(sep=".", salt="unsubscribe").sign(f"{theirs.uid}.{viewer.uid}")

    for other in (f"{theirs.uid}.{signature}", foreign, theirs.uid, "x", ".", "\x00", "é.é.é"):
        assert client.get(f"/api/v1/studio/pipelines/{other}").status_code == 404


def test_a_token_ends_with_the_membership_it_was_made_for(
    client: Client, token: str, viewer: User, organization: Organization
) -> None:
    organization.memberships.filter(user=viewer).delete()

    assert client.get(f"/api/v1/studio/pipelines/{token}").status_code == 404


def test_what_is_deleted_is_not_there_for_the_studio_either(
    client: Client, draft: PipelineDraft, token: str
) -> None:
    organizations.delete(organization=draft.organization, actor=None)

    assert client.get(f"/api/v1/studio/pipelines/{token}").status_code == 404
    draft.delete()
    assert client.get(f"/api/v1/studio/pipelines/{token}").status_code == 404
