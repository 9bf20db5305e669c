"""What customers and strangers write is text wherever the back office shows it, and no link leads out by script."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.db import models
from django.test import Client
from django.urls import reverse

from accounts import audit
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Invitation, Note, Organization, User
from billing.models import EntitlementOverride, Invoice
from tests.config.rows import fill
from tests.usage.rows import job_row
from usage.models import Job, UsageAlert, UsageExportFile
from webhooks.models import Endpoint, OutboxMessage, Replay

MARKUP = "\"'><script>x</script><img src=x onerror=x>{{ 1 }}"
SCRIPT = "javascript:x()//"
# What the pages reckon with, or is a word of a few.
KEPT = frozenset(
    {
        "uid",
        "password",
        "time_zone",
        "next_time_zone",
        "lines",
        "stored_secret",
        "stored_headers",
        "old_secrets",
    }
)


def spoil(model: Any) -> None:
    """Write markup into all texts of a table, and a script into its URLs."""
    values: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        if field.name in KEPT or field.flatchoices or field.is_relation or field.unique or field.generated:
            continue
        if "url" in field.name:
            values[field.name] = SCRIPT
        elif isinstance(field, models.JSONField):
            values[field.name] = {"message": MARKUP, "code": MARKUP, "reason": MARKUP, "url": SCRIPT}
        elif isinstance(field, models.CharField | models.TextField) and (field.max_length or 99) >= len(
            MARKUP
        ):
            values[field.name] = MARKUP
    model._default_manager.all().update(**values)


def unescaped(page: str) -> list[str]:
    return re.findall(r"<script>x|<img src=x[^>]*|(?:href|src|action)=[\"']javascript:[^>]*", page)


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
def test_lists_and_pages_show_texts_as_texts(back_office: Client, model: Any) -> None:
    [row] = fill(model, 1)
    tables = {model, *(field.related_model for field in model._meta.concrete_fields if field.is_relation)}
    for table in tables - {AuditEntry}:  # its rows are never changed
        spoil(table)
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"

    pages = [
        back_office.get(reverse(f"{name}_changelist")),
        back_office.get(reverse(f"{name}_change", args=[row.pk])),
    ]

    for page in pages:
        assert page.status_code == 200
        assert unescaped(page.content.decode()) == []


def test_the_pages_of_no_one_table_show_texts_as_texts(
    back_office: Client, organization: Organization, owner: User, organization_key: tuple[ApiKey, str]
) -> None:
    key = organization_key[0]
    job_row(key, "job-1", status="Failed")
    tables = (
        Endpoint,
        Invitation,
        Invoice,
        Note,
        OutboxMessage,
        Replay,
        UsageAlert,
        UsageExportFile,
        EntitlementOverride,
    )
    for model in tables:
        fill(model, 1)
        model._default_manager.update(organization=organization)
    Note.objects.update(is_pinned=True)
    for spoiled in (*tables, ApiKey, Job, Organization, User):
        spoil(spoiled)
    owner.refresh_from_db()
    audit.record(
        audit.Action.ORGANIZATION_UPDATED,
        actor=Actor(owner),
        organization=Organization.objects.get(pk=organization.pk),
        target=ApiKey.objects.get(pk=key.pk),
        after={"reason": MARKUP, "name": MARKUP},
    )

    for url in (
        "/admin/",
        "/admin/system/",
        f"/admin/accounts/organization/{organization.pk}/change/",
        f"/admin/accounts/organization/{organization.pk}/edit/",
        f"/admin/accounts/organization/{organization.pk}/look/",
        "/admin/search/?q=script",
        "/admin/search/?q=" + quote(MARKUP),
        f"/admin/why-refused/?organization={organization.uid}",
        f"/admin/why-refused/?key={key.uid}",
        "/admin/accounts/auditentry/",
    ):
        page = back_office.get(url)
        assert page.status_code == 200, url
        assert unescaped(page.content.decode()) == [], url
