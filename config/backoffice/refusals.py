"""“Why is this call refused?”: each check of verify for one key, as it is now, and where what it finds is changed.

Asked by a key, its id, or the answer that verify gave. What is posted is answered by a redirect to an address that
names the key by its id: the key itself is compared by its hash, and is in no address and on no page.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from accounts import networks, pasted, secrets
from accounts.admin_base import colleague, plain_number
from accounts.models import ApiKey, Organization, User
from billing import access, calls
from usage import budgets, known_keys
from usage import refusals as explanation
from usage.models import SpendCap
from usage.refusals import Check, Subject

MOST_KEYS = 50
# What an address may hold of what was pasted: nothing but an id.
_ID = re.compile(r"(key|org)_[0-9A-Za-z]{1,36}")
VALID = "VALID"
CODES = frozenset(
    {
        VALID,
        "NOT_FOUND",
        "REVOKED",
        "DISABLED",
        "EXPIRED",
        "SUSPENDED",
        "FORBIDDEN",
        "SPEND_CAP_REACHED",
        "BUDGET_EXCEEDED",
        "OUT_OF_CREDITS",
        "RATE_LIMITED",
    }
)
# What a pasted text turned out to be where it names no key, and what that means for whoever sent it.
NO_KEY = {
    "damaged": "This begins like a key of ours and is none: it was mistyped, or cut off when it was copied. Verify "
    "answers NOT_FOUND. The customer copies it again from where they keep it, or makes a new one: nobody can show "
    "them the old one.",
    "unknown": "This is well-formed, but there is no such key: it was never given to anybody here, or all of its "
    "organization was erased. Verify answers NOT_FOUND. The customer may be calling another system than the one that "
    "made the key, or makes a new one.",
    "foreign": "This is no key of ours, nor one that was imported. Verify answers NOT_FOUND. The customer may have "
    "mixed it up with another service's.",
    "unnamed": "This answer names no key, as verify found none: what was sent with the call is malformed, unknown, or "
    "a service key. Paste the key itself to see which.",
    "no_id": "There is no key, and no organization, with this id.",
}
SERVICE_KEY = (
    "This is a service key: it lets the operator's own servers ask verify, and is no customer's. As a key to be "
    "verified it is answered with NOT_FOUND."
)


class QuestionForm(forms.Form):
    asked = forms.CharField(
        label="Key, its id, or the answer of verify",
        max_length=20_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false", "autocomplete": "off"}),
        help_text="A whole key is compared by its hash, and kept nowhere. An answer is JSON with api_key_id and code.",
    )
    ip = forms.GenericIPAddressField(
        label="Caller's IP address",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="As verify was given it; a key with networks is refused without one.",
    )
    cost = forms.DecimalField(
        label="Cost in credits",
        required=False,
        min_value=0,
        max_digits=18,
        decimal_places=6,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "inputmode": "decimal"}),
        help_text="As verify was given it; empty for none.",
    )


@dataclass(frozen=True)
class Line:
    """A check as the page shows it: how it ended, what more there is to say, and where it is changed."""

    check: Check
    outcome: str
    more: list[str]
    links: list[tuple[str, str]]
    # What puts it right by a dialog on this page.
    remedy: str = ""

    @property
    def color(self) -> str:
        return {"refuses": "danger", "would refuse too": "warning", "passes": "success"}.get(self.outcome, "")


@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Ask by POST, and be led to the answer, which anybody on the staff who may see keys can open again."""
    if not colleague(request).has_perm("accounts.view_apikey"):
        raise PermissionDenied
    if request.method == "POST":
        form = QuestionForm(request.POST)
        if form.is_valid():
            return redirect(_address(_question(form)))
        # What was refused may be a key, and is on no page.
        form.data = {name: request.POST.get(name, "") for name in ("ip", "cost") if name not in form.errors}
        return _render(request, form)
    asked = {name: str(value).replace("\0", "") for name, value in request.GET.items()}
    keys = ApiKey.objects.select_related("organization", "user", "created_by")
    key = keys.filter(uid=asked.get("key", "")).first()
    given = QuestionForm(asked | {"asked": "this"})
    given.full_clean()
    ip, cost = given.cleaned_data.get("ip") or None, given.cleaned_data.get("cost")
    shown = QuestionForm(initial={"asked": key.uid if key else "", "ip": ip, "cost": cost})
    cost = cost or Decimal(0)
    if key:
        return _render(request, shown, **_answer(request, key, cost=cost, ip=ip))
    organization = Organization.objects.filter(uid=asked.get("organization", "")).first()
    if organization:
        return _render(request, shown, organization=organization, keys=list(_keys_of(organization, cost, ip)))
    outcome = "no_id" if {"key", "organization"} & asked.keys() else asked.get("outcome", "")
    return _render(request, shown, lead=NO_KEY.get(outcome, ""))


