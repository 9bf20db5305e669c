"""Every route says who may come in, and keeps everybody else out."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.permissions import AllowAny
from rest_framework.settings import api_settings

from accounts.access import AnyKey, HasPermission
from accounts.models import ApiKey, Organization, User
from accounts.permissions import Permission, Role, ServicePermission

# Views of libraries, which guard themselves. Those of allauth are for anybody, or send strangers to sign in.
LIBRARIES = ("allauth.", "django.contrib.admin.", "django.contrib.auth.", "unfold.")
# What an address is filled with where it names something.
SAMPLES = {"number": "1", "page": "1"}


@dataclass(frozen=True)
class Route:
    path: str
    view: Callable[..., Any]

    @property
    def is_of_the_admin(self) -> bool:
        return self.path.startswith("admin/")

    @property
    def is_of_a_library(self) -> bool:
        module = getattr(self.view, "view_class", self.view).__module__
        return self.is_of_the_admin or module.startswith(LIBRARIES)

    @property
    def api_view(self) -> Any:
        """The class of a view of the REST framework, or None."""
        view_class = getattr(self.view, "cls", None) or getattr(self.view, "view_class", None)
        return view_class if hasattr(view_class, "permission_classes") else None

    @property
    def access(self) -> object:
        """What the view declares, or None."""
        if self.api_view is None:
            return getattr(self.view, "access", None)
        if self.api_view.permission_classes == [HasPermission]:
            return getattr(self.api_view, "permission", None)
        [access] = self.api_view.permission_classes
        return access

    def address(self, **known: str) -> str:
        def fill(argument: re.Match[str]) -> str:
            name = argument[1].split(":")[-1]
            return known.get(name) or SAMPLES.get(name, "sample")

        return "/" + re.sub(r"<([^>]+)>", fill, self.path)


def routes(patterns: Any = None, prefix: str = "") -> Iterator[Route]:
    for pattern in patterns or get_resolver().url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        else:
            assert isinstance(pattern, URLPattern)
            yield Route(path, pattern.callback)


def of_ours(route: Route) -> bool:
    return not route.is_of_a_library


OURS = [route for route in routes() if of_ours(route)]
OF_ORGANIZATIONS = [route for route in OURS if "organization_uid>" in route.path]
API = [route for route in OURS if route.path.startswith("api/v1/")]
PUBLIC = ("public", AllowAny)


def each(chosen: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", chosen, ids=lambda route: route.path)


def test_the_api_asks_for_permission_unless_a_view_says_otherwise() -> None:
    assert [HasPermission] == api_settings.DEFAULT_PERMISSION_CLASSES


def test_there_are_routes_of_every_kind() -> None:
    assert len(OF_ORGANIZATIONS) >= 5
    assert len(API) >= 5
    assert any(route.is_of_the_admin for route in routes())


@each(OURS)
def test_each_route_declares_its_access(route: Route) -> None:
    declared = route.access

    assert declared in ("public", "signed_in", AllowAny, AnyKey) or isinstance(
        declared, Permission | ServicePermission
    )


def test_what_is_public_is_so_on_purpose() -> None:
    public = {route.path for route in OURS if route.access in PUBLIC}

    assert public <= {
        "healthz",
        "readyz",
        "demo/mail/",
        "demo/mail/<str:file>/<int:number>/",
        "api/schema/",
        "api/docs/",
    }


@each(OF_ORGANIZATIONS)
def test_pages_of_an_organization_name_a_permission(route: Route) -> None:
    assert isinstance(route.access, Permission)


@each([route for route in OURS if route not in API and route.access not in PUBLIC])
def test_strangers_are_sent_to_sign_in(route: Route, client: Client, organization: Organization) -> None:
    address = route.address(organization_uid=organization.uid)

    for response in (client.get(address), client.post(address)):
        assert response.status_code == 302
        assert response["Location"].startswith("/accounts/login/")


@each(API)
def test_calls_without_a_key_get_401(route: Route, client: Client, db: None) -> None:
    statuses = {client.get(route.address()).status_code, client.post(route.address()).status_code}

    assert statuses <= {401, 405}
    assert 401 in statuses


@each([route for route in API if isinstance(route.access, ServicePermission)])
def test_the_gateway_is_closed_to_customers_keys(
    route: Route, client: Client, organization_key: tuple[ApiKey, str]
) -> None:
    response = client.post(route.address(), headers={"Authorization": f"Bearer {organization_key[1]}"})

    assert response.status_code == 403


@each([route for route in API if isinstance(route.access, Permission)])
def test_a_service_key_reads_no_customers_data(
    route: Route, client: Client, service_key: tuple[ApiKey, str]
) -> None:
    response = client.get(route.address(), headers={"Authorization": f"Bearer {service_key[1]}"})

    assert response.status_code in (403, 405)


@each([route for route in API if isinstance(route.access, Permission)])
def test_a_foreign_organization_is_refused(
    route: Route, client: Client, personal_key: tuple[ApiKey, str], other_organization: Organization
) -> None:
    response = client.get(
        route.address(),
        {"orgId": other_organization.uid},
        headers={"Authorization": f"Bearer {personal_key[1]}"},
    )

    assert response.status_code in (403, 405)


@each(OF_ORGANIZATIONS)
def test_for_outsiders_an_organization_is_not_there(
    route: Route, client: Client, organization: Organization, outsider: User
) -> None:
    client.force_login(outsider)
    address = route.address(organization_uid=organization.uid)

    assert client.get(address).status_code == 404
    assert client.post(address).status_code == 404


@each(OF_ORGANIZATIONS)
@pytest.mark.parametrize("role", Role)
def test_members_come_in_exactly_with_the_permission(
    route: Route, role: Role, client: Client, organization: Organization, owner: User
) -> None:
    membership = organization.memberships.get()
    membership.role = role
    membership.save()
    client.force_login(owner)

    response = client.get(route.address(organization_uid=organization.uid))

    assert (response.status_code == 403) == (route.access not in membership.permissions)
    assert response.status_code < 500


@each([route for route in routes() if route.is_of_the_admin])
def test_the_admin_sends_customers_to_its_own_sign_in(route: Route, client: Client, owner: User) -> None:
    client.force_login(owner)

    response = client.get(route.address(object_id="1", id="1", content_type_id="1", app_label="accounts"))

    assert response.status_code in (301, 302, 404) or route.path in ("admin/login/", "admin/jsi18n/")
    if response.status_code == 302:
        assert response["Location"].startswith(("/admin/login/", "/admin/"))
