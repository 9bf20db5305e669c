"""What staff do about invitations: find them, send them again, take them back. Never read their links."""

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts import invitations
from accounts.audit import Actor
from accounts.models import AuditEntry, Invitation, Organization, User
from accounts.permissions import Role

SAID = {"reason": "They never got it", "_form_submitted": "True"}


@pytest.fixture
def invitation(organization: Organization, owner: User) -> Invitation:
    return invitations.invite(
        organization=organization, email="noor@example.com", role=Role.MEMBER, actor=Actor(owner)
    )


def act(name: str, invitation: Invitation) -> str:
    return reverse(f"admin:accounts_invitation_{name}", args=[invitation.pk])


def test_an_invitation_is_found_and_shows_no_link(back_office: Client, invitation: Invitation) -> None:
    found = back_office.get("/admin/accounts/invitation/", {"q": "noor@"})
    page = back_office.get(act("change", invitation))

    assert b"noor@example.com" in found.content
    assert invitation.token_hash not in page.content.decode()


def test_staff_send_it_again(
    back_office: Client,
    invitation: Invitation,
    owner: User,
    staff: User,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        back_office.post(act("resend", invitation), SAID)

    invitation.refresh_from_db()
    assert mail.outbox[0].to == ["noor@example.com"]
    assert invitation.invited_by == owner
    entry = AuditEntry.objects.get(action="invitation.resent")
    assert (entry.actor, entry.after["reason"]) == (staff, "They never got it")


def test_staff_take_it_back_once(back_office: Client, invitation: Invitation) -> None:
    back_office.post(act("revoke", invitation), SAID)
    again = back_office.post(act("revoke", invitation), SAID)

    invitation.refresh_from_db()
    assert invitation.state == "revoked"
    assert again.status_code == 403
    assert AuditEntry.objects.get(action="invitation.revoked").after["reason"] == "They never got it"
