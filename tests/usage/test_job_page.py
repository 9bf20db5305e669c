"""What a job's page says of what was charged and why, of its webhook, and of what happened to it."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags
from pytest_django import Settings

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from tests.usage.conftest import item
from usage import corrections, entitlements, ingest
from usage.corrections import Amendment
from usage.models import CreditRate, Entitlement, IdempotencyKey, Job, UsageRecord
from webhooks import attempts, endpoints, relay
from webhooks.models import Attempt, Message, OutboxMessage, Status

Post = Callable[..., dict[str, Any]]
Make = Callable[..., dict[str, Any]]
Read = Callable[..., str]


@pytest.fixture(autouse=True)
def priced(organization: Organization) -> None:
    entitlements.write(
        organization,
        plan="pro",
        requests_per_minute=100,
        credit_price=Decimal("0.015"),
        credits_ceiling=None,
        overage_allowed=True,
        retention_days=90,
    )


@pytest.fixture
def read(client: Client, organization: Organization, member: User) -> Read:
    """The text of a job's page, as a member reads it."""
    client.force_login(member)

    def page(job_id: str = "job-1") -> str:
        answer = client.get(f"/o/{organization.uid}/jobs/{job_id}/")
        assert answer.status_code == 200
        return " ".join(unescape(strip_tags(answer.content.decode())).split())

    return page


def rate(product: str, feature: str, unit: str = "page", credits: str = "1", **fields: Any) -> CreditRate:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return CreditRate.objects.create(
        product=product,
        feature=feature,
        unit=unit,
        credits_per_unit=credits,
        effective_from=start,
        **fields,
    )


def correct(key: str, *, pages: int | None = None) -> None:
    record = UsageRecord.objects.get(idempotency_key=key)
    amendment = None if pages is None else Amendment(record.product, record.feature, pages, record.quantity)
    corrections.correct(record=record, reason="Two pages are blank.", actor=None, amendment=amendment)


# ── Explain this charge ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"pages": 12}, "12 pages × 1 credit = 12 credits. 12 credits × $0.015 = $0.18 at list price."),
        ({"pages": 1}, "1 page × 1 credit = 1 credit. 1 credit × $0.015 = $0.015 at"),
        ({"pages": 10, "priority": "batch"}, "10 pages × 1 credit × 0.8 for batch priority = 8 credits."),
        (
            {"product": "extract", "feature": "spreadsheet", "pages": 0, "quantity": 12_300},
            "12,300 cells begin 3 times 5,000 cells: 3 × 2 credits = 6 credits.",
        ),
        (
            {"product": "extract", "feature": "chart", "quantity": 3},
            "3 charts × 0.5 credits = 1.5 credits.",
        ),
        (
            {"product": "split", "feature": "standard", "pages": 3},
            "3 pages × 0.1 credits = 0.3 credits, less than the minimum of 1 credit a record, which applies.",
        ),
        (
            {"product": "classify", "feature": "standard", "pages": 3, "priority": "batch"},
            "3 pages × 0.000001 credits × 0.5 for batch priority ≈ 0.000002 credits.",
        ),
        (
            {"product": "edit", "feature": "deep", "pages": 3},
            "0 credits: no price was in force for Edit, Deep at that time.",
        ),
    ],
)
def test_a_charge_is_explained(
    post_jobs: Post, job: Make, read: Read, told: dict[str, Any], sentence: str
) -> None:
    rate("extract", "spreadsheet", "5000_cells", "2")
    rate("extract", "chart", "chart", "0.5")
    rate("split", "standard", credits="0.1", minimum_credits=1)
    rate("classify", "standard", credits="0.000001", batch_factor="0.5")
    post_jobs(job(usage=[item("a", **told)]))

    assert sentence in read()


def test_the_version_of_the_rate_is_named(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job(usage=[item("a", priority="batch")]))

    page = read()

    assert "1 credit per page of Parse, Standard, in force since 1 Jan 2020; × 0.8 for batch priority" in page


def test_a_batch_factor_that_did_not_apply_is_not_named(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job())

    assert "for batch priority" not in read()


