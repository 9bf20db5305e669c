"""Support that looks as a member walks over every route: what is of the organization only shows, or is refused."""

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.models import Membership, User
from accounts.permissions import Role
from tests.accounts.looking import begin
from tests.architecture.records import records
from tests.architecture.requests import send, verdict
from tests.architecture.routes import GUARDED
from tests.architecture.tenants import Tenant

PAGES = [route for route in GUARDED if not route.is_of_the_api]
SHOWN = {route.path for route in PAGES if getattr(route.view, "for_support", False)}
O = "o/<slug:organization_uid>"  # noqa: E741
# One line a page that is shown, so that nobody shows another one without a thought of what it holds.
EXPECTED = {
    f"{O}/settings/",
    f"{O}/settings/data/",
    f"{O}/team/",
    f"{O}/audit/",
    f"{O}/api-keys/",
    f"{O}/api-keys/<slug:key_uid>/",
    f"{O}/usage/",
    f"{O}/usage/credits/",
    f"{O}/usage/keys/<slug:key_uid>/",
    f"{O}/usage/alerts/",
    f"{O}/usage/alerts/<slug:alert_uid>/",
    f"{O}/usage/spend-cap/",
    f"{O}/billing/",
    f"{O}/billing/plans/",
    f"{O}/billing/credits/",
    f"{O}/billing/ledger/",
    f"{O}/billing/invoices/",
    f"{O}/billing/invoices/<slug:invoice_uid>/",
    f"{O}/pipelines/",
    f"{O}/pipelines/<slug:draft_uid>/",
    f"{O}/webhooks/",
    f"{O}/webhooks/endpoints/<slug:endpoint_id>/",
    f"{O}/webhooks/messages/",
    f"{O}/webhooks/messages/<slug:message_id>/",
    f"{O}/webhooks/waiting/",
    f"{O}/jobs/",
    f"{O}/jobs/<job_id:job_id>/",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture
def looking(here: Tenant, staff: User) -> Client:
    """The browser of somebody who looks as the owner of an organization, who may do everything there."""
    return begin(staff, here.organization, here.owner)


def test_these_pages_are_shown_and_no_others() -> None:
    assert SHOWN == EXPECTED


def test_what_is_of_the_organization_is_shown_or_refused(here: Tenant, looking: Client) -> None:
    found = {
        (route.path, method): verdict(send(looking, route, method, route.address(here.named)))
        for route in PAGES
        for method in METHODS
    }

    assert found == {
        (route.path, method): "in" if route.path in SHOWN and method in ("GET", "HEAD") else "refused"
        for route in PAGES
        for method in METHODS
    }


def test_nothing_is_changed_by_it(here: Tenant, looking: Client) -> None:
    before, sessions = everything(), Session.objects.count()

    for route in PAGES:
        for method in METHODS:
            send(looking, route, method, route.address(here.named))

    assert everything() == before
    assert Session.objects.count() == sessions


def everything() -> object:
    """The rows of all our tables, also of what is noted of somebody's having been there."""
    return records(), list(Membership.objects.order_by("pk").values_list("pk", "last_active_at"))


def test_the_api_answers_as_it_answers_support(
    here: Tenant, looking: Client, callers: dict[str, Client]
) -> None:
    query = f"?orgId={here.organization.uid}"
    calls = [route for route in GUARDED if route.is_of_the_api]

    found = {
        (route.path, method): verdict(send(looking, route, method, route.address(here.named) + query))
        for route in calls
        for method in route.methods
    }

    assert set(found.values()) <= {"refused", "not there"}


def test_other_organizations_are_not_there(there: Tenant, looking: Client) -> None:
    found = {
        verdict(send(looking, route, method, route.address(there.named)))
        for route in PAGES
        for method in ("GET", "POST")
    }

    assert found == {"not there"}


def test_pages_about_oneself_are_ones_own(here: Tenant, looking: Client, staff: User) -> None:
    profile = looking.get("/me/").content.decode()

    assert staff.email in profile
    assert here.owner.email not in profile


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER, Role.VIEWER])
def test_who_sees_less_shows_less(role: Role, here: Tenant, staff: User, callers: dict[str, Client]) -> None:
    """What a member is refused, support that looks as them is refused."""
    looking = begin(staff, here.organization, here.people[role])
    shown = [route for route in PAGES if route.path in SHOWN]

    def found(client: Client) -> dict[str, str]:
        return {route.path: verdict(send(client, route, "GET", route.address(here.named))) for route in shown}

    assert found(looking) == found(callers[role])
