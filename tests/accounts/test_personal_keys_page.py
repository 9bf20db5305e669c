"""Personal keys: everybody has their own, whatever their role, and nobody else finds them."""

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import keys
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Membership, Organization, User

KEY = re.compile(r"ch_[a-z]+_[0-9A-Za-z]{38}")
ACTIONS = ["", "rotate/", "end-grace/", "disable/", "enable/", "revoke/"]


def address(organization: Organization, path: str = "personal/") -> str:
    return f"/o/{organization.uid}/api-keys/{path}"


@pytest.fixture
def by_viewer(client: Client, viewer: User) -> Client:
    client.force_login(viewer)
    return client


@pytest.fixture
def form(by_viewer: Client, organization: Organization) -> dict[str, Any]:
    path = address(organization, "personal/create/")
    signed_uid = by_viewer.get(path).context["signed_uid"]
    data = {
        "form": signed_uid,
        "name": "laptop",
        "environment": "development",
        "expires": "never",
        "scopes": ["usage"],
        "requests_per_minute": "30",
    }
    return {"path": path, "data": data}


def test_a_viewer_makes_a_key_of_their_own(
    by_viewer: Client, form: dict[str, Any], viewer: User, organization: Organization
) -> None:
    response = by_viewer.post(**form)

    [secret] = set(KEY.findall(response.content.decode()))
    key = usable_key(secret)
    assert key
    assert (key.kind, key.user, key.organization) == ("personal", viewer, organization)
    assert (key.environment, key.requests_per_minute, key.scopes) == ("development", 30, ["usage"])
    assert "no-store" in response["Cache-Control"]


def test_the_same_form_sent_again_makes_no_second_key(by_viewer: Client, form: dict[str, Any]) -> None:
    by_viewer.post(**form)

    response = by_viewer.post(**form, follow=True)

    assert ApiKey.objects.count() == 1
    assert AuditEntry.objects.filter(action="api_key.created").count() == 1
    assert b"not shown a second time" in response.content
    assert response.redirect_chain == [(form["path"].removesuffix("create/"), 302)]


def test_a_form_of_somebody_else_is_refused(client: Client, form: dict[str, Any], member: User) -> None:
    client.force_login(member)

    assert client.post(**form).status_code == 400
    assert not ApiKey.objects.exists()


def test_only_ones_own_keys_are_listed(
    by_viewer: Client,
    organization: Organization,
    viewer: User,
    personal_key: tuple[ApiKey, str],
    organization_key: tuple[ApiKey, str],
) -> None:
    own, _ = keys.create_personal_key(user=viewer, organization=organization, name="mine")

    page = by_viewer.get(address(organization)).context

    assert list(page["keys"]) == [own]


def test_a_personal_key_is_not_among_the_organizations(
    client: Client, owner: User, organization: Organization, personal_key: tuple[ApiKey, str]
) -> None:
    client.force_login(owner)

    assert client.get(address(organization, "")).context["keys"] == []


@pytest.mark.parametrize("action", ACTIONS)
def test_a_personal_key_is_nobody_elses_not_even_the_owners(
    client: Client, owner: User, organization: Organization, viewer: User, action: str
) -> None:
    key, secret = keys.create_personal_key(user=viewer, organization=organization, name="mine")
    client.force_login(owner)

    assert client.post(address(organization, f"{key.uid}/{action}")).status_code == 404
    assert client.get(address(organization, f"{key.uid}/")).status_code == 404
    assert usable_key(secret) == key


def test_its_owner_lives_its_whole_life_whatever_their_role(
    by_viewer: Client, organization: Organization, viewer: User
) -> None:
    key, old = keys.create_personal_key(user=viewer, organization=organization, name="mine")

    def page(action: str) -> str:
        return address(organization, f"{key.uid}/{action}")

    by_viewer.post(page(""), {"name": "renamed", "scopes": ["jobs"], "expires": "never"})
    assert ApiKey.objects.get().name == "renamed"

    by_viewer.post(page("disable/"))
    assert usable_key(old) is None
    by_viewer.post(page("enable/"))

    rotated = by_viewer.post(page("rotate/"), {"secret": key.last_four, "grace": "1 hour"})
    [new] = set(KEY.findall(rotated.content.decode()))
    assert usable_key(new) == usable_key(old) == key

    by_viewer.post(page("end-grace/"))
    assert usable_key(old) is None

    response = by_viewer.post(page("revoke/"))
    assert response["Location"] == address(organization)
    assert usable_key(new) is None


def test_a_key_whose_home_was_left_can_still_be_found_and_ended(
    by_viewer: Client, organization: Organization, other_organization: Organization, viewer: User
) -> None:
    key, secret = keys.create_personal_key(user=viewer, organization=organization, name="mine")
    Membership.objects.filter(user=viewer).delete()
    Membership.objects.create(user=viewer, organization=other_organization, role="viewer")

    page = by_viewer.get(address(other_organization)).content.decode()
    by_viewer.post(address(other_organization, f"{key.uid}/revoke/"))

    assert "which you are no member of" in page
    assert usable_key(secret) is None


def test_many_keys_take_few_queries(
    by_viewer: Client,
    organization: Organization,
    viewer: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        keys.create_personal_key(user=viewer, organization=organization, name=f"key {number}")

    with django_assert_max_num_queries(12):
        by_viewer.get(address(organization))


def test_an_empty_page_teaches_and_leads_on(by_viewer: Client, organization: Organization) -> None:
    page = by_viewer.get(address(organization)).content.decode()

    assert "No personal key in use" in page
    assert address(organization, "personal/create/") in page
