from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db.models import Sum
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import audit, organizations
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Notification, Organization, User
from tests.usage.conftest import item
from usage import corrections, entitlements, margins, reports, spending
from usage.corrections import AlreadyCorrected, Amendment, TakesBack
from usage.models import (
    BillingExportRow,
    CreditRate,
    DailyUsage,
    Entitlement,
    IdempotencyKey,
    Job,
    UsageDay,
    UsageMargin,
    UsageRecord,
)
from usage.reports import Dimension

Post = Callable[..., dict[str, Any]]
Make = Callable[..., dict[str, Any]]
MEASURES = ("requests", "pages", "credits", "cost")


@pytest.fixture(autouse=True)
def priced(organization: Organization) -> None:
    entitlements.write(
        organization,
        plan="pro",
        requests_per_minute=100,
        credit_price=Decimal("0.015"),
        credits_ceiling=Decimal(1000),
        overage_allowed=False,
        retention_days=90,
    )


@pytest.fixture
def void(staff: User) -> Callable[..., list[Any]]:
    """Take back the record with this key, as staff."""

    def take_back(key: str, reason: str = "Counted twice.") -> list[Any]:
        record = UsageRecord.objects.get(idempotency_key=key)
        return corrections.correct(record=record, reason=reason, actor=Actor(staff))

    return take_back


@pytest.fixture
def amend(staff: User) -> Callable[..., list[Any]]:
    """Put another record in the stead of the one with this key; name what differs."""

    def put(key: str, **fields: Any) -> list[Any]:
        record = UsageRecord.objects.get(idempotency_key=key)
        told = {name: getattr(record, name) for name in ("product", "feature", "pages", "quantity")}
        amendment = Amendment(**(told | fields))
        return corrections.correct(
            record=record, reason="Two pages are blank.", actor=Actor(staff), amendment=amendment
        )

    return put


