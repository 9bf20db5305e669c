"""Keys that were seen by others: found in any text, ended at once, and told to those whom it concerns."""

import logging
from datetime import timedelta
from hashlib import sha256

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts import keys, leaked_keys, secrets
from accounts.audit import Actor
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Membership, Notification, Organization, User

PLACE = "a public repository"


def address(organization: Organization) -> str:
    return f"/o/{organization.uid}/api-keys/leaked/"


@pytest.fixture
def by_admin(client: Client, admin: User) -> Client:
    client.force_login(admin)
    return client


def test_a_pasted_key_stops_at_once(
    by_admin: Client, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key

    response = by_admin.post(address(organization), {"text": secret, "place": PLACE})

    assert usable_key(secret) is None
    page = response.content.decode()
    assert key.name in page
    assert "Revoked." in page


def test_keys_are_found_inside_of_a_log(
    by_admin: Client, organization: Organization, organization_key: tuple[ApiKey, str], owner: User
) -> None:
    _, other = keys.create_organization_key(organization=organization, name="batch", actor=Actor(owner))
    log = f'GET /?key={organization_key[1]}&x=1\n{{"authorization":"Bearer {other}"}}\n' * 3

    by_admin.post(address(organization), {"text": log, "place": PLACE})

    assert {key.state for key in ApiKey.objects.all()} == {"revoked"}
    assert AuditEntry.objects.filter(action="api_key.leaked").count() == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_keys_are_found_in_a_file_of_any_encoding(
    by_admin: Client, organization: Organization, organization_key: tuple[ApiKey, str], encoding: str
) -> None:
    secret = organization_key[1]
    file = SimpleUploadedFile("app.log", f"schlüssel={secret}\n".encode(encoding))

    by_admin.post(address(organization), {"file": file, "place": PLACE})

    assert usable_key(secret) is None


def test_the_place_and_the_finder_are_in_the_audit_trail(
    by_admin: Client, organization: Organization, organization_key: tuple[ApiKey, str], admin: User
) -> None:
    key, secret = organization_key

    by_admin.post(address(organization), {"text": secret, "place": PLACE})

    entry = AuditEntry.objects.get(action="api_key.leaked")
    assert (entry.actor, entry.target_uid, entry.organization) == (admin, key.uid, organization)
    assert entry.after == {"place": PLACE, "secret": f"…{key.last_four}"}
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


def test_what_was_pasted_is_kept_nowhere(
    by_admin: Client,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = organization_key[1]

    response = by_admin.post(address(organization), {"text": f"confidential {secret}", "place": PLACE})

    assert "confidential" not in response.content.decode()
    assert secret not in response.content.decode()
    assert secret not in caplog.text
    assert secret not in str(list(AuditEntry.objects.values()) + list(Notification.objects.values()))


def test_a_refused_form_does_not_show_the_text_again(by_admin: Client, organization: Organization) -> None:
    response = by_admin.post(address(organization), {"text": "confidential", "place": ""})

    assert response.status_code == 400
    assert "Say where it was found" in response.content.decode()
    assert "confidential" not in response.content.decode()
    assert "Nothing was searched yet." in response.content.decode()


def test_the_browser_asks_for_the_place_before_it_sends(by_admin: Client, organization: Organization) -> None:
    page = by_admin.get(address(organization)).content.decode()

    form = page[page.index('enctype="multipart/form-data"') :]
    assert "novalidate" not in form.partition(">")[0]
    assert " required" in form[form.index('name="place"') :].partition(">")[0]


def test_owner_and_creator_are_told_once(
    by_admin: Client, organization: Organization, owner: User, admin: User, member: User
) -> None:
    _, secret = keys.create_organization_key(organization=organization, name="batch", actor=Actor(admin))

    by_admin.post(address(organization), {"text": secret, "place": PLACE})
    by_admin.post(address(organization), {"text": secret, "place": PLACE})

    told = Notification.objects.filter(key__startswith="api_key.leaked")
    assert {notice.user for notice in told} == {owner, admin}
    assert told.count() == 2
    assert all(PLACE in notice.body and notice.kind == "api_keys" for notice in told)


def test_a_creator_who_left_is_not_told(
    organization: Organization, owner: User, admin: User, member: User
) -> None:
    _, secret = keys.create_organization_key(organization=organization, name="batch", actor=Actor(admin))
    Membership.objects.filter(user=admin).delete()

    [leak] = leaked_keys.search(secret).leaks
    leaked_keys.end(leak, place=PLACE, actor=None)

    assert [notice.user for notice in Notification.objects.filter(key__startswith="api_key.leaked")] == [
        owner
    ]


def test_a_members_personal_key_stops_and_its_owner_is_told(
    by_admin: Client, organization: Organization, owner: User, member: User
) -> None:
    _, secret = keys.create_personal_key(user=member, organization=organization, name="laptop")

    by_admin.post(address(organization), {"text": secret, "place": PLACE})

    assert usable_key(secret) is None
    told = Notification.objects.filter(key__startswith="api_key.leaked")
    assert {notice.user for notice in told} == {owner, member}


def test_a_key_found_again_was_revoked_before(
    by_admin: Client, organization: Organization, organization_key: tuple[ApiKey, str], owner: User
) -> None:
    key, secret = organization_key
    keys.revoke(key=key, actor=Actor(owner))

    response = by_admin.post(address(organization), {"text": secret, "place": PLACE})

    assert "Had been revoked before." in response.content.decode()
    assert not AuditEntry.objects.filter(action="api_key.leaked").exists()
    assert not Notification.objects.filter(key__startswith="api_key.leaked").exists()


def test_of_a_rotated_key_only_the_leaked_old_secret_stops(
    by_admin: Client, organization: Organization, organization_key: tuple[ApiKey, str], owner: User
) -> None:
    key, old = organization_key
    new = keys.rotate(key=key, grace=timedelta(days=7), actor=Actor(owner))

    response = by_admin.post(address(organization), {"text": old, "place": PLACE})

    assert "Its old secret, which works no longer." in response.content.decode()
    assert usable_key(old) is None
    assert usable_key(new) == key
    assert AuditEntry.objects.filter(action="api_key.leaked").count() == 1


def test_keys_of_others_look_like_keys_that_do_not_exist(
    by_admin: Client, organization: Organization, other_organization: Organization, outsider: User
) -> None:
    _, foreign = keys.create_organization_key(
        organization=other_organization, name="foreign-key", actor=Actor(outsider)
    )
    unknown = secrets.generate("production").plaintext

    answers = [
        by_admin.post(address(organization), {"text": text, "place": PLACE}) for text in (foreign, unknown)
    ]

    first, second = (answer.context["search"] for answer in answers)
    assert (first.leaks, first.others) == (second.leaks, second.others) == ([], 1)
    assert "foreign-key" not in answers[0].content.decode()
    assert usable_key(foreign) is not None


@pytest.mark.parametrize(
    "text",
    ["{key}", "curl 'https://api.example.com/?key={key}'", "API_KEY={key}\n", '{{"key": "{key}"}}'],
)
def test_a_key_made_elsewhere_is_found_by_how_it_ends(
    by_admin: Client, organization: Organization, text: str
) -> None:
    foreign = "sk_live_51HxTkZqWcVbNmAs"
    keys.create_imported_key(
        organization=organization,
        sha256=sha256(foreign.encode()).hexdigest(),
        name="legacy",
        actor=None,
        prefix="sk_live_51",
        last_four=foreign[-4:],
    )

    by_admin.post(address(organization), {"text": text.format(key=foreign), "place": PLACE})

    assert usable_key(foreign) is None
    assert AuditEntry.objects.filter(action="api_key.leaked").count() == 1


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"text": "", "place": PLACE}, "text"),
        ({"text": "nul\0", "place": PLACE}, "text"),
        ({"text": "x", "place": ""}, "place"),
        ({"text": "x", "place": "x" * 201}, "place"),
        ({"text": "x", "place": "two\nlines"}, "place"),
        (
            {"text": "x", "place": f"https://example.com/?key={secrets.generate('production').plaintext}"},
            "place",
        ),
        ({"file": SimpleUploadedFile("big", b"x" * (5 * 1024 * 1024 + 1)), "place": PLACE}, "file"),
        ({"file": SimpleUploadedFile("empty", b""), "place": PLACE}, "file"),
    ],
)
def test_a_bad_value_is_explained_beside_its_field(
    by_admin: Client, organization: Organization, data: dict[str, object], field: str
) -> None:
    response = by_admin.post(address(organization), data)

    assert response.status_code == 400
    assert field in response.context["form"].errors


def test_a_text_without_keys_changes_nothing(
    by_admin: Client, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    damaged = organization_key[1][:-1] + "!"

    response = by_admin.post(address(organization), {"text": damaged, "place": PLACE})

    assert "nothing was changed" in response.content.decode()
    assert ApiKey.objects.get().state == "active"


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_it_takes_the_right_to_manage_keys(
    client: Client, organization: Organization, role: str, request: pytest.FixtureRequest
) -> None:
    client.force_login(request.getfixturevalue(role))

    assert client.get(address(organization)).status_code == 403
    assert client.post(address(organization), {"text": "x", "place": PLACE}).status_code == 403
