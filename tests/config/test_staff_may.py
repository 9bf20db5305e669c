"""Who on the staff may do what in the admin: each group, each page, each act.

The admin's addresses are walked. What is in neither table fails, so that whoever adds a page says whom it is for.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, reverse

from accounts import organizations
from accounts.admin_forms import READ
from accounts.models import ApiKey, User
from billing import access
from config import staff_groups
from tests.conftest import colleague, sign_in_verified

# Of every table all of the staff see the list, also as CSV, the pages of its rows and their history.
SEEN = ("changelist", "csv", "history")
CHANGING = ("add", "change", "delete")

# What else may be done with the rows of a table, by its act, and which groups may: Support, Billing desk, Engineer.
# Administrators may all that stands here; of `CHANGING` nobody may what does not.
ACTS: dict[str, dict[str, str]] = {
    "account.emailaddress": {"mark_verified": ""},
    "accounts.apikey": {
        "why_refused": "SBE",
        "add": "E",
        "disable": "SE",
        "enable": "SE",
        "allow": "E",
        "ask_to_rotate": "E",
        "revoke": "E",
        "leaked": "E",
        "revoke_leaked": "E",
        "import_keys": "E",
    },
    "accounts.auditentry": {},
    "accounts.invitation": {"resend": "S", "revoke": "S"},
    "accounts.membership": {},
    "accounts.note": {"add": "SBE", "pin": "SBE", "unpin": "SBE", "take_back": "SBE"},
    # All see the form of `edit`; to send it takes the permission to change.
    "accounts.organization": {
        "change": "",
        "edit": "",
        "look": "S",
        "why_refused": "SBE",
        "write_note": "SBE",
        "recover": "",
        "restore": "",
        "close": "",
    },
    "accounts.user": {
        "change": "",
        "write_note": "SBE",
        "resend_verification": "S",
        "send_password_letter": "S",
        "sign_out": "S",
        "reset_two_factor": "",
        "switch_off": "",
        "switch_on": "",
        "appoint": "",
        "delete_account": "",
    },
    "billing.billingaccount": {
        "give_credits": "B",
        "deduct_credits": "B",
        "put_on_plan": "B",
        "extend_grace": "B",
        "agree": "B",
        "synchronize": "B",
        "settle": "B",
    },
    "billing.creditentry": {},
    "billing.creditgrant": {},
    "billing.creditpack": {"change": "B"},
    "billing.entitlementoverride": {"add": "B", "end": "B"},
    "billing.invoice": {"give_credits": "B"},
    "billing.meterdrift": {},
    "billing.meterreport": {"send_again": "B"},
    "billing.plan": {"change": "B"},
    "billing.topup": {},
    "otp_totp.totpdevice": {"delete": ""},
    "usage.billingexportfile": {"new_link": "SBE"},
    "usage.creditrate": {"add": "E", "withdraw": "E"},
    "usage.entitlement": {},
    "usage.job": {},
    "usage.spendcap": {"add": "B", "change": "B", "remove": "B"},
    "usage.triggeredalert": {},
    "usage.usagealert": {},
    "usage.usagerecord": {"void": "B", "amend": "B"},
    "webhooks.attempt": {},
    "webhooks.endpoint": {
        "add": "E",
        "change": "E",
        "disable": "E",
        "enable": "E",
        "remove": "E",
        "send_missed": "E",
        "send_test": "E",
        "try_now": "E",
    },
    "webhooks.message": {"resend": "SE", "resend_selected": "SE"},
    "webhooks.outboxmessage": {
        "resend": "SE",
        "resend_selected": "SE",
        "retry": "E",
        "retry_selected": "E",
        "retry_refused": "E",
    },
    "webhooks.replay": {},
}

# The pages that belong to no table, by the names of their addresses, and who sees them.
PAGES: dict[str, str] = {
    "index": "SBE",
    "search": "SBE",
    "why_refused": "SBE",
    "app_list": "SBE",
    "system": "E",
    "system_run": "E",
}
# Signing in and out, and what pages need to work.
FOR_ANYBODY = {
    "login",
    "logout",
    "password_change",
    "password_change_done",
    "jsi18n",
    "autocomplete",
    "view_on_site",
}

GROUPS = {
    "S": staff_groups.SUPPORT,
    "B": staff_groups.BILLING_DESK,
    "E": staff_groups.ENGINEER,
    "A": staff_groups.ADMINISTRATOR,
}
MODELS: dict[str, type[Model]] = {model._meta.label_lower: model for model in admin.site._registry}


def names() -> set[str]:
    def walk(patterns: Any) -> Iterator[str]:
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                yield pattern.name or ""
            else:
                yield from walk(pattern.url_patterns)

    return set(walk(admin.site.urls[0])) - {""}


def acts_of(label: str) -> set[str]:
    """What can be asked of a table: its addresses beside those to look, what is done to chosen rows or on saving."""
    prefix = f"{label.replace('.', '_')}_"
    addresses = {name.removeprefix(prefix) for name in names() if name.startswith(prefix)}
    shown = _admin(label)
    return (addresses - set(SEEN)) | {
        _name(each) for each in (*(shown.actions or ()), *(shown.actions_submit_line or ()))
    }


def _name(action: Any) -> str:
    return action if isinstance(action, str) else str(action.__name__)


def _admin(label: str) -> Any:
    return admin.site._registry[MODELS[label]]


def _named(name: str, pattern: str = "0") -> str:
    """The address of this name, of a row that there is not if it is of one."""
    for arguments in ([], [pattern]):
        try:
            return reverse(f"admin:{name}", args=arguments)
        except NoReverseMatch:
            continue
    raise LookupError(name)


def may(user: User, browser: Client, label: str, act: str) -> bool:
    """Whether this person may: by the permissions of the act, or else by whether its address refuses them."""
    shown = _admin(label)
    request = HttpRequest()
    request.user = user
    if act in CHANGING:
        return bool(getattr(shown, f"has_{act}_permission")(request))
    needed = getattr(getattr(shown, act, None), "allowed_permissions", None)
    if needed is not None:
        return all(getattr(shown, f"has_{permission}_permission")(request) for permission in needed)
    with transaction.atomic():
        response = browser.post(_named(f"{label.replace('.', '_')}_{act}"))
        transaction.set_rollback(True)
    return response.status_code != 403


def expected(letter: str, groups: str | None) -> bool:
    return groups is not None and (letter == "A" or letter in groups)


@pytest.fixture(params=GROUPS)
def letter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def user(db: None, letter: str) -> User:
    return colleague("Sam", GROUPS[letter])


@pytest.fixture
def browser(user: User) -> Client:
    client = Client()
    sign_in_verified(client, user)
    return client


def test_each_page_and_act_stands_in_a_table() -> None:
    prefixes = tuple(f"{label.replace('.', '_')}_" for label in MODELS)
    found = {label: acts_of(label) - set(CHANGING) for label in MODELS}

    assert found == {label: set(acts) - set(CHANGING) for label, acts in ACTS.items()}
    assert {name for name in names() if not name.startswith(prefixes)} == set(PAGES) | FOR_ANYBODY


def test_a_group_may_do_exactly_what_the_table_says(user: User, browser: Client, letter: str) -> None:
    found = {
        f"{label} {act}": may(user, browser, label, act)
        for label, acts in ACTS.items()
        for act in {*CHANGING, *acts}
    }

    assert found == {
        f"{label} {act}": expected(letter, acts.get(act))
        for label, acts in ACTS.items()
        for act in {*CHANGING, *acts}
    }


def test_what_a_group_may_not_do_is_refused_at_its_address(browser: Client, letter: str) -> None:
    let_in = {}
    for label, acts in ACTS.items():
        for act in {*CHANGING, *acts}:
            name = f"{label.replace('.', '_')}_{act}"
            if act in ("change", "edit", "delete") or name not in names() or expected(letter, acts.get(act)):
                continue
            for method in (browser.get, browser.post):
                response = method(_named(name))
                if response.status_code not in (403, 405):
                    let_in[name] = response.status_code

    assert let_in == {}


def test_a_group_sees_every_table_and_its_rows(browser: Client, letter: str) -> None:
    found = {
        name: browser.get(_named(name)).status_code
        for label in ACTS
        for name in (f"{label.replace('.', '_')}_changelist", f"{label.replace('.', '_')}_change")
    }

    # A row that there is not leads back to where one may be.
    assert {
        name: code for name, code in found.items() if code != (200 if "changelist" in name else 302)
    } == {}


def test_a_group_sees_the_pages_that_the_table_says(browser: Client, letter: str) -> None:
    found = {name: browser.get(_named(name, "accounts")).status_code != 403 for name in PAGES}

    assert found == {name: expected(letter, groups) for name, groups in PAGES.items()}


def test_staff_in_no_group_see_no_table(db: None) -> None:
    client = Client()
    sign_in_verified(client, colleague("Nora"))

    lists = {label: client.get(_named(f"{label.replace('.', '_')}_changelist")).status_code for label in ACTS}

    assert set(lists.values()) == {403}, lists


def test_an_address_that_names_no_row_is_no_error(back_office: Client) -> None:
    acts = {f"{label.replace('.', '_')}_{act}" for label, acts in ACTS.items() for act in {*CHANGING, *acts}}
    addresses = {name: _named(name, "none") for name in acts & names()}
    back_office.raise_request_exception = False

    found = {name: back_office.get(url).status_code for name, url in addresses.items() if "/none/" in url}

    assert {name: code for name, code in found.items() if code >= 500} == {}


# Reasons that stand in an organization's trail, which its members read.
TOLD = (
    "accounts.apikey revoke",
    "accounts.apikey disable",
    "accounts.organization recover",
    "accounts.organization restore",
    "accounts.organization close",
    "billing.billingaccount give_credits",
    "billing.billingaccount deduct_credits",
    "billing.billingaccount put_on_plan",
    "billing.billingaccount extend_grace",
    "billing.billingaccount synchronize",
    "billing.billingaccount settle",
    "billing.entitlementoverride end",
)


@pytest.mark.parametrize("act", TOLD)
def test_whoever_gives_a_reason_that_customers_read_is_told_so(
    back_office: Client, organization_key: tuple[ApiKey, str], act: str
) -> None:
    key, _ = organization_key
    organization = key.organization
    assert organization
    if act.endswith("restore"):
        organizations.delete(organization=organization, actor=None)
    override = access.agree(organization=organization, reason="A trial", is_suspended=True, actor=None)
    rows: dict[str, Model] = {"apikey": key, "entitlementoverride": override}
    label, _, name = act.partition(" ")

    row = rows.get(label.partition(".")[2], organization)
    page = back_office.get(reverse(f"admin:{label.replace('.', '_')}_{name}", args=[row.pk]))

    assert READ in page.content.decode()