def totals(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.objects.aggregate(**{name: Sum(name) for name in MEASURES})
    return found


def check_that_all_agree(organization: Organization) -> dict[str, Any]:
    """Every total says what a plain sum over the records says; returns that."""
    margins.fold(now=timezone.now() + timedelta(minutes=5))
    summed = totals(UsageRecord)
    day = reports.today(organization)
    folded = reports.by_day(organization, start=day, end=day, dimensions=[Dimension.PRODUCT])
    assert totals(DailyUsage) == totals(UsageDay) == summed
    of_products = UsageMargin.objects.filter(dimension="product")
    assert of_products.aggregate(**{name: Sum(name) for name in MEASURES}) == summed
    assert sum(total.credits for *_, total in folded[Dimension.PRODUCT]) == summed["credits"]
    begin = reports.midnight(day, organization)
    hours = reports.by_hour(organization, start=day, end=day, begin=begin, dimensions=[Dimension.PRODUCT])
    assert sum(total.credits for *_, total in hours[Dimension.PRODUCT]) == summed["credits"]
    assert Job.objects.aggregate(sum=Sum("credits"))["sum"] == summed["credits"]
    assert Entitlement.objects.get(organization=organization).credits_used == summed["credits"]
    return summed


def test_a_voided_record_counts_for_nothing_anywhere(
    post_jobs: Post, job: Make, void: Callable[..., Any], organization: Organization
) -> None:
    post_jobs(job(usage=[item("a"), item("b", feature="complex")]))
    margins.fold(now=timezone.now() + timedelta(minutes=5))

    void("a")

    assert check_that_all_agree(organization) == {
        "requests": 0,
        "pages": 3,
        "credits": 6,
        "cost": Decimal("0.09"),
    }


def test_the_original_stays_and_a_negative_record_follows(
    post_jobs: Post, job: Make, void: Callable[..., Any]
) -> None:
    post_jobs(job(usage=[item("a", quantity=7)]))
    before = UsageRecord.objects.values().get()

    void("a", "Counted twice.")

    assert UsageRecord.objects.values().get(corrects="") == before
    original, correction = UsageRecord.objects.order_by("id")
    for name in (*MEASURES, "quantity"):
        assert getattr(correction, name) == -getattr(original, name)
    for name in ("timestamp", "day", "job_id", "api_key_id", "product", "feature", "file_type", "rate_id"):
        assert getattr(correction, name) == getattr(original, name)
    assert (correction.corrects, correction.reason) == ("a", "Counted twice.")


def test_an_amended_record_has_another_in_its_stead(
    post_jobs: Post, job: Make, amend: Callable[..., Any], organization: Organization
) -> None:
    post_jobs(job(usage=[item("a", pages=12)]))

    amend("a", feature="complex", pages=10)

    amended = UsageRecord.objects.latest("id")
    assert IdempotencyKey.objects.count() == UsageRecord.objects.count()
    assert (amended.feature, amended.pages, amended.credits, amended.cost) == (
        "complex",
        10,
        20,
        Decimal("0.3"),
    )
    assert (amended.corrects, amended.reason) == ("a", "Two pages are blank.")
    assert check_that_all_agree(organization) == {
        "requests": 1,
        "pages": 10,
        "credits": 20,
        "cost": Decimal("0.3"),
    }


def test_an_amendment_costs_what_it_would_have_cost_then(
    post_jobs: Post, job: Make, amend: Callable[..., Any], organization: Organization
) -> None:
    then = datetime.fromisoformat(job()["created_at"]) - timedelta(days=3)
    post_jobs(job(usage=[item("a", pages=12, timestamp=then.isoformat())]))
    CreditRate.objects.create(
        product="parse", feature="standard", credits_per_unit=9, effective_from=then + timedelta(days=1)
    )
    Entitlement.objects.filter(organization=organization).update(credit_price=Decimal("0.5"))

    amend("a", pages=10)

    amended = UsageRecord.objects.latest("id")
    assert (amended.credits, amended.cost) == (10, Decimal("0.15"))


def test_the_batch_discount_still_applies(post_jobs: Post, job: Make, amend: Callable[..., Any]) -> None:
    post_jobs(job(usage=[item("a", priority="batch")]))

    amend("a", pages=10)

    assert UsageRecord.objects.latest("id").credits == 8


@pytest.mark.parametrize("quantity", [None, Decimal(0)])
def test_an_amendment_to_nothing_only_takes_back(
    post_jobs: Post, job: Make, amend: Callable[..., Any], quantity: Decimal | None
) -> None:
    post_jobs(job(usage=[item("a")]))

    amend("a", pages=0, quantity=quantity)

    assert UsageRecord.objects.count() == 2
    assert AuditEntry.objects.filter(action=audit.Action.USAGE_RECORD_VOIDED).exists()


def test_an_amendment_can_itself_be_amended_and_voided(
    post_jobs: Post,
    job: Make,
    amend: Callable[..., Any],
    void: Callable[..., Any],
    organization: Organization,
) -> None:
    post_jobs(job(usage=[item("a")]))

    first = amend("a", pages=10)[-1]
    second = amend(first.idempotency_key, pages=5)[-1]
    assert check_that_all_agree(organization)["pages"] == 5
    void(second.idempotency_key)

    assert check_that_all_agree(organization) == {"requests": 0, "pages": 0, "credits": 0, "cost": 0}


def test_a_record_is_corrected_once(
    post_jobs: Post,
    job: Make,
    void: Callable[..., Any],
    amend: Callable[..., Any],
    organization: Organization,
) -> None:
    post_jobs(job(usage=[item("a")]))
    void("a")
    before = list(UsageRecord.objects.values())

    with pytest.raises(AlreadyCorrected):
        void("a")
    with pytest.raises(AlreadyCorrected):
        amend("a", pages=1)

    assert list(UsageRecord.objects.values()) == before
    assert AuditEntry.objects.filter(action__startswith="usage_record.").count() == 1
    check_that_all_agree(organization)


def test_what_takes_back_is_not_taken_back(post_jobs: Post, job: Make, void: Callable[..., Any]) -> None:
    post_jobs(job(usage=[item("a")]))
    key = void("a")[0].idempotency_key

    with pytest.raises(TakesBack):
        void(key)


def test_a_job_that_fails_later_gives_back_only_what_is_left(
    post_jobs: Post,
    job: Make,
    void: Callable[..., Any],
    amend: Callable[..., Any],
    organization: Organization,
) -> None:
    post_jobs(job(status="InProgress", usage=[item("a"), item("b"), item("c")]))
    void("a")
    amend("b", pages=10)

    post_jobs(job(status="Failed", usage=[]))

    assert check_that_all_agree(organization) == {"requests": 0, "pages": 13, "credits": 0, "cost": 0}
    assert UsageRecord.objects.filter(corrects="a").count() == 1


def test_a_failed_jobs_charge_was_taken_back_already(
    post_jobs: Post, job: Make, void: Callable[..., Any]
) -> None:
    post_jobs(job(status="InProgress", usage=[item("a")]))
    post_jobs(job(status="Failed", usage=[]))

    with pytest.raises(AlreadyCorrected):
        void("a")


def test_a_failed_job_is_not_charged_by_an_amendment(
    post_jobs: Post, job: Make, amend: Callable[..., Any], organization: Organization
) -> None:
    post_jobs(job(status="Failed", usage=[item("a")]))

    amend("a", pages=10)

    assert check_that_all_agree(organization) == {"requests": 1, "pages": 10, "credits": 0, "cost": 0}


def test_a_repeated_report_of_what_was_voided_is_a_duplicate(
    post_jobs: Post, job: Make, void: Callable[..., Any], organization: Organization
) -> None:
    report = job(usage=[item("a")])
    post_jobs(report)
    void("a")

    answer = post_jobs(report)

    assert answer["duplicates"] == 1
    assert check_that_all_agree(organization)["credits"] == 0


@pytest.mark.parametrize("status", ["Completed", "Failed"])
def test_what_is_billed_by_files_is_corrected_too(
    settings: Settings,
    post_jobs: Post,
    job: Make,
    amend: Callable[..., Any],
    void: Callable[..., Any],
    status: str,
) -> None:
    settings.STORE_USAGE_FOR_BILLING = True
    post_jobs(job(status=status, usage=[item("a", pages=12), item("b", pages=4)]))

    amend("a", product="extract", pages=10)
    void("b")

    of_types = dict(BillingExportRow.objects.values_list("type").annotate(Sum("num_pages")).order_by())
    assert of_types == ({"parse": 0, "extract": 10} if status == "Completed" else {"parse": 0, "extract": 0})
    last = BillingExportRow.objects.latest("id")
    assert last.attributes is not None
    assert last.attributes["corrects"] == "b"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"product": "paint"}, "product"),
        ({"feature": ""}, "feature"),
        ({"pages": -1}, "pages"),
        ({"pages": 10**30}, "pages"),
        ({"quantity": Decimal("NaN")}, "quantity"),
        ({"quantity": Decimal(-1)}, "quantity"),
        ({}, "pages"),
    ],
)
def test_bad_numbers_are_refused_by_name(
    post_jobs: Post, job: Make, amend: Callable[..., Any], fields: dict[str, Any], named: str
) -> None:
    post_jobs(job(usage=[item("a")]))

    with pytest.raises(ValidationError) as refused:
        amend("a", **fields)

    assert list(refused.value.message_dict) == [named]
    assert UsageRecord.objects.count() == 1


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201, "a\0b", "two\nlines"])
def test_a_reason_is_one_line(post_jobs: Post, job: Make, void: Callable[..., Any], reason: str) -> None:
    post_jobs(job(usage=[item("a")]))

    with pytest.raises(ValidationError) as refused:
        void("a", reason)

    assert list(refused.value.message_dict) == ["reason"]


