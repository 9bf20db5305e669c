"""The settings pages: who sees and who changes what, and what is refused."""

from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from accounts import team, two_factor
from accounts.audit import Actor
from accounts.models import AuditEntry, Organization, User
from accounts.permissions import Role

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def path(organization: Organization) -> str:
    return f"/o/{organization.uid}/settings/"


@pytest.fixture
def settings_sent() -> dict[str, str]:
    return {
        "name": "Northwind",
        "billing_email": "olivia@example.com",
        "time_zone": "UTC",
        "default_region": "",
    }


def updates() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action="organization.updated").order_by("pk"))


def test_what_changed_is_recorded_and_nothing_else(
    client: Client, admin: User, organization: Organization, path: str, settings_sent: dict[str, str]
) -> None:
    client.force_login(admin)
    version = Organization.objects.get().access_version

    response = client.post(path, settings_sent | {"name": " Southwind ", "default_region": "eu"}, follow=True)

    organization.refresh_from_db()
    assert (organization.name, organization.default_region) == ("Southwind", "eu")
    assert organization.access_version > version
    [entry] = updates()
    assert entry.before == {"name": "Northwind", "default_region": ""}
    assert entry.after == {"name": "Southwind", "default_region": "eu"}
    assert entry.actor == admin
    assert "Saved." in response.content.decode()


def test_nothing_new_leaves_no_trace(
    client: Client, owner: User, path: str, settings_sent: dict[str, str]
) -> None:
    client.force_login(owner)

    client.post(path, settings_sent)

    assert not updates()


def test_a_member_sees_and_may_not_change(
    client: Client, member: User, path: str, settings_sent: dict[str, str]
) -> None:
    client.force_login(member)

    page = client.get(path).content.decode()
    response = client.post(path, settings_sent | {"name": "Mine"})

    assert "olivia@example.com" in page
    assert "Save" not in page
    assert response.status_code == 403
    assert Organization.objects.get().name == "Northwind"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "Give the organization a name."),
        ("name", "x" * 121, "at most 120"),
        ("name", "tab\there", "cannot be seen"),
        ("billing_email", "nobody", "valid email"),
        ("billing_email", "p\u0430ul@example.com", ""),
        ("billing_email", f"{'x' * 250}@example.com", "at most"),
        ("time_zone", "Nowhere", "Select a valid choice"),
        ("default_region", "EU West", "short word"),
        ("default_region", "-eu", "short word"),
        ("default_region", "x" * 33, "at most 32"),
    ],
)
def test_a_bad_value_is_explained_beside_its_field(
    client: Client,
    owner: User,
    path: str,
    settings_sent: dict[str, str],
    field: str,
    value: str,
    message: str,
) -> None:
    client.force_login(owner)

    response = client.post(path, settings_sent | {field: value})

    assert response.status_code == 400
    assert message in str(response.context["form"].errors[field])
    assert not updates()


def test_the_page_says_from_when_a_new_zone_counts(
    client: Client, owner: User, path: str, settings_sent: dict[str, str]
) -> None:
    client.force_login(owner)

    with time_machine.travel(NOW, tick=False):
        client.post(path, settings_sent | {"time_zone": "Asia/Tokyo"})
        page = client.get(path).content.decode()

    assert "Days are cut in UTC until" in page
    assert 'datetime="2026-11-20T15:00:00.000000Z"' in page
    assert '<option value="Asia/Tokyo" selected>' in page


def test_another_organizations_settings_are_not_there(
    client: Client, owner: User, organization: Organization, other_organization: Organization
) -> None:
    client.force_login(owner)

    for part in ("", "security/", "data/", "delete/"):
        address = f"/o/{other_organization.uid}/settings/{part}"
        assert client.get(address).status_code == 404
        assert client.post(address, {"name": other_organization.name}).status_code == 404
    assert Organization.objects.open().count() == 2


