"""Who may be invited, by whom, as what and how often; and what the letter says."""

import re
from datetime import timedelta
from unittest import mock

import pytest
from django.conf import settings
from django.core import mail
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts import invitations, members, team
from accounts.audit import Actor
from accounts.models import AuditEntry, Invitation, Organization, User
from accounts.permissions import Role


def invite(organization: Organization, actor: User, email: str = "noor@example.com") -> Invitation:
    return invitations.invite(organization=organization, email=email, role=Role.MEMBER, actor=Actor(actor))


@pytest.fixture
def letters(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> DjangoCaptureOnCommitCallbacks:
    return django_capture_on_commit_callbacks


def test_a_letter_with_a_link_goes_out(
    organization: Organization, owner: User, letters: DjangoCaptureOnCommitCallbacks
) -> None:
    with letters(execute=True):
        invitation = invite(organization, owner)

    [letter] = mail.outbox
    assert letter.to == ["noor@example.com"]
    assert letter.subject == "Olivia invites you to Northwind"
    link = re.search(r"/invitations/(\w{32})/\n", str(letter.body))
    assert link
    assert invitations.find(link[1]) == invitation
    assert "You get this letter because Olivia invited this address to Northwind." in str(letter.body)
    assert f"Decline this invitation: {settings.BASE_URL}/invitations/{link[1]}/decline/" in str(letter.body)
    assert letter.extra_headers["List-Unsubscribe"].endswith(f"/invitations/{link[1]}/decline/>")
    invitation.refresh_from_db()
    assert invitation.sent_at
    assert link[1] not in str(list(AuditEntry.objects.values()))


def test_an_invitation_outlives_a_mail_server_that_refuses(
    organization: Organization, owner: User, letters: DjangoCaptureOnCommitCallbacks
) -> None:
    with mock.patch("accounts.mail.send", side_effect=ConnectionRefusedError), letters(execute=True):
        invitation = invite(organization, owner)
    invitation.refresh_from_db()
    was_sent = invitation.sent_at
    with letters(execute=True):
        resent = invitations.resend(invitation=invitation, actor=Actor(owner))

    invitation.refresh_from_db()
    assert was_sent is None
    assert resent
    assert invitation.sent_at


def test_names_cannot_add_to_the_letters_headers(
    organization: Organization, owner: User, letters: DjangoCaptureOnCommitCallbacks
) -> None:
    Organization.objects.update(name="North\r\nBcc: everybody@example.com")
    User.objects.update(name="<b>Olivia</b>\n")
    organization.refresh_from_db()
    owner.refresh_from_db()

    with letters(execute=True):
        invite(organization, owner)

    [letter] = mail.outbox
    message = letter.message()
    assert isinstance(letter, EmailMultiAlternatives)
    assert "\n" not in message["Subject"]
    assert message["Bcc"] is None
    assert "<b>Olivia" not in str(letter.alternatives[0])


@pytest.mark.parametrize(
    "email",
    [
        "",
        "noor",
        "noor@",
        "noor@exam\0ple.com",
        "nооr@example.com",
        '"a\x01"@example.com',
        "x" * 250 + "@example.com",
    ],
)
def test_what_is_no_address_is_refused(organization: Organization, owner: User, email: str) -> None:
    with pytest.raises(ValidationError):
        invite(organization, owner, email)

    assert not Invitation.objects.exists()


def test_an_admin_invites_admins(organization: Organization, admin: User) -> None:
    invitation = invitations.invite(
        organization=organization, email="noor@example.com", role=Role.ADMIN, actor=Actor(admin)
    )

    assert invitation.state == "pending"


@pytest.mark.parametrize("inviter", ["owner", "admin"])
def test_nobody_invites_an_owner(
    organization: Organization, inviter: str, request: pytest.FixtureRequest
) -> None:
    person: User = request.getfixturevalue(inviter)

    with pytest.raises(team.OutOfReach):
        invitations.invite(
            organization=organization, email="noor@example.com", role=Role.OWNER, actor=Actor(person)
        )


@pytest.mark.parametrize("inviter", ["member", "viewer", "outsider"])
def test_who_has_not_the_level_invites_nobody_above_it(
    organization: Organization, inviter: str, request: pytest.FixtureRequest
) -> None:
    person: User = request.getfixturevalue(inviter)

    with pytest.raises(team.OutOfReach):
        invitations.invite(
            organization=organization, email="noor@example.com", role=Role.ADMIN, actor=Actor(person)
        )


def test_a_member_is_not_invited(organization: Organization, owner: User, member: User) -> None:
    with pytest.raises(invitations.AlreadyThere, match=r"mia@example\.com is a member"):
        invite(organization, owner, "Mia@Example.com")


def test_an_address_is_invited_once(organization: Organization, owner: User) -> None:
    invite(organization, owner)

    with pytest.raises(invitations.AlreadyThere, match="invited already"):
        invite(organization, owner, "NOOR@example.com")


def test_an_expired_invitation_makes_room_for_a_new_one(organization: Organization, owner: User) -> None:
    first = invite(organization, owner)
    Invitation.objects.update(expires_at=timezone.now())

    second = invite(organization, owner)

    first.refresh_from_db()
    assert (first.state, second.state) == ("revoked", "pending")


def test_open_invitations_are_limited(
    organization: Organization, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_OPEN", 1)
    invite(organization, owner)

    with pytest.raises(invitations.TooMany, match="1 open"):
        invite(organization, owner, "nils@example.com")


def test_letters_a_day_are_limited_with_those_sent_again(
    organization: Organization, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_LETTERS_A_DAY", 2)
    invitation = invite(organization, owner)
    invitations.resend(invitation=invitation, actor=Actor(owner))

    with pytest.raises(invitations.TooMany, match="within a day"):
        invite(organization, owner, "nils@example.com")


def test_a_persons_letters_are_limited_whatever_the_organization(
    organization: Organization, other_organization: Organization, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_LETTERS_A_DAY", 1)
    other_organization.memberships.create(user=owner, role=Role.ADMIN)
    invite(organization, owner)
    Invitation.objects.update(sent_at=timezone.now())

    with pytest.raises(invitations.TooMany):
        invite(other_organization, owner)


def test_a_persons_letters_are_limited_with_those_sent_again_elsewhere(
    organization: Organization, other_organization: Organization, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_LETTERS_A_DAY", 3)
    other_organization.memberships.create(user=owner, role=Role.ADMIN)
    invitation = invite(organization, owner)
    for _ in range(2):
        invitations.resend(invitation=invitation, actor=Actor(owner))

    with pytest.raises(invitations.TooMany):
        invite(other_organization, owner)


def test_a_letter_is_not_sent_again_within_a_minute(organization: Organization, owner: User) -> None:
    invitation = invite(organization, owner)
    Invitation.objects.update(sent_at=timezone.now())

    with pytest.raises(invitations.TooMany, match="a minute"):
        invitations.resend(invitation=invitation, actor=Actor(owner))


def test_sending_again_brings_a_new_link_and_a_new_week(
    organization: Organization, owner: User, letters: DjangoCaptureOnCommitCallbacks
) -> None:
    with letters(execute=True):
        invitation = invite(organization, owner)
    Invitation.objects.update(expires_at=timezone.now(), sent_at=timezone.now() - timedelta(days=7))
    with letters(execute=True):
        invitations.resend(invitation=invitation, actor=Actor(owner))

    old, new = (re.findall(r"/invitations/(\w{32})/\n", str(letter.body))[0] for letter in mail.outbox)
    assert invitations.find(new).state == "pending"
    with pytest.raises(invitations.Ended):
        invitations.find(old)


def test_a_revoked_invitation_is_not_sent_again(organization: Organization, owner: User) -> None:
    invitation = invite(organization, owner)
    first = invitations.revoke(invitation=invitation, actor=Actor(owner))

    assert first
    assert not invitations.revoke(invitation=invitation, actor=Actor(owner))
    assert not invitations.resend(invitation=invitation, actor=Actor(owner))


@pytest.mark.parametrize("what", ["removed", "demoted"])
def test_invitations_end_with_their_inviters_power(
    organization: Organization, owner: User, admin: User, what: str
) -> None:
    invitation = invite(organization, admin)
    membership = organization.memberships.get(user=admin)

    if what == "removed":
        members.remove(membership=membership, actor=Actor(owner))
    else:
        members.change_role(membership=membership, role=Role.VIEWER, actor=Actor(owner))

    invitation.refresh_from_db()
    assert invitation.state == "revoked"