def _render(request: HttpRequest, form: QuestionForm, **context: Any) -> HttpResponse:
    shared = admin.site.each_context(request) | {"title": "Why is this call refused?", "form": form}
    status = 400 if form.is_bound else 200
    return render(request, "admin/backoffice/why_refused.html", shared | context, status=status)


# ── The question ─────────────────────────────────────────────────────────────────────────────────────────────
@sensitive_variables()
def question_in(text: str) -> str:
    """The address of the answer to what a text asks: an answer of verify, or a key or its id with the caller's address.

    Empty where it asks nothing of the kind.
    """
    if text.startswith("{"):
        asked = _of_answer(text)
        return _address(asked) if {"key", "organization"} & asked.keys() else ""
    words = text.split()
    ips = [word for word in words if networks.is_address(word)]
    if len(words) != 2 or len(ips) != 1:
        return ""
    words.remove(ips[0])
    asked = _named(words[0])
    return _address(asked | {"ip": ips[0]}) if "key" in asked else ""


def _address(asked: dict[str, str]) -> str:
    return f"{reverse('admin:why_refused')}?{urlencode(asked)}"


@sensitive_variables()
def _question(form: QuestionForm) -> dict[str, str]:
    """What is asked, as an address may hold it."""
    text = form.cleaned_data["asked"].replace("\0", " ").strip()
    given = {name: str(form.cleaned_data[name]) for name in ("ip", "cost") if form.cleaned_data[name]}
    return _named(text) | given


@sensitive_variables()
def _named(text: str) -> dict[str, str]:
    given = pasted.key_in(text)
    if key := ApiKey.objects.with_secret(given).first():
        is_old = key.secret_hash not in secrets.hashes(given)
        return {"key": key.uid} | ({"secret": "old"} if is_old else {})
    if secrets.is_well_formed(given):
        return {"outcome": "unknown"}
    if text.startswith("{"):
        return _of_answer(text)
    if _ID.fullmatch(text):
        return {"key" if text.startswith("key_") else "organization": text}
    return {"outcome": "damaged" if f"{settings.KEY_BRAND}_" in text else "foreign"}


def _of_answer(text: str) -> dict[str, str]:
    """What an answer of verify names: nothing else of it is kept."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return {"outcome": "unnamed"}
    code = {"code": str(answer["code"])} if str(answer.get("code")) in CODES else {}
    for name, ours in (("api_key_id", "key"), ("organization_id", "organization")):
        if _ID.fullmatch(str(answer.get(name))):
            return {ours: answer[name]} | code
    return {"outcome": "unnamed"}


# ── The answer ───────────────────────────────────────────────────────────────────────────────────────────────
def _answer(request: HttpRequest, key: ApiKey, *, cost: Decimal, ip: str | None) -> dict[str, Any]:
    now = timezone.now()
    by_old_secret = request.GET.get("secret") == "old"
    found = known_keys.read(key.pk, by_old_secret=by_old_secret)
    if found is None:
        nothing = "Its organization has no entitlement yet, so verify answers NOT_FOUND."
        return {"key": key, "lead": nothing if key.organization else SERVICE_KEY}
    checks = explanation.explain(found, cost=cost, ip=ip, now=now)
    refusing = explanation.first(checks)
    code = refusing.code if refusing else VALID
    then = request.GET.get("code", "")
    return {
        "key": key,
        "refusing": refusing,
        "code": code,
        "then": then if then in CODES else "",
        "is_same": then == code,
        "lines": [_line(request, key, check, refusing, now) for check in checks],
    }


def _line(request: HttpRequest, key: ApiKey, check: Check, refusing: Check | None, now: datetime) -> Line:
    if check.refuses:
        outcome = "refuses" if check is refusing else "would refuse too"
    else:
        outcome = "passes" if refusing is None or _comes_first(check, refusing) else "would pass"
    if not check.refuses:
        return Line(check, outcome, [], [])
    links = [
        (label, url)
        for label, url, permission in _places(key, check)
        if colleague(request).has_perm(permission)
    ]
    return Line(check, outcome, list(_more(key, check, now)), links, _remedy(request, key, check))


def _remedy(request: HttpRequest, key: ApiKey, check: Check) -> str:
    """Where the caller's address is allowed, by those who may."""
    ip = request.GET.get("ip", "")
    keys_admin: Any = admin.site.get_model_admin(ApiKey)
    if not ip or check.subject is not Subject.NETWORK or not keys_admin.has_allow_permission(request, key.pk):
        return ""
    return f"{reverse('admin:accounts_apikey_allow', args=[key.pk])}?{urlencode({'ip': ip})}"


