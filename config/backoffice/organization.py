"""An organization's page in the back office: all that support looks for about a customer, at one glance."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts import notes
from accounts.admin_base import colleague
from accounts.models import Organization
from billing import access, calls
from billing.calls import Calls
from billing.models import CreditNotice, Subscription
from config.backoffice import organization_member, organization_sections
from config.backoffice.buttons import Button
from config.backoffice.organization_sections import Members, Subject

May = Callable[[str], bool]


@require_safe
def page(request: HttpRequest, object_id: int) -> HttpResponse:
    """The page of `admin:accounts_organization_change`; what can be changed of it is at …_edit."""
    may = colleague(request).has_perm
    if not may("accounts.view_organization"):
        raise PermissionDenied
    organization = Organization.objects.select_related("ownership_offer__to").filter(pk=object_id).first()
    if organization is None:
        return _elsewhere(request, object_id)
    now = timezone.now()
    known = calls.of(organization, now=now)
    subject = Subject(organization, known, access.in_force(organization.pk, now=now), now)
    sections = organization_sections.shown(subject, may=may)
    members: Members | None = sections["members"][1] if "members" in sections else None
    context = {
        "title": organization.name,
        "model_admin": admin.site.get_model_admin(Organization),  # from whom the way here is told
        "organization": organization,
        "calls": known,
        "standing": standing(subject),
        "local_time": now.astimezone(organization.zone_at(now)),
        "is_restorable": _is_restorable(organization, now),
        "members": members,
        "warnings": notes.warnings_of(organization) if may("accounts.view_note") else [],
        "buttons": buttons(subject, members, may=may),
        "member": organization_member.of(
            request,
            organization,
            request.GET.get("person", "").replace("\0", ""),
            may_look=may_look(organization, may=may),
        ),
        "sections": [
            {"template": section.template, "title": section.title, "name": section.name, "found": found}
            for section, found in sections.values()
        ],
        "may": {label.replace(".", "_") for label in _ASKED_BY_TEMPLATES if may(label)},
    }
    return render(request, "admin/backoffice/organization.html", admin.site.each_context(request) | context)


# Of acts that stand beside a row.
_ASKED_BY_TEMPLATES = (
    "accounts.change_invitation",
    "accounts.add_note",
    "webhooks.change_endpoint",
    "webhooks.replay_endpoint",
)


def _elsewhere(request: HttpRequest, object_id: int) -> HttpResponse:
    """What Django's admin answers for what it does not have."""
    response: HttpResponse = admin.site.get_model_admin(Organization).change_view(request, str(object_id))
    return response


# ── Whether it may call ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Standing:
    """Whether calls are let through, and if not: verify's code, why, since and until when, and what helps."""

    code: str = ""
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None
    remedy: str = ""


def standing(subject: Subject) -> Standing:
    organization, known, now = subject.organization, subject.calls, subject.now
    if organization.deleted_at:
        restorable = _is_restorable(organization, now)
        return Standing(
            "DELETED",
            "The organization was erased." if organization.erased_at else "The organization was deleted.",
            since=organization.erased_at or organization.deleted_at,
            until=organization.erase_after if restorable else None,
            remedy="Restore it before it is erased." if restorable else "Nothing brings it back.",
        )
    if known is None or known.entitlement is None:
        return Standing(
            "NOT_FOUND", "It has no billing account yet.", remedy="Put it on a plan, or wait for the sweep."
        )
    match known.refusal:
        case "SUSPENDED":
            return _suspended(subject, known)
        case "SPEND_CAP_REACHED":
            return Standing(
                known.refusal,
                "The spend cap of the month is reached.",
                until=known.entitlement.spend_cap_reached_until,
                remedy="Raise or remove the cap; else it ends with the month.",
            )
        case "OUT_OF_CREDITS":
            return Standing(
                known.refusal,
                "No credits are left, and nobody is billed for more.",
                since=_out_of_credits_since(known),
                remedy="Credits: bought by the owner, or given by you. A plan of Stripe's bills what is beyond them.",
            )
    return Standing()


