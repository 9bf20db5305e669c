"""Organizations by REST: those of the caller, and the settings of one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from accounts import keys, organizations, two_factor
from accounts.audit import Actor
from accounts.models import ApiKey, Membership, Organization, User

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LIST = "/api/v1/organizations"
Caller = Callable[..., Client]


def calls_with(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def personal(organization: Organization) -> Caller:
    """A program with this person's own key."""

    def personal(user: User, *scopes: str) -> Client:
        return calls_with(
            keys.create_personal_key(user=user, organization=organization, name="k", scopes=list(scopes))[1]
        )

    return personal


@pytest.fixture
def of_organization(organization: Organization, owner: User) -> Caller:
    """A program with a key of the organization that its owner made."""

    def of_organization(*scopes: str) -> Client:
        _, secret = keys.create_organization_key(
            organization=organization, name="k", scopes=list(scopes), actor=Actor(owner)
        )
        return calls_with(secret)

    return of_organization


@pytest.fixture
def path(organization: Organization) -> str:
    return f"{LIST}/{organization.uid}"


def error(response: Any) -> dict[str, str]:
    found: dict[str, str] = response.json()["error"]
    return found


def test_a_person_lists_their_organizations_with_their_roles(
    personal: Caller, member: User, organization: Organization, other_organization: Organization
) -> None:
    own = organizations.create(name="Own", owner=member)

    answer = personal(member, "team").get(LIST).json()

    assert [(line["id"], line["name"], line["role"]) for line in answer["data"]] == [
        (own.uid, "Own", "owner"),
        (organization.uid, "Northwind", "member"),
    ]
    assert answer["next_cursor"] is None


def test_the_list_goes_on_by_cursor(personal: Caller, owner: User) -> None:
    organizations.create(name="Own", owner=owner)
    caller = personal(owner, "ownership")

    first = caller.get(LIST, {"limit": 1}).json()
    second = caller.get(LIST, {"limit": 1, "cursor": first["next_cursor"]}).json()

    assert [line["name"] for page in (first, second) for line in page["data"]] == ["Own", "Northwind"]
    assert second["next_cursor"] is None


def test_an_organizations_key_sees_its_own(
    of_organization: Caller, owner: User, organization: Organization
) -> None:
    organizations.create(name="Own", owner=owner)

    [line] = of_organization("team").get(LIST).json()["data"]

    assert (line["id"], line["role"]) == (organization.uid, None)


def test_a_session_lists_too(client: Client, owner: User, organization: Organization) -> None:
    client.force_login(owner)

    assert [line["name"] for line in client.get(LIST).json()["data"]] == ["Northwind"]


def test_any_personal_key_may_ask_where_its_owner_belongs(
    personal: Caller, owner: User, organization: Organization
) -> None:
    [line] = personal(owner, "jobs").get(LIST).json()["data"]

    assert (line["id"], line["role"]) == (organization.uid, "owner")


def test_a_key_for_other_things_creates_none(personal: Caller, owner: User) -> None:
    caller = personal(owner, "jobs", "usage", "webhooks", "audit", "billing")

    assert caller.post(LIST, {"name": "New"}, content_type="application/json").status_code == 403
    assert Organization.objects.count() == 1


def test_a_service_key_lists_nothing(service_key: tuple[ApiKey, str]) -> None:
    assert calls_with(service_key[1]).get(LIST).status_code == 403


@pytest.mark.parametrize("scope", ["team", "ownership"])
def test_a_person_creates_one(personal: Caller, member: User, scope: str) -> None:
    response = personal(member, scope).post(
        LIST, {"name": " New ", "time_zone": "Europe/Berlin"}, content_type="application/json"
    )

    assert response.status_code == 201
    created = Organization.objects.get(uid=response.json()["id"])
    assert (created.name, created.time_zone) == ("New", "Europe/Berlin")
    assert Membership.objects.get(organization=created).user == member