def _comes_first(check: Check, refusing: Check) -> bool:
    order = list(Subject)
    return order.index(check.subject) < order.index(refusing.subject)


def _more(key: ApiKey, check: Check, now: datetime) -> Iterator[str]:
    """What other tables know of a refusal."""
    organization = key.organization
    assert organization
    match check.subject:
        case Subject.SUSPENSION:
            found = calls.of(organization, now=now)
            if found and found.reason:
                yield f"The customer is told: {found.reason}"
            if found and found.way_out in ("pay", "plan"):
                yield "It follows from the state of its subscription, and the customer can pay or choose a plan."
            for override in access.in_force(organization.pk, now=now):
                if override.is_suspended:
                    until = f" until {override.until:%Y-%m-%d %H:%M} UTC" if override.until else ""
                    by = override.created_by or "the system"
                    yield f"Suspended by {by} on {override.created_at:%Y-%m-%d}{until}: {override.reason}"
        case Subject.PERSON | Subject.MEMBERSHIP | Subject.SECOND_FACTOR:
            if person := _person(key):
                yield f"This is {person}. Another member can make a new key, which does not hang on them."
        case Subject.SPEND_CAP:
            if cap := SpendCap.objects.filter(pk=organization.pk).first():
                yield f"The cap is ${cap.amount:,.2f} a month. The customer's owner and admins can raise it as well."
        case Subject.BUDGET:
            used = budgets.used([key], now=now).get(key.pk, Decimal(0))
            yield f"It has used {plain_number(used)} of {plain_number(key.monthly_credit_budget)} credits this month."
        case Subject.CREDITS:
            yield "The customer can buy credits, or choose a plan with more."
        case Subject.LIMIT | Subject.OWN_LIMIT:
            yield "It lets calls through again from second to second; what is free is a matter of this moment."


def _person(key: ApiKey) -> User | None:
    return key.user or key.created_by


def _places(key: ApiKey, check: Check) -> Iterator[tuple[str, str, str]]:
    """Where it is changed: a label, an address, and the permission to look there."""
    organization, person = key.organization, _person(key)
    assert organization
    account = (
        "Billing account",
        reverse("admin:billing_billingaccount_change", args=[organization.pk]),
        "billing.view_billingaccount",
    )
    overrides = (
        "Overrides",
        f"{reverse('admin:billing_entitlementoverride_changelist')}?q={organization.uid}",
        "billing.view_entitlementoverride",
    )
    its_key = ("Key", reverse("admin:accounts_apikey_change", args=[key.pk]), "accounts.view_apikey")
    its_organization = (
        "Organization",
        reverse("admin:accounts_organization_change", args=[organization.pk]),
        "accounts.view_organization",
    )
    match check.subject:
        case Subject.ORGANIZATION:
            yield its_organization
        case Subject.SUSPENSION | Subject.CREDITS:
            yield from (account, overrides)
        case Subject.LIMIT:
            yield overrides
        case Subject.PERSON | Subject.MEMBERSHIP | Subject.SECOND_FACTOR:
            if person:
                yield "Person", reverse("admin:accounts_user_change", args=[person.pk]), "accounts.view_user"
            yield its_organization
        case Subject.SPEND_CAP:
            yield (
                "Spend cap",
                reverse("admin:usage_spendcap_change", args=[organization.pk]),
                "usage.view_spendcap",
            )
        case _:
            yield its_key


# ── The keys of an organization ──────────────────────────────────────────────────────────────────────────────
def _keys_of(organization: Organization, cost: Decimal, ip: str | None) -> Iterator[tuple[ApiKey, str, str]]:
    """The newest keys of an organization, each with the code and the fact of now."""
    now = timezone.now()
    found = known_keys.read_all(organization.pk, most=MOST_KEYS)
    rows = ApiKey.objects.in_bulk([one.pk for one in found])
    for one in found:
        refusing = explanation.first(explanation.explain(one, cost=cost, ip=ip, now=now))
        if one.pk in rows:
            yield rows[one.pk], refusing.code if refusing else VALID, refusing.fact if refusing else ""
