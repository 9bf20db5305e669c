"""The member for whom an organization's page was opened (`?person=usr_…`): who they are, and what may be done."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from accounts import impersonation, notes
from accounts.admin_base import colleague
from accounts.models import Membership, Note, Organization, User
from config.backoffice import organization_sections
from config.backoffice.buttons import Button

# The acts of a person's page that a mail most often asks for, by their names there.
ACTS = {
    "reset_two_factor": "Reset second factor…",
    "resend_verification": "Send verification letter…",
    "sign_out": "Sign out everywhere…",
    "delete_account": "Delete account…",
}


@dataclass(frozen=True)
class Member:
    membership: Membership
    warnings: Iterable[Note]
    buttons: list[Button]


def of(request: HttpRequest, organization: Organization, uid: str, *, may_look: bool) -> Member | None:
    """None where the id is of nobody here, or members are not open to this colleague."""
    may = colleague(request).has_perm
    if not uid or not may("accounts.view_membership") or not may("accounts.view_user"):
        return None
    membership = organization_sections.memberships(organization).filter(user__uid=uid).first()
    if membership is None:
        return None
    person = membership.user
    people: Any = admin.site.get_model_admin(User)
    buttons = [
        Button(label, reverse(f"admin:accounts_user_{act}", args=[person.pk]), asks=True)
        for act, label in ACTS.items()
        if getattr(people, f"has_{act}_permission")(request, str(person.pk))
    ]
    if may_look and impersonation.members_to_look_as(organization).filter(pk=membership.pk).exists():
        look = reverse("admin:accounts_organization_look", args=[organization.pk])
        buttons.append(Button("Look as them", f"{look}?member={uid}"))
    return Member(membership, notes.warnings_of(person) if may("accounts.view_note") else [], buttons)