def _suspended(subject: Subject, known: Calls) -> Standing:
    account = known.account
    suspension = next((each for each in reversed(subject.overrides) if each.is_suspended), None)
    if suspension:
        return Standing(
            known.refusal,
            known.reason,
            since=suspension.created_at,
            until=suspension.until,
            remedy="End the suspension among its overrides.",
        )
    remedies = {
        "pay": "The owner pays what is due, or you extend the grace.",
        "plan": "The owner chooses a plan, or you put it on one.",
    }
    since = account.cancelled_at
    if since is None and account.past_due_since:
        since = access.grace_ends_at(account, now=subject.now)
        since = since if since <= subject.now else account.past_due_since
    return Standing(
        known.refusal,
        known.reason,
        since=since,
        remedy=remedies.get(known.way_out, "See its billing account: what Stripe says of its subscription."),
    )


def _out_of_credits_since(known: Calls) -> datetime | None:
    """When it was told so, which happens once after each grant."""
    told = CreditNotice.objects.filter(
        organization=known.account.organization_id,
        level=CreditNotice.Level.DEPLETED,
        grants=known.account.grants,
    )
    return told.values_list("created_at", flat=True).first()


def _is_restorable(organization: Organization, now: datetime) -> bool:
    return bool(organization.deleted_at and organization.erase_after and organization.erase_after > now)


# ── What can be done ─────────────────────────────────────────────────────────────────────────────────────────
def buttons(subject: Subject, members: Members | None, *, may: May) -> list[Button]:
    """The acts on an organization that somebody may do, as long as it is in a state for them."""
    organization, known = subject.organization, subject.calls
    pk = organization.pk
    is_open = not organization.deleted_at
    account = known.account if known and is_open else None
    cap = "change" if account and hasattr(account.organization, "spend_cap") else "add"
    bills = account is not None and may("billing.change_billingaccount")
    wanted = [
        ("Look as a member", _url("accounts_organization_look", pk), may_look(organization, may=may)),
        ("Why refused?", _url("why_refused", organization=organization.uid), may("accounts.view_apikey")),
        ("Give credits…", _url("billing_billingaccount_give_credits", pk, back="organization"), bills),
        ("Put on a plan…", _url("billing_billingaccount_put_on_plan", pk, back="organization"), bills),
        (
            "Agree or suspend…",
            _url("billing_entitlementoverride_add", organization=pk),
            account and may("billing.add_entitlementoverride"),
        ),
        (
            "Extend grace…",
            _url("billing_billingaccount_extend_grace", pk, back="organization"),
            bills and account and account.subscription_status == Subscription.PAST_DUE,
        ),
        (
            "Change the cap" if cap == "change" else "Set a cap",
            _url("usage_spendcap_change", pk)
            if cap == "change"
            else _url("usage_spendcap_add", organization=pk),
            account and may(f"usage.{cap}_spendcap"),
        ),
        ("Write a note", _url("accounts_note_add", organization=pk), may("accounts.add_note")),
        ("Settings", _url("accounts_organization_edit", pk), True),
    ]
    found = [Button(label, url) for label, url, is_shown in wanted if is_shown]
    if _is_restorable(organization, subject.now) and may("accounts.restore_organization"):
        found.insert(
            0, Button("Restore", _url("accounts_organization_restore", pk), asks=True, is_first=True)
        )
    if not organization.erased_at and may("accounts.recover_organization"):
        recover = _url("accounts_organization_recover", pk)
        if members and not members.has_owner_who_may_act:
            found.insert(0, Button("New owner…", recover, asks=True, is_first=True))
        else:
            found.append(Button("New owner…", recover, asks=True))
    if is_open and may("accounts.delete_organization"):
        found.append(Button("Delete…", _url("accounts_organization_close", pk), asks=True))
    return found


def may_look(organization: Organization, *, may: May) -> bool:
    is_open = organization.deleted_at is None and organization.support_may_look
    return is_open and may("accounts.look_as_member")


def _url(name: str, *args: Any, **query: Any) -> str:
    url = reverse(f"admin:{name}", args=args)
    return f"{url}?{urlencode(query)}" if query else url