def test_an_organizations_key_owns_nothing(of_organization: Caller) -> None:
    response = of_organization("team", "ownership").post(
        LIST, {"name": "New"}, content_type="application/json"
    )

    assert response.status_code == 403
    assert Organization.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": ["x"]}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "half \ud83d"}, "name"),
        ({"name": "New", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"name": "New", "time_zone": "../../etc/passwd"}, "time_zone"),
        ({"name": "New", "time_zone": 5}, "time_zone"),
    ],
)
def test_what_cannot_be_created_names_the_field(
    personal: Caller, owner: User, body: dict[str, Any], param: str
) -> None:
    response = personal(owner, "team").post(LIST, body, content_type="application/json")

    assert response.status_code == 400
    assert error(response)["param"] == param
    assert Organization.objects.count() == 1


def test_too_many_are_refused(personal: Caller, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(organizations, "MOST_OWNED", 1)

    response = personal(owner, "team").post(LIST, {"name": "New"}, content_type="application/json")

    assert response.status_code == 409
    assert Organization.objects.count() == 1


def test_the_settings_are_read(of_organization: Caller, organization: Organization, path: str) -> None:
    answer = of_organization("team").get(path).json()

    assert answer == {
        "id": organization.uid,
        "name": "Northwind",
        "billing_email": "olivia@example.com",
        "time_zone": "UTC",
        "next_time_zone": None,
        "next_time_zone_at": None,
        "default_region": "",
        "only_owner_manages_keys": False,
        "support_may_look": True,
        "two_factor_required_from": None,
        "retention_days": None,
        "created_at": organization.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def test_a_new_zone_is_told_with_its_moment(of_organization: Caller, path: str) -> None:
    caller = of_organization("team")

    with time_machine.travel(NOW, tick=False):
        answer = caller.patch(path, {"time_zone": "Asia/Tokyo"}, content_type="application/json").json()
    with time_machine.travel(datetime(2026, 11, 20, 15, tzinfo=UTC), tick=False):
        later = caller.get(path).json()

    assert (answer["time_zone"], answer["next_time_zone"], answer["next_time_zone_at"]) == (
        "UTC",
        "Asia/Tokyo",
        "2026-11-20T15:00:00.000000Z",
    )
    assert (later["time_zone"], later["next_time_zone"], later["next_time_zone_at"]) == (
        "Asia/Tokyo",
        None,
        None,
    )


def test_several_settings_change_at_once(personal: Caller, owner: User, path: str) -> None:
    two_factor.enrol_totp(user=owner, actor=None)
    changes = {
        "name": "Southwind",
        "billing_email": "billing@example.com",
        "default_region": "eu",
        "only_owner_manages_keys": True,
        "support_may_look": False,
        "two_factor_required_from": f"{timezone.now() + timedelta(days=30):%Y-%m-%dT%H:%M:%S.%fZ}",
        "retention_days": 30,
    }
    caller = personal(owner, "team", "ownership")

    answer = caller.patch(path, changes, content_type="application/json").json()

    assert {name: answer[name] for name in changes} == changes
    assert caller.get(path).json() == answer


def test_a_second_factor_is_required_within_a_year(personal: Caller, owner: User, path: str) -> None:
    two_factor.enrol_totp(user=owner, actor=None)
    Organization.objects.update(time_zone="Pacific/Kiritimati")
    changes = {"two_factor_required_from": "9999-12-31T23:59:59Z"}

    response = personal(owner, "team").patch(path, changes, content_type="application/json")

    assert response.status_code == 400
    assert error(response)["param"] == "two_factor_required_from"
    assert Organization.objects.get().two_factor_required_from is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"billing_email": "nobody"}, "billing_email"),
        ({"billing_email": "p\u0430ul@example.com"}, "billing_email"),
        ({"billing_email": "a@example.com\nBcc: b@example.com"}, "billing_email"),
        ({"time_zone": ""}, "time_zone"),
        ({"time_zone": "Factory"}, "time_zone"),
        ({"default_region": "EU"}, "default_region"),
        ({"default_region": {"a": 1}}, "default_region"),
        ({"only_owner_manages_keys": "perhaps"}, "only_owner_manages_keys"),
        ({"only_owner_manages_keys": None}, "only_owner_manages_keys"),
        ({"support_may_look": None}, "support_may_look"),
        ({"two_factor_required_from": "soon"}, "two_factor_required_from"),
        ({"two_factor_required_from": "9999-12-31T23:59:59-12:00"}, "two_factor_required_from"),
        ({"two_factor_required_from": "2020-01-01T00:00:00Z"}, "two_factor_required_from"),
        ({"retention_days": -1}, "retention_days"),
        ({"retention_days": 10**30}, "retention_days"),
        ({"retention_days": "many"}, "retention_days"),
    ],
)
def test_what_cannot_be_changed_names_the_field_and_changes_nothing(
    personal: Caller, owner: User, path: str, body: dict[str, Any], param: str
) -> None:
    response = personal(owner, "team", "ownership").patch(
        path, {"name": "Southwind"} | body, content_type="application/json"
    )

    assert response.status_code == 400
    assert error(response)["param"] == param
    assert Organization.objects.get().name == "Northwind"


