"""The pages of pipelines: previewed, looked at, checked, saved, deleted, handed to the Studio."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import personal_data
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Organization, User
from tests.usage.rows import job_row
from usage import configurations, pipelines
from usage.models import Job, PipelineDraft

CONFIG: dict[str, Any] = {
    "options": {"ocr": "auto", "languages": ["en", "de"]},
    "chunks": {"by": "section", "max_characters": 800},
}


@pytest.fixture
def pages(organization: Organization) -> str:
    return f"/o/{organization.uid}/pipelines/"


@pytest.fixture
def job(organization_key: tuple[ApiKey, str]) -> Job:
    return job_row(organization_key[0], "a/b c?", config=CONFIG)


@pytest.fixture
def draft(organization: Organization, job: Job) -> PipelineDraft:
    return pipelines.create_from_job(organization=organization, job=job, actor=None)


@pytest.fixture
def browse(client: Client) -> Callable[..., str]:
    def get(user: User, address: str) -> str:
        client.force_login(user)
        answer = client.get(address)
        assert answer.status_code == 200
        return " ".join(answer.content.decode().split())

    return get


def form(draft: PipelineDraft, **fields: Any) -> dict[str, Any]:
    return {"name": draft.name, "type": draft.type, "text": draft.text, "version": draft.version} | fields


# ── From a job ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_jobs_page_tells_its_configuration_in_words_and_as_json(
    browse: Callable[..., str], organization: Organization, job: Job, member: User
) -> None:
    page = browse(member, f"/o/{organization.uid}/jobs/{job.job_id.replace('?', '%3F')}/")

    assert '<dt>Max characters</dt> <dd> <span class="value">800</span>' in page
    assert '<span class="value">en, de</span>' in page
    assert "&quot;max_characters&quot;: 800" in page
    assert "Preview pipeline" in page


def test_a_viewer_sees_no_button_and_is_refused(
    browse: Callable[..., str],
    client: Client,
    pages: str,
    organization: Organization,
    job: Job,
    viewer: User,
) -> None:
    assert "Preview pipeline" not in browse(
        viewer, f"/o/{organization.uid}/jobs/{job.job_id.replace('?', '%3F')}/"
    )

    assert client.post(f"{pages}preview/a/b%20c%3F/").status_code == 403
    assert not PipelineDraft.objects.exists()


def test_preview_recreates_it_as_a_draft(client: Client, pages: str, job: Job, member: User) -> None:
    client.force_login(member)

    answer = client.post(f"{pages}preview/a/b%20c%3F/", follow=True)

    draft = PipelineDraft.objects.get()
    assert answer.redirect_chain[-1][0] == f"{pages}{draft.uid}/"
    assert json.loads(draft.text) == json.loads(draft.original) == CONFIG
    assert (draft.type, draft.job_id, draft.created_by, draft.name) == (
        "Parse",
        "a/b c?",
        member,
        "Parse from a/b c?",
    )
    entry = AuditEntry.objects.get(action="pipeline.created")
    assert entry.after == {"name": "Parse from a/b c?", "type": "Parse", "job_id": "a/b c?"}


def test_a_job_of_others_cannot_be_previewed(
    client: Client, job: Job, outsider: User, other_organization: Organization
) -> None:
    client.force_login(outsider)

    answer = client.post(f"/o/{other_organization.uid}/pipelines/preview/a/b%20c%3F/")

    assert answer.status_code == 404
    assert not PipelineDraft.objects.exists()


def test_a_job_without_a_configuration_has_none_to_preview(
    browse: Callable[..., str],
    client: Client,
    pages: str,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    member: User,
) -> None:
    job_row(organization_key[0], "plain")

    page = browse(member, f"/o/{organization.uid}/jobs/plain/")
    answer = client.post(f"{pages}preview/plain/", follow=True)

    assert "No configuration was reported." in page
    assert "Preview pipeline" not in page
    assert "There is no configuration of this job to preview." in answer.content.decode()


def test_a_huge_configuration_is_left_to_the_api(
    browse: Callable[..., str],
    client: Client,
    pages: str,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    member: User,
) -> None:
    job_row(organization_key[0], "huge", config={"prompt": "x" * configurations.LARGEST})

    page = browse(member, f"/o/{organization.uid}/jobs/huge/")
    answer = client.post(f"{pages}preview/huge/", follow=True)

    assert "larger than a page can show" in page
    assert "at most 256 KB" in answer.content.decode()
    assert not PipelineDraft.objects.exists()


def test_a_name_that_cannot_be_seen_is_not_taken_from_the_job(
    organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    job = job_row(organization_key[0], "a\nb\u202ec" + "x" * 110, config={})

    draft = pipelines.create_from_job(organization=organization, job=job, actor=None)

    assert draft.name == "Parse from abcxxxxxxxxx…"


# ── A draft's page ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_viewer_reads_a_draft_without_a_form(
    browse: Callable[..., str], pages: str, draft: PipelineDraft, viewer: User
) -> None:
    page = browse(viewer, f"{pages}{draft.uid}/")

    assert "They say the same." in page
    assert "curl https://api.example.com/parse" in page
    assert "<textarea" not in page
    assert "Delete" not in page


def test_unknown_fields_and_wrong_values_are_pointed_out_by_path(
    client: Client, pages: str, draft: PipelineDraft, member: User
) -> None:
    client.force_login(member)
    config = {"options": {"ocr": "sometimes", "language": ["en"]}, "steps": [], "chunks": {"by": 5}}

    answer = client.post(f"{pages}{draft.uid}/check/", form(draft, text=json.dumps(config)))

    assert answer.status_code == 200
    page = " ".join(answer.content.decode().split())
    assert "<code>options.language</code> is not a field that is known here: languages perhaps?" in page
    assert (
        "<code>options.ocr</code> should be one of &quot;auto&quot;, &quot;always&quot;, &quot;never&quot;"
        in page
    )
    assert "<code>steps</code> is not a field that is known here" in page
    assert "Nothing is saved yet." in page
    draft.refresh_from_db()
    assert json.loads(draft.text) == CONFIG


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  "a": 1,\n  b: 2\n}', "Line 3, column 3: Expecting property name enclosed in double quotes."),
        ("", "Write a JSON object"),
        ("[1]", "A configuration is a JSON object, {…}, and this is an array."),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "The key &quot;c&quot; is there twice in one object."),
        ('{"a": NaN}', "JSON has no NaN."),
        ('{"a": 1e999}', "The number 1e999 is too large."),
        ('{"a": ' + "9" * 5000 + "}", "is too large."),
        ('{"a": "\\u0000"}', "must not contain the character U+0000"),
        ('{"a": "\x00"}', "Null characters are not allowed."),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "It is nested more than 100 deep."),
        ('{"a": ' + "[" * 100_000, "It is nested more than 100 deep."),
        ('{"a": "' + "é" * (configurations.LARGEST // 2) + '"}', "at most 256 KB"),
    ],
)
def test_what_is_no_configuration_is_said_and_kept_in_the_form(
    client: Client, pages: str, draft: PipelineDraft, member: User, text: str, message: str
) -> None:
    client.force_login(member)

    for action in ("save", "check"):
        answer = client.post(f"{pages}{draft.uid}/{action}/", form(draft, text=text))

        assert answer.status_code == 400
        assert message in answer.content.decode()
        assert "They say the same." in answer.content.decode()
    draft.refresh_from_db()
    assert (json.loads(draft.text), draft.version) == (CONFIG, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": " "}, "Give the draft a name."),
        ({"name": "x" * 121}, "at most 120 characters"),
        ({"name": "a\u202eb"}, "cannot be seen"),
        ({"type": "Print"}, "Select a valid choice"),
        ({"version": "first"}, "Enter a whole number."),
        ({"version": "9" * 30}, "less than or equal to"),
    ],
)
def test_a_bad_field_is_said_beside_it(
    client: Client, pages: str, draft: PipelineDraft, member: User, fields: dict[str, str], message: str
) -> None:
    client.force_login(member)

    answer = client.post(f"{pages}{draft.uid}/save/", form(draft, **fields))

    assert answer.status_code == 400
    assert message in answer.content.decode()


def test_saving_keeps_what_was_typed_and_shows_the_difference(
    client: Client, pages: str, draft: PipelineDraft, member: User
) -> None:
    client.force_login(member)
    text = draft.text.replace("auto", "always").replace("\n", "\r\n")

    answer = client.post(f"{pages}{draft.uid}/save/", form(draft, name="Better", text=text), follow=True)

    draft.refresh_from_db()
    assert (draft.name, draft.version) == ("Better", 2)
    assert draft.text == text.replace("\r\n", "\n")
    page = re.sub(r">\s+<", "><", answer.content.decode())
    assert '<del><span class="mark" aria-hidden="true">−</span>'.replace("\n", "") in re.sub(
        r"\s+", " ", page
    )
    assert "&quot;ocr&quot;: &quot;always&quot;," in page
    entry = AuditEntry.objects.get(action="pipeline.updated")
    assert (entry.before, entry.after) == (
        {"name": "Parse from a/b c?", "version": 1},
        {"name": "Better", "version": 2},
    )


def test_how_it_is_laid_out_makes_no_difference(
    client: Client, pages: str, draft: PipelineDraft, member: User
) -> None:
    client.force_login(member)

    answer = client.post(f"{pages}{draft.uid}/save/", form(draft, text=json.dumps(CONFIG)), follow=True)

    assert "They say the same." in answer.content.decode()


def test_what_somebody_else_saved_meanwhile_is_not_overwritten(
    client: Client, pages: str, draft: PipelineDraft, member: User, admin: User
) -> None:
    pipelines.update(draft=draft, changes={"text": '{"saved": "first"}'}, version=1, actor=None)
    client.force_login(member)

    answer = client.post(f"{pages}{draft.uid}/save/", form(draft, text='{"typed": "second"}'))

    assert answer.status_code == 409
    page = answer.content.decode()
    assert "Somebody else saved this draft while you were editing it." in page
    assert "&quot;typed&quot;" in page
    assert "Difference to what is saved" in page
    draft.refresh_from_db()
    assert draft.text == '{"saved": "first"}'

    [version] = re.findall(r'name="version" value="(\d+)"', page)
    client.post(f"{pages}{draft.uid}/save/", form(draft, text='{"typed": "second"}', version=version))
    draft.refresh_from_db()
    assert (draft.text, draft.version) == ('{"typed": "second"}', 3)


def test_saving_the_same_twice_is_no_conflict(
    client: Client, pages: str, draft: PipelineDraft, member: User
) -> None:
    client.force_login(member)
    typed = form(draft, name="Better")

    answers = [client.post(f"{pages}{draft.uid}/save/", typed) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [302, 302]
    draft.refresh_from_db()
    assert draft.version == 2


def test_a_form_without_its_version_is_a_conflict(
    client: Client, pages: str, draft: PipelineDraft, member: User
) -> None:
    client.force_login(member)

    answer = client.post(f"{pages}{draft.uid}/save/", form(draft, name="Better", version=""))

    assert answer.status_code == 409


def test_deleting_asks_once(client: Client, pages: str, draft: PipelineDraft, member: User) -> None:
    client.force_login(member)
    address = f"{pages}{draft.uid}/delete/"

    assert "cannot be brought back" in client.get(address).content.decode()
    assert PipelineDraft.objects.exists()
    client.post(address)

    assert not PipelineDraft.objects.exists()
    assert AuditEntry.objects.get(action="pipeline.deleted").target_name == draft.name
    assert client.post(address).status_code == 404


# ── The list, and a new one ──────────────────────────────────────────────────────────────────────────────────


def test_without_a_draft_the_page_says_how_to_get_one(
    browse: Callable[..., str], pages: str, member: User, viewer: User
) -> None:
    assert "press “Preview pipeline”" in browse(member, pages)
    assert "write one anew" in browse(member, pages)
    assert "write one anew" not in browse(viewer, pages)


def test_the_list_goes_on_by_pages_and_takes_as_many_questions(
    client: Client,
    pages: str,
    organization: Organization,
    member: User,
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(60):
        PipelineDraft.objects.create(
            organization=organization, name=f"draft-{number}.", text="{}", created_by=member
        )
    client.force_login(member)

    with django_assert_max_num_queries(12):
        first = client.get(pages).content.decode()
    [older] = re.findall(r'href="(\?older_than=[^"]+)"', first)
    second = client.get(pages + older).content.decode()

    shown = re.findall(r"draft-(\d+)\.<", first + second)
    assert [int(number) for number in shown] == list(reversed(range(60)))
    assert "?older_than=" not in second


def test_a_draft_is_written_anew(client: Client, pages: str, member: User) -> None:
    client.force_login(member)

    answer = client.post(
        f"{pages}create/", {"name": "New", "type": "Split", "text": '{"sections": []}'}, follow=True
    )

    draft = PipelineDraft.objects.get()
    assert (draft.name, draft.type, draft.text, draft.original) == ("New", "Split", '{"sections": []}', "")
    assert "Difference" not in answer.content.decode()


def test_the_line_ends_of_browsers_make_no_draft_too_large(client: Client, pages: str, member: User) -> None:
    lines = ",\n".join(f'"{number}": 0' for number in range(22_000))
    text = f"{{\n{lines}\n}}"
    assert len(text) < configurations.LARGEST < len(text.replace("\n", "\r\n"))
    client.force_login(member)

    client.post(pages + "create/", {"name": "Long", "type": "Parse", "text": text.replace("\n", "\r\n")})

    assert PipelineDraft.objects.get().text == text


def test_a_draft_too_many_is_refused(
    client: Client, pages: str, draft: PipelineDraft, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "MOST", 1)
    client.force_login(member)

    created = client.post(f"{pages}create/", {"name": "New", "type": "Split", "text": "{}"})
    previewed = client.post(f"{pages}preview/a/b%20c%3F/", follow=True)

    assert created.status_code == 409
    assert "delete one first" in created.content.decode()
    assert "delete one first" in previewed.content.decode()
    assert PipelineDraft.objects.count() == 1


def test_drafts_of_others_are_not_there(
    client: Client, draft: PipelineDraft, outsider: User, other_organization: Organization
) -> None:
    client.force_login(outsider)
    there = f"/o/{other_organization.uid}/pipelines/{draft.uid}/"

    answers = [client.get(there + path) for path in ("", "delete/", "studio/")]
    answers += [client.post(there + path, form(draft)) for path in ("save/", "check/", "delete/")]

    assert {answer.status_code for answer in answers} == {404}


# ── The Studio ───────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_studio_there_is_no_link(
    browse: Callable[..., str], client: Client, pages: str, draft: PipelineDraft, member: User
) -> None:
    assert "Studio" not in browse(member, f"{pages}{draft.uid}/")
    answer = client.get(f"{pages}{draft.uid}/studio/", follow=True)
    assert "There is no Studio to open it in." in answer.content.decode()


@pytest.mark.parametrize("address", ["https://studio.example/new", "https://studio.example/?mode=new"])
def test_the_link_to_the_studio_carries_a_token(
    browse: Callable[..., str],
    client: Client,
    pages: str,
    draft: PipelineDraft,
    member: User,
    settings: Settings,
    address: str,
) -> None:
    settings.STUDIO_URL = address

    assert "Open in the Studio" in browse(member, f"{pages}{draft.uid}/")
    answer = client.get(f"{pages}{draft.uid}/studio/")

    assert answer.status_code == 302
    assert answer["Location"].startswith(address + ("&" if "?" in address else "?") + "draft=pip_")
    token = answer["Location"].rpartition("draft=")[2]
    assert pipelines.of_token(token) == draft


def test_a_draft_outlives_the_account_of_its_maker(
    browse: Callable[..., str], pages: str, organization: Organization, member: User, owner: User
) -> None:
    draft = pipelines.create(organization=organization, name="kept", text="{}", actor=Actor(member))

    personal_data.delete_account(user=member, actor=None)

    draft.refresh_from_db()
    assert draft.created_by is None
    assert "kept" in browse(owner, pages)
    assert "kept" in browse(owner, f"{pages}{draft.uid}/")
