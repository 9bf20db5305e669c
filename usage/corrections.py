"""Taking a charge back. The original stays; a negative record with its timestamp and a key of its own follows.

A record is taken back once, for good: the key of what takes it back follows from its own, and is claimed like any
other. What was metered wrongly is taken back, and a second record says what it should have been. That one may be
corrected again; what takes back may not.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.urls import reverse

from accounts import audit, notifications
from accounts.audit import Actor
from accounts.models import NoticeKind, User
from accounts.names import validate_name
from accounts.permissions import Permission, roles_with
from usage import idempotency, records, statements
from usage.models import Entitlement, Feature, Job, JobStatus, Product, UsageRecord
from usage.pricing import MICRO, PriceBook, charge, credit_price
from usage.records import RecordRow
from usage.reports_in import CORRECTION, MOST_PAGES, MOST_QUANTITY, is_quantity

_AMENDED = ":amended"
LONGEST_REASON = 200

_CLAIM = """
INSERT INTO usage_idempotencykey (organization_id, key, digest, created_at)
SELECT organization_id, key, '', now() FROM json_to_recordset(%s::json) AS x (organization_id bigint, key text)
ON CONFLICT DO NOTHING RETURNING organization_id, key
"""

# What jobs were charged and have not been given back, and what stands in for what was. What takes back is below 0.
_CHARGED = """
SELECT organization_id, idempotency_key, job_id, api_key_id, product, feature, file_type, region, priority,
       requests, pages, quantity, credits, cost, rate_id, unrated, corrects, reason, day, timestamp, attributes
FROM usage_usagerecord
WHERE (credits > 0 OR pages > 0) AND (organization_id, job_id) IN (
    SELECT * FROM json_to_recordset(%s::json) AS x (organization_id bigint, job_id text))
ORDER BY organization_id, idempotency_key
"""

_JOBS = """
UPDATE usage_job j SET credits = j.credits + x.credits
FROM (
    SELECT organization_id, job_id, SUM(credits) AS credits
    FROM json_to_recordset(%s::json) AS x (organization_id bigint, job_id text, credits numeric)
    GROUP BY organization_id, job_id) x
WHERE j.organization_id = x.organization_id AND j.job_id = x.job_id
"""


class AlreadyCorrected(Exception):
    """The record has been taken back before, by somebody or because its job failed."""


class TakesBack(Exception):
    """The record takes another one back, and stays."""


@dataclass(frozen=True)
class Amendment:
    """What should have been metered. It costs what it would have cost then, by the price book."""

    product: str
    feature: str
    pages: int
    quantity: Decimal | None


def void(originals: Sequence[RecordRow], *, reason: str) -> list[RecordRow]:
    """Take back those of these records that were not before: returns the records that do, to be written.

    The caller has locked the jobs, and writes the records by `records.write` in the same transaction. Any writer locks
    a job before it claims the key of a correction, so that two of them never wait for each other.
    """
    by_key = {(row.organization_id, correction_key(row.idempotency_key)): row for row in originals}
    claimed = _claim(by_key)
    return [_negative(row, key[1], reason) for key, row in by_key.items() if key in claimed]


def _claim(keys: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Claim these keys (organization id, key), and return those that were free."""
    claims = [{"organization_id": organization, "key": key} for organization, key in sorted(keys)]
    return {(organization, key) for organization, key in statements.run(_CLAIM, claims)}


def void_jobs(jobs: Sequence[tuple[int, str]], *, reason: str) -> list[RecordRow]:
    """Take back what these jobs (organization id, job id) were charged: returns the records that do, to be written.

    As `void`, but pages and requests stay as they were: the work was asked for, it is only not paid for, by pages
    neither where it is billed by files. Doing it again does nothing.
    """
    if not jobs:
        return []
    charged = statements.run(
        _CHARGED, [{"organization_id": organization, "job_id": job} for organization, job in sorted(jobs)]
    )
    if not charged:
        return []
    corrections = [
        msgspec.structs.replace(row, requests=0, pages=0, quantity=None, billed_pages=row.pages)
        for row in void([RecordRow(*values) for values in charged], reason=reason)
    ]
    statements.run(_JOBS, corrections)
    return corrections