def test_the_key_leads_to_its_page(
    post_jobs: Post,
    job: Make,
    read: Read,
    client: Client,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
) -> None:
    post_jobs(job())
    read()

    page = client.get(f"/o/{organization.uid}/jobs/job-1/").content.decode()

    address = f"/o/{organization.uid}/api-keys/{organization_key[0].uid}/"
    assert f'<a href="{address}">' in page
    assert client.get(address).status_code == 200


def test_the_personal_key_of_somebody_else_leads_nowhere(
    post_jobs: Post,
    job: Make,
    read: Read,
    client: Client,
    organization: Organization,
    owner: User,
) -> None:
    theirs, _ = keys.create_personal_key(user=owner, organization=organization, name="laptop")
    post_jobs(job())
    Job.objects.update(api_key=theirs)
    read()

    page = client.get(f"/o/{organization.uid}/jobs/job-1/").content.decode()

    assert theirs.label in page
    assert theirs.uid not in page


def test_an_old_charge_is_explained_by_the_rate_and_price_of_then(
    post_jobs: Post, job: Make, read: Read, organization: Organization
) -> None:
    post_jobs(job(usage=[item("a", pages=12)]))
    now = datetime.now(UTC)
    CreditRate.objects.create(product="parse", feature="standard", credits_per_unit=9, effective_from=now)
    Entitlement.objects.filter(organization=organization).update(credit_price="0.02")

    page = read()

    assert "before corrections" not in page
    assert "12 pages × 1 credit = 12 credits. 12 credits × $0.015 = $0.18 at list price." in page


def test_a_failed_job_says_that_it_is_not_charged(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job(status="Failed"))

    page = read()

    assert "It failed, and failed jobs are not charged." in page
    assert "0 credits: the job failed, and failed jobs are not charged." in page


def test_a_voided_record_says_why(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job(usage=[item("a", pages=12)]))

    correct("a")

    page = read()
    assert "Pages 3 before corrections" in page
    assert "Voided Two pages are blank." in page
    assert "−12 credits: takes back the record a. −12 credits × $0.015 = −$0.18 at list price." in page


def test_an_amended_record_is_followed_by_the_one_in_its_stead(
    post_jobs: Post, job: Make, read: Read
) -> None:
    post_jobs(job(usage=[item("a", pages=12), item("b", pages=7)]))

    correct("a", pages=10)

    page = read()
    order = ["Corrected Two pages", "takes back the record a", "In its stead", "10 pages × 1", "7 pages × 1"]
    places = [page.index(words) for words in order]
    assert places == sorted(places)


def test_questions_do_not_grow_with_the_records(
    post_jobs: Post, job: Make, read: Read, client: Client
) -> None:
    post_jobs(
        job(usage=[item("a")]),
        job("job-2", usage=[item(f"b-{n}", feature=["standard", "complex"][n % 2]) for n in range(40)]),
    )
    for number in range(20):
        correct(f"b-{number}", pages=1)
    read(), read("job-2")

    with CaptureQueriesContext(connection) as few:
        read()
    with CaptureQueriesContext(connection) as many:
        read("job-2")

    assert len(many) == len(few) <= 15


def test_the_api_explains_by_the_rate(
    post_jobs: Post, job: Make, organization_key: tuple[ApiKey, str]
) -> None:
    post_jobs(job(usage=[item("a"), item("b", product="edit")]))
    client = Client(headers={"Authorization": f"Bearer {organization_key[1]}"})

    priced, unpriced = client.get("/api/v1/job/job-1").json()["usage"]

    assert (priced["rate"]["credits_per_unit"], priced["rate"]["unit"], priced["cost"]) == (
        1.0,
        "page",
        0.045,
    )
    assert unpriced["rate"] is None


# ── What happened to it ──────────────────────────────────────────────────────────────────────────────────────


def test_late_usage_and_corrections_are_on_the_timeline(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job(usage=[item("a", pages=12)]))
    post_jobs(job(usage=[item("late", pages=5)]))
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    Job.objects.update(updated_at=an_hour_ago)
    IdempotencyKey.objects.filter(key="a").update(created_at=an_hour_ago)
    IdempotencyKey.objects.filter(key="late").update(created_at=an_hour_ago + timedelta(minutes=5))

    correct("a")

    timeline = read().partition("Timeline")[2]
    events = ["Requested", "Completed", "Last report received", "Late usage received (+5 credits)"]
    events.append("Usage corrected: Two pages are blank. (−12 credits)")
    places = [timeline.index(event) for event in events]
    assert places == sorted(places)


