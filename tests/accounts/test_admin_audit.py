"""The audit trail in the back office: all of it, found by exact words, changed by nobody."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import audit
from accounts.audit import Action, Actor
from accounts.models import AuditEntry, Organization, User

TRAIL = reverse("admin:accounts_auditentry_changelist")


@pytest.fixture
def search(back_office: Client) -> Any:
    """The actions found by a search."""

    def find(**query: str) -> list[str]:
        return [entry.action for entry in back_office.get(TRAIL, query).context["cl"].result_list]

    return find


def test_the_staff_see_who_of_them_it_was(
    back_office: Client, organization: Organization, staff: User
) -> None:
    audit.record(
        Action.ORGANIZATION_UPDATED, actor=Actor(staff), organization=organization, target=organization
    )

    page = back_office.get(TRAIL, {"q": organization.uid}).content.decode()

    assert staff.email in page
    assert reverse("admin:accounts_organization_change", args=[organization.pk]) in page


def test_entries_are_found_by_organization(search: Any, organization: Organization, outsider: User) -> None:
    assert search(q=organization.uid) == ["organization.created"]
    assert search(q="org_unknown") == []


def test_entries_are_found_by_action(search: Any, organization: Organization) -> None:
    assert search(q="organization.created") == ["organization.created"]
    assert search(action="organization.created") == ["organization.created"]
    assert search(action="organization.deleted") == []


def test_entries_are_found_by_whoever_did_it_or_had_it_done_to(
    search: Any, organization: Organization, member: User, owner: User
) -> None:
    assert search(q="MIA@example.com") == ["member.added"]
    assert search(q=member.uid) == ["member.added"]
    assert search(q=owner.email) == ["member.added", "organization.created"]


def test_a_name_that_is_all_that_is_left_is_found(
    search: Any, organization: Organization, owner: User
) -> None:
    address = owner.email
    owner.delete()

    assert search(q=address) == ["organization.created"]


def test_an_entry_is_shown_where_people_and_organizations_are_gone(
    back_office: Client, organization: Organization, owner: User
) -> None:
    entry = AuditEntry.objects.get(action=Action.ORGANIZATION_CREATED)
    owner.delete()
    Organization.objects.filter(pk=organization.pk).delete()

    pages = [
        back_office.get(TRAIL, {"q": "organization.created"}),
        back_office.get(reverse("admin:accounts_auditentry_change", args=[entry.pk])),
    ]

    for page in pages:
        assert page.status_code == 200
        assert "Northwind" in page.content.decode()
