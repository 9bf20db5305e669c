"""The file with everything we hold about a person: complete, readable, without secrets and without others."""

import json
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import keys, notes, notification_preferences, personal_data, team, two_factor
from accounts.audit import Actor
from accounts.models import AuditEntry, EmailChange, Note, NoticeKind, Organization, RecoveryCodes, User
from accounts.notification_preferences import Place
from accounts.notifications import notify
from accounts.permissions import Role


def downloaded(user: User) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    text = "".join(personal_data.download(user))
    return text, json.loads(text)


def test_an_account_with_nothing_makes_a_whole_file(outsider: User) -> None:
    _, data = downloaded(outsider)

    (profile,) = data["profile"]
    assert (profile["id"], profile["email"], profile["name"]) == (outsider.uid, "otto@example.com", "Otto")
    assert data["memberships"] == []


def test_it_holds_what_there_is(owner: User, organization: Organization) -> None:
    keys.create_personal_key(user=owner, organization=organization, name="laptop")
    keys.create_organization_key(organization=organization, name="checkout", actor=Actor(owner))
    two_factor.enrol_totp(user=owner, actor=None)
    notify(
        [owner],
        kind=NoticeKind.TEAM,
        key="fact",
        title="Joined",
        body="Zoë joined\n\u2028 us",
        organization=organization,
    )
    wanted = {Place(organization, NoticeKind.TEAM): False}
    notification_preferences.change(user=owner, wanted=wanted, actor=Actor(owner))

    _, data = downloaded(owner)

    assert data["addresses"] == [{"email": "olivia@example.com", "verified": True, "primary": True}]
    assert data["memberships"][0]["organization"] == "Northwind"
    assert data["memberships"][0]["role"] == "owner"
    assert data["personal_keys"][0]["name"] == "laptop"
    assert data["organization_keys_you_made"][0]["name"] == "checkout"
    assert data["second_factors"][0]["name"] == "Authenticator app"
    assert data["notifications"][0]["body"] == "Zoë joined\n\u2028 us"
    assert data["notification_preferences"][0]["by_mail"] is False
    assert "organization.created" in [each["action"] for each in data["what_you_did"]]


def test_it_holds_what_support_has_noted_about_them(
    owner: User, organization: Organization, staff: User
) -> None:
    for about, text in ((owner, "Called on Monday"), (organization, "Pays by hand")):
        notes.add(about=about, kind=Note.Kind.CONVERSATION, text=text, actor=Actor(staff))

    text, data = downloaded(owner)

    (note,) = data["notes_of_our_support"]
    assert (note["kind"], note["text"]) == ("conversation", "Called on Monday")
    assert "created_at" in note
    assert staff.email not in text


def test_no_secret_is_in_it(owner: User, organization: Organization) -> None:
    own, own_secret = keys.create_personal_key(user=owner, organization=organization, name="laptop")
    made, made_secret = keys.create_organization_key(organization=organization, name="x", actor=Actor(owner))
    enrolment = two_factor.enrol_totp(user=owner, actor=None)
    RecoveryCodes.objects.create(user=owner, name="Recovery codes", hashes=["f00dcode"])
    EmailChange.objects.create(
        user=owner,
        new_email="new@example.com",
        old_token_hash="f00dold",
        new_token_hash="f00dnew",
        expires_at=owner.date_joined,
    )

    text, _ = downloaded(owner)

    secrets = [own_secret, made_secret, own.secret_hash, made.secret_hash, owner.password]
    secrets += [enrolment.secret, enrolment.device.key, "f00d"]
    assert [secret for secret in secrets if secret in text] == []


def test_nobody_else_is_in_it(
    owner: User, organization: Organization, outsider: User, other_organization: Organization
) -> None:
    team.add_member(organization=organization, user=outsider, role=Role.MEMBER, actor=Actor(owner))
    keys.create_personal_key(user=outsider, organization=other_organization, name="theirs")
    notify([outsider], kind=NoticeKind.TEAM, key="fact", title="For Otto")

    text, _ = downloaded(owner)

    others = ["otto@example.com", "Otto", "Contoso", "theirs"]
    assert [other for other in others if other in text] == []


def test_the_button_hands_over_a_file_and_is_recorded(client: Client, owner: User) -> None:
    client.force_login(owner)

    response = client.post("/me/data/")

    assert response["Content-Disposition"] == 'attachment; filename="my-data.json"'
    assert json.loads(b"".join(response))["profile"][0]["email"] == owner.email
    assert AuditEntry.objects.filter(action="user.data_downloaded", actor=owner).count() == 1


def test_looking_at_the_page_records_nothing(client: Client, owner: User) -> None:
    client.force_login(owner)

    response = client.get("/me/data/")

    assert b"Download my data" in response.content
    assert not AuditEntry.objects.filter(action="user.data_downloaded").exists()


@pytest.mark.django_db
def test_queries_do_not_grow_with_rows(owner: User) -> None:
    downloaded(owner)
    with CaptureQueriesContext(connection) as few:
        downloaded(owner)
    for number in range(20):
        notify([owner], kind=NoticeKind.TEAM, key=str(number), title="x")
        EmailAddress.objects.create(user=owner, email=f"{number}@example.com")

    with CaptureQueriesContext(connection) as many:
        downloaded(owner)

    assert len(many) == len(few)