def correct(
    *, record: UsageRecord, reason: str, actor: Actor | None, amendment: Amendment | None = None
) -> list[RecordRow]:
    """Take a record back, or put another in its stead, and tell the customer why. Returns what was written.

    The record then counts for nothing anywhere: requests and pages neither. An amendment to nothing only takes back.
    Raises AlreadyCorrected, TakesBack, and ValidationError with a message for each bad field.
    """
    reason = _clean_reason(reason)
    with transaction.atomic():
        job = job_of(record, lock=True)
        rows = follows(record=record, amendment=amendment, reason=reason, job=job)
        if not void([_row(record)], reason=reason):
            raise AlreadyCorrected
        _claim([(row.organization_id, row.idempotency_key) for row in rows[1:]])
        statements.run(_JOBS, rows)
        _record_and_tell(record, rows, reason=reason, actor=actor)
        records.write(rows)
    return rows


def follows(
    *, record: UsageRecord, amendment: Amendment | None, reason: str = "", job: Job | None = None
) -> list[RecordRow]:
    """What would follow a record: one that takes it back, and with an amendment one that stands in for it.

    Raises TakesBack, and ValidationError with a message for each bad field.
    """
    if is_void(record):
        raise TakesBack
    job = job or job_of(record)
    has_failed = job is not None and job.status == JobStatus.FAILED
    # What a failed job did is not billed by pages either, so there are none to be given back.
    billed_pages = 0 if has_failed else None
    original = _row(record)
    key = correction_key(record.idempotency_key)
    taken_back = msgspec.structs.replace(_negative(original, key, reason), billed_pages=billed_pages)
    if amendment is None:
        return [taken_back]
    _check(amendment, record)
    if not amendment.pages and not amendment.quantity:
        return [taken_back]
    rate = PriceBook.current().rate(amendment.product, amendment.feature, record.timestamp)
    credits = charge(rate, pages=amendment.pages, quantity=amendment.quantity, priority=record.priority)
    if has_failed:
        credits = Decimal(0)
    amended = msgspec.structs.replace(
        original,
        idempotency_key=key + _AMENDED,
        product=amendment.product,
        feature=amendment.feature,
        pages=amendment.pages,
        quantity=amendment.quantity,
        credits=credits,
        cost=(credits * _price(record)).quantize(MICRO, ROUND_HALF_UP),
        rate_id=rate.id if rate else None,
        unrated=rate is None,
        corrects=record.idempotency_key,
        reason=reason,
        billed_pages=billed_pages,
    )
    return [taken_back, amended]


def is_void(record: UsageRecord) -> bool:
    """Whether it takes another record back. One that stands in for another corrects it too, but is not void."""
    return record.corrects != "" and record.idempotency_key == correction_key(record.corrects)


def of(record: UsageRecord) -> list[UsageRecord]:
    """What corrects a record: one that takes it back, and perhaps one that stands in for it."""
    found = UsageRecord.objects.filter(organization_id=record.organization_id, job_id=record.job_id)
    return list(found.filter(corrects=record.idempotency_key).order_by("id"))


def correction_key(idempotency_key: str) -> str:
    """The key of what takes back the record with this key; as short however long that one is."""
    return CORRECTION + idempotency.digest(idempotency_key.encode())


def _negative(row: RecordRow, key: str, reason: str) -> RecordRow:
    return msgspec.structs.replace(
        row,
        idempotency_key=key,
        requests=-row.requests,
        pages=-row.pages,
        quantity=None if row.quantity is None else -row.quantity,
        credits=-row.credits,
        cost=-row.cost,
        unrated=False,
        corrects=row.idempotency_key,
        reason=reason,
        attributes=None,
    )


