"""Several processes that report, settle, grant and change plans at once: nothing doubles, nobody waits for ever."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import keys, organizations
from accounts.audit import Actor
from accounts.models import ApiKey, Organization
from billing import credits, plans, settlement
from billing.models import BillingAccount, CreditEntry, CreditGrant, MeterReport
from tests.billing.conftest import agrees
from tests.conftest import person
from tests.usage.conftest import item
from tests.usage.test_corrections_concurrently import at_once
from tests.usage.test_ingest_concurrently import write_at_once
from usage.models import Entitlement, UsageDay

pytestmark = pytest.mark.django_db(transaction=True)

# Does one of several kinds of work on all organizations, in an order of its own.
WORKER = """
import random, sys
import django
django.setup()
from decimal import Decimal
from accounts.models import Organization
from billing import access, credits, plans, settlement
from usage import firings, spending
work, seed = sys.argv[1], int(sys.argv[2])
chance = random.Random(seed)
print("ready", flush=True)
sys.stdin.readline()
ids = list(Organization.objects.values_list("pk", flat=True))
for number in range(6):
    if work == "settle":
        settlement.settle_changed()
        continue
    for pk in chance.sample(ids, len(ids)):
        organization = Organization.objects.get(pk=pk)
        if work == "grant":
            credits.grant(organization, kind="goodwill", amount=Decimal(7), key=f"gift-{number}", reason="A gift")
        elif work == "plan":
            plan = plans.named(chance.choice(["pay_as_you_go", "pro", "enterprise"]))
            plans.put_on(organization, plan, actor=None)
            access.recompute(organization)
        elif work == "cap":
            spending.set_cap(organization=organization, amount=Decimal(chance.randint(1, 9)), actor=None)
    if work == "cap":
        firings.evaluate_all()
"""


def workers(*works: str) -> list[subprocess.Popen[str]]:
    url = os.environ["DATABASE_URL"].rsplit("/", 1)[0] + "/" + str(connection.settings_dict["NAME"])
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}
    found = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, work, str(seed)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, work in enumerate(works)
    ]
    for worker in found:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    return found


@pytest.fixture
def many() -> list[ApiKey]:
    """Keys of a few organizations."""
    someone = person("Zoe")
    found = []
    for number in range(6):
        organization = organizations.create(name=f"Organization {number}", owner=someone)
        found.append(
            keys.create_organization_key(organization=organization, name="k", actor=Actor(someone))[0]
        )
    return found


def test_all_at_once_neither_doubles_nor_deadlocks(rates: None, many: list[ApiKey]) -> None:
    moment = datetime.now(UTC) - timedelta(minutes=1)
    reports = [
        {
            "job_id": f"job-{number}",
            "api_key_id": key.uid,
            "type": "Parse",
            "status": status,
            "created_at": moment.isoformat(),
            "usage": [
                item(
                    f"item-{number}-{status}",
                    pages=9,
                    timestamp=(moment - timedelta(days=number % 3)).isoformat(),
                )
            ],
        }
        for key in many
        for number in range(24)
        for status in ("InProgress", "Failed" if number % 4 == 0 else "Completed")
    ]
    batches = [random.Random(seed).sample(reports, len(reports)) for seed in range(2)]

    working = workers("settle", "settle", "grant", "plan", "cap")
    for worker in working:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    write_at_once([[batch[start : start + 60] for start in range(0, len(batch), 60)] for batch in batches])
    for worker in working:
        _, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors
        assert "could not be settled" not in errors
    settlement.settle_changed()

    for key in many:
        assert key.organization and key.organization_id
        agrees(key.organization)
        gifts = CreditGrant.objects.filter(organization=key.organization, kind="goodwill")
        assert sorted(gifts.values_list("key", flat=True)) == sorted(f"gift-{n}" for n in range(6))
        used = UsageDay.objects.filter(organization_id=key.organization_id)
        account = BillingAccount.objects.get(organization=key.organization)
        assert account.settled == sum(used.values_list("credits", flat=True)) > 0
        told = CreditEntry.objects.filter(organization=key.organization, kind="return").exclude(key="")
        assert set(told.values_list("reason", flat=True)) == {"The job failed."}


def test_whoever_waits_for_an_account_gets_it_as_it_then_is(organization: Organization) -> None:
    def change() -> None:
        for slug in ("pro", "pay_as_you_go") * 4:
            plans.put_on(organization, plans.named(slug), actor=None)

    def grant(seed: int) -> Callable[[], None]:
        def give() -> None:
            for number in range(8):
                credits.grant(
                    organization,
                    kind=CreditGrant.Kind.GOODWILL,
                    amount=Decimal(1),
                    key=f"{seed}:{number}",
                    reason="One",
                )

        return give

    answers = at_once(change, grant(1), grant(2), grant(3))

    assert answers == [None] * 4
    assert CreditGrant.objects.filter(kind="goodwill").count() == 24
    agrees(organization)


def test_two_who_settle_the_same_report_it_once(
    organization: Organization, post_jobs: Any, job: Callable[..., dict[str, Any]]
) -> None:
    now = timezone.now()
    BillingAccount.objects.filter(pk=organization.pk).update(
        subscription_status="active",
        stripe_customer="cus_1",
        stripe_subscription="sub_1",
        period_start=now - timedelta(days=3),
        period_end=now + timedelta(days=27),
    )
    post_jobs(job("big", usage=[item("big:1", pages=1_000)]))

    at_once(*[settlement.settle_changed] * 4)

    assert list(MeterReport.objects.values_list("quantity", flat=True)) == [900]
    assert Entitlement.objects.get(pk=organization.pk).credits_remaining == 0
    agrees(organization)