def test_the_customers_audit_trail_says_what_changed_and_why(
    post_jobs: Post, job: Make, amend: Callable[..., Any], staff: User, organization: Organization
) -> None:
    post_jobs(job(usage=[item("a", pages=12)]))

    amend("a", pages=10)

    entry = AuditEntry.objects.get(action=audit.Action.USAGE_RECORD_AMENDED)
    assert (entry.organization, entry.actor, entry.by_staff) == (organization, staff, True)
    assert entry.before == {"pages": 12, "credits": 12, "cost": 0.18}
    changed = {"pages": 10, "credits": 10, "cost": 0.15}
    assert entry.after == changed | {"job_id": "job-1", "reason": "Two pages are blank."}


def test_owner_and_admins_are_told(
    post_jobs: Post, job: Make, void: Callable[..., Any], owner: User, admin: User, member: User
) -> None:
    post_jobs(job(usage=[item("a", pages=10)]))

    void("a", "Counted twice.")

    notices = Notification.objects.filter(key__startswith="usage_record.corrected:")
    assert {notice.user for notice in notices} == {owner, admin}
    assert {notice.title for notice in notices} == {"Usage of job job-1 was corrected by −10 credits"}
    assert "Counted twice." in notices[0].body


@pytest.mark.parametrize("job_id", ["漢" * 128, "a b " * 32, "x\ny/z?&#"])
def test_the_notice_leads_to_the_job_however_it_is_called(
    client: Client, owner: User, post_jobs: Post, job: Make, void: Callable[..., Any], job_id: str
) -> None:
    post_jobs(job(job_id=job_id, usage=[item("a")]))

    void("a")

    client.force_login(owner)
    assert client.get(Notification.objects.get(user=owner).url).status_code == 200


