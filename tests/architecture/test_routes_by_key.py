"""Calls by key: a key may do what its scopes grant, and no more than its maker; without a key nothing may be done."""

import pytest
from django.test import Client
from rest_framework.permissions import AllowAny

from accounts import keys, permissions
from accounts.access import AnyKey
from accounts.audit import Actor
from accounts.permissions import SCOPE_PERMISSIONS, Permission, Role, Scope, ServicePermission
from tests.architecture.needs import needed
from tests.architecture.records import records
from tests.architecture.requests import ask, send
from tests.architecture.routes import GUARDED, OURS
from tests.architecture.tenants import Tenant

# But for what takes a signed token in place of a key.
API = [route for route in OURS if route.path.startswith("api/v1/") and route.access is not AllowAny]
CALLS = {(route.path, method): route for route in GUARDED if route in API for method in needed(route)}
GATEWAY = [route for route in OURS if isinstance(route.access, ServicePermission)]


def found(here: Tenant, secret: str) -> dict[tuple[str, str], str]:
    headers = {"Authorization": f"Bearer {secret}"}
    return {
        (path, method): ask(Client(), route, method, route.address(here.named), **headers)
        for (path, method), route in CALLS.items()
    }


def expected(held: frozenset[Permission]) -> dict[tuple[str, str], str]:
    return {
        (path, method): "in" if needed(route)[method] in held else "refused"
        for (path, method), route in CALLS.items()
    }


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_alone_grants_exactly_its_permissions(scope: Scope, here: Tenant) -> None:
    _, secret = keys.create_organization_key(
        organization=here.organization, name="one", scopes=[scope], actor=Actor(here.owner)
    )

    assert found(here, secret) == expected(SCOPE_PERMISSIONS[scope])


@pytest.mark.parametrize("role", Role)
def test_a_personal_key_may_do_no_more_than_its_owner(role: Role, here: Tenant) -> None:
    _, secret = keys.create_personal_key(
        user=here.people[role], organization=here.organization, name="laptop", scopes=Scope.values
    )

    assert found(here, secret) == expected(permissions.of_role(role))


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER, Role.VIEWER])
def test_an_organizations_key_may_do_no_more_than_its_maker_may_by_now(role: Role, here: Tenant) -> None:
    maker = here.people[Role.ADMIN]
    _, secret = keys.create_organization_key(
        organization=here.organization, name="all", scopes=Scope.values, actor=Actor(maker)
    )
    here.organization.memberships.filter(user=maker).update(role=role)

    assert found(here, secret) == expected(permissions.of_role(role))


def test_a_service_key_is_refused_where_customers_call(here: Tenant, service_key: tuple[object, str]) -> None:
    before = records()

    answers = set(found(here, service_key[1]).values())

    assert answers == {"refused"}
    assert records() == before


@pytest.mark.django_db
@pytest.mark.parametrize("scope", ServicePermission)
def test_a_service_key_opens_the_gateway_by_scope(scope: ServicePermission) -> None:
    _, secret = keys.create_service_key(name="data plane", scopes=[scope])

    for route in GATEWAY:
        answer = ask(Client(), route, "POST", route.address({}), Authorization=f"Bearer {secret}")
        assert answer == ("in" if route.access == scope else "refused")


def test_the_gateway_is_closed_to_customers(
    organization_key: tuple[object, str], personal_key: tuple[object, str]
) -> None:
    for _, secret in (organization_key, personal_key):
        for route in GATEWAY:
            answer = ask(Client(), route, "POST", route.address({}), Authorization=f"Bearer {secret}")
            assert answer == "refused"


@pytest.mark.parametrize("sent", [{}, {"Authorization": "Bearer ch_production_nothing"}])
def test_without_a_valid_key_nothing_may_be_done(sent: dict[str, str], here: Tenant) -> None:
    before = records()

    answers = {
        (route.path, method): send(Client(), route, method, route.address(here.named), **sent).status_code
        for route in API
        for method in (["POST"] if route in GATEWAY else route.methods)
    }

    assert set(answers.values()) == {401}, answers
    assert records() == before


def test_any_key_may_ask_what_it_is(
    organization_key: tuple[object, str], personal_key: tuple[object, str], service_key: tuple[object, str]
) -> None:
    [route] = [route for route in API if route.access is AnyKey]

    for _, secret in (organization_key, personal_key, service_key):
        assert ask(Client(), route, "GET", route.address({}), Authorization=f"Bearer {secret}") == "in"
