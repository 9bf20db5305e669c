"""Every route says who may come in, and lets in exactly those, by the table of permissions."""

from collections.abc import Mapping

import pytest
from django.test import Client
from rest_framework.permissions import AllowAny
from rest_framework.settings import api_settings

from accounts import permissions
from accounts.access import AnyCustomer, AnyKey, AnyPerson, HasPermission
from accounts.models import User
from accounts.permissions import Permission, Role, ServicePermission
from tests.architecture.needs import NEEDS, needed
from tests.architecture.records import records
from tests.architecture.requests import ask, send
from tests.architecture.routes import GUARDED, OF_THE_ADMIN, OURS, Route
from tests.architecture.tenants import Tenant, own

PUBLIC = ("public", AllowAny)
OF_PERSONS = ("signed_in", AnyCustomer, AnyKey, AnyPerson)
CALLERS = ("anonymous", "outsider", "staff", *Role.values)
# For whoever the organization is offered to, which is none of the callers.
OF_SOMEBODY = "o/<slug:organization_uid>/team/transfer/accept/"


def test_the_api_asks_for_permission_unless_a_view_says_otherwise() -> None:
    assert [HasPermission] == api_settings.DEFAULT_PERMISSION_CLASSES


def test_each_route_declares_its_access() -> None:
    undeclared = [
        route.path
        for route in OURS
        if route.access not in (*PUBLIC, *OF_PERSONS)
        and not isinstance(route.access, Permission | ServicePermission)
    ]

    assert undeclared == []


def test_what_is_of_an_organization_asks_for_a_permission() -> None:
    unguarded = {
        route.path for route in OURS if "organization_uid" in route.arguments and route not in GUARDED
    }

    # For whoever it is offered to, of whatever role.
    assert unguarded == {"api/v1/organizations/<slug:organization_uid>/transfer/accept"}


def test_what_is_public_is_so_on_purpose() -> None:
    public = {route.path for route in OURS if route.access in PUBLIC}

    assert public <= {
        "healthz",
        "readyz",
        # For whoever knows its token, or calls from this machine.
        "metrics",
        "demo/mail/",
        "demo/mail/<str:file>/<int:number>/",
        "api/schema/",
        "api/docs/",
        # What webhooks can tell of.
        "webhooks/events/",
        # What a Svix server tells, by its signature.
        "webhooks/svix",
        # For Stripe, which signs what it sends.
        "stripe/thin-events/",
        # Steps of signing in and up.
        "accounts/code/",
        "accounts/code/cancel/",
        "accounts/confirm-email/resend/",
        # Links in letters, for whoever holds them.
        "email-change/<str:token>/",
        "invitations/<str:token>/",
        "invitations/<str:token>/decline/",
        "unsubscribe/<str:token>/",
        # Links to files of exports, signed, for whoever holds them.
        "files/<path:name>",
        # Drafts of pipelines for the Studio, by a signed token.
        "api/v1/studio/pipelines/<str:token>",
    }


def test_the_table_says_of_each_route_what_it_needs() -> None:
    routes = {route.path: route for route in GUARDED}

    assert set(NEEDS) == set(routes), "Say in tests/architecture/needs.py what each route needs."
    assert [path for path, route in routes.items() if not set(needed(route)) <= set(route.methods)] == []
    assert [
        path for path, route in routes.items() if route.is_of_the_api and list(needed(route)) != route.methods
    ] == []


def expected(route: Route, method: str, caller: str) -> str:
    """What is to become of a call on an organization that only those by role are members of."""
    if caller == "anonymous":
        return "no key" if route.is_of_the_api else "sign in"
    if caller not in Role.values:
        return "refused" if route.is_of_the_api and "organization_uid" not in route.arguments else "not there"
    if needed(route)[method] not in permissions.of_role(caller):
        return "refused"
    return "not there" if route.path == OF_SOMEBODY else "in"


CALLS = {(route.path, method): route for route in GUARDED for method in needed(route)}


@pytest.mark.parametrize("caller", CALLERS)
def test_organizations_let_in_by_role(caller: str, here: Tenant, callers: Mapping[str, Client]) -> None:
    query = f"?orgId={here.organization.uid}"

    found = {
        (path, method): ask(callers[caller], route, method, route.address(here.named) + query)
        for (path, method), route in CALLS.items()
    }

    assert found == {
        (path, method): expected(route, method, caller) for (path, method), route in CALLS.items()
    }


@pytest.mark.parametrize("caller", CALLERS)
def test_whoever_is_not_let_in_changes_nothing(
    caller: str, here: Tenant, callers: Mapping[str, Client]
) -> None:
    query = f"?orgId={here.organization.uid}"
    before = records()

    for (_, method), route in CALLS.items():
        if expected(route, method, caller) != "in":
            send(callers[caller], route, method, route.address(here.named) + query)

    assert records() == before


@pytest.mark.parametrize("caller", CALLERS)
def test_what_is_ones_own_lets_in_whoever_is_signed_in(
    caller: str, here: Tenant, outsider: User, staff: User, callers: Mapping[str, Client]
) -> None:
    people = {"outsider": outsider, "staff": staff, **here.people}
    named = here.named | (own(people[caller]) if caller in people else {})

    found = {
        (route.path, method): ask(callers[caller], route, method, route.address(named))
        for route in OURS
        if route.access == "signed_in"
        for method in route.methods
    }

    assert set(found.values()) == {"sign in" if caller == "anonymous" else "in"}, found


def test_people_may_call_what_is_theirs(here: Tenant, callers: Mapping[str, Client]) -> None:
    calls = [route for route in OURS if route.access in (AnyCustomer, AnyPerson)]

    for caller, verdicts in {"anonymous": {"no key"}, "outsider": {"in", "not there"}}.items():
        found = {
            ask(callers[caller], route, method, route.address(here.named))
            for route in calls
            for method in route.methods
        }
        assert found == verdicts


@pytest.mark.parametrize("caller", CALLERS)
def test_public_pages_refuse_nobody(caller: str, here: Tenant, callers: Mapping[str, Client]) -> None:
    found = {
        (route.path, method): ask(callers[caller], route, method, route.address(here.named))
        for route in OURS
        if route.access in PUBLIC and route.path != "readyz"
        for method in route.methods
    }

    assert set(found.values()) <= {"in", "not there", "sign in"}, found


@pytest.mark.parametrize("caller", CALLERS)
def test_the_admin_is_for_the_staff(caller: str, callers: Mapping[str, Client]) -> None:
    named = {
        "object_id": "1",
        "id": "1",
        "content_type_id": "1",
        "app_label": "accounts",
        "url": "nothing",
        "date": "2026-01-01",
        "task": "usage.tasks.fold_margins",
    }
    inside = [route for route in OF_THE_ADMIN if route.path not in ("admin/login/", "admin/jsi18n/")]

    found = {route.path: callers[caller].get(route.address(named)) for route in inside}

    if caller == "staff":
        assert {path for path, response in found.items() if response.status_code >= 500} == set()
        assert found["admin/"].status_code == 200
        return
    for path, response in found.items():
        assert response.status_code in (301, 302, 404), path
        assert response.get("Location", "/admin/").startswith("/admin/"), path
