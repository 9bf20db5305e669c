"""Erasing a deleted organization after its grace: names and contents go, facts stay, a killed worker harms nothing."""

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.utils import timezone

from accounts import audit, invitations, keys, members, notes, notifications, organizations
from accounts.audit import Actor
from accounts.erasure import delete_in_batches
from accounts.models import (
    ApiKey,
    AuditEntry,
    Membership,
    Note,
    NoticeKind,
    Notification,
    NotificationPreference,
    Organization,
    User,
)
from accounts.permissions import Role
from config import erasure
from config.tasks import erase_organizations
from usage import pipelines
from usage.models import (
    DailyUsage,
    Entitlement,
    Job,
    PipelineConfig,
    PipelineDraft,
    UsageDay,
    UsageRecord,
)
from webhooks import endpoints
from webhooks.embedded import queue
from webhooks.models import Application, Delivery, Endpoint, Message, OutboxMessage

SECRETS = (
    "Northwind",
    "olivia",
    "Olivia",
    "mia@",
    "checkout",
    "secret-config",
    "s3://",
    "10.9.8.7",
    "hook.example",
)


@pytest.fixture
def filled(
    organization: Organization,
    owner: User,
    member: User,
    post_jobs: Callable[..., Any],
    job: Callable[..., Any],
) -> Organization:
    """An organization with something in every table, deleted and past its grace."""
    actor = Actor(owner, ip="10.9.8.7")
    key, _ = keys.create_organization_key(organization=organization, name="checkout", actor=actor)
    organizations.update(organization=organization, changes={"default_region": "eu"}, actor=actor)
    invitations.invite(organization=organization, email="new@example.com", role=Role.VIEWER, actor=actor)
    NotificationPreference.objects.create(user=member, organization=organization, kind=NoticeKind.USAGE)
    notes.add(about=organization, kind=Note.Kind.REMARK, text="Ask for Olivia", actor=actor)
    notifications.notify(
        [member], kind=NoticeKind.TEAM, key="k", title="Northwind grows", organization=organization
    )
    endpoints.create(organization=organization, url="https://hook.example/northwind", actor=actor)
    report = {
        "api_key_id": key.uid,
        "source": {"url": "s3://bucket/x.pdf"},
        "config": {"prompt": "secret-config"},
        "metadata": {"customer": "Olivia"},
    }
    pipelines.create(
        organization=organization, name="Northwind's", text='{"prompt": "secret-config"}', actor=actor
    )
    post_jobs(
        job("ok", **report),
        job("bad", status="Failed", error={"message": "Olivia's file"}, usage=[], **report),
    )
    queue.take_in(
        organization_id=organization.pk,
        event_id="evt_1",
        event_type="job.completed",
        payload='{"customer": "Olivia"}',
        channels=None,
    )
    organizations.delete(organization=organization, actor=actor, now=timezone.now() - timedelta(days=31))
    return organization


def rows_of(organization: Organization) -> str:
    """All that the tables say of an organization, as text, but for its people themselves."""
    found = []
    for model in apps.get_models():
        owned = [
            field.attname
            for field in model._meta.concrete_fields
            if field.attname == "organization_id" or (model is Organization and field.name == "id")
        ]
        for name in owned:
            rows = model._default_manager.filter(**{name: organization.pk})
            found += [[model.__name__, *row.values()] for row in rows.values()]
    return json.dumps(found, default=str)


def test_before_its_time_nothing_is_erased(organization: Organization, owner: User) -> None:
    organizations.delete(organization=organization, actor=Actor(owner))

    assert erase_organizations() == 0
    assert Organization.objects.get().name == "Northwind"


def test_those_it_removed_are_left_without_its_name(
    organization: Organization, owner: User, viewer: User
) -> None:
    members.remove(membership=Membership.objects.get(user=viewer), actor=Actor(owner))
    organizations.delete(organization=organization, actor=Actor(owner))

    erasure.erase(organization)

    assert not Notification.objects.filter(title__contains="Northwind").exists()


def test_one_that_is_not_deleted_is_left_alone(organization: Organization) -> None:
    assert erasure.erase_due(now=timezone.now() + timedelta(days=10_000)) == 0


def test_names_and_contents_are_gone(filled: Organization) -> None:
    assert any(word in rows_of(filled) for word in SECRETS)

    assert erase_organizations() == 1

    text = rows_of(filled)
    assert [word for word in SECRETS if word in text] == []
    filled.refresh_from_db()
    assert filled.erased_at
    assert (filled.name, filled.billing_email) == (filled.uid, "")
    assert not Membership.objects.exists()
    assert not Note.objects.exists()
    assert not AuditEntry.objects.filter(
        action=audit.Action.NOTE_ADDED, target_name__contains="Northwind"
    ).exists()
    assert not Notification.objects.filter(title__contains="Northwind").exists()
    for model in (Application, Endpoint, Message, Delivery, OutboxMessage, PipelineConfig, PipelineDraft):
        assert not model._default_manager.exists()


