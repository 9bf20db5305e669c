"""Taking in job reports: one transaction of short statements, sorted, so that nothing counts twice or is lost.

The order of the locks is the same for every writer: idempotency keys, jobs, configurations, records, outbox, totals.
"""

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from operator import add
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.db import DataError, transaction
from django.db.models import F
from django.urls import reverse
from msgspec import Struct

from accounts import prepared, time_zones
from accounts.models import ApiKey
from usage import corrections, idempotency, partitions, records, retention, statements
from usage.models import STAGE, DailyJobs, JobStatus
from usage.pricing import MICRO, PriceBook, Rate, charge
from usage.records import RecordRow
from usage.reports_in import (
    Checker,
    DirectWebhook,
    DisabledWebhook,
    Item,
    JobReport,
    Rejected,
    SvixWebhook,
    UsageItem,
    Webhook,
    encode,
)
from webhooks import events, outbox

_FINAL = 3
LARGEST_DETAILS = 20_000  # bytes of metadata and error that a message carries

# What is known for this hour is passed by without a lock; once an hour its first user holds up the others.
_CONFIGS = """
INSERT INTO usage_pipelineconfig AS c (organization_id, sha256, text, used_at)
SELECT x.organization_id, x.sha256, x.text, x.used_at
FROM json_to_recordset(%s::json) AS x (organization_id bigint, sha256 text, text text, used_at timestamptz)
WHERE NOT EXISTS (
    SELECT FROM usage_pipelineconfig k
    WHERE k.organization_id = x.organization_id AND k.sha256 = x.sha256 AND k.used_at >= x.used_at)
ORDER BY x.organization_id, x.sha256
ON CONFLICT (organization_id, sha256) DO UPDATE SET used_at = excluded.used_at WHERE c.used_at < excluded.used_at
"""

_STATES = """
SELECT j.organization_id, j.job_id, j.stage, j.report_digest
FROM json_to_recordset(%s::json) AS x (organization_id bigint, job_id text)
JOIN usage_job j ON j.organization_id = x.organization_id AND j.job_id = x.job_id
"""

_JOBS = """
INSERT INTO usage_job AS j (
    organization_id, job_id, api_key_id, type, status, stage, created_at, duration, num_pages, total_pages, credits,
    usage_items, region, file_type, source, config_sha256, webhook, metadata, error, report_digest, updated_at,
    erased, erased_at, erased_under)
SELECT x.organization_id, x.job_id, x.api_key_id, x.type, x.status, x.stage, x.created_at, x.duration, x.num_pages,
    x.total_pages, CASE WHEN x.status = 'Failed' THEN 0 ELSE x.credits END, x.usage_items, x.region, x.file_type,
    x.source, x.config_sha256, x.webhook, x.metadata, x.error, x.report_digest, now(),
    x.erased, CASE WHEN x.erased IS NOT NULL THEN now() END, x.erased_under
FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, job_id text, api_key_id bigint, type text, status text, stage smallint,
    created_at timestamptz, duration float8, num_pages integer, total_pages integer, credits numeric,
    usage_items integer, region text, file_type text, source jsonb, config_sha256 text, webhook jsonb, metadata jsonb,
    error jsonb, report_digest text, erased text[], erased_under integer)
ON CONFLICT (organization_id, job_id) DO UPDATE SET
    status = excluded.status,
    stage = excluded.stage,
    duration = COALESCE(excluded.duration, j.duration),
    num_pages = COALESCE(excluded.num_pages, j.num_pages),
    total_pages = COALESCE(excluded.total_pages, j.total_pages),
    credits = j.credits + excluded.credits,
    usage_items = j.usage_items + excluded.usage_items,
    region = COALESCE(NULLIF(excluded.region, ''), j.region),
    file_type = COALESCE(NULLIF(j.file_type, ''), excluded.file_type),
    source = COALESCE(excluded.source, j.source),
    config_sha256 = COALESCE(NULLIF(excluded.config_sha256, ''), j.config_sha256),
    webhook = COALESCE(excluded.webhook, j.webhook),
    metadata = COALESCE(excluded.metadata, j.metadata),
    error = COALESCE(excluded.error, j.error),
    report_digest = excluded.report_digest,
    updated_at = excluded.updated_at,
    erased = CASE WHEN excluded.erased IS NULL THEN j.erased
        ELSE ARRAY(SELECT unnest(j.erased) UNION SELECT unnest(excluded.erased)) END,
    erased_at = COALESCE(excluded.erased_at, j.erased_at),
    erased_under = COALESCE(excluded.erased_under, j.erased_under)
WHERE j.stage < 3 AND excluded.stage >= j.stage AND j.report_digest <> excluded.report_digest
RETURNING organization_id, job_id, status, usage_items, xmax = 0,
    CASE WHEN xmax <> 0 AND stage = 3 THEN row_to_json(j)::text END
"""

