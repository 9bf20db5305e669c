"""How long the details of jobs are kept, and erasing what is older. What was used stays for good.

As long as the plan allows, or less where the organization chose so, counted from the end of the job. A job that has
not ended counts from what was last heard of it, and has a day at least: its end may still have to be delivered.

Nothing is locked against ingest. Rows that it holds are passed by until the next run; a configuration is only deleted
when none of its jobs may be kept any longer, so that whoever brings it anew renews it first (`ingest._CONFIGS`).
"""

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from django.db import connection

from accounts.models import Organization
from usage import statements
from usage.models import Entitlement
from webhooks import contents

# The details of a job, as they are called (`Job.DETAILS`), and the columns that hold them.
COLUMNS = {
    "configuration": "config_sha256",
    "source": "source",
    "webhook": "webhook",
    "metadata": "metadata",
    "error": "error",
}
# More is for good, and would lead out of the calendar.
LONGEST = 36_500  # days

# How often it is looked for what is to be erased, counted from midnight in UTC.
EVERY = timedelta(minutes=10)
BATCH = 1_000
LONGEST_RUN = 240.0  # seconds; what is left is for the next run

# As the index `job_to_erase` has it.
_HAS_DETAILS: LiteralString = """(j.config_sha256 <> '' OR j.source IS NOT NULL OR j.webhook IS NOT NULL
    OR j.metadata IS NOT NULL OR j.error IS NOT NULL)"""

_ERASED: LiteralString = """
    config_sha256 = '', source = NULL, webhook = NULL, metadata = NULL, error = NULL,
    erased = array_remove(ARRAY[
        CASE WHEN j.config_sha256 <> '' OR 'configuration' = ANY (j.erased) THEN 'configuration' END,
        CASE WHEN j.source IS NOT NULL OR 'source' = ANY (j.erased) THEN 'source' END,
        CASE WHEN j.webhook IS NOT NULL OR 'webhook' = ANY (j.erased) THEN 'webhook' END,
        CASE WHEN j.metadata IS NOT NULL OR 'metadata' = ANY (j.erased) THEN 'metadata' END,
        CASE WHEN j.error IS NOT NULL OR 'error' = ANY (j.erased) THEN 'error' END], NULL),
    erased_at = now()"""

# Of each organization that has something to erase, or messages with contents, for how many days it keeps details.
# The oldest of each is what an index knows at once; asked whether any is older, PostgreSQL may look through them all.
_DUE: LiteralString = f"""
SELECT o.id, kept.days, has.older
FROM accounts_organization o
LEFT JOIN usage_entitlement e ON e.organization_id = o.id
CROSS JOIN LATERAL (
    SELECT LEAST(o.retention_days, COALESCE(e.retention_days, 0), {LONGEST}) AS days) kept
CROSS JOIN LATERAL (SELECT %(now)s - make_interval(days => kept.days) AS since) kept_since
CROSS JOIN LATERAL (
    SELECT COALESCE((
            SELECT j.created_at FROM usage_job j WHERE j.organization_id = o.id AND {_HAS_DETAILS}
            ORDER BY j.created_at LIMIT 1) < kept_since.since, false)
        OR COALESCE((
            SELECT c.used_at FROM usage_pipelineconfig c WHERE c.organization_id = o.id
            ORDER BY c.used_at LIMIT 1) < kept_since.since - interval '2 hours', false) AS older
    OFFSET 0) has
WHERE has.older OR o.id = ANY (%(with_contents)s)
"""

# From the oldest on. What has been passed by, for it is not over or is being written to, is not looked at twice.
_ERASE: LiteralString = f"""
WITH due AS (
    SELECT j.id FROM usage_job j
    WHERE j.organization_id = %(organization)s AND j.created_at < %(since)s AND j.created_at >= %(after)s
        AND {_HAS_DETAILS}
        AND CASE WHEN j.stage < 3 THEN j.updated_at < LEAST(%(since)s, %(now)s - interval '1 day')
            WHEN j.duration IS NULL THEN j.updated_at < %(since)s
            ELSE LEAST(j.created_at + make_interval(secs => j.duration), j.updated_at) < %(since)s END
    ORDER BY j.created_at LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED)
UPDATE usage_job j SET {_ERASED}, erased_under = %(days)s
FROM due WHERE j.id = due.id
RETURNING j.created_at
"""

