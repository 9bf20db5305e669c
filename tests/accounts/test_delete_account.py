"""Leaving for good: what ends, what stays, and what stands in the way."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import (
    invitations,
    keys,
    notification_preferences,
    organizations,
    personal_data,
    profile,
    two_factor,
)
from accounts.audit import Actor
from accounts.authentication import usable_key
from accounts.models import (
    AuditEntry,
    Note,
    NoticeKind,
    Notification,
    NotificationPreference,
    Organization,
    RecoveryCodes,
    User,
)
from accounts.notification_preferences import Place
from accounts.notifications import notify
from accounts.permissions import Role
from tests.conftest import PASSWORD, person

PAGE = "/me/delete/"


@pytest.fixture
def browser(client: Client, member: User) -> Client:
    """Mia's browser, in which she has just typed her password again."""
    client.force_login(member)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


def delete(user: User) -> bool:
    return personal_data.delete_account(user=user, actor=Actor(user))


def test_the_page_asks_for_the_password_first(client: Client, member: User) -> None:
    client.force_login(member)

    asked = client.get(PAGE)
    sent = client.post(PAGE, {"email": member.email})

    for response in (asked, sent):
        assert response.status_code == 302
        assert response["Location"].startswith("/accounts/reauthenticate/")
    assert User.objects.get(pk=member.pk).is_active


def test_the_page_names_what_stops(browser: Client, member: User, organization: Organization) -> None:
    keys.create_organization_key(organization=organization, name="checkout", actor=Actor(member))
    keys.create_personal_key(user=member, organization=organization, name="laptop")

    page = browser.get(PAGE).content.decode()

    assert organization.name in page
    assert "checkout" in page
    assert "laptop" in page


@pytest.mark.parametrize("typed", ["", "olivia@example.com", "mia@example.com\0", "x" * 300])
def test_another_address_deletes_nothing(browser: Client, member: User, typed: str) -> None:
    response = browser.post(PAGE, {"email": typed})

    assert response.status_code == 400
    assert "email" in response.context["form"].errors
    assert User.objects.get(pk=member.pk).is_active


def test_the_right_address_does_and_says_so(
    browser: Client, member: User, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        response = browser.post(PAGE, {"email": "MIA@example.com"})

    assert b"Your account is deleted" in response.content
    assert browser.get(PAGE)["Location"].startswith("/accounts/login/")
    (letter,) = mail.outbox
    assert letter.to == ["mia@example.com"]


def test_what_remains_has_no_name_and_no_address(member: User) -> None:
    delete(member)

    rest = User.objects.get(pk=member.pk)
    assert rest.email == f"deleted-{member.uid}@deleted.invalid"
    assert rest.name == ""
    assert rest.deleted_at
    assert not rest.is_active
    assert not rest.has_usable_password()


def test_sessions_end_at_once(browser: Client, member: User) -> None:
    other = Client()
    other.force_login(member)
    other.get("/me/notifications/")

    delete(member)

    for client in (browser, other):
        assert client.get("/me/notifications/").status_code == 302
    assert not Session.objects.exists()


def test_keys_end_at_once(member: User, organization: Organization) -> None:
    _, own = keys.create_personal_key(user=member, organization=organization, name="laptop")
    _, made = keys.create_organization_key(organization=organization, name="checkout", actor=Actor(member))

    delete(member)

    assert usable_key(own) is None
    assert usable_key(made) is None


def test_keys_of_others_go_on(member: User, organization_key: tuple[Any, str]) -> None:
    delete(member)

    assert usable_key(organization_key[1]) is not None


def test_all_that_is_personal_is_gone(member: User, organization: Organization) -> None:
    two_factor.enrol_totp(user=member, actor=None)
    RecoveryCodes.objects.create(user=member, name="Recovery codes", hashes=["x"])
    SocialAccount.objects.create(user=member, provider="github", uid="1")
    notify([member], kind=NoticeKind.TEAM, key="fact", title="A fact")
    Note.objects.create(user=member, text="Called on Monday")
    wanted = {Place(organization, NoticeKind.TEAM): False}
    notification_preferences.change(user=member, wanted=wanted, actor=None)

    delete(member)

    models: list[Any] = [EmailAddress, SocialAccount, TOTPDevice, RecoveryCodes]
    models += [Note, Notification, NotificationPreference]
    for model in models:
        assert not model.objects.filter(user=member).exists()
    assert not member.memberships.exists()


def test_the_trail_keeps_the_name(member: User, organization: Organization) -> None:
    delete(member)

    trail = AuditEntry.objects.filter(target_uid=member.uid).values_list("action", "target_name")
    assert ("user.deleted", "mia@example.com") in trail
    assert ("member.left", "mia@example.com") in trail


def test_the_address_is_free_again(member: User) -> None:
    delete(member)

    assert person("Mia").pk != member.pk


def test_a_second_time_changes_nothing(member: User) -> None:
    delete(member)

    assert delete(member) is False
    assert AuditEntry.objects.filter(action="user.deleted").count() == 1


def test_the_owner_is_told_the_way_out(client: Client, owner: User, organization: Organization) -> None:
    client.force_login(owner)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    page = client.get(PAGE).content.decode()
    sent = client.post(PAGE, {"email": owner.email})

    assert f"/o/{organization.uid}/team/transfer/" in page
    assert f"/o/{organization.uid}/settings/delete/" in page
    assert sent.status_code == 400
    assert User.objects.get(pk=owner.pk).is_active


def test_an_owner_cannot_be_deleted(owner: User, organization: Organization) -> None:
    with pytest.raises(personal_data.SoleOwner) as refused:
        delete(owner)

    assert refused.value.organizations == [organization]
    assert organization.memberships.filter(user=owner).exists()


def test_the_owner_of_a_deleted_organization_can(owner: User, organization: Organization) -> None:
    Organization.objects.update(deleted_at=organization.created_at)

    assert delete(owner)


def test_staff_are_taken_off_the_staff_first(client: Client, staff: User) -> None:
    client.force_login(staff)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    page = client.get(PAGE).content.decode()

    assert "account of the support staff" in page
    with pytest.raises(personal_data.OfTheStaff):
        delete(staff)


def test_what_was_under_way_meanwhile_brings_nothing_back(
    organization: Organization, owner: User, member: User
) -> None:
    invitation = invitations.invite(
        organization=organization, email="noor@example.com", role=Role.MEMBER, actor=Actor(owner)
    )
    delete(member)

    for act in (
        lambda: profile.rename(user=member, name="Mia again", actor=Actor(member)),
        lambda: organizations.create(name="Southwind", owner=member),
        lambda: invitations.accept(
            invitation=invitation, user=member, other_address=True, actor=Actor(member)
        ),
    ):
        with pytest.raises(PermissionDenied):
            act()

    assert User.objects.get(pk=member.pk).name == ""
    assert not member.memberships.exists()
    invitation.refresh_from_db()
    assert invitation.state == "pending"