@pytest.mark.parametrize(
    ("who", "statuses"),
    [
        ("owner", {"": 200, "security/": 200, "data/": 200, "delete/": 200}),
        ("admin", {"": 200, "security/": 200, "data/": 200, "delete/": 403}),
        ("member", {"": 200, "security/": 403, "data/": 200, "delete/": 403}),
        ("viewer", {"": 200, "security/": 403, "data/": 200, "delete/": 403}),
    ],
)
def test_each_role_opens_its_parts_and_is_led_to_no_others(
    request: pytest.FixtureRequest, client: Client, path: str, who: str, statuses: dict[str, int]
) -> None:
    client.force_login(request.getfixturevalue(who))

    found = {part: client.get(path + part).status_code for part in statuses}

    assert found == statuses
    page = client.get(path).content.decode()
    assert {part: f'href="{path}{part}"' in page for part in statuses} == {
        part: status == 200 for part, status in statuses.items()
    }


def test_members_do_not_cost_queries(
    client: Client,
    owner: User,
    organization: Organization,
    path: str,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client.force_login(owner)
    client.get(path + "delete/")
    with CaptureQueriesContext(connection) as alone:
        client.get(path + "delete/")
    for number in range(3):
        user = User.objects.create_user(f"{number}@example.com")
        team.add_member(organization=organization, user=user, role=Role.VIEWER, actor=None)

    with django_assert_num_queries(len(alone)):
        client.get(path + "delete/")


def test_only_the_owner_decides_who_manages_keys(
    client: Client, owner: User, admin: User, organization: Organization, path: str
) -> None:
    sent = {"only_owner_manages_keys": "yes", "support_may_look": "yes", "two_factor": "not"}

    client.force_login(admin)
    client.post(path + "security/", sent)
    by_admin = Organization.objects.get().only_owner_manages_keys
    client.force_login(owner)
    client.post(path + "security/", sent)

    assert not by_admin
    assert Organization.objects.get().only_owner_manages_keys
    client.force_login(admin)
    assert client.get(f"/o/{organization.uid}/api-keys/create/").status_code == 403


def test_a_second_factor_is_required_from_the_first_moment_of_a_day(
    client: Client, owner: User, organization: Organization, path: str
) -> None:
    two_factor.enrol_totp(user=owner, actor=None)
    Organization.objects.update(time_zone="America/New_York")
    client.force_login(owner)
    sent = {
        "only_owner_manages_keys": "no",
        "support_may_look": "yes",
        "two_factor": "from",
        "required_from": "2026-11-30",
    }

    with time_machine.travel(NOW, tick=False):
        client.post(path + "security/", sent)
        client.post(path + "security/", sent)

    assert Organization.objects.get().two_factor_required_from == datetime(2026, 11, 30, 5, tzinfo=UTC)
    assert len(updates()) == 1


def test_it_can_be_left_to_each_member_again(
    client: Client, owner: User, organization: Organization, path: str
) -> None:
    two_factor.enrol_totp(user=owner, actor=None)
    two_factor.require(organization=organization, from_=NOW, actor=Actor(owner))
    client.force_login(owner)

    client.post(
        path + "security/", {"only_owner_manages_keys": "no", "support_may_look": "yes", "two_factor": "not"}
    )

    assert Organization.objects.get().two_factor_required_from is None


@pytest.mark.parametrize(
    ("day", "message"),
    [
        ("", "Say from which day."),
        ("soon", "Enter a valid date."),
        ("2026-11-19", "This day has passed."),
        ("2028-01-01", "within a year"),
        ("9999-12-31", "within a year"),
    ],
)
def test_a_bad_day_is_explained(client: Client, owner: User, path: str, day: str, message: str) -> None:
    client.force_login(owner)
    sent: dict[str, Any] = {
        "only_owner_manages_keys": "no",
        "support_may_look": "yes",
        "two_factor": "from",
        "required_from": day,
    }

    with time_machine.travel(NOW, tick=False):
        response = client.post(path + "security/", sent)

    assert response.status_code == 400
    assert message in str(response.context["form"].errors["required_from"])


def test_nobody_shuts_themselves_out_and_half_of_a_form_is_not_saved(
    client: Client, owner: User, path: str
) -> None:
    client.force_login(owner)
    sent = {
        "only_owner_manages_keys": "yes",
        "support_may_look": "yes",
        "two_factor": "from",
        "required_from": "2026-11-30",
    }

    with time_machine.travel(NOW, tick=False):
        response = client.post(path + "security/", sent)

    assert response.status_code == 400
    assert "your own second factor" in str(response.context["form"].errors["two_factor"])
    assert not Organization.objects.get().only_owner_manages_keys
    assert not updates()