def _row(record: UsageRecord) -> RecordRow:
    return RecordRow(
        *(getattr(record, name) for name in RecordRow.__struct_fields__ if name != "billed_pages")
    )


def job_of(record: UsageRecord, *, lock: bool = False) -> Job | None:
    jobs = Job.objects.filter(organization_id=record.organization_id, job_id=record.job_id)
    return (jobs.select_for_update(no_key=True) if lock else jobs).first()


def _price(record: UsageRecord) -> Decimal:
    """What a credit cost when the record was written, as far as the record tells; else what it costs now."""
    prices = Entitlement.objects.filter(organization_id=record.organization_id)
    now = prices.values_list("credit_price", flat=True).first() or Decimal(0)
    return credit_price(record.credits, record.cost, now=now)


# ── What staff may say ───────────────────────────────────────────────────────────────────────────────────────


def _clean_reason(reason: str) -> str:
    reason = reason.strip()
    try:
        if not reason:
            raise ValidationError("Say why: the customer reads it.")
        if len(reason) > LONGEST_REASON:
            raise ValidationError(f"Use at most {LONGEST_REASON} characters.")
        validate_name(reason)
    except ValidationError as error:
        raise ValidationError({"reason": error.messages}) from error
    return reason


def _check(amendment: Amendment, record: UsageRecord) -> None:
    errors = {}
    if amendment.product not in Product.values:
        errors["product"] = f"One of: {', '.join(Product.values)}."
    if amendment.feature not in Feature.values:
        errors["feature"] = f"One of: {', '.join(Feature.values)}."
    if not 0 <= amendment.pages <= MOST_PAGES:
        errors["pages"] = f"From 0 to {MOST_PAGES:,}."
    if amendment.quantity is not None and not is_quantity(amendment.quantity):
        errors["quantity"] = f"From 0 to {MOST_QUANTITY:,}."
    if errors:
        raise ValidationError(errors)
    if amendment == Amendment(record.product, record.feature, record.pages, record.quantity):
        raise ValidationError({"pages": "This is what the record says already."})


# ── Who is told ──────────────────────────────────────────────────────────────────────────────────────────────


def _record_and_tell(record: UsageRecord, rows: list[RecordRow], *, reason: str, actor: Actor | None) -> None:
    is_amended = len(rows) > 1
    before = _facts(record)
    after = _facts(rows[-1]) if is_amended else {"pages": 0, "credits": Decimal(0), "cost": Decimal(0)}
    changed = [name for name in before if name in after and after[name] != before[name]]
    audit.record(
        audit.Action.USAGE_RECORD_AMENDED if is_amended else audit.Action.USAGE_RECORD_VOIDED,
        actor=actor,
        organization=record.organization,
        target=record,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed} | {"job_id": record.job_id, "reason": reason},
    )
    if record.organization.deleted_at:
        return
    change = sum(row.credits for row in rows)
    by = f" by {change:+,.6f}".rstrip("0").rstrip(".").replace("-", "−") + " credits" if change else ""
    told = User.objects.filter(
        is_active=True,
        memberships__organization=record.organization,
        memberships__role__in=roles_with(Permission.BILLING_VIEW),
    )
    notifications.notify(
        told,
        kind=NoticeKind.USAGE,
        key=f"usage_record.corrected:{record.organization.uid}:{rows[0].idempotency_key}",
        title=f"Usage of job {record.job_id} was corrected{by}",
        body=f"{settings.BRAND} support gave this reason: {reason}",
        url=reverse("usage:job", args=[record.organization.uid, record.job_id]),
        organization=record.organization,
    )


def _facts(row: Any) -> dict[str, Any]:
    return {
        name: getattr(row, name) for name in ("product", "feature", "pages", "quantity", "credits", "cost")
    }
