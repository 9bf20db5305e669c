"""Choosing what comes by mail: the page with its boxes, and the API."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import organizations
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, NoticeKind, NotificationPreference, Organization, User
from accounts.notification_preferences import Place, change, of_person, wants_mail
from accounts.permissions import Role

PAGE = "/me/notifications/preferences/"
API = "/api/v1/notification-preferences"


def off(user: User) -> set[tuple[str | None, str]]:
    return {
        (place.organization.name if place.organization else None, place.kind.value)
        for place, by_mail in of_person(user).items()
        if not by_mail
    }


def test_everything_comes_by_mail_until_somebody_says_otherwise(
    owner: User, organization: Organization
) -> None:
    assert off(owner) == set()


def test_boxes_that_make_no_sense_are_not_offered(member: User, organization: Organization) -> None:
    offered = {(place.organization, place.kind) for place in of_person(member)}

    assert (None, NoticeKind.SECURITY) in offered
    assert (None, NoticeKind.USAGE) not in offered
    assert (organization, NoticeKind.USAGE) in offered
    assert (organization, NoticeKind.BILLING) not in offered


def test_the_page_saves_what_is_unticked(client: Client, owner: User, organization: Organization) -> None:
    client.force_login(owner)
    cells = [cell for row in client.get(PAGE).context["rows"] for cell in row["cells"]]
    shown = [cell["name"] for cell in cells if cell["by_mail"] is not None]
    unticked = f"team.{organization.uid}"

    data = {"shown": shown, "mail": [name for name in shown if name != unticked]}
    response = client.post(PAGE, data, follow=True)

    assert b"Your preferences are saved." in response.content
    assert off(owner) == {("Northwind", "team")}


def test_what_the_page_did_not_show_stays(client: Client, owner: User, organization: Organization) -> None:
    client.force_login(owner)

    client.post(PAGE, {"shown": ["team."], "mail": []})

    assert off(owner) == {(None, "team")}


@pytest.mark.parametrize("name", ["", "x", "team.org_foreign", "billing.", "\0", "x" * 3000])
def test_names_of_nothing_change_nothing(client: Client, owner: User, name: str) -> None:
    client.force_login(owner)

    response = client.post(PAGE, {"shown": [name], "mail": []})

    assert response.status_code == 302
    assert not NotificationPreference.objects.exists()


def test_a_change_is_recorded_with_before_and_after(owner: User, organization: Organization) -> None:
    place = Place(organization, NoticeKind.TEAM)

    change(user=owner, wanted={place: False}, actor=Actor(owner))
    change(user=owner, wanted={place: False}, actor=Actor(owner))

    entry = AuditEntry.objects.get(action="user.updated")
    assert entry.before == {"mail": {f"team of {organization.uid}": True}}
    assert entry.after == {"mail": {f"team of {organization.uid}": False}}


def test_queries_do_not_grow_with_organizations(
    client: Client, owner: User, organization: Organization
) -> None:
    client.force_login(owner)
    client.get(PAGE)
    with CaptureQueriesContext(connection) as few:
        client.get(PAGE)
    for number in range(5):
        organizations.create(name=f"Another {number}", owner=owner)

    with CaptureQueriesContext(connection) as many:
        client.get(PAGE)

    assert len(many) == len(few)


@pytest.fixture
def headers(personal_key: tuple[ApiKey, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {personal_key[1]}"}


def patch(client: Client, headers: dict[str, str], data: object, query: str = "") -> Any:
    return client.patch(API + query, data, content_type="application/json", headers=headers)


def test_the_api_lists_all(client: Client, headers: dict[str, str], organization: Organization) -> None:
    answer = client.get(API, headers=headers)

    data = answer.json()["data"]
    assert {"organization_id": None, "kind": "security", "email": True} in data
    assert {"organization_id": organization.uid, "kind": "billing", "email": True} in data


def test_the_api_lists_those_of_one_organization(
    client: Client, headers: dict[str, str], organization: Organization
) -> None:
    answer = client.get(API, {"orgId": organization.uid}, headers=headers)

    assert {each["organization_id"] for each in answer.json()["data"]} == {organization.uid}


@pytest.mark.parametrize("org_id", ["org_unknown", "\0", "x" * 500])
def test_a_foreign_organization_is_refused(client: Client, headers: dict[str, str], org_id: str) -> None:
    assert client.get(API, {"orgId": org_id}, headers=headers).status_code == 403


def test_the_api_sets_what_is_named(
    client: Client, headers: dict[str, str], owner: User, organization: Organization
) -> None:
    item = {"organization_id": organization.uid, "kind": "team", "email": False}

    answer = patch(client, headers, {"data": [item]})

    assert answer.status_code == 200
    assert item in answer.json()["data"]
    assert off(owner) == {("Northwind", "team")}


def test_a_session_may_too(client: Client, owner: User) -> None:
    client.force_login(owner)

    answer = patch(client, {}, {"data": [{"organization_id": None, "kind": "security", "email": False}]})

    assert answer.status_code == 200
    assert off(owner) == {(None, "security")}


def test_no_key_silences_what_would_tell_of_its_misuse(
    client: Client, headers: dict[str, str], owner: User
) -> None:
    security = {"organization_id": None, "kind": "security", "email": False}

    refused = patch(client, headers, {"data": [security]})
    before = off(owner)
    change(user=owner, wanted={Place(None, NoticeKind.SECURITY): False}, actor=None)
    as_it_is = patch(client, headers, {"data": [security]})
    on_again = patch(client, headers, {"data": [security | {"email": True}]})

    assert [answer.status_code for answer in (refused, as_it_is, on_again)] == [403, 200, 200]
    assert before == off(owner) == set()


def test_an_organizations_key_has_no_preferences(
    client: Client, organization_key: tuple[ApiKey, str]
) -> None:
    answer = client.get(API, headers={"Authorization": f"Bearer {organization_key[1]}"})

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({}, "data"),
        ([], None),
        ({"data": []}, "data"),
        ({"data": "x"}, "data"),
        ({"data": [1]}, "data"),
        ({"data": [{"kind": "team", "email": False}]}, "organization_id"),
        ({"data": [{"organization_id": None, "kind": "moon", "email": False}]}, "kind"),
        ({"data": [{"organization_id": None, "kind": ["team"], "email": False}]}, "kind"),
        ({"data": [{"organization_id": None, "kind": "billing", "email": False}]}, "kind"),
        ({"data": [{"organization_id": None, "kind": "team", "email": "perhaps"}]}, "email"),
        ({"data": [{"organization_id": None, "kind": "team", "email": None}]}, "email"),
        ({"data": [{"organization_id": "org_unknown", "kind": "team", "email": False}]}, "organization_id"),
        ({"data": [{"organization_id": "\0", "kind": "team", "email": False}]}, "organization_id"),
        ({"data": [{"organization_id": {}, "kind": "team", "email": False}]}, "organization_id"),
    ],
)
def test_a_bad_value_names_its_field_and_changes_nothing(
    client: Client, headers: dict[str, str], owner: User, data: object, param: str | None
) -> None:
    answer = patch(client, headers, data)

    assert answer.status_code == 400
    assert answer.json()["error"].get("param") == param
    assert not NotificationPreference.objects.exists()


def test_one_bad_item_changes_nothing_of_the_others(client: Client, headers: dict[str, str]) -> None:
    good = {"organization_id": None, "kind": "team", "email": False}

    answer = patch(client, headers, {"data": [good, good | {"kind": "billing"}]})

    assert answer.status_code == 400
    assert not NotificationPreference.objects.exists()


def test_the_last_of_two_for_the_same_counts(client: Client, headers: dict[str, str], owner: User) -> None:
    item = {"organization_id": None, "kind": "team", "email": False}

    patch(client, headers, {"data": [item, item | {"email": True}, item]})

    assert not wants_mail(user=owner, organization=None, kind=NoticeKind.TEAM)


def test_somebody_elses_organization_is_not_ones_own(
    client: Client, headers: dict[str, str], outsider: User, other_organization: Organization
) -> None:
    item = {"organization_id": other_organization.uid, "kind": "team", "email": False}

    assert patch(client, headers, {"data": [item]}).status_code == 400
    assert off(outsider) == set()


def test_leaving_a_role_takes_its_notices_out_of_the_list(
    owner: User, admin: User, organization: Organization
) -> None:
    admin.memberships.update(role=Role.VIEWER)

    assert Place(organization, NoticeKind.BILLING) not in of_person(admin)