@pytest.mark.parametrize("body", [[], "text", 5, None])
def test_a_body_that_is_no_object_is_refused(personal: Caller, owner: User, path: str, body: Any) -> None:
    response = personal(owner, "team").patch(path, body, content_type="application/json")

    assert response.status_code == 400
    assert Organization.objects.get().name == "Northwind"


def test_an_admin_does_not_decide_who_manages_keys(personal: Caller, admin: User, path: str) -> None:
    response = personal(admin, "team", "ownership").patch(
        path, {"only_owner_manages_keys": True}, content_type="application/json"
    )

    assert response.status_code == 403
    assert not Organization.objects.get().only_owner_manages_keys


def test_a_member_reads_and_does_not_change(personal: Caller, member: User, path: str) -> None:
    caller = personal(member, "team", "ownership")

    assert caller.get(path).status_code == 200
    assert caller.patch(path, {"name": "Mine"}, content_type="application/json").status_code == 403
    assert caller.delete(f"{path}?confirm=Northwind").status_code == 403
    assert Organization.objects.open().get().name == "Northwind"


@pytest.mark.parametrize("query", ["", "?confirm=", "?confirm=northwind", "?confirm=Northwind%00"])
def test_deleting_asks_for_the_exact_name(personal: Caller, owner: User, path: str, query: str) -> None:
    response = personal(owner, "ownership").delete(path + query)

    assert response.status_code == 400
    assert error(response)["param"] == "confirm"
    assert Organization.objects.open().exists()


def test_the_owner_deletes_it_with_a_key_for_that(personal: Caller, owner: User, path: str) -> None:
    without = personal(owner, "team")
    caller = personal(owner, "ownership")

    refused = without.delete(f"{path}?confirm=Northwind")
    response = caller.delete(f"{path}?confirm=Northwind")

    assert refused.status_code == 403
    assert response.status_code == 204
    assert response.content == b""
    assert not Organization.objects.open().exists()
    assert caller.get(LIST).json()["data"] == []


def test_another_organization_is_not_there(
    personal: Caller, of_organization: Caller, owner: User, other_organization: Organization
) -> None:
    foreign = f"{LIST}/{other_organization.uid}"

    for caller in (personal(owner, "team", "ownership"), of_organization("team", "ownership")):
        assert caller.get(foreign).status_code == 404
        assert caller.patch(foreign, {"name": "Mine"}, content_type="application/json").status_code == 404
        assert caller.delete(f"{foreign}?confirm={other_organization.name}").status_code == 404
    assert Organization.objects.open().filter(name="Contoso").exists()
