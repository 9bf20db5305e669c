"""The link of an invitation: it works once, for its address or after confirming another, with an account or without."""

import re
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import invitations, links
from accounts.audit import Actor
from accounts.models import AuditEntry, Invitation, Membership, Notification, Organization, User
from accounts.permissions import Role
from tests.conftest import PASSWORD, person


@pytest.fixture
def token(organization: Organization, admin: User) -> str:
    """The word in the link that was mailed to noor@example.com."""
    invitation = invitations.invite(
        organization=organization, email="noor@example.com", role=Role.MEMBER, actor=Actor(admin)
    )
    token, token_hash = links.new_token()
    Invitation.objects.filter(pk=invitation.pk).update(token_hash=token_hash)
    return token


@pytest.fixture
def link(token: str) -> str:
    return f"/invitations/{token}/"


@pytest.fixture
def noor(db: None) -> User:
    return person("Noor")


def test_the_page_says_who_invites_to_what(client: Client, link: str) -> None:
    response = client.get(link)

    page = response.content.decode()
    assert response.status_code == 200
    for words in ("Northwind", "Adam", "adam@example.com", "noor@example.com", "Member"):
        assert words in page
    assert "/accounts/signup/?next=%2Finvitations%2F" in page
    assert response["Referrer-Policy"] == "same-origin"
    assert "no-store" in response["Cache-Control"]


def test_looking_joins_nobody(client: Client, link: str, noor: User) -> None:
    client.force_login(noor)

    client.get(link)

    assert not noor.memberships.exists()


def test_somebody_with_an_account_joins(
    client: Client, link: str, noor: User, organization: Organization, admin: User
) -> None:
    client.force_login(noor)

    response = client.post(link)

    assert response.url == "/"  # type: ignore[attr-defined]
    assert organization.memberships.get(user=noor).role == Role.MEMBER
    assert Invitation.objects.get().accepted_by == noor
    assert set(AuditEntry.objects.filter(actor=noor).values_list("action", flat=True)) == {
        "member.added",
        "invitation.accepted",
    }
    assert Notification.objects.get(user=admin).title == "Noor joined Northwind"
    assert client.get(f"/o/{organization.uid}/team/").status_code == 200


def test_joining_twice_says_so(client: Client, link: str, noor: User, organization: Organization) -> None:
    client.force_login(noor)
    client.post(link)

    for response in (client.post(link, follow=True), client.get(link, follow=True)):
        assert "already" in response.content.decode()
    assert organization.memberships.filter(user=noor).count() == 1


def test_the_link_works_once(client: Client, link: str, noor: User, outsider: User) -> None:
    client.force_login(noor)
    client.post(link)
    client.force_login(outsider)

    response = client.post(link, {"other_address": "yes"})

    assert response.status_code == 410
    assert b"has been used" in response.content
    assert not outsider.memberships.exists()


def test_another_address_has_to_be_confirmed(
    client: Client, link: str, outsider: User, organization: Organization
) -> None:
    client.force_login(outsider)

    asked = client.get(link)
    refused = client.post(link)
    was_member = outsider.memberships.exists()
    client.post(link, {"other_address": "yes"})

    assert b"signed in as" in asked.content
    assert refused.status_code == 400
    assert b'id="other_address_error"' in refused.content
    assert not was_member
    assert organization.memberships.filter(user=outsider).exists()


def test_another_account_can_be_used_instead(client: Client, link: str, outsider: User) -> None:
    client.force_login(outsider)

    response = client.post("/accounts/logout/", {"next": link})

    assert response.url == link  # type: ignore[attr-defined]
    assert b"Create an account" in client.get(link).content


def test_a_member_is_told_that_they_are_one(client: Client, link: str, member: User) -> None:
    client.force_login(member)

    page = client.get(link)
    client.post(link)

    assert b"You are a member already" in page.content
    assert Invitation.objects.get().state == "pending"
    assert Membership.objects.get(user=member).role == Role.MEMBER


def test_strangers_who_press_join_are_shown_the_page_again(client: Client, link: str) -> None:
    response = client.post(link)

    assert response.status_code == 200
    assert b"I have an account" in response.content