# Usage that comes after its job's last word.
_LATE = """
UPDATE usage_job j SET
    credits = j.credits + CASE WHEN j.status = 'Failed' THEN 0 ELSE x.credits END,
    usage_items = j.usage_items + x.usage_items,
    file_type = COALESCE(NULLIF(j.file_type, ''), x.file_type)
FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, job_id text, credits numeric, usage_items integer, file_type text)
WHERE j.organization_id = x.organization_id AND j.job_id = x.job_id
RETURNING j.organization_id, j.job_id, j.status, j.usage_items
"""

_DAILY_JOBS = """
INSERT INTO usage_dailyjobs AS t (organization_id, day, api_key_id, type, region, status, jobs, durations)
SELECT * FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, day date, api_key_id bigint, type text, region text, status text, jobs bigint,
    durations bigint[])
ON CONFLICT (organization_id, day, api_key_id, type, region, status) DO UPDATE SET
    jobs = t.jobs + excluded.jobs,
    durations = ARRAY(SELECT a + b FROM unnest(t.durations, excluded.durations) AS u (a, b))
"""

_JOB_MARGINS = """
INSERT INTO usage_jobmargin AS t (organization_id, day, region, status, jobs, durations)
SELECT * FROM json_to_recordset(%s::json) AS x (
    organization_id bigint, day date, region text, status text, jobs bigint, durations bigint[])
ON CONFLICT (organization_id, day, region, status) DO UPDATE SET
    jobs = t.jobs + excluded.jobs,
    durations = ARRAY(SELECT a + b FROM unnest(t.durations, excluded.durations) AS u (a, b))
"""

JobKey = tuple[int, str]


@dataclass
class Outcome:
    """What became of a batch, counting job reports."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    records: int = 0  # usage records written


@dataclass(frozen=True)
class _Key:
    """What ingest needs to know of an API key and its organization."""

    id: int
    uid: str
    organization_id: int
    organization_uid: str
    zone: ZoneInfo
    credit_price: Decimal
    # Of a deleted organization nobody is told, and once it is being erased, only what was used is kept.
    is_deleted: bool
    is_erased: bool
    retention_days: int
    # Details of a job that ended by then are over the moment they come.
    kept_since: datetime


@dataclass
class _Report:
    """A report that passed every check of its own, on its way in."""

    index: int
    report: JobReport
    key: _Key
    digest: str
    claims: list[idempotency.Claim]
    # The usage items that count: those whose idempotency key this report is the first to bring.
    new_items: list[UsageItem] = field(default_factory=list)
    changes_job: bool = False
    config_sha256: str = ""

    def __post_init__(self) -> None:
        self.job: JobKey = (self.key.organization_id, self.report.job_id)


class _JobRow(Struct, omit_defaults=True):
    """A row of `Job`, with the columns of `_JOBS`."""

    organization_id: int
    job_id: str
    api_key_id: int
    type: str
    status: str
    stage: int
    created_at: datetime
    duration: float | None
    num_pages: int | None
    total_pages: int | None
    credits: Decimal
    usage_items: int
    region: str
    file_type: str
    source: Any
    config_sha256: str
    webhook: Webhook
    metadata: Any
    error: Any
    report_digest: str
    erased: list[str] | None = None
    erased_under: int | None = None


_decode_job = msgspec.json.Decoder(_JobRow).decode


def ingest(items: Sequence[Item], *, now: datetime) -> Outcome:
    """Take in a batch of reports: record usage, move jobs on, write totals and messages, in one transaction.

    Reports of limited, suspended, revoked or expired keys count like any other: the work was done.
    """
    outcome = Outcome()
    reports = _check(items, outcome, now)
    if reports:
        partitions.ensure(
            partitions.month_of(item.timestamp) for report in reports for item in report.report.usage
        )
        try:
            with transaction.atomic():
                _take_in(reports, outcome, now)
        except DataError as error:
            return _in_halves(items, now, error)
    outcome.rejected.sort(key=lambda rejected: rejected.index)
    return outcome


def _in_halves(items: Sequence[Item], now: datetime, error: DataError) -> Outcome:
    """Find the report with a value that no check foresaw and the database refuses, so that it harms no other."""
    if len(items) == 1:
        return Outcome(rejected=[Rejected(0, "invalid_report", f"The database refused a value: {error}")])
    whole = Outcome()
    middle = len(items) // 2
    for start, half in ((0, items[:middle]), (middle, items[middle:])):
        part = ingest(
            [_moved(item, -start) if isinstance(item, Rejected) else item for item in half], now=now
        )
        whole.accepted += part.accepted
        whole.duplicates += part.duplicates
        whole.records += part.records
        whole.rejected += [_moved(found, start) for found in part.rejected]
    return whole


def _moved(rejected: Rejected, by: int) -> Rejected:
    return msgspec.structs.replace(rejected, index=rejected.index + by)


def day_of(zone: ZoneInfo, moment: datetime) -> date:
    """The day of the organization that this moment counts in."""
    return moment.astimezone(zone).date()


_UNKNOWN_KEY = ("unknown_api_key", "`api_key_id` names no key of an organization.")


def _check(items: Sequence[Item], outcome: Outcome, now: datetime) -> list[_Report]:
    """Sort out what can be refused without the database's word on it, and look the keys up."""
    keys = _keys({item.api_key_id for item in items if isinstance(item, JobReport)}, now)
    checker = Checker(now)
    reports = []
    for index, item in enumerate(items):
        if isinstance(item, Rejected):
            outcome.rejected.append(item)
            continue
        encoded = encode(item)
        refused = checker.problem(item, encoded)
        key = keys.get(item.api_key_id)
        if refused or key is None:
            outcome.rejected.append(Rejected(index, *(refused or _UNKNOWN_KEY)))
            continue
        claims = [
            (
                (key.organization_id, usage.idempotency_key),
                idempotency.digest(encode((item.job_id, item.api_key_id, usage))),
            )
            for usage in item.usage
        ]
        told = _without_texts(item) if key.is_erased else item
        reports.append(_Report(index, told, key, idempotency.digest(encoded), claims))
    return reports


