"""Several processes reporting the same and different things at once."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum

from accounts import keys, organizations
from accounts.audit import Actor
from accounts.models import Organization
from tests.conftest import person
from tests.usage.conftest import item
from usage.models import DailyUsage, Entitlement, Job, UsageDay, UsageRecord
from webhooks.models import OutboxMessage

# Reads batches, one a line, and takes them in; prints accepted and duplicates.
WRITER = """
import sys
import django
django.setup()
from django.utils import timezone
from usage import ingest, reports_in
print("ready", flush=True)
sys.stdin.readline()
accepted = duplicates = 0
for line in sys.stdin:
    outcome = ingest.ingest(reports_in.read_json(line.encode()), now=timezone.now())
    assert len(sys.argv) > 1 or not outcome.rejected, outcome.rejected
    accepted += outcome.accepted
    duplicates += outcome.duplicates
print(accepted, duplicates)
"""

pytestmark = pytest.mark.django_db(transaction=True)


def write_at_once(
    batches_of: list[list[list[dict[str, Any]]]], *, may_refuse: bool = False
) -> list[tuple[int, int]]:
    """Let one process take in each list of batches, all starting together."""
    url = os.environ["DATABASE_URL"].rsplit("/", 1)[0] + "/" + str(connection.settings_dict["NAME"])
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, *(["may refuse"] if may_refuse else [])],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in batches_of
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    answers = []
    for writer, batches in zip(writers, batches_of, strict=True):
        assert writer.stdin is not None
        writer.stdin.write("go\n" + "".join(json.dumps({"jobs": batch}) + "\n" for batch in batches))
        writer.stdin.flush()
    for writer in writers:
        output, _ = writer.communicate(timeout=120)
        assert writer.returncode == 0
        accepted, duplicates = output.split()
        answers.append((int(accepted), int(duplicates)))
    return answers


def shuffled_batches(reports: list[dict[str, Any]], seed: int) -> list[list[dict[str, Any]]]:
    reports = reports.copy()
    random.Random(seed).shuffle(reports)
    return [reports[start : start + 100] for start in range(0, len(reports), 100)]


def test_the_same_shuffled_reports_from_three_processes_count_once(
    rates: None, organization: Organization, job: Callable[..., dict[str, Any]]
) -> None:
    OutboxMessage.objects.all().delete()
    stages = ("Pending", "InProgress", "Completed")
    reports = [
        job(
            f"job-{number}",
            status=status,
            usage=[item(f"job-{number}:{status}")],
            webhook={"mode": "direct", "url": "http://127.0.0.1:9/"},
        )
        for number in range(300)
        for status in stages
    ]

    answers = write_at_once([shuffled_batches(reports, seed) for seed in range(3)])

    assert sum(sum(answer) for answer in answers) == 3 * len(reports)
    assert Job.objects.filter(status="Completed", usage_items=3, credits=9).count() == 300
    sums = dict.fromkeys(("requests", "pages", "credits"))
    expected = {"requests": 300, "pages": 2_700, "credits": 2_700}
    for model in (UsageRecord, DailyUsage, UsageDay):
        assert model.objects.aggregate(**{name: Sum(name) for name in sums}) == expected
    assert Entitlement.objects.get(organization=organization).credits_used == 2_700
    assert OutboxMessage.objects.count() == 300


def test_many_organizations_in_every_order_do_not_deadlock(
    rates: None, job: Callable[..., dict[str, Any]]
) -> None:
    someone = person("Zoe")
    reports = []
    for number in range(20):
        organization = organizations.create(name=f"Organization {number}", owner=someone)
        key, _ = keys.create_organization_key(organization=organization, name="k", actor=Actor(someone))
        reports += [job(f"job-{n}", api_key_id=key.uid) for n in range(40)]

    write_at_once([shuffled_batches(reports, seed) for seed in range(3)])

    assert UsageRecord.objects.count() == 800
    assert UsageRecord.objects.aggregate(sum=Sum("credits")) == UsageDay.objects.aggregate(sum=Sum("credits"))
