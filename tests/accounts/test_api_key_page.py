"""A key's own page: what is known of it, its limits, its switch, its rotation; and whose it is."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client

from accounts import keys
from accounts.audit import Actor
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Membership, Organization, User
from accounts.permissions import Scope

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = re.compile(r"ch_[a-z]+_[0-9A-Za-z]{38}")


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def by_owner(client: Client, owner: User) -> Client:
    client.force_login(owner)
    return client


def address(key: ApiKey, action: str = "") -> str:
    assert key.organization
    return f"/o/{key.organization.uid}/api-keys/{key.uid}/{action}"


def form_of(key: ApiKey, **changes: Any) -> dict[str, Any]:
    """What the page sends when nothing but these is changed."""
    expires = "keep" if key.expires_at else "never"
    return {"name": key.name, "scopes": key.scopes, "expires": expires} | changes


def test_the_page_shows_what_is_known_and_no_secret(
    by_owner: Client, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key

    page = by_owner.get(address(key)).content.decode()

    assert key.masked in page
    assert key.uid in page
    assert secret not in page
    assert key.secret_hash not in page


def test_name_scopes_and_limits_are_changed_and_recorded(by_owner: Client, key: ApiKey) -> None:
    changes = {
        "name": "renamed",
        "scopes": ["jobs"],
        "expires": "date",
        "expires_on": "2026-12-24",
        "allowed_ips": "203.0.113.7, 198.51.100.9/24\n2001:db8::1 10.0.0.0/8",
        "requests_per_minute": "60",
        "monthly_credit_budget": "12.5",
    }

    with time_machine.travel(NOW, tick=False):
        response = by_owner.post(address(key), form_of(key, **changes))

    key.refresh_from_db()
    assert response["Location"] == address(key)
    assert (key.name, key.scopes) == ("renamed", ["jobs"])
    assert key.expires_at == datetime(2026, 12, 25, tzinfo=UTC)
    assert key.allowed_ips == ["203.0.113.7/32", "198.51.100.0/24", "2001:db8::1/128", "10.0.0.0/8"]
    assert (key.requests_per_minute, key.monthly_credit_budget) == (60, Decimal("12.5"))
    assert AuditEntry.objects.get(action="api_key.updated").after["name"] == "renamed"


def test_an_empty_field_lifts_its_limit(by_owner: Client, key: ApiKey) -> None:
    keys.update(key=key, changes={"requests_per_minute": 5, "allowed_ips": ["10.0.0.0/8"]}, actor=None)

    by_owner.post(address(key), form_of(key))

    key.refresh_from_db()
    assert (key.requests_per_minute, key.allowed_ips) == (None, [])


def test_saving_without_a_change_changes_nothing(by_owner: Client, key: ApiKey) -> None:
    keys.update(
        key=key,
        changes={"expires_at": datetime.now(UTC) + timedelta(days=5), "monthly_credit_budget": Decimal(5000)},
        actor=None,
    )
    before = by_owner.get(address(key)).context["form"].initial
    assert before["monthly_credit_budget"] == "5000"

    response = by_owner.post(address(key), {name: value or "" for name, value in before.items()}, follow=True)

    assert "Nothing was changed." in response.content.decode()
    assert AuditEntry.objects.filter(action="api_key.updated").count() == 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "Give the key a name."),
        ("name", "two\nlines", "cannot be seen"),
        ("scopes", [], "Choose at least one"),
        ("scopes", ["gateway:verify"], "Select a valid choice"),
        ("expires", "keep", "Select a valid choice"),
        ("allowed_ips", "everywhere", "neither an IP address nor a network"),
        ("allowed_ips", "10.0.0.1/33", "neither an IP address nor a network"),
        ("allowed_ips", "fe80::1%eth0", "neither an IP address nor a network"),
        ("allowed_ips", "nul\0", "Null characters"),
        ("allowed_ips", "\n".join(f"10.0.{number}.0/24" for number in range(101)), "At most 100"),
        ("requests_per_minute", "0", "greater than or equal to 1"),
        ("requests_per_minute", "1000001", "less than or equal to 1000000"),
        ("requests_per_minute", "٣x", "Enter a whole number"),
        ("monthly_credit_budget", "-1", "greater than or equal to 0"),
        ("monthly_credit_budget", "NaN", "Enter a number"),
        ("monthly_credit_budget", "1e12", "no more than 12 digits"),
        ("monthly_credit_budget", "1.0000001", "6 decimal places"),
    ],
)
def test_a_bad_value_is_explained_beside_its_field(
    by_owner: Client, key: ApiKey, field: str, value: object, message: str
) -> None:
    response = by_owner.post(address(key), form_of(key, **{field: value}))

    assert response.status_code == 400
    assert message in str(response.context["form"].errors[field])
    assert f'id="id_{field}_error"' in response.content.decode()
    assert not AuditEntry.objects.filter(action="api_key.updated").exists()


def test_a_revoked_key_has_a_page_but_nothing_to_change(by_owner: Client, key: ApiKey) -> None:
    keys.revoke(key=key, actor=None)

    page = by_owner.get(address(key)).content.decode()
    by_owner.post(address(key), form_of(key, name="late"))

    assert "<form" not in page.split('id="main"')[1]
    assert ApiKey.objects.get().name == key.name


def test_an_admin_cannot_let_an_owners_key_do_more_than_they_may(
    client: Client, admin: User, key: ApiKey
) -> None:
    client.force_login(admin)

    response = client.post(address(key), form_of(key, scopes=[*key.scopes, "billing"]))

    assert response.status_code == 400
    assert "more than you may" in str(response.context["form"].errors["scopes"])
    assert "ownership" not in dict(response.context["form"].fields["scopes"].choices)


def test_scopes_beyond_the_editors_rights_stay_while_they_change_other_things(
    client: Client, admin: User, owner: User, organization: Organization
) -> None:
    key, _ = keys.create_organization_key(
        organization=organization, name="all", actor=Actor(owner), scopes=list(Scope.values)
    )
    client.force_login(admin)

    client.post(address(key), form_of(key, name="renamed"))

    key.refresh_from_db()
    assert (key.name, key.scopes) == ("renamed", Scope.values)


def test_disabled_and_enabled(by_owner: Client, organization_key: tuple[ApiKey, str]) -> None:
    key, secret = organization_key

    by_owner.post(address(key, "disable/"))
    assert usable_key(secret) is None

    by_owner.post(address(key, "enable/"))
    assert usable_key(secret) == key


@pytest.mark.parametrize("action", ["disable/", "enable/", "end-grace/"])
def test_a_switch_is_never_turned_by_looking(by_owner: Client, key: ApiKey, action: str) -> None:
    assert by_owner.get(address(key, action)).status_code == 405


def rotation(key: ApiKey, grace: str) -> dict[str, str]:
    return {"secret": key.last_four, "grace": grace}


def test_a_rotated_key_has_a_new_secret_and_its_old_one_for_a_while(
    by_owner: Client, organization_key: tuple[ApiKey, str]
) -> None:
    key, old = organization_key

    response = by_owner.post(address(key, "rotate/"), rotation(key, "24 hours"))

    [new] = set(KEY.findall(response.content.decode()))
    assert usable_key(new) == usable_key(old) == key
    assert "no-store" in response["Cache-Control"]
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=25)):
        assert usable_key(old) is None
        assert usable_key(new) == key


def test_rotated_now_the_old_secret_stops_at_once(
    by_owner: Client, organization_key: tuple[ApiKey, str]
) -> None:
    key, old = organization_key

    response = by_owner.post(address(key, "rotate/"), rotation(key, "now"))

    assert usable_key(old) is None
    assert "has stopped working" in response.content.decode()


@pytest.mark.parametrize("grace", ["now", "7 days"])
def test_the_same_form_sent_again_rotates_no_second_time(by_owner: Client, key: ApiKey, grace: str) -> None:
    form = rotation(key, grace)
    first = by_owner.post(address(key, "rotate/"), form)

    second = by_owner.post(address(key, "rotate/"), form, follow=True)

    [new] = set(KEY.findall(first.content.decode()))
    assert usable_key(new) == key
    assert "not shown a second time" in second.content.decode()
    assert AuditEntry.objects.filter(action="api_key.rotated").count() == 1


def test_in_its_grace_a_key_is_not_rotated_but_the_old_secret_can_be_stopped(
    by_owner: Client, organization_key: tuple[ApiKey, str]
) -> None:
    key, old = organization_key
    by_owner.post(address(key, "rotate/"), rotation(key, "7 days"))
    key.refresh_from_db()

    page = by_owner.get(address(key, "rotate/")).content.decode()
    refused = by_owner.post(address(key, "rotate/"), rotation(key, "now"), follow=True)
    assert "Stop the old secret now" in page
    assert "Nothing was rotated" in refused.content.decode()

    stopped = by_owner.post(address(key, "end-grace/"), follow=True)
    assert f"The old secret …{old[-4:]} has stopped working." in stopped.content.decode()
    assert usable_key(old) is None


@pytest.mark.parametrize("grace", ["", "2 days", "nul\0"])
def test_a_grace_that_is_not_offered_is_refused(by_owner: Client, key: ApiKey, grace: str) -> None:
    response = by_owner.post(address(key, "rotate/"), rotation(key, grace))

    assert response.status_code == 400
    assert "grace" in response.context["form"].errors


def test_a_revoked_key_is_not_rotated(by_owner: Client, key: ApiKey) -> None:
    keys.revoke(key=key, actor=None)

    response = by_owner.post(address(key, "rotate/"), rotation(key, "now"), follow=True)

    assert "cannot be rotated" in response.content.decode()


def test_nobody_is_given_the_secret_of_a_key_that_may_do_more_than_they(
    client: Client, admin: User, owner: User, organization: Organization
) -> None:
    key, _ = keys.create_organization_key(
        organization=organization, name="all", actor=Actor(owner), scopes=list(Scope.values)
    )
    client.force_login(admin)

    response = client.post(address(key, "rotate/"), rotation(key, "now"))

    assert response.status_code == 403
    assert "higher role" in client.get(address(key)).content.decode()


CHANGES = ["", "rotate/", "end-grace/", "disable/", "enable/", "revoke/"]


@pytest.mark.parametrize("action", CHANGES)
def test_a_viewer_looks_but_changes_nothing(client: Client, viewer: User, key: ApiKey, action: str) -> None:
    client.force_login(viewer)

    assert client.get(address(key)).status_code == 200
    assert client.post(address(key, action), form_of(key, name="mine")).status_code == 403


def test_where_only_the_owner_manages_keys_an_admin_changes_none(
    client: Client, admin: User, organization: Organization, key: ApiKey
) -> None:
    Organization.objects.update(only_owner_manages_keys=True)
    client.force_login(admin)

    refused = client.post(address(key, "disable/"))
    not_shown = client.get(f"/o/{organization.uid}/api-keys/create/")

    assert (refused.status_code, not_shown.status_code) == (403, 403)
    for page in (refused, not_shown):
        assert b"In Northwind only the owner manages API keys." in page.content
        assert b"give you a role that may" not in page.content


@pytest.mark.parametrize("action", CHANGES)
def test_a_key_of_another_organization_is_not_there(
    by_owner: Client, organization: Organization, other_organization: Organization, action: str
) -> None:
    foreign, _ = keys.create_organization_key(organization=other_organization, name="x", actor=None)
    path = f"/o/{organization.uid}/api-keys/{foreign.uid}/"

    assert by_owner.post(path + action).status_code == 404
    assert by_owner.get(path).status_code == 404


def test_the_page_links_to_the_usage_of_this_key(by_owner: Client, key: ApiKey) -> None:
    page = by_owner.get(address(key)).content.decode()

    assert f"/usage/?api_key={key.uid}" in page


def test_a_creators_departure_does_not_break_the_page(
    by_owner: Client, admin: User, organization: Organization
) -> None:
    key, _ = keys.create_organization_key(organization=organization, name="x", actor=Actor(admin))
    Membership.objects.filter(user=admin).delete()

    assert by_owner.get(address(key)).status_code == 200
