"""Deleting an organization: what ends at once, who may, and how staff bring it back."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import invitations, keys, notifications, organizations, ownership
from accounts.audit import Actor
from accounts.models import (
    ApiKey,
    AuditEntry,
    Invitation,
    Notification,
    Organization,
    OwnershipOffer,
    User,
)
from accounts.permissions import Role
from tests.conftest import person


@pytest.fixture
def path(organization: Organization) -> str:
    return f"/o/{organization.uid}/settings/delete/"


@pytest.fixture
def deleted(organization: Organization, owner: User) -> Organization:
    organizations.delete(organization=organization, actor=Actor(owner))
    return organization


def test_the_page_says_what_follows(
    client: Client,
    owner: User,
    member: User,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    path: str,
) -> None:
    invitations.invite(
        organization=organization, email="new@example.com", role=Role.VIEWER, actor=Actor(owner)
    )
    client.force_login(owner)

    page = " ".join(client.get(path).content.decode().split())

    assert "1 API key stops working." in page
    assert "2 members lose access" in page
    assert "1 pending invitation ends" in page
    assert "For 30 days" in page


@pytest.mark.parametrize(
    "name", ["", "northwind", "Northwind Ltd", "Northw\u0456nd", "Northwind\u200b", "Northwind\0"]
)
def test_it_asks_for_the_exact_name(client: Client, owner: User, path: str, name: str) -> None:
    client.force_login(owner)

    response = client.post(path, {"name": name})

    assert response.status_code == 400
    assert response.context["form"].errors["name"]
    assert Organization.objects.open().exists()


def test_the_owner_deletes_it_and_everybody_is_told(
    client: Client, owner: User, member: User, organization: Organization, path: str
) -> None:
    client.force_login(owner)
    version = organization.access_version

    response = client.post(path, {"name": " Northwind "}, follow=True)

    organization.refresh_from_db()
    assert organization.deleted_at
    assert organization.erase_after == organization.deleted_at + timedelta(days=30)
    assert organization.access_version > version
    assert "Northwind is deleted" in response.content.decode()
    assert AuditEntry.objects.get(action="organization.deleted").actor == owner
    notices = Notification.objects.filter(title="Northwind has been deleted")
    assert {notice.user for notice in notices} == {owner, member}
    assert all(notice.by_mail for notice in notices)


def test_a_letter_of_it_goes_out_although_it_is_closed(deleted: Organization, mailoutbox: list[Any]) -> None:
    notifications.mail_waiting()

    assert [letter.to for letter in mailoutbox] == [["olivia@example.com"]]


def test_pages_are_gone(client: Client, deleted: Organization, owner: User, member: User) -> None:
    for user in (owner, member):
        client.force_login(user)
        assert client.get(f"/o/{deleted.uid}/usage/").status_code == 404
        assert client.get(f"/o/{deleted.uid}/settings/delete/").status_code == 404
        assert client.get("/").status_code == 200


def test_keys_die_at_once(
    client: Client,
    organization: Organization,
    owner: User,
    organization_key: tuple[ApiKey, str],
) -> None:
    organizations.delete(organization=organization, actor=Actor(owner))

    response = client.get(
        "/api/v1/api-keys/whoami", headers={"Authorization": f"Bearer {organization_key[1]}"}
    )
    assert response.status_code == 401


def test_verify_says_revoked(
    organization: Organization, organization_key: tuple[ApiKey, str], service_key: tuple[ApiKey, str]
) -> None:
    data_plane = Client(headers={"Authorization": f"Bearer {service_key[1]}"})
    organizations.delete(organization=organization, actor=None)

    answer = data_plane.post(
        "/api/v1/gateway/verify", {"key": organization_key[1]}, content_type="application/json"
    ).json()

    assert (answer["valid"], answer["code"]) == (False, "REVOKED")


def test_what_is_pending_ends(organization: Organization, owner: User, member: User) -> None:
    invitations.invite(
        organization=organization, email="new@example.com", role=Role.VIEWER, actor=Actor(owner)
    )
    ownership.offer(organization=organization, to=member, actor=Actor(owner))

    organizations.delete(organization=organization, actor=Actor(owner))

    assert Invitation.objects.get().state == "revoked"
    assert not OwnershipOffer.objects.exists()
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"invitation.revoked", "ownership.offer_ended"} <= actions


def test_a_second_time_changes_nothing(deleted: Organization, owner: User) -> None:
    first = Organization.objects.get().erase_after

    again = organizations.delete(organization=deleted, actor=Actor(owner))

    assert not again
    assert Organization.objects.get().erase_after == first
    assert AuditEntry.objects.filter(action="organization.deleted").count() == 1


def test_settings_of_a_deleted_one_are_closed(deleted: Organization) -> None:
    with pytest.raises(PermissionDenied):
        organizations.update(organization=deleted, changes={"name": "Other"}, actor=None)


def test_restored_it_is_as_before(
    client: Client,
    organization: Organization,
    owner: User,
    organization_key: tuple[ApiKey, str],
    staff: User,
) -> None:
    dead, _ = keys.create_organization_key(organization=organization, name="old", actor=Actor(owner))
    keys.revoke(key=dead, actor=None)
    organizations.delete(organization=organization, actor=Actor(owner))

    restored = organizations.restore(organization=organization, actor=Actor(staff))

    assert restored
    organization.refresh_from_db()
    assert (organization.deleted_at, organization.erase_after) == (None, None)
    response = client.get(
        "/api/v1/api-keys/whoami", headers={"Authorization": f"Bearer {organization_key[1]}"}
    )
    assert response.status_code == 200
    dead.refresh_from_db()
    assert dead.state == "revoked"
    assert AuditEntry.objects.get(action="organization.restored").actor == staff
    assert Notification.objects.filter(user=owner, title="Northwind is back").exists()
    assert not organizations.restore(organization=organization, actor=Actor(staff))


def test_when_erasing_may_have_begun_nobody_restores_it(deleted: Organization) -> None:
    assert deleted.erase_after

    assert not organizations.restore(organization=deleted, actor=None, now=deleted.erase_after)


def test_without_an_owner_it_stays_closed(deleted: Organization, owner: User) -> None:
    User.objects.filter(pk=owner.pk).update(is_active=False)

    with pytest.raises(organizations.NoOwner):
        organizations.restore(organization=deleted, actor=None)

    assert Organization.objects.get().deleted_at


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_deletes() -> None:
    owner = person("Olivia")
    organization = organizations.create(name="Northwind", owner=owner)

    answers = at_once(
        *[lambda: organizations.delete(organization=Organization.objects.get(), actor=Actor(owner))] * 2
    )

    assert sorted(answers) == [False, True]
    assert AuditEntry.objects.filter(action="organization.deleted").count() == 1
    assert Notification.objects.filter(title="Northwind has been deleted").count() == 1
    assert Organization.objects.get(pk=organization.pk).deleted_at


@pytest.mark.django_db(transaction=True)
def test_who_creates_many_at_once_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(organizations, "MOST_OWNED", 1)
    owner = person("Olivia")

    def create() -> bool:
        try:
            organizations.create(name="Northwind", owner=owner)
        except organizations.TooMany:
            return False
        return True

    assert sorted(at_once(create, create, create)) == [False, False, True]
    assert Organization.objects.count() == 1


def at_once(*calls: Callable[[], bool]) -> list[bool]:
    """Make the calls in threads that start together, and return their answers."""
    start = threading.Barrier(len(calls))
    answers: list[bool] = []

    def run(call: Callable[[], bool]) -> None:
        try:
            start.wait()
            answers.append(call())
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_staff_find_and_restore_it_in_the_admin(back_office: Client, deleted: Organization) -> None:
    page = reverse("admin:accounts_organization_change", args=[deleted.pk])
    restore = reverse("admin:accounts_organization_restore", args=[deleted.pk])

    found = back_office.get("/admin/accounts/organization/", {"state": "deleted"}).content.decode()
    active = back_office.get("/admin/accounts/organization/", {"state": "active"}).content.decode()
    shown = back_office.get(page).content.decode()
    asked = back_office.get(restore).content.decode()
    response = back_office.post(restore, {"_form_submitted": "True", "reason": "Deleted by mistake"})

    assert deleted.uid in found
    assert deleted.uid not in active
    assert restore in shown
    assert "Restore this organization?" in asked
    assert response["Location"] == page
    assert Organization.objects.open().exists()
    assert restore not in back_office.get(page).content.decode()


def test_staff_say_why_they_restore_it(back_office: Client, deleted: Organization) -> None:
    restore = reverse("admin:accounts_organization_restore", args=[deleted.pk])

    back_office.post(restore, {"_form_submitted": "True", "reason": ""})
    assert not Organization.objects.open().exists()

    back_office.post(restore, {"_form_submitted": "True", "reason": "Deleted by mistake"})
    entry = AuditEntry.objects.get(action="organization.restored")
    assert entry.after["reason"] == "Deleted by mistake"


def test_staff_change_no_deleted_one(back_office: Client, deleted: Organization) -> None:
    page = reverse("admin:accounts_organization_edit", args=[deleted.pk])

    response = back_office.post(page, {"name": "Other", "billing_email": "", "default_region": ""})

    assert response.status_code == 403
    assert Organization.objects.get().name == "Northwind"


def test_staff_do_not_restore_it_too_late(back_office: Client, deleted: Organization) -> None:
    Organization.objects.update(erase_after=timezone.now())

    restore = reverse("admin:accounts_organization_restore", args=[deleted.pk])

    response = back_office.post(restore, {"_form_submitted": "True", "reason": "Deleted by mistake"})

    assert response.status_code == 403
    assert Organization.objects.get().deleted_at


def test_what_staff_type_is_checked_as_anybodys(
    back_office: Client, organization: Organization, staff: User
) -> None:
    page = reverse("admin:accounts_organization_edit", args=[organization.pk])
    inlines = {
        f"{name}-{field}": "0"
        for name in ("notes", "memberships", "api_keys")
        for field in ("TOTAL_FORMS", "INITIAL_FORMS")
    }

    refused = back_office.post(
        page, {"name": "a\u202eb", "billing_email": "", "default_region": "EU"} | inlines
    )
    back_office.post(page, {"name": "Southwind", "billing_email": "", "default_region": "eu"} | inlines)

    assert "cannot be seen" in refused.content.decode()
    stored = Organization.objects.get()
    assert (stored.name, stored.billing_email, stored.default_region) == ("Southwind", "", "eu")
    entry = AuditEntry.objects.get(action="organization.updated")
    assert entry.actor == staff
    assert entry.after == {"name": "Southwind", "billing_email": "", "default_region": "eu"}
