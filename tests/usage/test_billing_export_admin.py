"""The files of the billing export in the back office."""

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry
from tests.usage import billing_rows as rows
from tests.usage.billing_rows import fetch, queued
from usage import billing_export, files
from usage.models import BillingExportFile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("exports_folder")]

LIST = "/admin/usage/billingexportfile/"


@pytest.fixture
def file() -> BillingExportFile:
    queued("a", "b")
    made = billing_export.export(delete=True)
    assert made is not None
    return made


def new_link(client: Client, file: BillingExportFile) -> str:
    """Ask for a new link; answers the page that then shows it."""
    address = reverse("admin:usage_billingexportfile_new_link", args=[file.pk])
    answer: Any = client.post(address, {"_form_submitted": "True"})
    assert answer.status_code == 200
    return client.get(answer["HX-Redirect"]).content.decode()


def test_files_are_listed(back_office: Client, file: BillingExportFile) -> None:
    page = back_office.get(LIST).content.decode()

    assert file.name.removeprefix("usage_for_billing/") in page
    assert "deleted" in page


def test_nobody_changes_or_deletes_them(back_office: Client, file: BillingExportFile) -> None:
    assert back_office.get(f"{LIST}add/").status_code == 403
    assert back_office.post(f"{LIST}{file.pk}/delete/").status_code == 403
    back_office.post(f"{LIST}{file.pk}/change/", {"number": 99})

    assert BillingExportFile.objects.get().number == 1


def test_they_stand_in_the_sidebar(back_office: Client) -> None:
    assert f'href="{LIST}"' in back_office.get("/admin/").content.decode()


def test_a_new_link_leads_to_file_and_manifest(back_office: Client, file: BillingExportFile) -> None:
    page = new_link(back_office, file)

    found = [unescape(url) for url in re.findall(r'href="(http://[^"]*/files/[^"]*)"', page)]
    content, manifest = (fetch(Client(), url) for url in found)
    assert rows.keys(content) == ["a", "b"]
    assert file.sha256.encode() in manifest
    assert AuditEntry.objects.get(action="billing_usage.linked").target_uid == file.uid


def test_a_file_that_is_gone_has_no_new_link(back_office: Client, file: BillingExportFile) -> None:
    files.exports().delete(file.name)

    assert "no longer in the storage" in new_link(back_office, file)
    assert not AuditEntry.objects.filter(action="billing_usage.linked").exists()
