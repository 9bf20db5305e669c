"""An id of somebody else's is as unknown as any other, in every address and with every method."""

from collections.abc import Iterator

import pytest
from django.test import Client

from accounts import keys
from accounts.permissions import Role, Scope
from tests.architecture.needs import needed
from tests.architecture.records import records
from tests.architecture.requests import send, verdict
from tests.architecture.routes import GUARDED, OURS, Route
from tests.architecture.tenants import Tenant

# Words in links: whoever holds one may do what it is for. The demo's letters, and what is on offer to everybody.
OF_NOBODY = {"token", "file", "number", "plan_slug", "interval", "pack_slug"}


def addresses(route: Route, here: Tenant, there: Tenant) -> Iterator[str]:
    """The address with one of its ids from there, for each of these, and with all of them."""
    swapped = [{name} for name in route.arguments] + [set(route.arguments)] * (len(route.arguments) > 1)
    for names in swapped:
        yield route.address(here.named | {name: there.named[name] for name in names})


@pytest.fixture
def browser(here: Tenant) -> Client:
    """The browser of the owner here, who may do everything."""
    client = Client()
    client.force_login(here.owner)
    return client


@pytest.fixture
def headers(here: Tenant) -> dict[str, str]:
    """Those of a program that may do all that the owner here may."""
    _, secret = keys.create_personal_key(
        user=here.owner, organization=here.organization, name="laptop", scopes=Scope.values
    )
    return {"Authorization": f"Bearer {secret}"}


def test_every_id_in_an_address_is_known_to_this_test(here: Tenant) -> None:
    for route in OURS:
        route.address(here.named)


def answers(route: Route, address: str, browser: Client, headers: dict[str, str]) -> set[int]:
    """The statuses in which all methods of a route answer, to a session and to a key."""
    methods = needed(route) if route in GUARDED else route.methods
    found = {send(browser, route, method, address).status_code for method in methods}
    if route.is_of_the_api:
        found |= {send(Client(), route, method, address, **headers).status_code for method in methods}
    return found


def test_foreign_ids_are_not_there(
    browser: Client, headers: dict[str, str], here: Tenant, there: Tenant
) -> None:
    named = [route for route in OURS if route.arguments and OF_NOBODY.isdisjoint(route.arguments)]
    before = records()

    found = {
        address: answers(route, address, browser, headers)
        for route in named
        for address in addresses(route, here, there)
    }

    assert len(found) > 60
    # A page that only shows, or only takes a form, says so before it looks.
    assert {address: statuses for address, statuses in found.items() if statuses - {405} != {404}} == {}
    assert records() == before


def test_the_personal_key_of_another_member_is_not_there(
    browser: Client, headers: dict[str, str], here: Tenant
) -> None:
    key, _ = keys.create_personal_key(
        user=here.people[Role.ADMIN], organization=here.organization, name="laptop"
    )
    of_keys = [route for route in OURS if "key_uid" in route.arguments]
    before = records()

    found = {
        route.path: answers(route, route.address(here.named | {"key_uid": key.uid}), browser, headers)
        for route in of_keys
    }

    assert len(found) >= 10
    assert {path: statuses for path, statuses in found.items() if statuses - {405} != {404}} == {}
    assert records() == before


def test_a_foreign_organization_named_by_orgid_is_refused(
    browser: Client, headers: dict[str, str], here: Tenant, there: Tenant
) -> None:
    by_query = [
        route for route in GUARDED if route.is_of_the_api and "organization_uid" not in route.arguments
    ]
    before = records()

    found = {
        (route.path, method, kind): verdict(
            send(client, route, method, f"{route.address(named)}?orgId={there.organization.uid}", **sent)
        )
        for route in by_query
        for method in needed(route)
        for named in (here.named, there.named)
        for kind, client, sent in [("session", browser, {}), ("key", Client(), headers)]
    }

    assert set(found.values()) == {"refused"}, found
    assert records() == before