_ERASE_JOBS: LiteralString = f"""
UPDATE usage_job j SET {_ERASED}, erased_under = x.days
FROM json_to_recordset(%s::json) AS x (organization_id bigint, job_id text, days integer)
WHERE j.organization_id = x.organization_id AND j.job_id = x.job_id AND {_HAS_DETAILS}
"""

# All of a configuration's jobs began before they ended, so those that still have it are among the few that were left.
_DELETE_CONFIGS: LiteralString = f"""
DELETE FROM usage_pipelineconfig WHERE id IN (
    SELECT c.id FROM usage_pipelineconfig c
    WHERE c.organization_id = %(organization)s AND c.used_at < %(since)s - interval '2 hours' AND NOT EXISTS (
        SELECT FROM usage_job j
        WHERE j.organization_id = %(organization)s AND j.created_at < %(since)s AND {_HAS_DETAILS}
            AND j.config_sha256 = c.sha256)
    LIMIT %(limit)s
    FOR UPDATE OF c SKIP LOCKED)
RETURNING id
"""


def days_kept(allowed: int | None, chosen: int | None) -> int:
    """For how many days details are kept: as many as the plan allows, or fewer that the organization chose.

    Having no plan keeps nothing.
    """
    most = allowed or 0
    return min(most if chosen is None else chosen, most, LONGEST)


def longest(organization: Organization) -> int:
    """The most days that the plan allows; 0 keeps nothing beyond delivery, and so does having no plan."""
    found = Entitlement.objects.filter(organization=organization).values_list("retention_days", flat=True)
    return found.first() or 0


def retention_days(organization: Organization) -> int:
    """For how many days after a job has ended its details are kept; 0 for not at all."""
    return days_kept(longest(organization), organization.retention_days)


def next_run(now: datetime) -> datetime:
    """When it is next looked for what is to be erased."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + ((now - midnight) // EVERY + 1) * EVERY


def erase_due(*, now: datetime) -> int:
    """Erase what is kept for longer than it may be, and return of how many jobs.

    In short transactions, so that a run that is killed leaves only what the next one does; two at once share the work.
    """
    ends_at = time.monotonic() + LONGEST_RUN
    with_contents = contents.oldest()
    due = _run(_DUE, {"now": now, "with_contents": list(with_contents)})
    random.shuffle(due)  # one with much to erase must not always stand before the same others
    erased = 0
    for organization_id, days, has_older in due:
        since = now - timedelta(days=days)
        if has_older:
            erased += _erase(organization_id, days, since=since, now=now, ends_at=ends_at)
        if with_contents.get(organization_id, since) < since:
            contents.expunge(organization_id, before=since)
        if time.monotonic() > ends_at:
            break
    return erased


def _erase(organization_id: int, days: int, *, since: datetime, now: datetime, ends_at: float) -> int:
    """Erase one organization's details of before `since`, and then the configurations that no job has any more."""
    values = {"organization": organization_id, "days": days, "since": since, "now": now, "limit": BATCH}
    erased = 0
    after = datetime.min.replace(tzinfo=UTC)
    while batch := _run(_ERASE, values | {"after": after}):
        erased += len(batch)
        after = max(row[0] for row in batch)
        if time.monotonic() > ends_at:
            return erased
    while len(_run(_DELETE_CONFIGS, values)) == BATCH and time.monotonic() < ends_at:
        pass
    return erased


def _run(query: LiteralString, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def erase_jobs(jobs: Sequence[tuple[int, str, int]]) -> None:
    """Erase the details of these jobs (organization id, job id, days of retention), which the caller has locked."""
    if jobs:
        names = ("organization_id", "job_id", "days")
        statements.run(_ERASE_JOBS, [dict(zip(names, job, strict=True)) for job in sorted(jobs)])