def _without_texts(report: JobReport) -> JobReport:
    return msgspec.structs.replace(report, source=None, config=None, webhook=None, metadata=None, error=None)


def _keys(uids: set[str], now: datetime) -> dict[str, _Key]:
    known = [uid for uid in uids if "\0" not in uid]  # with which the database cannot even be asked
    rows = ApiKey.objects.filter(uid__in=known, organization__isnull=False).values(
        "organization__retention_days",
        "organization__entitlement__retention_days",
        "id",
        "uid",
        "organization_id",
        organization_uid=F("organization__uid"),
        price=F("organization__entitlement__credit_price"),
        zone=F("organization__time_zone"),
        next_zone=F("organization__next_time_zone"),
        next_zone_at=F("organization__next_time_zone_at"),
        deleted_at=F("organization__deleted_at"),
        erase_after=F("organization__erase_after"),
    )
    return {row["uid"]: _key(row, now) for row in rows}


def _key(row: Any, now: datetime) -> _Key:
    days = retention.days_kept(
        row["organization__entitlement__retention_days"], row["organization__retention_days"]
    )
    return _Key(
        id=row["id"],
        uid=row["uid"],
        organization_id=row["organization_id"],
        organization_uid=row["organization_uid"],
        zone=time_zones.in_force(row["zone"], row["next_zone"], row["next_zone_at"], now=now),
        credit_price=row["price"] or Decimal(0),
        is_deleted=row["deleted_at"] is not None,
        is_erased=row["erase_after"] is not None and row["erase_after"] <= now,
        retention_days=days,
        kept_since=now - timedelta(days=days) if days else datetime.max.replace(tzinfo=UTC),
    )


