"""Who is told what about billing, and that it is told once."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Notification, Organization, User
from billing import credits, notices, plans
from billing.models import BillingAccount, CreditGrant, CreditNotice, Invoice
from tests.billing.conftest import Use
from webhooks import endpoints
from webhooks.events import EVENT_TYPES
from webhooks.models import OutboxMessage

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(organization: Organization, owner: User) -> None:
    endpoints.create(organization=organization, url="https://example.com/hook", actor=Actor(owner))


def told(user: User) -> list[str]:
    return list(
        Notification.objects.filter(user=user, kind="billing").order_by("id").values_list("title", flat=True)
    )


def messages(event_type: str) -> list[dict[str, Any]]:
    found = [
        json.loads(each.payload)
        for each in OutboxMessage.objects.filter(event_type=event_type).order_by("id")
    ]
    for each in found:
        jsonschema.validate(each["data"], EVENT_TYPES[event_type].schema)
    return [each["data"] for each in found]


def lately() -> datetime:
    return timezone.now() - timedelta(minutes=2)


# ── Credits ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_nobody_is_told_while_more_than_a_fifth_is_left(organization: Organization, use: Use) -> None:
    use(79)

    assert notices.tell_of_credits(since=lately()) == 0


def test_few_credits_are_told_once_to_who_may_see_billing(
    organization: Organization, owner: User, admin: User, member: User, use: Use, endpoint: None
) -> None:
    use(80)

    assert [notices.tell_of_credits(since=lately()) for _ in range(2)] == [1, 0]

    assert told(owner) == told(admin) == ["Northwind has 20 credits left"]
    assert told(member) == []
    assert messages("credits.low") == [
        {"organization_id": organization.uid, "remaining": 20, "granted": 100, "overage_allowed": False}
    ]


def test_used_up_credits_are_told_and_that_they_are_few_no_longer(
    organization: Organization, owner: User, use: Use, endpoint: None
) -> None:
    use(130)

    assert [notices.tell_of_credits() for _ in range(2)] == [1, 0]

    assert told(owner) == ["Northwind has used up its credits"]
    assert [each["remaining"] for each in messages("credits.depleted")] == [0]


def test_the_next_grant_has_it_told_again(organization: Organization, owner: User, use: Use) -> None:
    use(100)
    notices.tell_of_credits()
    credits.grant(
        organization, kind=CreditGrant.Kind.PURCHASED, amount=Decimal(50), key="pack", reason="A pack"
    )

    before = notices.tell_of_credits()
    use(45)
    after = notices.tell_of_credits()

    assert (before, after) == (0, 1)
    assert told(owner)[-1] == "Northwind has 5 credits left"
    assert CreditNotice.objects.count() == 2


def test_whose_calls_go_on_is_told_that_they_are_billed(
    pro: BillingAccount, organization: Organization, owner: User, use: Use
) -> None:
    use(100_200)

    notices.tell_of_credits()

    body = Notification.objects.get(user=owner, title="Northwind has used up its credits").body
    assert body == "Calls go on, and are billed as overage."


def test_where_nothing_limits_calls_nobody_is_told(organization: Organization, use: Use) -> None:
    plans.put_on(organization, plans.named(plans.ENTERPRISE), actor=None)
    use(500)

    assert notices.tell_of_credits() == 0


# ── Invoices ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def invoice(organization: Organization) -> Invoice:
    return Invoice.objects.create(
        organization=organization,
        stripe_id="in_1",
        number="CH-1",
        status="open",
        total=Decimal(799),
        amount_due=Decimal(799),
        amount_paid=Decimal(0),
        created_at=timezone.now(),
    )


def test_an_invoice_that_is_paid_is_told_to_endpoints_once(invoice: Invoice, endpoint: None) -> None:
    invoice.status, invoice.paid_at = "paid", timezone.now()

    for was in ("open", "open", "paid"):
        notices.invoice_changed(invoice, was=was)

    assert [each["number"] for each in messages("invoice.paid")] == ["CH-1"]


def test_an_invoice_that_was_paid_long_ago_is_no_news(invoice: Invoice, endpoint: None) -> None:
    invoice.status, invoice.paid_at = "paid", timezone.now() - timedelta(days=30)

    notices.invoice_changed(invoice, was="")

    assert messages("invoice.paid") == []


def test_an_open_invoice_that_was_not_tried_yet_is_not_told(invoice: Invoice, owner: User) -> None:
    notices.invoice_changed(invoice, was="draft")

    assert told(owner) == []


def test_each_failed_try_is_told_to_endpoints_and_the_first_to_people(
    invoice: Invoice, owner: User, endpoint: None
) -> None:
    for attempts in (1, 1, 2):
        invoice.attempts = attempts
        notices.invoice_changed(invoice, was="open")

    assert [each["attempts"] for each in messages("invoice.payment_failed")] == [1, 2]
    assert told(owner) == ["Northwind: the payment of invoice CH-1 has failed"]


# ── The subscription ─────────────────────────────────────────────────────────────────────────────────────────
def changed(organization: Organization, action: audit.Action, before: Any, after: Any) -> None:
    audit.record(
        action, actor=None, organization=organization, target=organization, before=before, after=after
    )


def test_a_plan_that_staff_change_is_told(organization: Organization, owner: User, endpoint: None) -> None:
    plans.put_on(organization, plans.named(plans.PRO), actor=None)

    assert told(owner) == ["Northwind is on Pro now"]
    assert [(each["plan"], each["status"]) for each in messages("subscription.updated")] == [
        ("pro", "invoiced")
    ]


def test_a_change_that_stripe_tells_of_is_told_once(
    organization: Organization, owner: User, endpoint: None
) -> None:
    changed(organization, audit.Action.PLAN_CHANGED, {"plan": "pay_as_you_go"}, {"plan": "pro"})
    changed(organization, audit.Action.SUBSCRIPTION_UPDATED, {"status": ""}, {"status": "active"})

    assert told(owner) == ["Northwind is on Pro now"]
    assert len(messages("subscription.updated")) == 1


@pytest.mark.parametrize(
    ("before", "after", "title"),
    [
        ({"status": "past_due"}, {"status": "active"}, "Northwind: the payment was made"),
        (
            {"status": "past_due"},
            {"status": "unpaid"},
            "Northwind: calls are refused, as a payment has failed",
        ),
        ({"cancelled": False}, {"cancelled": True}, "Northwind: the subscription was cancelled"),
    ],
)
def test_what_becomes_of_a_subscription_is_told(
    organization: Organization, owner: User, before: Any, after: Any, title: str
) -> None:
    changed(organization, audit.Action.SUBSCRIPTION_UPDATED, before, after)

    assert told(owner) == [title]


def test_the_end_of_a_plan_is_told_with_what_follows(organization: Organization, owner: User) -> None:
    ends = datetime(2027, 3, 1, tzinfo=UTC)
    account = BillingAccount.objects.filter(organization=organization)
    account.update(plan=plans.named(plans.PRO), ends_at=ends, next_plan=plans.named(plans.PAY_AS_YOU_GO))

    changed(organization, audit.Action.SUBSCRIPTION_UPDATED, {"ends_at": None}, {"ends_at": ends})

    assert told(owner) == ["Northwind: Pro ends on 1 March 2027"]
    assert Notification.objects.get(user=owner, kind="billing").body.startswith("Pay-as-you-go follows.")


def test_grace_that_ends_is_told_three_days_and_a_day_before(organization: Organization, owner: User) -> None:
    since = timezone.now()
    BillingAccount.objects.filter(organization=organization).update(
        subscription_status="past_due", past_due_since=since
    )

    for days in (1, 4.5, 4.6, 6.5, 8):
        notices.warn_of_grace(now=since + timedelta(days=days))

    assert told(owner) == [
        "Northwind: calls end in 3 days unless the payment is made",
        "Northwind: calls end within a day unless the payment is made",
    ]


def test_a_card_that_expires_is_told_a_month_and_a_week_before(
    organization: Organization, owner: User
) -> None:
    ends = datetime(2027, 3, 1, tzinfo=UTC)
    BillingAccount.objects.filter(organization=organization).update(card="Visa •••• 4242", card_ends_at=ends)

    for days in (40, 29, 28, 6, -1):
        notices.warn_of_cards(now=ends - timedelta(days=days))

    assert told(owner) == ["Northwind: the card Visa •••• 4242 expires soon"] * 2
    assert "until the end of February 2027" in Notification.objects.filter(user=owner, kind="billing")[0].body
