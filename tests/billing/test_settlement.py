from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.audit import Actor
from accounts.models import Organization, User
from billing import credits, settlement
from billing.models import BillingAccount, CreditEntry, CreditGrant
from tests.billing.conftest import Use, agrees, ledger, settle
from usage import corrections
from usage.models import Entitlement, UsageRecord

pytestmark = pytest.mark.django_db


def remaining(organization: Organization) -> Decimal | None:
    return Entitlement.objects.get(organization=organization).credits_remaining


def test_new_organization_has_its_free_credits(organization: Organization) -> None:
    assert ledger(organization) == [("grant", 100, 0)]
    assert remaining(organization) == 100
    agrees(organization)


def test_settling_takes_usage_out_of_the_balance_and_leaves_what_remains(
    organization: Organization, use: Use
) -> None:
    use(30)
    before = remaining(organization)

    settle(organization)

    assert ledger(organization) == [("grant", 100, 0), ("usage", -30, 0)]
    assert before == remaining(organization) == 70


def test_settling_again_changes_nothing(organization: Organization, use: Use) -> None:
    use(30)
    settle(organization)

    settle(organization)

    assert len(ledger(organization)) == 2


def test_late_usage_is_settled_by_its_difference(organization: Organization, use: Use) -> None:
    use(30, days_ago=3)
    settle(organization)
    use(5, days_ago=3)

    settle(organization)

    assert ledger(organization)[1:] == [("usage", -30, 0), ("usage", -5, 0)]


def test_credits_burn_by_priority_then_expiry_then_age(organization: Organization, use: Use) -> None:
    now = timezone.now()
    for kind, days in (("purchased", None), ("promotional", 30), ("included", 20), ("promotional", 10)):
        credits.grant(
            organization,
            kind=CreditGrant.Kind(kind),
            amount=Decimal(10),
            key=f"{kind}:{days}",
            reason="Test",
            expires_at=now + timedelta(days=days) if days else None,
        )
    use(135)

    settle(organization)

    used = CreditEntry.objects.filter(organization=organization, kind="usage").order_by("id")
    assert [(entry.grant.key, entry.amount) for entry in used if entry.grant] == [
        ("included:20", -10),
        ("promotional:10", -10),
        ("promotional:30", -10),
        ("sign_up", -100),
        ("purchased:None", -5),
    ]


def test_what_no_credits_cover_is_paid_by_those_that_come_next(organization: Organization, use: Use) -> None:
    use(130)
    settle(organization)
    assert remaining(organization) == 0

    credits.grant(
        organization, kind=CreditGrant.Kind.PURCHASED, amount=Decimal(50), key="pack", reason="A pack"
    )

    assert ledger(organization)[1:] == [("usage", -100, 0), ("grant", 50, 0), ("usage", -30, 0)]
    assert remaining(organization) == 20
    agrees(organization)


def test_what_credits_do_not_cover_is_billed_where_the_plan_bills_it(
    pro: BillingAccount, organization: Organization, use: Use
) -> None:
    use(100_250)

    settle(organization)

    assert ledger(organization)[-3:] == [
        ("usage", -100_000, 0),
        ("usage", -100, 0),
        ("overage", 0, 150),
    ]
    assert remaining(organization) == 0


def test_a_grant_is_given_once(organization: Organization) -> None:
    for _ in range(2):
        credits.grant(
            organization, kind=CreditGrant.Kind.GOODWILL, amount=Decimal(5), key="ticket-1", reason="Sorry"
        )

    assert ledger(organization) == [("grant", 100, 0), ("grant", 5, 0)]


def test_usage_before_a_grant_never_burns_it(organization: Organization, use: Use) -> None:
    use(30)

    credits.grant(
        organization,
        kind=CreditGrant.Kind.INCLUDED,
        amount=Decimal(10),
        key="included",
        reason="Included",
    )

    assert ledger(organization)[1:] == [("usage", -30, 0), ("grant", 10, 0)]
    agrees(organization)


def test_expired_credits_are_written_off_after_what_was_used_of_them(
    organization: Organization, use: Use
) -> None:
    now = timezone.now()
    credits.grant(
        organization,
        kind=CreditGrant.Kind.INCLUDED,
        amount=Decimal(10),
        key="included",
        reason="Included",
        expires_at=now + timedelta(days=1),
    )
    use(4)

    credits.expire_due(now=now + timedelta(days=2))

    assert ledger(organization)[2:] == [("usage", -4, 0), ("expiry", -6, 0)]
    assert remaining(organization) == 100
    agrees(organization)


def test_a_failed_job_gives_its_credits_back_with_a_row_that_says_why(
    organization: Organization, use: Use, post_jobs: Any
) -> None:
    name = use(30, status="InProgress")
    settle(organization)
    record = UsageRecord.objects.get(job_id=name)
    post_jobs(
        {
            "job_id": name,
            "api_key_id": organization.api_keys.get().uid,
            "type": "Parse",
            "status": "Failed",
            "created_at": record.timestamp.isoformat(),
        }
    )

    settle(organization)

    given = CreditEntry.objects.get(kind="return")
    assert (given.amount, given.job_id, given.reason) == (30, name, "The job failed.")
    assert remaining(organization) == 100


def test_overage_that_is_voided_is_no_longer_billed(
    pro: BillingAccount, organization: Organization, use: Use, staff: User
) -> None:
    use(100_100)
    name = use(50)
    settle(organization)

    corrections.correct(
        record=UsageRecord.objects.get(job_id=name), reason="Counted twice.", actor=Actor(staff)
    )
    settle(organization)

    assert ledger(organization)[-3:] == [("overage", 0, 50), ("overage", 0, -50), ("return", 0, 0)]


def test_a_deduction_beyond_the_balance_is_refused(organization: Organization) -> None:
    with pytest.raises(credits.NotEnough):
        credits.deduct(organization, amount=Decimal(101), key="d", reason="Too much")

    assert ledger(organization) == [("grant", 100, 0)]


def test_one_pass_settles_many_organizations(
    organization: Organization, other_organization: Organization, use: Use
) -> None:
    use(1)

    assert settlement.settle_changed() == 1
    assert settlement.settle_changed() == 0


# ── Following what changes ───────────────────────────────────────────────────────────────────────────────────
def test_what_a_stopped_worker_missed_is_settled_by_the_next_pass(
    organization: Organization, use: Use
) -> None:
    now = timezone.now()
    settlement.follow(now=now)
    use(5)

    settled = settlement.follow(now=now + timedelta(hours=3))

    assert settled == 1
    assert settlement.behind_since() is None


def test_one_that_cannot_be_settled_keeps_the_mark_and_no_other(
    organization: Organization, use: Use, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = timezone.now()
    settlement.follow(now=now)
    use(5)

    def fail(*_: object, **__: object) -> int:
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr(settlement, "settle", fail)
        settlement.follow(now=now + timedelta(minutes=5))

    assert settlement.behind_since() == now
    assert "could not be settled" in caplog.text
    assert settlement.follow(now=now + timedelta(hours=2)) == 1
