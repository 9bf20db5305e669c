from django.test import Client
from django.urls import reverse

from accounts import audit
from accounts.models import AuditEntry, Notification, Organization, User

ASKED = "Letter of 2 November, called back at the number we know"


def delete_account(back_office: Client, person: User, address: str, reason: str = ASKED) -> None:
    back_office.post(
        reverse("admin:accounts_user_delete_account", args=[person.pk]),
        {"address": address, "reason": reason, "_form_submitted": "True"},
    )
    person.refresh_from_db()


def close(back_office: Client, organization: Organization, name: str) -> None:
    back_office.post(
        reverse("admin:accounts_organization_close", args=[organization.pk]),
        {"name": name, "reason": ASKED, "_form_submitted": "True"},
    )
    organization.refresh_from_db()


def test_an_account_is_deleted_with_a_reason(back_office: Client, staff: User, member: User) -> None:
    delete_account(back_office, member, member.email.upper())

    assert member.deleted_at
    entry = AuditEntry.objects.get(action=audit.Action.USER_DELETED)
    assert (entry.actor, entry.after["reason"]) == (staff, ASKED)


def test_another_address_deletes_nothing(back_office: Client, member: User, viewer: User) -> None:
    delete_account(back_office, member, viewer.email)

    assert not member.deleted_at


def test_no_account_is_deleted_without_a_reason(back_office: Client, member: User) -> None:
    delete_account(back_office, member, member.email, reason="")

    assert not member.deleted_at


def test_the_owner_of_an_organization_stays(
    back_office: Client, organization: Organization, owner: User
) -> None:
    delete_account(back_office, owner, owner.email)

    assert not owner.deleted_at
    assert organization.name in back_office.get(f"/admin/accounts/user/{owner.pk}/change/").content.decode()


def test_nobody_of_the_staff_is_deleted(back_office: Client, staff: User) -> None:
    delete_account(back_office, staff, staff.email)

    assert not staff.deleted_at


def test_an_organization_is_deleted_with_a_reason_and_can_be_restored(
    back_office: Client, staff: User, organization: Organization
) -> None:
    close(back_office, organization, organization.name)

    assert organization.deleted_at
    entry = AuditEntry.objects.get(action=audit.Action.ORGANIZATION_DELETED)
    assert (entry.actor, entry.by_staff, entry.after["reason"]) == (staff, True, ASKED)
    back_office.post(
        reverse("admin:accounts_organization_restore", args=[organization.pk]),
        {"reason": "They changed their mind", "_form_submitted": "True"},
    )
    organization.refresh_from_db()
    assert not organization.deleted_at


def test_another_name_deletes_no_organization(back_office: Client, organization: Organization) -> None:
    close(back_office, organization, "Southwind")

    assert not organization.deleted_at


def test_members_are_told_that_support_deleted_their_organization_and_not_who(
    back_office: Client, staff: User, organization: Organization, owner: User
) -> None:
    close(back_office, organization, organization.name)

    notice = Notification.objects.get(user=owner, title="Northwind has been deleted")
    assert notice.body.startswith("The support staff deleted the organization.")
    assert staff.name not in notice.body