def test_an_amendment_is_one_event(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job(usage=[item("a", pages=12)]))

    correct("a", pages=10)

    assert "Usage corrected: Two pages are blank. (−2 credits)" in read().partition("Timeline")[2]


def test_usage_that_came_with_the_job_is_not_late(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job())

    assert "Late usage" not in read()


# ── Its webhook ──────────────────────────────────────────────────────────────────────────────────────────────

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def endpoint(organization: Organization, owner: User) -> None:
    endpoints.create(organization=organization, url=URL, actor=Actor(owner))


def attempt(status: Status, status_code: int, response: str = "") -> None:
    message = Message.objects.get()
    Attempt.objects.create(
        organization=message.organization,
        message=message,
        url=URL,
        status=status,
        status_code=status_code,
        response=response,
        duration_ms=12,
        timestamp=datetime.now(UTC),
    )


def test_a_job_nobody_was_to_hear_of_says_so(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job())

    assert "There is no message" in read()


def test_a_job_that_runs_has_no_message_yet(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job(status="InProgress"))

    assert "The job has not ended yet." in read()


def test_a_message_that_was_not_handed_over_waits(
    post_jobs: Post, job: Make, read: Read, endpoint: None
) -> None:
    post_jobs(job())

    page = read()

    assert "job.completed" in page
    assert "It waits to be sent." in page


def test_attempts_are_listed(post_jobs: Post, job: Make, read: Read, endpoint: None) -> None:
    post_jobs(job())
    relay.hand_over()
    attempt(Status.FAIL, 0, "Connection refused")
    attempt(Status.SUCCESS, 204)

    page = read()

    assert f"{URL} Delivered 204" in page
    assert f"{URL} Failed none" in page
    assert "Connection refused" in page


def test_attempts_to_the_url_that_a_job_named_are_listed(post_jobs: Post, job: Make, read: Read) -> None:
    post_jobs(job(webhook={"mode": "direct", "url": URL}))
    relay.hand_over()
    attempt(Status.FAIL, 500)

    page = read()

    assert "for the URL that the job named" in page
    assert f"{URL} Failed 500" in page


@pytest.mark.parametrize("webhook", [None, {"mode": "direct", "url": URL}])
def test_attempts_are_listed_also_when_the_outbox_has_forgotten_the_message(
    post_jobs: Post, job: Make, read: Read, endpoint: None, webhook: dict[str, str] | None
) -> None:
    post_jobs(job(webhook=webhook))
    relay.hand_over()
    attempt(Status.SUCCESS, 204)
    OutboxMessage.objects.all().delete()

    page = read()

    assert "job.completed" in page
    assert f"{URL} Delivered 204" in page


def test_the_messages_of_another_organizations_job_are_not_shown(
    post_jobs: Post, job: Make, read: Read, other_organization: Organization, endpoint: None
) -> None:
    post_jobs(job())
    OutboxMessage.objects.update(organization=other_organization)

    assert "There is no message" in read()


@pytest.fixture
def slow_server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Svix server that takes longer to answer than a page waits."""

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.connection.settimeout(5)
            self.rfile.read(1)  # until the caller gives up

        def log_message(self, format: str, *args: Any) -> None:
            pass

    monkeypatch.setattr(attempts, "PATIENCE", 0.1)
    server = HTTPServer(("127.0.0.1", 0), Slow)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    settings.SVIX_SERVER_URL = f"http://127.0.0.1:{server.server_port}"
    settings.SVIX_AUTH_TOKEN = "token"
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_does_not_answer_does_not_take_the_page_along(
    post_jobs: Post, job: Make, read: Read, endpoint: None, slow_server: None
) -> None:
    post_jobs(job())
    OutboxMessage.objects.update(handed_over_at=datetime.now(UTC))

    assert "The attempts could not be read now." in read()


def test_a_message_has_one_uid_whoever_asks(organization: Organization) -> None:
    uid = ingest.end_message(organization.pk, "job-1")

    assert re.fullmatch(r"evt_[0-9a-f]{32}", uid)
    assert uid == ingest.end_message(organization.pk, "job-1")
    assert uid != ingest.end_message(organization.pk, "job-2")