def sign_up(client: Client, link: str, email: str) -> str:
    """Open the link, sign up with this address, and say where that led to."""
    client.get(link)
    form = client.get("/accounts/signup/", {"next": link, "email": "noor@example.com"})
    assert b'value="noor@example.com"' in form.content
    response = client.post(
        f"/accounts/signup/?next={link}",
        {"name": "Noor", "email": email, "password1": PASSWORD, "next": link},
    )
    assert response.status_code == 302, response.content.decode()
    return str(response["Location"])


@pytest.mark.parametrize("is_open", [True, False])
def test_signing_up_with_the_invited_address_needs_no_second_letter(
    client: Client, link: str, settings: Settings, organization: Organization, *, is_open: bool
) -> None:
    settings.SIGN_UP_OPEN = is_open

    leads_to = sign_up(client, link, "Noor@example.com")
    client.post(leads_to)

    assert leads_to == link
    assert mail.outbox == []
    assert EmailAddress.objects.get(email="noor@example.com").verified
    assert organization.memberships.filter(user__email="noor@example.com").exists()


def test_signing_up_with_another_address_needs_its_confirmation(
    client: Client, link: str, organization: Organization
) -> None:
    leads_to = sign_up(client, link, "nils@example.com")

    assert leads_to != link
    assert not EmailAddress.objects.get(email="nils@example.com").verified
    assert User.objects.get(email="nils@example.com")
    assert mail.outbox[0].to == ["nils@example.com"]
    assert not organization.memberships.filter(user__email="nils@example.com").exists()


def test_a_link_that_has_ended_opens_no_sign_up(client: Client, link: str, settings: Settings) -> None:
    settings.SIGN_UP_OPEN = False
    client.get(link)
    Invitation.objects.update(revoked_at=timezone.now())

    response = client.get("/accounts/signup/")

    assert b'name="password1"' not in response.content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expires_at": timezone.now() - timedelta(days=1)}, b"has expired"),
        ({"revoked_at": timezone.now()}, b"was taken back"),
        ({"declined_at": timezone.now()}, b"was declined"),
    ],
)
def test_an_ended_link_says_why(
    client: Client, link: str, noor: User, change: dict[str, object], words: bytes
) -> None:
    Invitation.objects.update(**change)
    client.force_login(noor)

    for response in (client.get(link), client.post(link), client.post(f"{link}decline/")):
        assert response.status_code == 410
        assert words in response.content
    assert not noor.memberships.exists()


def test_an_inviter_who_lost_the_role_lets_nobody_in(
    client: Client, link: str, noor: User, organization: Organization, admin: User
) -> None:
    organization.memberships.filter(user=admin).update(role=Role.VIEWER)
    client.force_login(noor)

    response = client.post(link)

    assert response.status_code == 410
    assert b"no longer counts" in response.content
    assert not noor.memberships.exists()


def test_a_deleted_organization_takes_nobody_in(
    client: Client, link: str, noor: User, organization: Organization
) -> None:
    Organization.objects.filter(pk=organization.pk).update(deleted_at=timezone.now())
    client.force_login(noor)

    assert client.post(link).status_code == 404


@pytest.mark.parametrize("word", ["x", "0" * 32, "%00", "é", "a" * 5000])
def test_an_unknown_link_says_so(client: Client, db: None, word: str) -> None:
    response = client.get(f"/invitations/{word}/")

    assert response.status_code == 404
    assert b"no such invitation" in response.content


def test_declining_needs_no_account_and_asks_once(client: Client, link: str, admin: User) -> None:
    asked = client.get(f"{link}decline/")
    state = Invitation.objects.get().state
    response = client.post(f"{link}decline/")

    assert b"Decline the invitation?" in asked.content
    assert state == "pending"
    assert response.status_code == 200
    assert Invitation.objects.get().state == "declined"
    assert Notification.objects.get(user=admin).title == "noor@example.com declined to join Northwind"


def test_mail_programs_decline_by_themselves(link: str) -> None:
    program = Client(enforce_csrf_checks=True)

    response = program.post(f"{link}decline/", {"List-Unsubscribe": "One-Click"})

    assert response.status_code == 200
    assert Invitation.objects.get().state == "declined"


def test_joining_is_guarded_against_other_sites(link: str, noor: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(noor)

    response = browser.post(link)

    assert response.status_code == 403
    assert not noor.memberships.exists()


def test_the_session_holds_no_link(client: Client, link: str, token: str) -> None:
    client.get(link)

    assert token not in str(dict(client.session))
    assert re.fullmatch(r"[0-9a-f]{64}", client.session[invitations.OPENED])
