"""What every template may use: the operator's names, and where the reader can go from here."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from accounts import two_factor
from accounts.access import LAST_ORGANIZATION
from accounts.models import Membership, Notification, User
from accounts.permissions import Permission
from billing import calls
from billing.calls import Calls

UNREAD_SHOWN = 99


@dataclass(frozen=True)
class Section:
    """A part of an organization's pages: its entry in the menu, and all pages under its address."""

    label: str
    icon: str
    route: str
    permission: Permission

    def url(self, organization_uid: str) -> str:
        return reverse(self.route, kwargs={"organization_uid": organization_uid})


SECTIONS = [
    Section("Usage", "usage", "usage:dashboard", Permission.USAGE_VIEW),
    Section("Request logs", "jobs", "usage:jobs", Permission.JOBS_VIEW),
    Section("Pipelines", "pipelines", "usage:pipelines", Permission.JOBS_VIEW),
    Section("Webhooks", "webhooks", "webhooks:endpoints", Permission.WEBHOOKS_VIEW),
    Section("API keys", "key", "accounts:api_keys", Permission.API_KEYS_VIEW),
    Section("Billing", "billing", "billing:overview", Permission.BILLING_VIEW),
    Section("Team", "team", "accounts:team", Permission.TEAM_VIEW),
    Section("Audit", "audit", "accounts:audit", Permission.AUDIT_VIEW),
    Section("Settings", "settings", "accounts:settings", Permission.ORGANIZATION_VIEW),
]


def site(request: HttpRequest) -> dict[str, Any]:
    return {
        "BRAND": settings.BRAND,
        "SUPPORT_EMAIL": settings.SUPPORT_EMAIL,
        "SALES_EMAIL": settings.SALES_EMAIL,
        "STUDIO_URL": settings.STUDIO_URL,
        "DEMO": settings.DEMO,
        "EMBEDDED_MAIL": not settings.EMAIL_URL,
        "SIGN_UP_OPEN": settings.SIGN_UP_OPEN,
        "navigation": SimpleLazyObject(lambda: _navigation(request)),
        "unread": SimpleLazyObject(lambda: _unread(request)),
        "calls": SimpleLazyObject(lambda: _calls(request)),
    }


def _calls(request: HttpRequest) -> Calls | None:
    """Whether the organization of this page may call, which its billing pages have asked for already."""
    organization = getattr(request, "organization", None)
    if organization is None:
        return None
    found: Calls | None = getattr(request, "calls", None) or calls.of(organization)
    return found


def _unread(request: HttpRequest) -> str:
    """How many notices this person has not opened; empty for none, for that is what the bell then shows."""
    if not isinstance(request.user, User) or getattr(request, "looking", None):
        return ""
    count = Notification.objects.filter(user=request.user).unread()[: UNREAD_SHOWN + 1].count()
    return f"{UNREAD_SHOWN}+" if count > UNREAD_SHOWN else str(count or "")


def _navigation(request: HttpRequest) -> dict[str, Any]:
    """The sections this member may open, and the same section in their other organizations."""
    here: Membership | None = getattr(request, "membership", None)
    if not isinstance(request.user, User):
        return {"sections": [], "organizations": []}
    memberships = getattr(request, "memberships", None)
    if memberships is None:
        memberships = list(Membership.objects.of(request.user).in_order())
    if here is None:  # a page about the person: beside it stands the organization last looked at
        last = request.session.get(LAST_ORGANIZATION)
        here = next((each for each in memberships if each.organization.uid == last), None)
        here = here or next(iter(memberships), None)
    if here is None:
        return {"sections": [], "organizations": []}
    uid = here.organization.uid
    # The longest address that this page lies under: one section may lie inside another.
    current = max(
        (section for section in SECTIONS if request.path.startswith(section.url(uid))),
        key=lambda section: len(section.url(uid)),
        default=None,
    )
    return {
        "organization": here.organization,
        "demanding_two_factor": two_factor.demanded_by(request.user, memberships),
        "sections": [
            {
                "label": section.label,
                "icon": section.icon,
                "url": section.url(uid),
                "current": section == current,
            }
            for section in SECTIONS
            if section.permission in here.permissions
        ],
        "organizations": [
            {
                "name": membership.organization.name,
                "role": membership.get_role_display(),
                "url": _same_section(membership, current),
                "current": membership.pk == here.pk,
            }
            for membership in memberships
        ],
    }


def _same_section(membership: Membership, section: Section | None) -> str:
    allowed = [section for section in SECTIONS if section.permission in membership.permissions]
    chosen = section if section in allowed else allowed[0]
    return chosen.url(membership.organization.uid)
