"""Rows as ingest leaves them, for tests of what is read."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import F
from django.utils import timezone

from accounts.models import ApiKey
from usage.models import DailyJobs, DailyUsage, Job, JobMargin, PipelineConfig, UsageDay

NOON = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)


def job_row(key: ApiKey, job_id: str = "job-1", **fields: Any) -> Job:
    """A completed Parse job of the key's organization; name what differs. `config` is kept where it belongs."""
    config = fields.pop("config", None)
    if config is not None:
        fields["config_sha256"] = str(hash(str(config)))
        PipelineConfig.objects.get_or_create(
            organization=key.organization,
            sha256=fields["config_sha256"],
            defaults={"text": json.dumps(config)},
        )
    return Job.objects.create(
        **{
            "organization": key.organization,
            "api_key": key,
            "job_id": job_id,
            "type": "Parse",
            "status": "Completed",
            "stage": 3,
            "created_at": NOON,
            "duration": 1.5,
            "num_pages": 3,
            "total_pages": 4,
            "credits": Decimal(3),
            "region": "eu",
            "report_digest": "",
            "updated_at": NOON,
        }
        | fields
    )


def daily_usage(key: ApiKey, day: date, **fields: Any) -> DailyUsage:
    """What a key used on a day: one request of three standard pages to parse; name what differs."""
    row = DailyUsage.objects.create(
        **{
            "organization_id": key.organization_id,
            "day": day,
            "api_key_id": key.pk,
            "product": "parse",
            "feature": "standard",
            "file_type": "pdf",
            "requests": 1,
            "pages": 3,
            "credits": Decimal(3),
            "cost": Decimal("0.03"),
        }
        | fields
    )
    measures = {name: F(name) + getattr(row, name) for name in ("requests", "pages", "credits", "cost")}
    this_day = UsageDay.objects.filter(organization_id=row.organization_id, day=day)
    if not this_day.update(**measures, changed_at=timezone.now()):
        UsageDay.objects.create(
            organization_id=row.organization_id,
            day=day,
            changed_at=timezone.now(),
            **{name: getattr(row, name) for name in measures},
        )
    return row


def daily_jobs(key: ApiKey, region: str) -> DailyJobs:
    """A job that a key finished in a region."""
    assert key.organization_id is not None
    margin: dict[str, Any] = {
        "organization_id": key.organization_id,
        "day": NOON.date(),
        "region": region,
        "status": "Completed",
    }
    counted: dict[str, Any] = {"jobs": 1, "durations": [0] * (len(DailyJobs.DURATION_BUCKETS) + 1)}
    if not JobMargin.objects.filter(**margin).update(jobs=F("jobs") + 1):
        JobMargin.objects.create(**margin, **counted)
    return DailyJobs.objects.create(**margin, **counted, api_key_id=key.pk, type="Parse")
