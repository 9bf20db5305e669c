"""Staff find leaked keys of all organizations, see them, and then end them."""

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts import keys, secrets
from accounts.audit import Actor
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Organization, User

LEAKED = "/admin/accounts/apikey/leaked/"
PLACE = "https://paste.example/1"


def test_what_was_found_is_shown_and_nothing_is_revoked_yet(
    back_office: Client,
    organization_key: tuple[ApiKey, str],
    other_organization: Organization,
    service_key: tuple[ApiKey, str],
) -> None:
    _, foreign = keys.create_organization_key(organization=other_organization, name="theirs", actor=None)
    found = [organization_key[1], foreign, service_key[1]]
    text = " ".join([*found, secrets.generate("production").plaintext])

    response = back_office.post(LEAKED, {"text": text, "place": PLACE})

    page = response.content.decode()
    assert len(response.context["search"].leaks) == 3
    assert "Contoso" in page
    assert "the operator" in page
    assert "1 more has the form of a key" in page
    assert all(secret not in page for secret in found)
    assert all(usable_key(secret) for secret in found)


def test_confirmed_they_are_revoked_and_it_is_recorded(
    back_office: Client, organization_key: tuple[ApiKey, str], service_key: tuple[ApiKey, str], staff: User
) -> None:
    file = SimpleUploadedFile("app.log", f"{organization_key[1]}\n{service_key[1]}".encode())
    hidden = back_office.post(LEAKED, {"file": file, "place": PLACE}).context["hidden"]

    response = back_office.post(f"{LEAKED}revoke/", hidden)

    assert response.content.decode().count("Revoked") == 2
    assert usable_key(organization_key[1]) is usable_key(service_key[1]) is None
    entries = AuditEntry.objects.filter(action="api_key.leaked")
    assert {(entry.actor, entry.after["place"]) for entry in entries} == {(staff, PLACE)}


def test_of_a_key_rotated_meanwhile_only_the_found_secret_stops(
    back_office: Client, organization_key: tuple[ApiKey, str], owner: User
) -> None:
    key, old = organization_key
    hidden = back_office.post(LEAKED, {"text": old, "place": PLACE}).context["hidden"]
    new = keys.rotate(key=key, grace=timedelta(hours=1), actor=Actor(owner))

    back_office.post(f"{LEAKED}revoke/", hidden)

    assert usable_key(old) is None
    assert usable_key(new) == key


@pytest.mark.parametrize("found", ["", "made up", "nul\0"])
def test_a_confirmation_that_was_not_made_here_is_refused(back_office: Client, found: str) -> None:
    assert back_office.post(f"{LEAKED}revoke/", {"found": found}).status_code == 400


def test_the_text_is_never_shown_again(back_office: Client) -> None:
    for data in ({"text": "confidential", "place": ""}, {"text": "confidential", "place": PLACE}):
        assert "confidential" not in back_office.post(LEAKED, data).content.decode()


def test_a_text_that_is_not_shown_again_is_asked_for_once_more_and_why_is_said(back_office: Client) -> None:
    without_place = back_office.post(LEAKED, {"text": "confidential", "place": ""}).content.decode()
    without_text = back_office.post(LEAKED, {"text": "", "place": ""}).content.decode()

    assert "as it may hold keys, no page shows it again" in without_place
    assert "no page shows it again" not in without_text
    assert "novalidate" not in without_place
