"""From a job to a draft of its pipeline: previewed, changed, compared, copied, kept."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from accounts.models import ApiKey, Organization, User
from tests.usage.rows import job_row
from usage.models import PipelineDraft

pytestmark = pytest.mark.django_db(transaction=True)
CONFIG: dict[str, Any] = {"options": {"ocr": "auto", "pages": "1-10"}, "output": {"format": "markdown"}}


def test_a_jobs_pipeline_is_previewed_changed_compared_and_kept(
    page: Page,
    sign_in: Callable[[User], None],
    member: User,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
) -> None:
    job_row(organization_key[0], "job-1", config=CONFIG)
    sign_in(member)

    page.goto(f"/o/{organization.uid}/jobs/job-1/")
    expect(page.get_by_text("1-10", exact=True)).to_be_visible()
    page.get_by_role("button", name="Preview pipeline").click()
    expect(page.get_by_role("heading", name="Parse from job-1")).to_be_visible()
    expect(page.get_by_text("They say the same.")).to_be_visible()

    editor = page.get_by_label("Configuration")
    editor.fill(editor.input_value().replace('"auto"', '"auto'))
    page.get_by_role("button", name="Check without saving").click()
    expect(page.get_by_text("Line 3, column 18")).to_be_visible()

    editor.fill(editor.input_value().replace('"auto', '"always"').replace("pages", "page"))
    page.get_by_role("button", name="Check without saving").click()
    expect(page.get_by_text("Nothing is saved yet.")).to_be_visible()
    expect(page.get_by_text("is not a field that is known here: pages perhaps?")).to_be_visible()
    editor.fill(editor.input_value().replace('"page"', '"pages"'))
    page.get_by_label("Name").fill("Read everything")
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_text("All fields are known")).to_be_visible()
    expect(page.get_by_role("deletion")).to_have_text(['−Removed: "ocr": "auto",'])
    expect(page.get_by_role("insertion")).to_have_text(['+Added: "ocr": "always",'])

    page.get_by_text("JSON", exact=True).last.click()
    page.get_by_role("button", name="Copy the JSON").click()
    expect(page.get_by_text("The JSON is copied")).to_be_visible()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied == {"options": {"ocr": "always", "pages": "1-10"}, "output": {"format": "markdown"}}

    page.get_by_role("navigation", name="Sections").first.get_by_role("link", name="Pipelines").click()
    page.get_by_role("link", name="Read everything").click()
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete draft").click()
    expect(page.get_by_text("No draft yet")).to_be_visible()
    assert not PipelineDraft.objects.exists()


def test_what_two_type_at_once_is_lost_by_neither(
    page: Page,
    sign_in: Callable[[User], None],
    member: User,
    organization: Organization,
) -> None:
    draft = PipelineDraft.objects.create(organization=organization, name="shared", text='{"a": 1}')
    sign_in(member)
    page.goto(f"/o/{organization.uid}/pipelines/{draft.uid}/")
    PipelineDraft.objects.update(text='{"theirs": 1}', version=2)

    page.get_by_label("Configuration").fill('{"mine": 1}')
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_text("Somebody else saved this draft")).to_be_visible()
    expect(page.get_by_label("Configuration")).to_have_value('{"mine": 1}')
    expect(page.get_by_role("deletion")).to_contain_text("theirs")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    draft.refresh_from_db()
    assert (draft.text, draft.version) == ('{"mine": 1}', 3)