def _take_in(reports: list[_Report], outcome: Outcome, now: datetime) -> None:
    reports = _claim(reports, outcome)
    if not reports:
        return
    configs = _hash_configs(reports)
    rows = _fold(reports)
    charges = _price(reports, rows)
    keys = {report.key.organization_id: report.key for report in reports}
    # What is stored of the jobs, which may be less than what is delivered.
    kept = {key: _kept(rows[key], keys[key[0]], now) for key in sorted(rows)}
    # Status and number of usage items of the jobs that this batch created or moved on.
    standing: dict[JobKey, tuple[str, int]] = {}
    finished: list[_JobRow] = []
    failed: list[JobKey] = []
    # Jobs whose details, as far as they are stored, are over with their end (and with how many days of retention).
    over: list[tuple[int, str, int]] = []
    for organization, job_id, status, usage_items, is_new, job in statements.run(_JOBS, list(kept.values())):
        key = organization, job_id
        standing[key] = status, usage_items
        if STAGE[status] == _FINAL:
            finished.append(rows[key] if is_new else _merged(_decode_job(job), rows[key]))
            if kept[key] is not rows[key] and not is_new:
                over.append((*key, keys[organization].retention_days))
            if status == JobStatus.FAILED and not is_new:
                failed.append(key)
    _save_configs([kept[key] for key in standing], configs, now)
    retention.erase_jobs(over)
    for report in reports:
        if report.new_items or (report.changes_job and report.job in standing):
            outcome.accepted += 1
        else:
            outcome.duplicates += 1
    late = [rows[key] for key in sorted(rows) if key not in standing and rows[key].usage_items]
    if late:
        for organization, job_id, status, usage_items in statements.run(_LATE, late):
            standing[organization, job_id] = status, usage_items
    corrected = corrections.void_jobs(failed, reason="The job failed.")
    drafts = _drafts(finished, keys, now)
    with prepared.pipeline():
        outbox.send_many(drafts)
        _count(finished, keys)
        written = _records(reports, rows, standing, charges) + corrected
        records.write(written)
    outcome.records = len(written)


def _claim(reports: list[_Report], outcome: Outcome) -> list[_Report]:
    """Keep the reports whose idempotency keys are theirs or new, and on each the usage items that are new."""
    passed = []
    answers = idempotency.claim([report.claims for report in reports])
    for report, answer in zip(reports, answers, strict=True):
        if isinstance(answer, str):
            message = f"The idempotency key {answer!r} was used before with another payload, which stands."
            outcome.rejected.append(Rejected(report.index, "idempotency_conflict", message))
            continue
        report.new_items = [item for item, is_new in zip(report.report.usage, answer, strict=True) if is_new]
        passed.append(report)
    return passed


def _fold(reports: list[_Report]) -> dict[JobKey, _JobRow]:
    """One row a job, as if its reports had come one after the other; marks the reports that move the job on."""
    counts = Counter(report.job for report in reports)
    repeated = sorted(job for job, count in counts.items() if count > 1)
    wanted = [{"organization_id": organization, "job_id": job_id} for organization, job_id in repeated]
    states = statements.run(_STATES, wanted) if wanted else []
    known = {(organization, job_id): (stage, digest) for organization, job_id, stage, digest in states}
    rows: dict[JobKey, _JobRow] = {}
    moved: set[JobKey] = set()
    for report in reports:
        stage, digest = known.get(report.job, (-1, ""))
        new_stage = STAGE[report.report.status]
        earlier = rows.get(report.job) if report.job in moved else None
        if stage == _FINAL or new_stage < stage or digest == report.digest:
            # Nothing new of the job, but its row must be there to find out what became of it.
            rows.setdefault(report.job, _row(report, new_stage, None))
            continue
        rows[report.job] = _row(report, new_stage, earlier)
        report.changes_job = True
        moved.add(report.job)
        known[report.job] = new_stage, report.digest
    return rows


def _row(report: _Report, stage: int, earlier: _JobRow | None) -> _JobRow:
    """The job as this report tells it, on top of what an earlier report of the batch told."""
    told = report.report
    webhook, metadata = _apart(told)
    row = _JobRow(
        organization_id=report.key.organization_id,
        job_id=told.job_id,
        api_key_id=report.key.id,
        type=told.type,
        status=told.status,
        stage=stage,
        created_at=told.created_at,
        duration=told.duration,
        num_pages=told.num_pages,
        total_pages=told.total_pages,
        credits=Decimal(0),
        usage_items=0,
        region=told.region or "",
        file_type="",
        source=told.source,
        config_sha256=report.config_sha256,
        webhook=webhook,
        metadata=metadata,
        error=told.error,
        report_digest=report.digest,
    )
    if earlier is not None:
        for name in ("duration", "num_pages", "total_pages", "source", "webhook", "metadata", "error"):
            if getattr(row, name) is None:
                setattr(row, name, getattr(earlier, name))
        row.region = row.region or earlier.region
        row.config_sha256 = row.config_sha256 or earlier.config_sha256
        # As when they come in batches of their own: the first report says whose the job is and when it began.
        row.api_key_id, row.type, row.created_at = earlier.api_key_id, earlier.type, earlier.created_at
    return row


