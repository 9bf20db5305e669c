"""The request log in a browser: narrowed, refreshing by itself, downloaded, and exported in the background."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings

from accounts.models import ApiKey, Organization, User
from tests.usage.rows import job_row
from usage import export_files

pytestmark = pytest.mark.django_db(transaction=True)


def test_log_is_narrowed_refreshes_by_itself_and_is_downloaded(
    page: Page,
    sign_in: Callable[[User], None],
    owner: User,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
) -> None:
    key = organization_key[0]
    for number in range(3):
        job_row(key, f"parsed-{number}", created_at=timezone.now())
    job_row(key, "split-0", type="Split", file_type="docx", created_at=timezone.now())
    sign_in(owner)
    page.goto(f"/o/{organization.uid}/jobs/")

    page.get_by_label("Endpoint").select_option("Parse")
    expect(page.get_by_role("link", name="split-0")).to_have_count(0)
    page.get_by_label("Job ID").fill("parsed-1")
    page.get_by_role("button", name="Refresh request logs").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Job ID").fill("")
    page.get_by_role("button", name="Refresh request logs").click()
    expect(page.locator("tbody tr")).to_have_count(3)

    page.get_by_role("switch", name="Auto-refresh").click()
    expect(page.get_by_role("switch", name="Auto-refresh")).to_have_attribute("aria-checked", "true")
    assert "live=on" in page.url
    job_row(key, "parsed-3", created_at=timezone.now())
    expect(page.get_by_role("link", name="parsed-3")).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("link", name="Download what matches as CSV").click()
    with open(download.value.path(), newline="") as file:
        lines = list(csv.DictReader(file))
    assert sorted(line["job_id"] for line in lines) == [f"parsed-{number}" for number in range(4)]
    assert download.value.suggested_filename == f"jobs-{organization.uid}.csv"


def test_export_is_asked_for_made_and_downloaded(
    page: Page,
    sign_in: Callable[[User], None],
    owner: User,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    settings: Settings,
    tmp_path: Path,
) -> None:
    folder = {"BACKEND": "usage.files.Folder", "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = settings.STORAGES | {"exports": folder}
    job_row(organization_key[0], "parsed", created_at=timezone.now())
    job_row(organization_key[0], "split", type="Split", created_at=timezone.now())
    sign_in(owner)
    page.goto(f"/o/{organization.uid}/jobs/")
    page.get_by_role("link", name="Export all").click()

    page.get_by_label("Endpoint").select_option("Split")
    page.get_by_role("button", name="Make the file").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    export_files.make_waiting()

    # The list looks for itself whether it is ready.
    with page.expect_download() as download:
        page.locator("#made").get_by_role("link", name="Download").click()
    with open(download.value.path(), newline="") as file:
        assert [line["job_id"] for line in csv.DictReader(file)] == ["split"]
