"""Usage records as the staff finds and corrects them."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils.html import strip_tags

from accounts.models import ApiKey, AuditEntry, Organization, User
from tests.conftest import person, sign_in_verified
from tests.usage.conftest import item
from usage.models import Job, UsageRecord

Post = Callable[..., dict[str, Any]]
Make = Callable[..., dict[str, Any]]

RECORDS = "/admin/usage/usagerecord/"
NUMBERS = {
    "product": "parse",
    "feature": "standard",
    "pages": "10",
    "quantity": "",
    "reason": "Two are blank.",
}


@pytest.fixture
def record(post_jobs: Post, job: Make) -> UsageRecord:
    post_jobs(job(usage=[item("key-of-a", pages=12)]))
    return UsageRecord.objects.get()


def address(record: UsageRecord, action: str) -> str:
    return reverse(f"admin:usage_usagerecord_{action}", args=[record.pk])


def text(answer: Any, status: int = 200) -> str:
    assert answer.status_code == status
    return " ".join(unescape(strip_tags(answer.content.decode())).split())


@pytest.mark.parametrize("term", ["job-1", "key-of-a", "org"])
def test_a_record_is_found(back_office: Client, record: UsageRecord, term: str) -> None:
    term = record.organization.uid if term == "org" else term

    page = back_office.get(RECORDS, {"q": term}).content.decode()

    assert address(record, "change") in page


@pytest.mark.parametrize("term", ["job-1", "key-of-a"])
def test_a_record_is_found_also_when_its_key_is_gone(
    back_office: Client, record: UsageRecord, term: str
) -> None:
    ApiKey.objects.filter(pk=record.api_key_id).delete()

    page = back_office.get(RECORDS, {"q": term}).content.decode()

    assert address(record, "change") in page
    assert back_office.get(address(record, "change")).status_code == 200


@pytest.mark.parametrize("term", ["job-10", "key-of-b", "org_unknown", "x" * 5000, "%", "correction:"])
def test_what_is_not_there_is_not_found(back_office: Client, record: UsageRecord, term: str) -> None:
    page = back_office.get(RECORDS, {"q": term})

    assert page.status_code in {200, 302}
    assert address(record, "change") not in page.content.decode()


def test_a_jobs_page_leads_to_its_records(back_office: Client, record: UsageRecord) -> None:
    page = back_office.get(reverse("admin:usage_job_change", args=[Job.objects.get().pk]))

    assert address(record, "change") in page.content.decode()


def test_a_records_page_explains_it_and_offers_to_correct_it(
    back_office: Client, record: UsageRecord
) -> None:
    page = back_office.get(address(record, "change")).content.decode()

    assert "12 pages × 1 credit = 12 credits." in page
    assert address(record, "void") in page
    assert address(record, "amend") in page


def test_voiding_says_what_follows_before_it_is_done(back_office: Client, record: UsageRecord) -> None:
    page = text(back_office.get(address(record, "void")))

    assert "Pages 12 0" in page
    assert "12 credits are given back" in page
    assert UsageRecord.objects.count() == 1


def test_a_record_is_voided(back_office: Client, record: UsageRecord, staff: User) -> None:
    answer = back_office.post(address(record, "void"), {"reason": "Counted twice."}, follow=True)

    correction = UsageRecord.objects.get(corrects="key-of-a")
    page = answer.content.decode()
    assert (correction.credits, correction.reason) == (-12, "Counted twice.")
    assert AuditEntry.objects.get(action="usage_record.voided").actor == staff
    assert address(correction, "change") in page
    assert address(record, "void") not in page


def test_a_second_click_says_that_nothing_was_changed(back_office: Client, record: UsageRecord) -> None:
    back_office.post(address(record, "void"), {"reason": "Counted twice."})

    page = text(back_office.post(address(record, "void"), {"reason": "Counted twice."}, follow=True))

    assert "Nothing was changed." in page
    assert UsageRecord.objects.count() == 2


def test_amending_says_what_follows_before_it_is_done(back_office: Client, record: UsageRecord) -> None:
    page = text(back_office.get(address(record, "amend"), NUMBERS))

    assert "Pages 12 10 Credits 12 10" in page
    assert "2 credits are given back" in page
    assert UsageRecord.objects.count() == 1


def test_a_record_is_amended(back_office: Client, record: UsageRecord) -> None:
    back_office.post(address(record, "amend"), NUMBERS)

    taken_back, amended = UsageRecord.objects.filter(corrects="key-of-a").order_by("id")
    assert (taken_back.pages, amended.pages, amended.credits) == (-12, 10, 10)


def test_amending_begins_with_the_numbers_that_are_there(back_office: Client, record: UsageRecord) -> None:
    page = back_office.get(address(record, "amend")).content.decode()

    assert 'value="12"' in page
    assert "Show what follows" in page


@pytest.mark.parametrize(
    "changed",
    [
        {"reason": ""},
        {"reason": "a\0b"},
        {"reason": "x" * 201},
        {"pages": "-1"},
        {"pages": "many"},
        {"pages": "9" * 40},
        {"pages": "12"},
        {"product": "paint"},
        {"quantity": "NaN"},
        {"quantity": "0.0000001"},
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_bad_numbers_are_pointed_out(
    back_office: Client, record: UsageRecord, changed: dict[str, str], method: str
) -> None:
    answer = getattr(back_office, method)(address(record, "amend"), NUMBERS | changed)

    assert answer.status_code == 400
    assert "Show what follows" in answer.content.decode()
    assert UsageRecord.objects.count() == 1


def test_voiding_without_a_reason_asks_again(back_office: Client, record: UsageRecord) -> None:
    answer = back_office.post(address(record, "void"), {"reason": " "})

    assert answer.status_code == 400
    assert UsageRecord.objects.count() == 1


@pytest.mark.parametrize("action", ["void", "amend"])
def test_what_takes_back_is_not_corrected(back_office: Client, record: UsageRecord, action: str) -> None:
    back_office.post(address(record, "void"), {"reason": "Counted twice."})
    correction = UsageRecord.objects.get(corrects="key-of-a")

    assert back_office.post(address(correction, action), NUMBERS).status_code == 403
    assert address(correction, action) not in back_office.get(address(correction, "change")).content.decode()


@pytest.mark.parametrize("action", ["void", "amend"])
@pytest.mark.parametrize("object_id", ["0", "999999999999999999999999", "nobody", "²"])
def test_an_unknown_record_is_not_found(back_office: Client, db: None, action: str, object_id: str) -> None:
    url = reverse(f"admin:usage_usagerecord_{action}", args=["1"]).replace("/1/", f"/{object_id}/")

    assert back_office.get(url).status_code in {302, 404}


@pytest.mark.parametrize("action", ["void", "amend"])
def test_only_who_may_change_records_corrects_them(record: UsageRecord, action: str) -> None:
    reader = person("Rita", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_usagerecord"))
    client = Client()
    sign_in_verified(client, reader)

    page = client.get(address(record, "change"))
    refused = client.post(address(record, action), NUMBERS)

    assert page.status_code == 200
    assert address(record, action) not in page.content.decode()
    assert refused.status_code == 403
    assert UsageRecord.objects.count() == 1


def test_staff_who_may_change_records_need_nothing_more(record: UsageRecord) -> None:
    helper = person("Hugo", is_staff=True)
    for codename in ("view_usagerecord", "change_usagerecord"):
        helper.user_permissions.add(Permission.objects.get(codename=codename))
    client = Client()
    sign_in_verified(client, helper)

    client.post(address(record, "void"), {"reason": "Counted twice."})

    assert UsageRecord.objects.filter(corrects="key-of-a").exists()


def test_the_customer_reads_of_it_as_of_supports_doing(
    back_office: Client, record: UsageRecord, owner: User, organization: Organization
) -> None:
    back_office.post(address(record, "void"), {"reason": "Counted twice."})
    client = Client()
    client.force_login(owner)

    trail = text(client.get(f"/o/{organization.uid}/audit/"))

    assert "Countinghouse support took back the usage record key-of-a" in trail
    assert "Counted twice." in trail
    assert "stella@example.com" not in trail


def test_an_organizations_page_leads_to_its_usage(back_office: Client, record: UsageRecord) -> None:
    page = back_office.get(reverse("admin:accounts_organization_change", args=[record.organization_id]))

    assert f"{RECORDS}?q={record.organization.uid}" in page.content.decode()


def test_the_list_says_which_record_was_corrected_and_by_which(
    back_office: Client, record: UsageRecord
) -> None:
    back_office.post(address(record, "amend"), NUMBERS)

    page = text(back_office.get(RECORDS, {"q": "job-1"}))

    assert UsageRecord.objects.count() == 3
    assert re.findall(r"Amended|Void|Corrected|Unrated", page[page.index("job-1") :]) == [
        "Amended",
        "Void",
        "Corrected",
    ]


def test_the_record_says_plainly_whether_a_rate_was_in_force(
    back_office: Client, record: UsageRecord
) -> None:
    page = text(back_office.get(address(record, "change")))

    assert "Unrated No" in page
    assert "recorded at 0 credits" not in page
