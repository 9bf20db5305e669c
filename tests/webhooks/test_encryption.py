"""The secrets of webhooks are stored encrypted, under keys that can be changed."""

import json

import pytest
from cryptography.fernet import Fernet, InvalidToken
from django.core.management import call_command
from pytest_django import Settings

from accounts.models import Organization
from webhooks import encryption
from webhooks.endpoints import NewEndpoint
from webhooks.models import Application, Endpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def next_key(settings: Settings) -> str:
    """A new key before the ones there are."""
    key = Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [key, *settings.ENCRYPTION_KEYS]
    return key


def test_no_secret_is_stored_as_it_is(organization: Organization, endpoint: NewEndpoint) -> None:
    row = Endpoint.objects.get(uid=endpoint.endpoint.id)
    application = Application.objects.get(organization=organization)

    assert row.secret == endpoint.secret
    assert application.secret.startswith("whsec_")
    assert not {row.stored_secret[:6], application.stored_secret[:6]} & {"whsec_"}
    assert endpoint.secret.removeprefix("whsec_") not in row.stored_secret


def test_what_an_older_key_wrote_is_read_on(endpoint: NewEndpoint, next_key: str) -> None:
    assert Endpoint.objects.get(uid=endpoint.endpoint.id).secret == endpoint.secret


def test_after_writing_again_the_older_key_may_go(
    organization: Organization, endpoint: NewEndpoint, settings: Settings, next_key: str
) -> None:
    row = Endpoint.objects.get(uid=endpoint.endpoint.id)
    older = Fernet(settings.ENCRYPTION_KEYS[1]).encrypt(b"whsec_older").decode()
    row.stored_headers = encryption.encrypt(json.dumps({"x-tenant": "7"}))
    row.old_secrets = [{"secret": older, "expires_at": "2026-01-01T00:00:00Z"}]
    row.save()

    call_command("reencrypt_secrets")
    settings.ENCRYPTION_KEYS = [next_key]

    row = Endpoint.objects.get(pk=row.pk)
    assert row.secret == endpoint.secret
    assert json.loads(encryption.decrypt(row.stored_headers)) == {"x-tenant": "7"}
    assert encryption.decrypt(row.old_secrets[0]["secret"]) == "whsec_older"
    assert Application.objects.get(organization=organization).secret.startswith("whsec_")


def test_without_its_key_a_secret_is_not_read(endpoint: NewEndpoint, settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    with pytest.raises(InvalidToken):
        _ = Endpoint.objects.get(uid=endpoint.endpoint.id).secret