def test_people_stay_for_they_may_be_elsewhere_too(filled: Organization, owner: User) -> None:
    elsewhere = organizations.create(name="Elsewhere", owner=owner)

    erase_organizations()

    assert User.objects.get(pk=owner.pk).email == "olivia@example.com"
    assert elsewhere.memberships.get().user == owner
    assert AuditEntry.objects.get(organization=elsewhere).actor_name == "olivia@example.com"


def test_facts_stay(filled: Organization) -> None:
    before = {model: list(model._default_manager.values()) for model in (UsageRecord, UsageDay, DailyUsage)}
    used = Entitlement.objects.get().credits_used
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", "created_at", "target_uid"))

    erase_organizations()

    for model, rows in before.items():
        assert list(model._default_manager.values()) == rows
        assert rows
    assert Entitlement.objects.get().credits_used == used == Decimal(3)
    assert set(Job.objects.values_list("job_id", "credits", "num_pages", "source", "config_sha256")) == {
        ("ok", 3, 3, None, ""),
        ("bad", 0, 3, None, ""),
    }
    kept = list(AuditEntry.objects.order_by("pk").values_list("action", "created_at", "target_uid"))
    assert kept[:-1] == actions
    assert kept[-1][0] == "organization.erased"


def test_keys_stay_as_rows_without_name_or_secret(
    filled: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key
    hashed = key.secret_hash

    erase_organizations()

    key.refresh_from_db()
    assert (key.name, key.prefix, key.last_four, key.state) == (key.uid, "", "", "revoked")
    assert key.secret_hash != hashed
    assert not ApiKey.objects.with_secret(secret).exists()


@pytest.mark.parametrize("step", range(len(erasure.STEPS)))
def test_what_a_killed_worker_left_the_next_sweep_goes_on_with(
    filled: Organization, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    module = erasure.STEPS[step]
    whole = module.erase

    def killed(organization: Organization) -> None:
        whole(organization)
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(module, "erase", killed)
        assert erase_organizations() == 0
    assert Organization.objects.get().erased_at is None

    assert erase_organizations() == 1

    text = rows_of(filled)
    assert [word for word in SECRETS if word in text] == []
    assert AuditEntry.objects.filter(action="organization.erased").count() == 1
    assert erase_organizations() == 0


def test_one_that_cannot_be_erased_holds_up_no_other(
    filled: Organization, outsider: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = organizations.create(name="Contoso", owner=outsider)
    organizations.delete(organization=other, actor=None, now=timezone.now() - timedelta(days=31))
    module = erasure.STEPS[2]
    whole = module.erase

    def failing(organization: Organization) -> None:
        if organization == filled:
            raise ConnectionError
        whole(organization)

    monkeypatch.setattr(module, "erase", failing)

    assert erase_organizations() == 1
    assert Organization.objects.get(pk=other.pk).erased_at
    assert Organization.objects.get(pk=filled.pk).erased_at is None


def test_the_erasure_itself_is_recorded_without_names(filled: Organization) -> None:
    erase_organizations()

    entry = AuditEntry.objects.get(action="organization.erased")
    assert (entry.actor_name, entry.organization_name, entry.target_name) == (
        "system",
        filled.uid,
        filled.uid,
    )


def test_late_reports_count_and_bring_no_texts(
    filled: Organization, post_jobs: Callable[..., Any], job: Callable[..., Any]
) -> None:
    erase_organizations()

    outcome = post_jobs(
        job(
            "late",
            source="s3://bucket/late.pdf",
            config={"prompt": "secret-config"},
            metadata={"customer": "Olivia"},
            webhook={"mode": "direct", "url": "https://hook.example/late"},
        )
    )

    assert outcome["accepted"] == 1
    late = Job.objects.get(job_id="late")
    assert (late.source, late.config_sha256, late.metadata, late.webhook) == (None, "", None, None)
    assert UsageRecord.objects.filter(job_id="late", credits=3).exists()
    text = rows_of(filled)
    assert [word for word in SECRETS if word in text] == []


def test_deletion_goes_in_batches(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.erasure.BATCH", 2)
    for number in range(5):
        PipelineConfig.objects.create(organization=organization, sha256=str(number), text="{}")

    delete_in_batches(PipelineConfig.objects.filter(organization=organization))

    assert not PipelineConfig.objects.exists()
