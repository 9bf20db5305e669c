"""The page on which support sees all about an organization: each part's facts, who sees what, and what it costs."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from accounts import invitations, keys, notes, organizations, two_factor
from accounts.audit import Actor
from accounts.models import ApiKey, Invitation, Membership, Note, Organization, OwnershipOffer, User
from accounts.permissions import Role
from billing import access, plans
from billing.models import BillingAccount, CreditGrant, CreditNotice, Invoice, Subscription
from config import staff_groups
from config.backoffice.organization_sections import SECTIONS, Section
from tests.billing.pages.rows import invoice, top_up
from tests.config.rows import fill
from tests.conftest import colleague, sign_in_verified
from tests.usage.rows import daily_usage, job_row
from usage import alerts, spending
from usage.models import Entitlement, TriggeredAlert, UsageAlert, UsageExportFile
from webhooks import endpoints
from webhooks.models import Attempt, Delivery, Endpoint, Message, OutboxMessage, Replay, Status

# Two questions of usage go by prepared statements beside those that are counted.
MOST_QUERIES = 28


def address(organization: Organization) -> str:
    return reverse("admin:accounts_organization_change", args=[organization.pk])


def seen_by(client: Client, organization: Organization) -> str:
    """The page's words."""
    page = client.get(address(organization))
    assert page.status_code == 200
    return " ".join(strip_tags(page.content.decode()).split())


@pytest.fixture
def page(back_office: Client, organization: Organization) -> Callable[[], str]:
    return lambda: seen_by(back_office, organization)


@pytest.fixture
def of_group() -> Callable[[str], Client]:
    """The browser of somebody of the staff in one group."""

    def make(group: str) -> Client:
        client = Client()
        sign_in_verified(client, colleague(group.replace(" ", ""), group))
        return client

    return make


@pytest.fixture
def actor(owner: User) -> Actor:
    return Actor(owner)


# ── Who it is, and whether it may call ───────────────────────────────────────────────────────────────────────
def test_the_head_says_who_it_is(page: Callable[[], str], organization: Organization, owner: User) -> None:
    organization.time_zone = "Asia/Tokyo"
    organization.save()

    words = page()

    for told in ("Northwind", organization.uid, "Active", owner.email, "Asia/Tokyo", "Calls: allowed"):
        assert told in words


def test_a_suspension_says_why_since_when_and_what_helps(
    page: Callable[[], str], organization: Organization
) -> None:
    until = timezone.now() + timedelta(days=3)
    access.agree(organization=organization, reason="Abuse", actor=None, is_suspended=True, until=until)

    words = page()

    assert "Calls: refused SUSPENDED Abuse. Since" in words
    assert f"It ends {until.astimezone(UTC):%-d %b %Y, %H:%M} UTC" in words
    assert "What helps: End the suspension among its overrides." in words


def test_credits_that_are_gone_refuse_calls_since_it_was_told(
    page: Callable[[], str], organization: Organization
) -> None:
    Entitlement.objects.update(credits_ceiling=0, overage_allowed=False)
    account = BillingAccount.objects.get()
    told = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    CreditNotice.objects.create(
        organization=organization,
        level="depleted",
        grants=account.grants,
        remaining=Decimal(0),
        created_at=told,
    )

    assert "Calls: refused OUT_OF_CREDITS" in page()
    assert "Since 2 Jan 2026, 03:04 UTC" in page()


def test_a_cap_that_is_reached_refuses_calls_until_the_months_end(
    page: Callable[[], str], organization: Organization
) -> None:
    spending.set_cap(organization=organization, amount=Decimal(5), actor=None)
    Entitlement.objects.update(spend_cap_reached_until=timezone.now() + timedelta(days=1))

    words = page()

    assert "Calls: refused SPEND_CAP_REACHED" in words
    assert "cap of $5.00 Reached" in words
    assert "Change the cap" in words