def _hash_configs(reports: list[_Report]) -> dict[JobKey, str]:
    """The configurations of a batch, by organization and hash, which the reports are told."""
    configs = {}
    for report in reports:
        if report.report.config is not None:
            encoded = encode(report.report.config)
            report.config_sha256 = hashlib.sha256(encoded).hexdigest()
            configs[report.key.organization_id, report.config_sha256] = encoded.decode()
    return configs


def _save_configs(jobs: Iterable[_JobRow], configs: dict[JobKey, str], now: datetime) -> None:
    """Keep the configurations of these jobs, which took them: a report that changes nothing brings none back."""
    used_at: dict[tuple[int, str], datetime] = {}
    for job in jobs:
        if job.config_sha256:
            key = job.organization_id, job.config_sha256
            hour = _ended(job, now).replace(minute=0, second=0, microsecond=0)
            used_at[key] = max(used_at.get(key, hour), hour)
    if used_at:
        statements.run(
            _CONFIGS,
            [
                {"organization_id": key[0], "sha256": key[1], "text": configs[key], "used_at": used_at[key]}
                for key in sorted(used_at)
            ],
        )


def _ended(job: _JobRow, now: datetime) -> datetime:
    """When the job ended, as far as is known; now, where it is not."""
    if job.stage == _FINAL and job.duration is not None:
        return min(job.created_at + timedelta(seconds=job.duration), now)
    return now


def _kept(job: _JobRow, key: _Key, now: datetime) -> _JobRow:
    """The job as it is stored: without the details that are over already.

    While a job is under way, what its end delivers is kept even under zero data retention.
    """
    if job.created_at > key.kept_since:
        return job
    if job.stage == _FINAL:
        if _ended(job, now) > key.kept_since:
            return job
        kept = msgspec.structs.replace(
            job, config_sha256="", source=None, webhook=None, metadata=None, error=None
        )
    elif key.retention_days:
        return job
    else:
        kept = msgspec.structs.replace(job, config_sha256="", source=None)
        if isinstance(job.webhook, DisabledWebhook):
            kept.metadata = kept.error = None
    erased = [
        name for name, column in retention.COLUMNS.items() if getattr(job, column) != getattr(kept, column)
    ]
    kept.erased, kept.erased_under = erased or None, key.retention_days if erased else None
    return kept


def _apart(told: JobReport) -> tuple[Webhook, Any]:
    """The webhook and the metadata of a job, which may come inside of the webhook."""
    webhook = told.webhook
    if webhook is None or isinstance(webhook, DisabledWebhook) or webhook.metadata is None:
        return webhook, told.metadata
    metadata = webhook.metadata if told.metadata is None else told.metadata
    return msgspec.structs.replace(webhook, metadata=None), metadata


def _merged(stored: _JobRow, told: _JobRow) -> _JobRow:
    """The job as it is delivered: what is stored of it, and what was told last and may not be."""
    for column in ("webhook", "metadata", "error"):
        if (value := getattr(told, column)) is not None:
            setattr(stored, column, value)
    return stored


def _price(reports: list[_Report], rows: dict[JobKey, _JobRow]) -> dict[int, tuple[Rate | None, Decimal]]:
    """The rate and credits of every new item, by the item's identity, added up on the rows of the jobs."""
    book = PriceBook.current()
    charges = {}
    for report in reports:
        row = rows[report.job]
        for item in report.new_items:
            rate = book.rate(item.product, item.feature, item.timestamp)
            credits = charge(
                rate, pages=item.pages, quantity=item.quantity, priority=item.priority or "standard"
            )
            charges[id(item)] = rate, credits
            row.usage_items += 1
            row.credits += credits
            row.file_type = row.file_type or item.file_type
    return charges


def _records(
    reports: list[_Report],
    rows: dict[JobKey, _JobRow],
    standing: dict[JobKey, tuple[str, int]],
    charges: dict[int, tuple[Rate | None, Decimal]],
) -> list[RecordRow]:
    """A usage record for every new item. A failed job's are at 0 credits."""
    # How many items a job had before: only a job's first item counts a request.
    had = {key: standing[key][1] - row.usage_items for key, row in rows.items() if row.usage_items}
    found = []
    for report in reports:
        for item in report.new_items:
            status = standing[report.job][0]
            rate, credits = charges[id(item)]
            has_failed = status == JobStatus.FAILED
            charged = Decimal(0) if has_failed else credits
            found.append(
                RecordRow(
                    organization_id=report.key.organization_id,
                    idempotency_key=item.idempotency_key,
                    job_id=report.report.job_id,
                    api_key_id=report.key.id,
                    product=item.product,
                    feature=item.feature,
                    file_type=item.file_type,
                    region=report.report.region or "",
                    priority=item.priority or "standard",
                    requests=int(had[report.job] == 0),
                    pages=item.pages,
                    quantity=item.quantity,
                    credits=charged,
                    # Rounded here, so that records and totals, which are rounded in batches, add up alike.
                    cost=(charged * report.key.credit_price).quantize(MICRO, ROUND_HALF_UP),
                    rate_id=rate.id if rate else None,
                    unrated=rate is None,
                    corrects="",
                    reason="",
                    day=day_of(report.key.zone, item.timestamp),
                    timestamp=item.timestamp,
                    attributes=item.attributes,
                    billed_pages=0 if has_failed else None,
                )
            )
            had[report.job] += 1
    return found


