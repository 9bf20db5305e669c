"""What organizations hear of their API keys."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from django.db import transaction

from accounts import key_notices, keys, leaked_keys
from accounts.models import ApiKey, AuditEntry, Organization, User
from webhooks.events import EVENT_TYPES
from webhooks.models import Application, OutboxMessage

Made = tuple[ApiKey, str]
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def application(organization: Organization) -> Application:
    """The organization has an endpoint."""
    return Application.objects.create(organization=organization, name="Acme", subscribed_at=NOW)


def messages() -> list[tuple[str, dict[str, Any]]]:
    """Type and data of what is in the outbox, each as its schema says."""
    found = []
    for message in OutboxMessage.objects.order_by("id"):
        payload = json.loads(message.payload)
        jsonschema.validate(payload["data"], EVENT_TYPES[payload["type"]].schema)
        assert payload["type"] == message.event_type
        found.append((payload["type"], payload["data"]))
    return found


def ends(key: ApiKey, **left: float) -> None:
    ApiKey.objects.filter(pk=key.pk).update(
        created_at=NOW - timedelta(days=365), expires_at=NOW + timedelta(**left)
    )


def test_a_revoked_key_is_told_of_once(organization_key: Made, organization: Organization) -> None:
    key, _ = organization_key

    for _ in range(2):
        keys.revoke(key=key, actor=None)

    [(event_type, data)] = messages()
    assert event_type == "api_key.revoked"
    assert (data["api_key_id"], data["organization_id"]) == (key.uid, organization.uid)
    assert (data["last_four"], data["kind"]) == (key.last_four, "organization")


def test_what_is_undone_was_not_told(organization_key: Made) -> None:
    key, _ = organization_key

    with transaction.atomic():
        keys.revoke(key=key, actor=None)
        transaction.set_rollback(True)

    assert messages() == []


def test_a_leaked_key_is_told_of_as_revoked_and_where_it_was(organization_key: Made) -> None:
    _, secret = organization_key
    [leak] = leaked_keys.search(secret).leaks

    for _ in range(2):
        leaked_keys.end(leak, place="a public repository", actor=None)

    assert [event_type for event_type, _ in messages()] == ["api_key.revoked", "api_key.leaked"]
    told = messages()[1][1]
    assert (told["place"], told["is_revoked"]) == ("a public repository", True)


def test_a_leaked_old_secret_is_told_of_while_its_key_goes_on(organization_key: Made) -> None:
    key, secret = organization_key
    keys.rotate(key=key, grace=timedelta(hours=1), actor=None)
    [leak] = leaked_keys.search(secret).leaks

    leaked_keys.end(leak, place="a public repository", actor=None)

    [(event_type, data)] = messages()
    assert (event_type, data["is_revoked"], data["last_four"]) == ("api_key.leaked", False, secret[-4:])


def test_each_warning_of_an_end_is_told_once(organization_key: Made) -> None:
    key, _ = organization_key
    ends(key, days=30)

    for day in range(30):
        key_notices.warn_of_expiry(now=NOW + timedelta(days=day))

    assert [(event_type, data["days_left"]) for event_type, data in messages()] == [
        ("api_key.expiring", 30),
        ("api_key.expiring", 7),
        ("api_key.expiring", 1),
    ]


def test_whoever_is_told_later_brings_no_second_message(
    organization_key: Made, organization: Organization, owner: User, admin: User
) -> None:
    key, _ = organization_key
    ends(key, days=5)
    key_notices.warn_of_expiry(now=NOW)
    ApiKey.objects.update(created_by=admin)

    told_anew = key_notices.warn_of_expiry(now=NOW)

    assert told_anew == 1
    assert len(messages()) == AuditEntry.objects.filter(action="api_key.expiring").count() == 1


def test_a_personal_key_is_told_of_where_it_is_at_home(personal_key: Made) -> None:
    keys.revoke(key=personal_key[0], actor=None)

    [(_, data)] = messages()
    assert data["kind"] == "personal"


def test_service_keys_concern_no_customer(service_key: Made) -> None:
    keys.revoke(key=service_key[0], actor=None)

    assert messages() == []


def test_who_never_had_an_endpoint_is_sent_nothing(organization_key: Made, application: Application) -> None:
    application.delete()

    keys.revoke(key=organization_key[0], actor=None)

    assert messages() == []