def test_a_payment_that_is_due_says_until_when_calls_go_on(
    page: Callable[[], str], organization: Organization
) -> None:
    BillingAccount.objects.update(
        subscription_status=Subscription.PAST_DUE, past_due_since=timezone.now() - timedelta(days=1)
    )

    words = page()

    assert "Calls: allowed until" in words
    assert "Past due since" in words
    assert "Extend grace…" in words


def test_pinned_warnings_stand_at_the_top(
    page: Callable[[], str], organization: Organization, staff: User
) -> None:
    notes.add(
        about=organization,
        kind=Note.Kind.WARNING,
        text="Never call them.",
        actor=Actor(staff),
        is_pinned=True,
    )

    words = page()

    assert words.index("Never call them. Warning on Northwind") < words.index("Plan and credits")


def test_a_deleted_organization_says_until_when_it_can_be_restored(
    back_office: Client, organization: Organization, owner: User
) -> None:
    organizations.delete(organization=organization, actor=Actor(owner))

    answer = back_office.get(address(organization)).content.decode()

    assert "The organization was deleted." in answer
    assert "It can be restored until" in answer
    assert reverse("admin:accounts_organization_restore", args=[organization.pk]) in answer
    assert "Give credits" not in answer


def test_an_erased_organization_has_a_page_without_acts(
    back_office: Client, organization: Organization
) -> None:
    long_ago = timezone.now() - timedelta(days=90)
    Organization.objects.update(deleted_at=long_ago, erase_after=long_ago, erased_at=long_ago)

    answer = back_office.get(address(organization)).content.decode()

    assert "The organization was erased." in answer
    assert reverse("admin:accounts_organization_restore", args=[organization.pk]) not in answer


# ── Its parts ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_new_organization_teaches_what_will_stand_where(page: Callable[[], str]) -> None:
    words = page()

    for told in (
        "Nothing was used in the last 30 days",
        "No job was reported yet",
        "It has no keys yet",
        "It has no endpoint",
        "Nothing was invoiced yet",
        "No alert is on",
        "Nothing is under way",
        "Nobody has written anything down yet",
    ):
        assert told in words


def test_plan_and_credits_are_told_with_what_was_agreed(
    page: Callable[[], str], organization: Organization
) -> None:
    plans.put_on(organization, plans.named(plans.PRO), actor=None)
    access.agree(organization=organization, reason="Contract", actor=None, requests_per_minute=7777)
    top_up(organization, stopped_at=timezone.now(), stopped_reason="The card was declined.")

    words = page()

    for told in (
        "Pro monthly Invoiced",
        "Agreed 7,777 requests a minute until it is ended “Contract”",
        "included",
        "gifts",
        "below 100, at most $50.00 a month Stopped The card was declined.",
    ):
        assert told in words


def test_credits_are_told_by_what_they_are(page: Callable[[], str], organization: Organization) -> None:
    CreditGrant.objects.all().delete()
    BillingAccount.objects.update(balance=35)
    Entitlement.objects.update(credits_ceiling=35)
    for kind, amount in (("purchased", Decimal(20)), ("goodwill", Decimal(10)), ("free", Decimal(5))):
        CreditGrant.objects.create(
            organization=organization, kind=kind, key=kind, amount=amount, remaining=amount, priority=1
        )

    assert "35 credits left 20 bought 15 gifts" in page()