def _drafts(finished: list[_JobRow], keys: dict[int, _Key], now: datetime) -> list[outbox.Draft]:
    """A message for each job that completed or failed, where somebody is to hear of it."""
    jobs = [
        job
        for job in finished
        if job.status in _EVENTS
        and not isinstance(job.webhook, DisabledWebhook)
        and not keys[job.organization_id].is_deleted
    ]
    subscribed = outbox.subscribed({job.organization_id for job in jobs}) if jobs else set()
    drafts = []
    for job in jobs:
        url = job.webhook.url if isinstance(job.webhook, DirectWebhook) else None
        if url is None and job.organization_id not in subscribed:
            continue
        data = {
            "job_id": job.job_id,
            "organization_id": keys[job.organization_id].organization_uid,
            "type": job.type,
            "status": job.status,
            "created_at": events.utc(job.created_at),
            "duration": job.duration,
            "num_pages": job.num_pages,
            "credits": 0.0 if job.status == JobStatus.FAILED else float(job.credits),
            "region": job.region,
            "metadata": job.metadata,
        }
        if job.status == JobStatus.FAILED:
            data["error"] = job.error
        if _is_too_large(job) and _kept(job, keys[job.organization_id], now) is job:
            data |= dict.fromkeys(data.keys() & {"metadata", "error"})
            data["details_url"] = settings.BASE_URL + reverse("job", args=[job.job_id])
        drafts.append(
            outbox.Draft(
                organization_id=job.organization_id,
                event_type=_EVENTS[job.status],
                data=data,
                timestamp=now,
                channels=(job.webhook.channels or None) if isinstance(job.webhook, SvixWebhook) else None,
                url=url,
                uid=end_message(job.organization_id, job.job_id),
            )
        )
    return drafts


def _is_too_large(job: _JobRow) -> bool:
    """Whether a message should tell where the job's details are rather than what they are."""
    if job.metadata is None and job.error is None:
        return False
    return len(encode((job.metadata, job.error))) > LARGEST_DETAILS


def end_message(organization_id: int, job_id: str) -> str:
    """The uid of the message that tells of a job's end, by which it is looked up beside the job."""
    return outbox.uid_of_job(organization_id, job_id)


_EVENTS: dict[str, str] = {JobStatus.COMPLETED: "job.completed", JobStatus.FAILED: "job.failed"}


def _count(finished: list[_JobRow], keys: dict[int, _Key]) -> None:
    """Add finished jobs to the day's counts, by the day they were created."""
    counts: dict[tuple[Any, ...], list[int]] = {}
    for job in finished:
        day = day_of(keys[job.organization_id].zone, job.created_at)
        buckets = counts.setdefault(
            (job.organization_id, day, job.api_key_id, job.type, job.region, job.status),
            [0] * (len(DailyJobs.DURATION_BUCKETS) + 2),
        )
        buckets[0] += 1
        if job.duration is not None:
            buckets[1 + bisect_left(DailyJobs.DURATION_BUCKETS, job.duration)] += 1
    if not counts:
        return
    margins: dict[tuple[Any, ...], list[int]] = {}
    for (organization, day, _, _, region, status), buckets in counts.items():
        sums = margins.setdefault((organization, day, region, status), [0] * len(buckets))
        sums[:] = map(add, sums, buckets)
    names = ("organization_id", "day", "api_key_id", "type", "region", "status")
    statements.run(_DAILY_JOBS, _counted(counts, names))
    statements.run(_JOB_MARGINS, _counted(margins, ("organization_id", "day", "region", "status")))


def _counted(counts: dict[tuple[Any, ...], list[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {**dict(zip(names, key, strict=True)), "jobs": jobs, "durations": durations}
        for key, (jobs, *durations) in sorted(counts.items())
    ]
