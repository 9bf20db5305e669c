"""Billing as the staff sees it, and what they do about it."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from accounts.audit import Actor
from accounts.models import AuditEntry, Organization, User
from billing import access, by_hand, catalogue, plans, tasks
from billing.models import (
    BillingAccount,
    CreditEntry,
    CreditGrant,
    EntitlementOverride,
    Invoice,
    MeterDrift,
    MeterReport,
    Plan,
)
from tests.billing.conftest import Use, agrees, ledger, settle
from tests.conftest import person, sign_in_verified
from usage.models import Entitlement

pytestmark = pytest.mark.django_db

MODELS = [
    "billingaccount",
    "entitlementoverride",
    "creditgrant",
    "creditentry",
    "invoice",
    "topup",
    "meterreport",
    "meterdrift",
    "plan",
    "creditpack",
]
ACTIONS = [
    "give_credits",
    "deduct_credits",
    "put_on_plan",
    "extend_grace",
    "synchronize",
    "settle",
]


def act(account: BillingAccount, action: str) -> str:
    return reverse(f"admin:billing_billingaccount_{action}", args=[account.pk])


def do(browser: Client, account: BillingAccount, action: str, **said: Any) -> Any:
    """Fill in the form of an action and send it."""
    page = browser.get(act(account, action)).content.decode()
    found = re.search(r'name="form" value="([^"]+)"', page)
    assert found, page
    return browser.post(act(account, action), {"form": unescape(found[1]), "reason": "They asked."} | said)


def text(answer: Any) -> str:
    return " ".join(unescape(strip_tags(answer.content.decode())).split())


@pytest.fixture
def report(organization: Organization) -> MeterReport:
    now = timezone.now()
    return MeterReport.objects.create(
        organization=organization,
        hour=now,
        sequence=0,
        quantity=5,
        identifier="cr:1:2026112914:0",
        stripe_customer="cus_1",
        stripe_subscription="sub_1",
        period_start=now,
        timestamp=now,
        state="refused",
        last_error="No such customer",
    )


@pytest.fixture
def rows(organization: Organization, use: Use, report: MeterReport, staff: User) -> None:
    """One row at least of everything."""
    use(30)
    settle(organization)
    access.agree(organization=organization, reason="A pilot", actor=Actor(staff), requests_per_minute=50)
    now = timezone.now()
    MeterDrift.objects.create(
        organization=organization, period_start=now, period_end=now, reported=5, counted=Decimal("4.5")
    )
    Invoice.objects.create(
        organization=organization,
        stripe_id="in_1",
        number="CH-1",
        status="paid",
        total=Decimal(10),
        amount_due=Decimal(0),
        amount_paid=Decimal(10),
        created_at=now,
    )


# ── Lists and pages ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("model", MODELS)
def test_each_list_and_each_page_is_shown(back_office: Client, rows: None, model: str) -> None:
    listed = back_office.get(reverse(f"admin:billing_{model}_changelist"))
    assert listed.status_code == 200
    meta = next(each for each in admin.site._registry if each._meta.label_lower == f"billing.{model}")
    row = meta._default_manager.first()

    if row is not None:
        assert back_office.get(reverse(f"admin:billing_{model}_change", args=[row.pk])).status_code == 200


@pytest.mark.parametrize("model", ["creditgrant", "creditentry", "invoice", "meterreport", "topup"])
def test_big_lists_are_not_counted(back_office: Client, rows: None, model: str) -> None:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        back_office.get(reverse(f"admin:billing_{model}_changelist"))

    table = f'FROM "billing_{model}"'
    assert not [each for each in asked if "COUNT(*)" in each["sql"] and table in each["sql"]]


@pytest.mark.parametrize("model", ["creditgrant", "creditentry", "invoice", "meterreport", "billingaccount"])
def test_rows_are_found_by_organization(
    back_office: Client, rows: None, organization: Organization, other_organization: Organization, model: str
) -> None:
    url = reverse(f"admin:billing_{model}_changelist")

    found = text(back_office.get(url, {"q": organization.uid}))
    others = text(back_office.get(url, {"q": "org_unknown"}))

    assert "Northwind" in found
    assert "Northwind" not in others


@pytest.mark.parametrize("model", MODELS)
def test_who_may_not_see_it_does_not(rows: None, model: str) -> None:
    browser = Client()
    sign_in_verified(browser, person("Sam", is_staff=True))

    answer = browser.get(reverse(f"admin:billing_{model}_changelist"))

    assert answer.status_code == 403


@pytest.mark.parametrize("action", ACTIONS)
def test_who_may_only_look_changes_nothing(account: BillingAccount, action: str) -> None:
    viewer = person("Sam", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_billingaccount"))
    browser = Client()
    sign_in_verified(browser, viewer)

    assert browser.post(act(account, action), {"reason": "No."}).status_code == 403
    assert browser.get(reverse("admin:billing_billingaccount_change", args=[account.pk])).status_code == 200


@pytest.mark.parametrize("model", ["creditgrant", "creditentry", "invoice", "meterreport", "billingaccount"])
def test_facts_are_not_edited(back_office: Client, rows: None, model: str) -> None:
    row = next(each for each in admin.site._registry if each._meta.label_lower == f"billing.{model}")
    url = reverse(f"admin:billing_{model}_change", args=[row._default_manager.all()[0].pk])

    assert back_office.post(url, {"balance": "1"}).status_code == 403


def test_the_mirror_of_stripe_with_its_keys_is_not_in_the_back_office() -> None:
    assert not [model for model in admin.site._registry if model._meta.app_label == "djstripe"]


# ── Accounts ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_account_links_to_what_there_is_of_it(back_office: Client, account: BillingAccount) -> None:
    BillingAccount.objects.update(stripe_customer="cus_9")

    page = back_office.get(reverse("admin:billing_billingaccount_change", args=[account.pk])).content.decode()

    for model in ("creditgrant", "creditentry", "entitlementoverride", "invoice", "meterreport", "topup"):
        assert f"{reverse(f'admin:billing_{model}_changelist')}?q={account.organization.uid}" in page
    assert "cus_9" in page


def test_credits_are_given_once_with_a_line_and_a_trace(
    back_office: Client, account: BillingAccount, staff: User
) -> None:
    page = back_office.get(act(account, "give_credits")).content.decode()
    form = unescape(re.search(r'name="form" value="([^"]+)"', page)[1])  # type: ignore[index]
    said = {
        "form": form,
        "kind": "goodwill",
        "amount": "12.5",
        "expires_at": "2099-01-31",
        "reason": "Sorry.",
    }

    answers = [back_office.post(act(account, "give_credits"), said) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [302, 302]
    grant = CreditGrant.objects.get(kind="goodwill")
    assert (grant.amount, grant.reason) == (Decimal("12.5"), "Sorry.")
    assert f"{grant.expires_at:%Y-%m-%d %H:%M}" == "2099-01-31 23:59"
    assert CreditEntry.objects.get(grant=grant).created_by == staff
    entry = AuditEntry.objects.get(action="credits.granted")
    assert (entry.actor, entry.organization, entry.after["credits"]) == (staff, account.organization, 12.5)
    agrees(account.organization)


@pytest.mark.parametrize(
    "said",
    [
        {"amount": "0"},
        {"amount": "-5"},
        {"amount": "many"},
        {"amount": "1e40"},
        {"amount": "0.0000001"},
        {"kind": "purchased"},
        {"expires_at": "2020-01-01"},
        {"reason": ""},
        {"reason": "x" * 201},
    ],
)
def test_a_grant_that_cannot_be_is_refused(
    back_office: Client, account: BillingAccount, said: dict[str, str]
) -> None:
    answer = do(back_office, account, "give_credits", **{"kind": "goodwill", "amount": "5"} | said)

    assert answer.status_code == 400
    assert not CreditGrant.objects.filter(kind="goodwill").exists()


def test_credits_are_deducted(back_office: Client, account: BillingAccount) -> None:
    do(back_office, account, "deduct_credits", amount="40")

    assert ledger(account.organization)[-1] == ("correction", -40, 0)
    assert AuditEntry.objects.get(action="credits.deducted").after["reason"] == "They asked."
    agrees(account.organization)


def test_more_than_there_is_is_not_deducted(back_office: Client, account: BillingAccount) -> None:
    answer = do(back_office, account, "deduct_credits", amount="101")

    assert answer.status_code == 400
    assert "fewer credits" in text(answer)
    assert len(ledger(account.organization)) == 1


def test_an_organization_is_put_on_a_plan(back_office: Client, account: BillingAccount) -> None:
    do(back_office, account, "put_on_plan", plan=plans.named(plans.PRO).pk)

    account.refresh_from_db()
    assert (account.plan.slug, account.is_invoiced) == ("pro", True)
    assert AuditEntry.objects.get(action="plan.changed").after["reason"] == "They asked."


def test_whom_stripe_bills_is_put_on_no_plan(back_office: Client, account: BillingAccount) -> None:
    BillingAccount.objects.update(subscription_status="active")

    answer = do(back_office, account, "put_on_plan", plan=plans.named(plans.PRO).pk)

    assert answer.status_code == 400
    assert "Stripe bills" in text(answer)


def test_grace_is_extended(back_office: Client, account: BillingAccount) -> None:
    since = timezone.now() - timedelta(days=9)
    BillingAccount.objects.update(subscription_status="past_due", past_due_since=since)
    access.recompute(account.organization)
    before = Entitlement.objects.get().may_call

    until = timezone.now() + timedelta(days=5)
    do(back_office, account, "extend_grace", until=f"{until:%Y-%m-%d}")

    assert (before, Entitlement.objects.get().may_call) == (False, True)
    assert AuditEntry.objects.get(action="subscription.grace_extended")


def test_who_owes_nothing_has_no_grace_to_extend(back_office: Client, account: BillingAccount) -> None:
    answer = do(back_office, account, "extend_grace", until="2099-01-01")

    assert answer.status_code == 400


def test_grace_is_offered_only_while_a_payment_is_due(back_office: Client, account: BillingAccount) -> None:
    url = reverse("admin:billing_billingaccount_change", args=[account.pk])
    offer = reverse("admin:billing_billingaccount_extend_grace", args=[account.pk])
    paid = back_office.get(url).content.decode()
    BillingAccount.objects.update(subscription_status="past_due", past_due_since=timezone.now())

    due = back_office.get(url).content.decode()

    assert offer not in paid
    assert offer in due


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({}, "allowed"),
        ({"may_call": False, "reason": "Abuse"}, "suspended: Abuse"),
        ({"credits_ceiling": 0}, "out of credits"),
        ({"spend_cap_reached_until": timezone.now() + timedelta(days=1)}, "spend cap reached"),
    ],
)
def test_the_page_of_an_account_says_whether_calls_are_let_through(
    back_office: Client, account: BillingAccount, terms: dict[str, Any], words: str
) -> None:
    Entitlement.objects.update(**{"credits_ceiling": None, "overage_allowed": False} | terms)

    page = back_office.get(reverse("admin:billing_billingaccount_change", args=[account.pk])).content.decode()

    assert f">{words}</a>" in page


def test_an_invoice_says_what_can_be_done_if_it_is_wrong(
    back_office: Client, rows: None, organization: Organization
) -> None:
    now = timezone.now()
    Invoice.objects.update(period_start=now - timedelta(days=30), period_end=now, reason="manual")
    invoice = Invoice.objects.get()

    page = unescape(
        back_office.get(reverse("admin:billing_invoice_change", args=[invoice.pk])).content.decode()
    )
    records = re.search(r'href="([^"]*/usagerecord/[^"]*)"', page)

    assert reverse("admin:accounts_organization_change", args=[organization.pk]) in page
    assert f"{reverse('admin:billing_creditentry_changelist')}?q={organization.uid}" in page
    assert reverse("admin:billing_billingaccount_give_credits", args=[organization.pk]) in page
    assert "made at Stripe" in page
    assert "`" not in strip_tags(page)
    assert records
    listed = back_office.get(records[1])
    assert listed.status_code == 200
    assert len(listed.context["cl"].result_list) == 1


def test_usage_is_settled_at_once(
    back_office: Client, account: BillingAccount, use: Use, organization: Organization
) -> None:
    use(30)

    do(back_office, account, "settle")

    assert ledger(organization)[-1] == ("usage", -30, 0)
    assert AuditEntry.objects.get(action="credits.settled")


def test_stripe_that_cannot_be_reached_changes_nothing(
    back_office: Client, account: BillingAccount, settings: Any
) -> None:
    BillingAccount.objects.update(stripe_customer="cus_1")
    settings.STRIPE_API_BASE = "http://127.0.0.1:1"

    answer = do(back_office, account, "synchronize")

    assert answer.status_code == 400
    assert "cannot be reached" in text(answer)
    assert not AuditEntry.objects.filter(action="subscription.read_again").exists()


@pytest.mark.parametrize(
    ("query", "page"), [("", "billing_billingaccount"), ("?back=organization", "accounts_organization")]
)
def test_an_act_leads_back_to_where_it_was_begun(
    back_office: Client, account: BillingAccount, query: str, page: str
) -> None:
    url = act(account, "settle") + query
    form = re.search(r'name="form" value="([^"]+)"', back_office.get(url).content.decode())
    assert form

    answer = back_office.post(url, {"form": unescape(form[1]), "reason": "They asked."})

    assert answer["Location"] == reverse(f"admin:{page}_change", args=[account.pk])


# ── Overrides ────────────────────────────────────────────────────────────────────────────────────────────────
def agree(browser: Client, organization: Organization, **said: str) -> Any:
    form = {"organization": str(organization.pk), "reason": "As agreed on the phone"} | said
    return browser.post(reverse("admin:billing_entitlementoverride_add"), form)


def end(browser: Client, override: EntitlementOverride, **said: str) -> None:
    url = reverse("admin:billing_entitlementoverride_end", args=[override.pk])
    browser.post(url, {"_form_submitted": "True"} | said)


def test_what_was_agreed_leads_back_to_the_organization(
    back_office: Client, organization: Organization
) -> None:
    answer = agree(back_office, organization, requests_per_minute="77")

    assert answer["Location"] == reverse("admin:accounts_organization_change", args=[organization.pk])


def test_terms_are_agreed_and_ended(back_office: Client, organization: Organization, staff: User) -> None:
    answer = agree(back_office, organization, requests_per_minute="77")
    agreed = Entitlement.objects.get().requests_per_minute
    override = EntitlementOverride.objects.get()
    end(back_office, override, reason="The pilot is over")

    assert answer.status_code == 302
    assert (agreed, Entitlement.objects.get().requests_per_minute) == (77, 10)
    assert override.created_by == staff
    entries = AuditEntry.objects.filter(action__startswith="entitlement.").order_by("id")
    assert [(entry.action, entry.after["reason"]) for entry in entries] == [
        ("entitlement.agreed", "As agreed on the phone"),
        ("entitlement.agreement_ended", "The pilot is over"),
    ]


def test_what_is_agreed_is_not_ended_without_a_reason(
    back_office: Client, organization: Organization
) -> None:
    agree(back_office, organization, requests_per_minute="77")

    end(back_office, EntitlementOverride.objects.get())

    assert EntitlementOverride.objects.get().ended_at is None


def test_an_organization_is_suspended_with_the_reason_that_it_reads(
    back_office: Client, organization: Organization
) -> None:
    agree(back_office, organization, is_suspended="on", reason="Abuse")

    entitlement = Entitlement.objects.get()
    assert (entitlement.may_call, entitlement.reason) == (False, "Abuse")


def test_a_price_is_agreed_only_with_whom_stripe_does_not_bill(
    back_office: Client, organization: Organization
) -> None:
    refused = agree(back_office, organization, credit_price="0.008")
    plans.put_on(organization, plans.named(plans.ENTERPRISE), actor=None)

    agreed = agree(back_office, organization, credit_price="0.008")

    assert "Stripe bills" in text(refused)
    assert agreed.status_code == 302
    assert EntitlementOverride.objects.count() == 1


def test_an_edit_of_a_plan_that_the_queue_lost_counts_after_the_night(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "sync", lambda say: None)
    Plan.objects.filter(slug=plans.PAY_AS_YOU_GO).update(requests_per_minute=12)

    changed = [tasks.sweep_offer() for _ in range(2)]

    assert changed == [1, 0]
    assert Entitlement.objects.get().requests_per_minute == 12


def test_nothing_is_not_agreed(back_office: Client, organization: Organization) -> None:
    answer = agree(back_office, organization)

    assert "Agree something" in text(answer)
    assert not EntitlementOverride.objects.exists()


# ── What is on offer ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_plan_that_is_edited_counts_for_who_is_on_it(
    back_office: Client,
    organization: Organization,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    sent: list[bool] = []
    monkeypatch.setattr("billing.catalogue.sync", lambda **_: sent.append(True))
    monkeypatch.setattr(tasks.sync_offer, "delay", tasks.sync_offer)
    plan = plans.named(plans.PAY_AS_YOU_GO)
    url = reverse("admin:billing_plan_change", args=[plan.pk])
    form = back_office.get(url).context["adminform"].form
    said = {
        name: "" if value is None else value for name, value in form.initial.items() if value is not False
    }

    with django_capture_on_commit_callbacks(execute=True):
        answer = back_office.post(url, said | {"requests_per_minute": "25"})

    assert answer.status_code == 302
    assert sent == [True]
    assert Entitlement.objects.get().requests_per_minute == 25
    entry = AuditEntry.objects.get(action="offer.changed")
    assert (entry.before, entry.after) == ({"requests_per_minute": 10}, {"requests_per_minute": 25})
    assert Plan.objects.get(pk=plan.pk).slug == plans.PAY_AS_YOU_GO


def test_a_queue_that_is_down_does_not_keep_a_plan_from_being_saved(
    back_office: Client,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("The queue is down.")

    monkeypatch.setattr(tasks.sync_offer, "delay", refuse)
    url = reverse("admin:billing_plan_change", args=[plans.named(plans.PRO).pk])
    form = back_office.get(url).context["adminform"].form
    said = {
        name: "" if value is None else value for name, value in form.initial.items() if value is not False
    }

    with django_capture_on_commit_callbacks(execute=True):
        answer = back_office.post(url, said | {"requests_per_minute": "125"})

    assert answer.status_code == 302
    assert plans.named(plans.PRO).requests_per_minute == 125


# ── Stripe ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_refused_report_is_sent_again(back_office: Client, report: MeterReport) -> None:
    back_office.post(
        reverse("admin:billing_meterreport_send_again", args=[report.pk]),
        {"reason": "The customer was made anew", "_form_submitted": "True"},
    )

    report.refresh_from_db()
    assert report.state == "waiting"
    entry = AuditEntry.objects.get(action="meter_report.retried")
    assert entry.before == {"error": "No such customer"}
    assert entry.after == {"reason": "The customer was made anew"}


def test_drifts_are_downloaded(back_office: Client, rows: None, organization: Organization) -> None:
    answer = back_office.get(reverse("admin:billing_meterdrift_csv"))

    lines = b"".join(answer.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    assert answer["Content-Type"].startswith("text/csv")
    assert len(lines) == 2
    assert organization.uid in lines[1]


def test_the_way_to_the_simulator_is_in_the_sidebar(back_office: Client, settings: Any) -> None:
    settings.STRIPE_IS_SIMULATED = True

    assert f'href="{settings.STRIPE_API_BASE}/"' in back_office.get("/admin/").content.decode()


def test_what_support_does_twice_by_one_form_is_done_once(organization: Organization, staff: User) -> None:
    values: dict[str, Any] = {
        "organization": organization,
        "amount": Decimal(5),
        "reason": "Again",
        "key": "one",
        "actor": Actor(staff),
    }

    done = [by_hand.deduct_credits(**values) for _ in range(2)]

    assert done == [True, False]
    assert AuditEntry.objects.filter(action="credits.deducted").count() == 1
