from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey, Organization
from tests.conftest import colleague, sign_in_verified
from tests.usage.rows import job_row
from usage import corrections, entitlements, partitions, retention
from usage.models import Entitlement, Job, UsageRecord

JOBS, RECORDS = "/admin/usage/job/", "/admin/usage/usagerecord/"


@pytest.fixture
def entitlement(organization: Organization) -> Entitlement:
    entitlements.write(
        organization,
        plan="pro",
        requests_per_minute=100,
        credit_price=Decimal("0.01"),
        credits_ceiling=Decimal(1000),
        overage_allowed=False,
        retention_days=90,
    )
    return Entitlement.objects.get(organization=organization)


@pytest.fixture
def add_job(organization_key: tuple[ApiKey, str]) -> Callable[..., Job]:
    return partial(job_row, organization_key[0])


@pytest.fixture
def add_record(
    organization: Organization, organization_key: tuple[ApiKey, str]
) -> Callable[..., UsageRecord]:
    key, now = organization_key[0], timezone.now()
    partitions.ensure([partitions.month_of(now)])

    def add(idempotency_key: str, **fields: Any) -> UsageRecord:
        return UsageRecord.objects.create(
            organization=organization,
            api_key=key,
            idempotency_key=idempotency_key,
            **(
                {
                    "job_id": idempotency_key,
                    "product": "parse",
                    "feature": "standard",
                    "file_type": "pdf",
                    "requests": 1,
                    "pages": 1,
                    "credits": 1,
                    "cost": Decimal("0.01"),
                    "day": now.date(),
                    "timestamp": now,
                }
                | fields
            ),
        )

    return add


def test_an_entitlement_is_shown_with_where_it_follows_from_and_not_changed(
    back_office: Client, entitlement: Entitlement
) -> None:
    url = reverse("admin:usage_entitlement_change", args=[entitlement.pk])

    page = back_office.get(url).content.decode()
    answer = back_office.post(url, {"plan": "enterprise", "requests_per_minute": "9999"})

    assert reverse("admin:billing_billingaccount_change", args=[entitlement.pk]) in page
    assert reverse("admin:billing_entitlementoverride_changelist") in page
    assert answer.status_code == 403
    entitlement.refresh_from_db()
    assert (entitlement.plan, entitlement.requests_per_minute) == ("pro", 100)


@pytest.mark.parametrize("model", ["job", "usagerecord"])
def test_facts_can_be_neither_made_nor_changed(back_office: Client, model: str) -> None:
    assert back_office.post(reverse(f"admin:usage_{model}_add")).status_code == 403


def test_a_job_is_found_by_its_exact_id(back_office: Client, add_job: Callable[..., Job]) -> None:
    add_job("job-1"), add_job("job-10")

    page = back_office.get(JOBS, {"q": "job-1"}).content.decode()

    assert ">job-1<" in page
    assert "job-10" not in page


@pytest.mark.parametrize("by", ["organization", "api_key"])
def test_jobs_are_found_by_whose_they_are(
    back_office: Client, add_job: Callable[..., Job], other_organization: Organization, by: str
) -> None:
    job = add_job()

    found = back_office.get(JOBS, {"q": getattr(job, by).uid}).content.decode()
    others = back_office.get(JOBS, {"q": other_organization.uid}).content.decode()

    assert "job-1" in found
    assert "job-1" not in others


def test_a_jobs_page_shows_its_configuration(back_office: Client, add_job: Callable[..., Job]) -> None:
    job = add_job(config={"table_output_format": "html"}, metadata={"file": "<script>"})

    page = back_office.get(reverse("admin:usage_job_change", args=[job.pk])).content.decode()

    assert "table_output_format" in page
    assert "&lt;script&gt;" in page


def test_unrated_records_can_be_picked_out(
    back_office: Client, add_record: Callable[..., UsageRecord]
) -> None:
    add_record("rated"), add_record("without-a-rate", unrated=True)

    page = back_office.get(RECORDS, {"unrated__exact": "1"}).content.decode()

    assert "without-a-rate" in page
    assert ">rated<" not in page


def test_a_record_has_a_page(back_office: Client, add_record: Callable[..., UsageRecord]) -> None:
    record = add_record("one", attributes={"ocr": True})

    page = back_office.get(reverse("admin:usage_usagerecord_change", args=[record.pk])).content.decode()

    assert "ocr" in page


@pytest.mark.parametrize("url", [JOBS, RECORDS])
def test_big_tables_are_never_counted(
    back_office: Client,
    add_job: Callable[..., Job],
    add_record: Callable[..., UsageRecord],
    url: str,
) -> None:
    for number in range(3):
        add_job(f"job-{number}"), add_record(f"record-{number}")

    with CaptureQueriesContext(connection) as queries:
        back_office.get(url)

    assert not [query for query in queries if "COUNT(" in query["sql"]]
    assert len(queries) <= 11


def test_pages_of_a_big_table_end(back_office: Client, add_job: Callable[..., Job]) -> None:
    for number in range(51):
        add_job(f"job-{number}")

    first = back_office.get(JOBS)
    second = back_office.get(JOBS + first.context["cl"].next_link)

    page = second.content.decode()
    assert "job-0<" in page
    assert "job-1<" not in page
    assert not second.context["cl"].next_link


def test_a_job_is_found_also_when_its_key_is_gone(back_office: Client, add_job: Callable[..., Job]) -> None:
    job = add_job("job-1")
    ApiKey.objects.filter(pk=job.api_key_id).delete()

    page = back_office.get(JOBS, {"q": "job-1"}).content.decode()

    assert reverse("admin:usage_job_change", args=[job.pk]) in page


def test_a_jobs_page_says_what_was_erased(
    back_office: Client, add_job: Callable[..., Job], entitlement: Entitlement
) -> None:
    job = add_job("job-1", metadata={"a": 1}, created_at=timezone.now() - timedelta(days=91))
    Job.objects.update(updated_at=job.created_at)
    retention.erase_due(now=timezone.now())

    page = back_office.get(reverse("admin:usage_job_change", args=[job.pk])).content.decode()

    assert "metadata: on" in page
    assert "under 90 days" in page


def test_a_jobs_page_tells_charges_that_are_alike_and_leads_to_taking_them_back(
    back_office: Client, add_job: Callable[..., Job], add_record: Callable[..., UsageRecord]
) -> None:
    page = reverse("admin:usage_job_change", args=[add_job("job-1").pk])
    [first, second] = [add_record(name, job_id="job-1") for name in ("a", "b")]
    add_record("c", job_id="job-1", feature="complex")
    alike, void = "There is another charge like this one", "admin:usage_usagerecord_void"

    before = back_office.get(page).content.decode()
    corrections.correct(record=second, reason="Twice", actor=None)
    after = back_office.get(page).content.decode()

    assert (before.count(alike), after.count(alike)) == (2, 0)
    assert reverse(void, args=[second.pk]) in before
    assert reverse(void, args=[second.pk]) not in after
    assert reverse(void, args=[first.pk]) in after


def test_a_jobs_page_leads_only_to_what_somebody_may_do(
    organization_key: tuple[ApiKey, str], add_job: Callable[..., Job], add_record: Callable[..., UsageRecord]
) -> None:
    job = add_job("job-1")
    add_record("a", job_id="job-1")
    client = Client()
    sign_in_verified(client, colleague("Sam", "Support"))

    page = client.get(reverse("admin:usage_job_change", args=[job.pk])).content.decode()

    assert "Parse, Standard" in page
    assert "/void/" not in page
