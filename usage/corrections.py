"""Taking a charge back. The original stays; a negative record with its timestamp and a key of its own follows."""

from collections.abc import Sequence

import msgspec

from usage import idempotency, statements
from usage.records import RecordRow
from usage.reports_in import CORRECTION

_CLAIM = """
INSERT INTO usage_idempotencykey (organization_id, key, digest, created_at)
SELECT organization_id, key, '', now() FROM json_to_recordset(%s::json) AS x (organization_id bigint, key text)
ON CONFLICT DO NOTHING RETURNING organization_id, key
"""

# What jobs were charged and have not been given back. Only originals carry a key without a correction.
_CHARGED = """
SELECT organization_id, idempotency_key, job_id, api_key_id, product, feature, file_type, region, priority,
       requests, pages, quantity, credits, cost, rate_id, unrated, corrects, reason, day, timestamp, attributes
FROM usage_usagerecord
WHERE corrects = '' AND (credits > 0 OR pages > 0) AND (organization_id, job_id) IN (
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


def void_jobs(jobs: Sequence[tuple[int, str]], *, reason: str) -> list[RecordRow]:
    """Take back what these jobs (organization id, job id) were charged: returns the records that do, to be written.

    The caller has locked the jobs, and writes the records by `records.write` in the same transaction. Pages and
    requests stay as they were: the work was asked for, it is only not paid for, by pages neither where it is billed by
    files. Doing it again does nothing.
    """
    if not jobs:
        return []
    charged = statements.run(
        _CHARGED, [{"organization_id": organization, "job_id": job} for organization, job in sorted(jobs)]
    )
    if not charged:
        return []
    originals = {
        (row.organization_id, correction_key(row.idempotency_key)): row
        for row in (RecordRow(*values) for values in charged)
    }
    claims = [{"organization_id": key[0], "key": key[1]} for key in sorted(originals)]
    claimed = {(organization, key) for organization, key in statements.run(_CLAIM, claims)}
    corrections = [_negative(row, key[1], reason) for key, row in originals.items() if key in claimed]
    statements.run(_JOBS, corrections)
    return corrections


def correction_key(idempotency_key: str) -> str:
    """The key of the correction of the record with this key; as short however long that one is."""
    return CORRECTION + idempotency.digest(idempotency_key.encode())


def _negative(row: RecordRow, key: str, reason: str) -> RecordRow:
    return msgspec.structs.replace(
        row,
        idempotency_key=key,
        requests=0,
        pages=0,
        quantity=None,
        credits=-row.credits,
        cost=-row.cost,
        unrated=False,
        corrects=row.idempotency_key,
        reason=reason,
        attributes=None,
        billed_pages=-row.pages,
    )