def test_the_notice_names_no_credits_where_they_stay_the_same(
    post_jobs: Post, job: Make, void: Callable[..., Any], owner: User
) -> None:
    CreditRate.objects.all().delete()
    post_jobs(job(usage=[item("a")]))

    void("a")

    assert Notification.objects.get(user=owner).title == "Usage of job job-1 was corrected"


def test_a_deleted_organizations_usage_is_corrected_without_telling_anybody(
    post_jobs: Post, job: Make, void: Callable[..., Any], organization: Organization
) -> None:
    post_jobs(job(usage=[item("a")]))
    organizations.delete(organization=organization, actor=None)

    void("a")

    assert not Notification.objects.filter(key__startswith="usage_record.corrected:").exists()
    assert totals(UsageDay)["credits"] == 0


def test_a_cap_that_only_the_voided_usage_reached_is_lifted(
    post_jobs: Post, job: Make, void: Callable[..., Any], organization: Organization
) -> None:
    post_jobs(job(usage=[item("a", pages=100)]))
    spending.set_cap(organization=organization, amount=Decimal(1), actor=None)
    assert spending.cap_of(organization).is_reached
    before = timezone.now()

    void("a")
    spending.settle_changed(since=before - timedelta(minutes=1), now=timezone.now())

    assert not spending.cap_of(organization).is_reached


def test_usage_without_a_price_can_be_voided(
    post_jobs: Post, job: Make, void: Callable[..., Any], organization: Organization
) -> None:
    post_jobs(job(usage=[item("a", product="edit")]))

    void("a")

    assert check_that_all_agree(organization) == {"requests": 0, "pages": 0, "credits": 0, "cost": 0}


@pytest.mark.django_db(transaction=True)  # a CSV is read over a connection of its own
def test_the_csv_tells_of_the_correction(
    post_jobs: Post, job: Make, void: Callable[..., Any], organization_key: tuple[ApiKey, str]
) -> None:
    post_jobs(job(usage=[item("a")]))
    void("a", "Counted twice.")
    client = Client(headers={"Authorization": f"Bearer {organization_key[1]}"})

    csv = b"".join(client.get("/api/v1/usage/records?format=csv")).decode()

    assert ",a,Counted twice.\n" in csv


def test_the_api_tells_of_the_correction(
    post_jobs: Post, job: Make, void: Callable[..., Any], organization_key: tuple[ApiKey, str]
) -> None:
    post_jobs(job(usage=[item("a")]))
    void("a", "Counted twice.")
    client = Client(headers={"Authorization": f"Bearer {organization_key[1]}"})

    records = client.get("/api/v1/usage/records").json()["data"]
    job_items = client.get("/api/v1/job/job-1").json()["usage"]

    told = {record["corrects"]: (record["reason"], record["credits"]) for record in records}
    assert told == {"": ("", 3.0), "a": ("Counted twice.", -3.0)}
    assert [(line["corrects"], line["reason"]) for line in job_items] == [("", ""), ("a", "Counted twice.")]


def test_a_correction_marks_the_day_as_changed(post_jobs: Post, job: Make, void: Callable[..., Any]) -> None:
    post_jobs(job(usage=[item("a")]))
    before = UsageDay.objects.get().changed_at

    void("a")

    assert before < UsageDay.objects.get().changed_at <= timezone.now()