def test_usage_is_told_beside_the_same_weekdays(
    page: Callable[[], str], organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    key = organization_key[0]
    today = timezone.now().date()
    daily_usage(key, today, requests=10)
    daily_usage(key, today - timedelta(weeks=1), requests=30)
    daily_usage(key, today - timedelta(weeks=2), requests=50)

    words = page()

    assert re.search(r"Requests 10 \d+ 40 ", words)
    assert f"the mean of the last 2 {today:%A}s" in words
    assert "Parse 100%" in words


def test_jobs_and_failures_lead_to_their_pages(
    back_office: Client, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    key = organization_key[0]
    done = job_row(key, "job-done")
    failed = job_row(
        key, "job-failed", status="Failed", error={"code": "bad_file", "message": "It is empty."}
    )
    worded = job_row(key, "job-worded", status="Failed", error="The file is damaged.")

    answer = back_office.get(address(organization)).content.decode()

    for job in (done, failed, worded):
        assert reverse("admin:usage_job_change", args=[job.pk]) in answer
    for told in ("bad_file", "It is empty.", "The file is damaged."):
        assert told in answer


def test_keys_that_work_stand_before_those_that_do_not(
    page: Callable[[], str], organization: Organization, actor: Actor
) -> None:
    for name in ("revoked", "used", "fresh"):
        keys.create_organization_key(organization=organization, name=f"{name} key", actor=actor)
    ApiKey.objects.filter(name="revoked key").update(revoked_at=timezone.now(), last_used_at=timezone.now())
    ApiKey.objects.filter(name="used key").update(
        last_used_at=timezone.now(),
        monthly_credit_budget=5,
        budget_reached_until=timezone.now() + timedelta(days=1),
    )

    words = page()

    assert "2 working of 3" in words
    assert words.index("used key") < words.index("fresh key") < words.index("revoked key")
    assert "Budget reached" in words


def test_members_are_told_with_their_second_factor_and_address(
    page: Callable[[], str], organization: Organization, owner: User, member: User
) -> None:
    two_factor.enrol_totp(user=owner, actor=None)
    EmailAddress.objects.filter(user=member).update(verified=False)

    words = page()

    assert re.search(rf"{owner.email} Olivia Owner 2FA on", words)
    assert re.search(rf"{member.email} Mia Member 2FA off · not seen yet Address not verified", words)


def test_open_invitations_are_sent_again_by_who_may(
    organization: Organization, actor: Actor, of_group: Callable[[str], Client]
) -> None:
    invitation = invitations.invite(
        organization=organization, email="new@example.com", role=Role.VIEWER, actor=actor
    )
    resend = reverse("admin:accounts_invitation_resend", args=[invitation.pk])

    by_support = of_group(staff_groups.SUPPORT).get(address(organization)).content.decode()
    by_engineer = of_group(staff_groups.ENGINEER).get(address(organization)).content.decode()

    assert "new@example.com" in by_support
    assert resend in by_support
    assert "new@example.com" in by_engineer
    assert resend not in by_engineer


def test_an_offer_of_ownership_is_told(
    page: Callable[[], str], organization: Organization, owner: User, admin: User
) -> None:
    OwnershipOffer.objects.create(
        organization=organization,
        to=admin,
        offered_by=owner,
        expires_at=timezone.now() + timedelta(days=1),
    )

    assert f"Ownership is offered to {admin.email}" in page()


def test_an_organization_without_an_owner_is_told(
    page: Callable[[], str], organization: Organization
) -> None:
    Membership.objects.filter(role=Role.OWNER).delete()

    assert "Owner Nobody" in page()


def test_a_failing_endpoint_says_since_when_and_what_waits(
    page: Callable[[], str], organization: Organization, actor: Actor
) -> None:
    uid = endpoints.create(organization=organization, url="https://hook.example/a", actor=actor).endpoint.id
    endpoint = Endpoint.objects.get(uid=uid)
    since = datetime(timezone.now().year, 1, 2, 3, 4, tzinfo=UTC)
    Endpoint.objects.update(failing_since=since)
    message = Message.objects.create(organization=organization, event_type="job.completed", payload="{}")
    Delivery.objects.create(
        organization=organization, message=message, endpoint=endpoint, lane=endpoint.pk, status=Status.SENDING
    )
    for status, code, days in ((Status.SUCCESS, 204, -1), (Status.FAIL, 503, 0)):
        Attempt.objects.create(
            organization=organization,
            message=message,
            endpoint=endpoint,
            url=endpoint.url,
            status=status,
            status_code=code,
            response="",
            duration_ms=1,
            timestamp=since + timedelta(days=days),
        )

    words = page()

    assert "https://hook.example/a Failing Failing since 2 Jan, 03:04 UTC" in words
    assert re.search(r"last success 1 Jan, 03:04 UTC · last failure 2 Jan, 03:04 UTC \( ?503", words)
    assert "1 waiting or retried now" in words


def test_a_disabled_endpoint_says_why(
    page: Callable[[], str], organization: Organization, actor: Actor
) -> None:
    endpoints.create(organization=organization, url="https://hook.example/a", actor=actor)
    Endpoint.objects.update(disabled=True, disabled_at=timezone.now(), disabled_reason="It failed for days.")

    assert "It failed for days." in page()


def test_what_helps_an_endpoint_stands_beside_it_for_those_who_may(
    organization: Organization, actor: Actor, of_group: Callable[[str], Client]
) -> None:
    uid = endpoints.create(organization=organization, url="https://hook.example/a", actor=actor).endpoint.id
    endpoint = Endpoint.objects.get(uid=uid)
    enable, send_missed = (
        reverse(f"admin:webhooks_endpoint_{act}", args=[endpoint.pk]) for act in ("enable", "send_missed")
    )
    engineer, support = of_group(staff_groups.ENGINEER), of_group(staff_groups.SUPPORT)

    for state, link in (({"disabled": True}, enable), ({"disabled": False}, send_missed)):
        Endpoint.objects.update(failing_since=timezone.now(), **state)
        assert link in engineer.get(address(organization)).content.decode()
        assert link not in support.get(address(organization)).content.decode()


def test_what_waits_in_the_outbox_is_counted_and_its_first_named(
    page: Callable[[], str], organization: Organization
) -> None:
    for _ in range(2):
        OutboxMessage.objects.create(organization=organization, event_type="job.completed", payload="{}")
    OutboxMessage.objects.create(
        organization=organization, event_type="job.failed", payload="{}", refused_at=timezone.now()
    )

    words = page()

    assert "2 waiting, the first, job.completed, since" in words
    assert "1 refused" in words


def test_invoices_and_stripe_are_led_to(back_office: Client, organization: Organization) -> None:
    made = invoice(organization, status="open", amount_due=Decimal(10), next_attempt_at=timezone.now())
    BillingAccount.objects.update(stripe_customer="cus_123", card="Visa •••• 4242")

    answer = back_office.get(address(organization)).content.decode()

    for told in ("A-1", "Payment failed", "cus_123", "Visa •••• 4242", "Stands in for Stripe"):
        assert told in answer
    assert reverse("admin:billing_invoice_change", args=[made.pk]) in answer


def test_alerts_are_told_with_what_fired_this_month(
    page: Callable[[], str], organization: Organization, actor: Actor
) -> None:
    [alert] = alerts.create(
        organization=organization,
        metric="pages",
        period="monthly",
        thresholds=[Decimal(8000)],
        actor=actor,
    )
    TriggeredAlert.objects.create(
        alert=alert,
        organization=organization,
        metric="pages",
        period="monthly",
        period_start=timezone.now().date().replace(day=1),
        value=8100,
        threshold=8000,
    )

    words = page()

    assert "Alerts 1 on" in words
    assert "8,100 pages set to 8,000 pages a month" in words


def test_exports_and_replays_that_are_not_done_are_told(
    page: Callable[[], str], organization: Organization
) -> None:
    now = timezone.now()
    UsageExportFile.objects.create(
        organization=organization, kind="jobs", state="failed", problem="No space left."
    )
    UsageExportFile.objects.create(organization=organization, kind="records", state="done")
    Replay.objects.create(
        organization=organization, endpoint_id="ep_1", since=now, until=now, state="sending", total=9, sent=4
    )

    words = page()

    assert "Export of jobs" in words
    assert "No space left." in words
    assert "Export of records" not in words
    assert "4 of 9 sent" in words


def test_the_audit_trail_marks_what_staff_did(
    page: Callable[[], str], organization: Organization, staff: User
) -> None:
    access.agree(organization=organization, reason="Contract", actor=Actor(staff), requests_per_minute=5)

    assert re.search(rf"Staff {staff.email} agreed beside the plan of Northwind “Contract”", page())


# ── For one of its members ───────────────────────────────────────────────────────────────────────────────────
def test_the_member_whom_a_mail_is_from_is_shown_with_what_helps(
    organization: Organization, member: User, actor: Actor, of_group: Callable[[str], Client]
) -> None:
    two_factor.enrol_totp(user=member, actor=None)
    notes.add(about=member, kind=Note.Kind.WARNING, text="Never by phone", actor=actor, is_pinned=True)
    url = f"{address(organization)}?person={member.uid}"

    by_administrator = of_group(staff_groups.ADMINISTRATOR).get(url).content.decode()
    by_support = of_group(staff_groups.SUPPORT).get(url).content.decode()

    assert 'aria-label="mia@example.com"' in by_support
    assert "Never by phone" in by_support
    for act, may_support in {"reset_two_factor": False, "delete_account": False, "sign_out": True}.items():
        link = reverse(f"admin:accounts_user_{act}", args=[member.pk])
        assert link in by_administrator
        assert (link in by_support) == may_support
    assert f"/look/?member={member.uid}" in by_support


@pytest.mark.parametrize("state", [{"is_staff": True}, {"is_superuser": True}, {"is_active": False}])
def test_looking_is_not_offered_as_those_whom_nobody_may_look_as(
    organization: Organization, member: User, back_office: Client, state: dict[str, bool]
) -> None:
    User.objects.filter(pk=member.pk).update(**state)

    page = back_office.get(address(organization), {"person": member.uid}).content.decode()

    assert 'aria-label="mia@example.com"' in page
    assert "/look/?member=" not in page


@pytest.mark.parametrize("uid", ["usr_nobody", "\0", "x" * 500])
def test_a_person_who_is_no_member_is_not_shown(
    back_office: Client, organization: Organization, outsider: User, uid: str
) -> None:
    for asked in (uid, outsider.uid):
        answer = back_office.get(address(organization), {"person": asked})
        assert answer.status_code == 200
        assert 'class="member"' not in answer.content.decode()


def test_a_new_owner_comes_first_where_the_owner_cannot_act(
    back_office: Client, organization: Organization, owner: User
) -> None:
    def first_button() -> str:
        page = back_office.get(address(organization)).content.decode()
        return page.split('aria-label="What can be done"')[1].split("</a>")[0]

    assert "New owner…" not in first_button()
    User.objects.filter(pk=owner.pk).update(is_active=False)
    assert "New owner…" in first_button()


def test_todays_usage_is_told_by_key(
    page: Callable[[], str], organization: Organization, actor: Actor, organization_key: tuple[ApiKey, str]
) -> None:
    nightly, _ = keys.create_organization_key(organization=organization, name="nightly", actor=actor)
    today = timezone.now().date()
    daily_usage(organization_key[0], today, credits=1)
    daily_usage(nightly, today, credits=3)
    daily_usage(organization_key[0], today - timedelta(days=1), credits=900)

    assert "Today by key: nightly 75% · production 25%" in page()


# ── Who sees what ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("group", "shown", "hidden"),
    [
        (
            staff_groups.SUPPORT,
            ["Look as a member", "Write a note", "Settings"],
            ["Give credits…", "Agree or suspend…", "Set a cap"],
        ),
        (staff_groups.BILLING_DESK, ["Give credits…", "Put on a plan…", "Set a cap"], ["New owner…"]),
        (staff_groups.ADMINISTRATOR, ["Give credits…", "New owner…", "Settings"], ["Extend grace…"]),
    ],
)
def test_each_group_has_the_buttons_that_it_may_use(
    organization: Organization,
    of_group: Callable[[str], Client],
    group: str,
    shown: list[str],
    hidden: list[str],
) -> None:
    words = seen_by(of_group(group), organization)

    assert [label for label in shown if label not in words] == []
    assert [label for label in hidden if label in words] == []


def test_nobody_looks_as_a_member_where_the_organization_will_not_have_it(
    page: Callable[[], str], organization: Organization
) -> None:
    Organization.objects.update(support_may_look=False)

    words = page()

    assert "Look as a member" not in words
    assert "This organization does not let support look." in words


def test_every_group_sees_every_part(organization: Organization, of_group: Callable[[str], Client]) -> None:
    answer = of_group(staff_groups.SUPPORT).get(address(organization)).content.decode()

    assert [each.name for each in SECTIONS if f'id="{each.name}"' not in answer] == []


def test_parts_that_somebody_may_not_see_are_left_out(organization: Organization) -> None:
    auditor = colleague("Ada")
    auditor.user_permissions.set(
        Permission.objects.filter(codename__in=("view_organization", "view_auditentry"))
    )
    client = Client()
    sign_in_verified(client, auditor)

    answer = client.get(address(organization)).content.decode()

    assert [each.name for each in SECTIONS if f'id="{each.name}"' in answer] == ["audit"]
    assert "olivia@example.com</a>" not in answer


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_no_link_of_a_part_is_closed_to_whoever_sees_it(
    organization: Organization, organization_key: tuple[ApiKey, str], section: Section
) -> None:
    job_row(organization_key[0], "job-1", status="Failed")
    for model in (Endpoint, Invitation, Invoice, Note, OutboxMessage, Replay, UsageAlert, TriggeredAlert):
        fill(model, 1)
        model._default_manager.update(organization=organization)
    reader = colleague("Rita")
    seen = {"view_organization", *(each.partition(".")[2] for each in section.permissions)}
    reader.user_permissions.set(Permission.objects.filter(codename__in=seen))
    client = Client()
    sign_in_verified(client, reader)

    answer = client.get(address(organization)).content.decode()
    links = set(re.findall(r'href="(/admin/[^"]*)"', answer[answer.index('class="desk"') :]))

    assert f'id="{section.name}"' in answer
    assert len(links) > 1
    assert [link for link in links if client.get(link.replace("&amp;", "&")).status_code >= 400] == []


def test_who_may_not_see_organizations_is_refused(organization: Organization) -> None:
    client = Client()
    sign_in_verified(client, colleague("Nobody"))

    assert client.get(address(organization)).status_code == 403


@pytest.mark.parametrize("id", ["999999", "9" * 40, "word"])
def test_an_unknown_id_leads_to_the_overview_with_a_message(back_office: Client, id: str) -> None:
    answer = back_office.get(f"/admin/accounts/organization/{id}/change/", follow=True)

    assert answer.redirect_chain == [("/admin/", 302)]
    assert "exist" in answer.content.decode()


def test_nothing_is_changed_by_its_address(back_office: Client, organization: Organization) -> None:
    assert back_office.post(address(organization), {"name": "Other"}).status_code == 405


def test_no_secret_is_on_the_page(
    back_office: Client,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    owner: User,
    actor: Actor,
) -> None:
    made = endpoints.create(organization=organization, url="https://hook.example/a", actor=actor)
    endpoint = Endpoint.objects.get(uid=made.endpoint.id)
    enrolment = two_factor.enrol_totp(user=owner, actor=None)
    key, secret = organization_key

    answer = back_office.get(address(organization)).content.decode()

    assert key.masked in answer
    for hidden in (
        secret,
        key.secret_hash,
        endpoint.secret,
        endpoint.stored_secret,
        enrolment.secret,
        enrolment.device.key,
        owner.password,
    ):
        assert hidden not in answer


def test_another_organizations_rows_are_not_on_it(
    page: Callable[[], str], other_organization: Organization, outsider: User
) -> None:
    key, _ = keys.create_organization_key(
        organization=other_organization, name="theirs", actor=Actor(outsider)
    )
    job_row(key, "job-of-theirs")

    words = page()

    for foreign in ("Contoso", "theirs", outsider.email):
        assert foreign not in words


# ── What it costs ────────────────────────────────────────────────────────────────────────────────────────────
def _fill(organization: Organization, key: ApiKey, actor: Actor, *, rows: int, first: int) -> None:
    """Some more of everything that the page lists."""
    now = timezone.now()
    today = now.date()
    endpoint = Endpoint.objects.get(
        uid=endpoints.create(
            organization=organization, url=f"https://hook.example/{first}", actor=actor
        ).endpoint.id
    )
    for number in range(first, first + rows):
        made, _ = keys.create_organization_key(organization=organization, name=f"key {number}", actor=actor)
        person = User.objects.create_user(f"person{number}@example.com")
        Membership.objects.create(organization=organization, user=person, role=Role.MEMBER)
        job_row(made, f"job-{number}", created_at=now)
        job_row(made, f"failed-{number}", status="Failed", error="Broken.", created_at=now)
        daily_usage(made, today - timedelta(days=(number - first) % 30))
        invoice(organization, number)
        notes.add(about=organization, kind=Note.Kind.REMARK, text="Note", actor=actor, is_pinned=True)
        [alert] = alerts.create(
            organization=organization,
            metric="pages",
            period="monthly",
            thresholds=[Decimal(number)],
            api_key=made,
            actor=actor,
        )
        TriggeredAlert.objects.create(
            alert=alert,
            organization=organization,
            metric="pages",
            period="monthly",
            period_start=today.replace(day=1),
            value=9,
            threshold=number,
        )
        UsageExportFile.objects.create(organization=organization, kind="jobs", state="failed")
        Replay.objects.create(
            organization=organization,
            endpoint_id=endpoint.uid,
            since=now,
            until=now,
            state="failed",
        )
        message = Message.objects.create(organization=organization, event_type="job.completed", payload="{}")
        Delivery.objects.create(
            organization=organization, message=message, endpoint=endpoint, lane=endpoint.pk
        )
        OutboxMessage.objects.create(organization=organization, event_type="job.completed", payload="{}")
        access.agree(organization=organization, reason="R", actor=None, requests_per_minute=number)


def test_it_asks_no_more_questions_the_more_there_is(
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    actor: Actor,
    of_group: Callable[[str], Client],
) -> None:
    client = of_group(staff_groups.BILLING_DESK)
    key = organization_key[0]
    counts = []
    for rows, first in ((1, 1), (30, 2)):
        _fill(organization, key, actor, rows=rows, first=first)
        client.get(address(organization))  # the first visit of a session is noted
        with CaptureQueriesContext(connection) as asked:
            answer = client.get(address(organization))
        assert answer.status_code == 200
        counts.append(len(asked))

    assert counts[0] == counts[1]
    assert counts[1] <= MOST_QUERIES


def test_agreements_are_not_all_listed(page: Callable[[], str], organization: Organization) -> None:
    for number in range(1, 9):
        access.agree(organization=organization, reason=f"Reason {number}", actor=None, retention_days=number)

    words = page()

    assert "“Reason 8”" in words
    assert "“Reason 3”" not in words.split("Usage today")[0]


def test_a_thousand_and_more_are_not_counted_to_the_end(
    page: Callable[[], str], organization: Organization
) -> None:
    OutboxMessage.objects.bulk_create(
        OutboxMessage(organization=organization, event_type="job.completed", payload="{}")
        for _ in range(1_002)
    )

    assert "1,000+ waiting" in page()


def test_every_row_leads_to_a_list_narrowed_to_the_organization(
    back_office: Client, organization: Organization, organization_key: tuple[ApiKey, str], actor: Actor
) -> None:
    invitations.invite(organization=organization, email="new@example.com", role=Role.VIEWER, actor=actor)
    answer = back_office.get(address(organization)).content.decode()
    links = set(re.findall(r'href="(/admin/[^"]+)"', answer)) - {"/admin/"}

    broken: dict[str, Any] = {}
    for link in links:
        found = back_office.get(link.replace("&amp;", "&"))
        if found.status_code != 200 or "?e=1" in found.get("Location", ""):
            broken[link] = (found.status_code, found.get("Location"))

    assert broken == {}
