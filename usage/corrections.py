"""Taking a charge back. The original stays; a negative record with its timestamp and a key of its own follows."""

from collections.abc import Sequence

from django.db import transaction

from usage import records, statements
from usage.records import RecordRow
from usage.reports_in import CORRECTION

_CLAIM = """
INSERT INTO usage_idempotencykey (organization_id, key, digest, created_at)
SELECT organization_id, key, '', now() FROM json_to_recordset(%s::json) AS x (organization_id bigint, key text)
ON CONFLICT DO NOTHING RETURNING key
"""

# What jobs were charged and have not been given back. Only originals carry a key without a correction.
_CHARGED = """
SELECT id, organization_id, idempotency_key, job_id, api_key_id, product, feature, file_type, region, priority,
       requests, pages, quantity, credits, cost, rate_id, unrated, corrects, reason, day, timestamp, attributes
FROM usage_usagerecord
WHERE corrects = '' AND credits > 0 AND (organization_id, job_id) IN (
    SELECT * FROM json_to_recordset(%s::json) AS x (organization_id bigint, job_id text))
ORDER BY organization_id, id
"""

_JOBS = """
UPDATE usage_job j SET credits = j.credits + x.credits
FROM (
    SELECT organization_id, job_id, SUM(credits) AS credits
    FROM json_to_recordset(%s::json) AS x (organization_id bigint, job_id text, credits numeric)
    GROUP BY organization_id, job_id) x
WHERE j.organization_id = x.organization_id AND j.job_id = x.job_id
"""


def void_jobs(jobs: Sequence[tuple[int, str]], *, reason: str) -> int:
    """Give back what these jobs (organization id, job id), locked by the caller, were charged. Returns the records.

    Pages and requests stay as they were: the work was asked for, it is only not paid for. Doing it again does nothing.
    """
    if not jobs:
        return 0
    with transaction.atomic():
        charged = statements.run(
            _CHARGED, [{"organization_id": organization, "job_id": job} for organization, job in jobs]
        )
        if not charged:
            return 0
        originals = {f"{CORRECTION}{id}": RecordRow(*values) for id, *values in charged}
        claims = [{"organization_id": row.organization_id, "key": key} for key, row in originals.items()]
        claimed = {key for (key,) in statements.run(_CLAIM, claims)}
        negatives = [
            RecordRow(
                organization_id=row.organization_id,
                idempotency_key=key,
                job_id=row.job_id,
                api_key_id=row.api_key_id,
                product=row.product,
                feature=row.feature,
                file_type=row.file_type,
                region=row.region,
                priority=row.priority,
                requests=0,
                pages=0,
                quantity=None,
                credits=-row.credits,
                cost=-row.cost,
                rate_id=row.rate_id,
                unrated=False,
                corrects=row.idempotency_key,
                reason=reason,
                day=row.day,
                timestamp=row.timestamp,
                attributes=None,
            )
            for key, row in originals.items()
            if key in claimed
        ]
        records.write(negatives)
        statements.run(_JOBS, negatives)
        return len(negatives)
