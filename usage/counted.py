"""What this process counts of verify and of ingest, for whoever watches it. `config.metrics` publishes it.

A call to verify is counted once, here and not by code and by time apart: a histogram counts as well.
"""

from functools import cache

from prometheus_client import Counter, Histogram

CODES = (
    "VALID",
    "NOT_FOUND",
    "DISABLED",
    "REVOKED",
    "EXPIRED",
    "FORBIDDEN",
    "RATE_LIMITED",
    "OUT_OF_CREDITS",
    "SPEND_CAP_REACHED",
    "BUDGET_EXCEEDED",
    "SUSPENDED",
)

_VERIFY = Histogram(
    "countinghouse_verify_seconds",
    "Calls to verify by the code they were answered with, and the seconds from question to answer.",
    ["code"],
    buckets=(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
_KEYS = Counter(
    "countinghouse_verify_keys",
    "Keys that verify was asked about: answered from what this process keeps, or read from the database.",
    ["source"],
)
_LOOKS = Counter(
    "countinghouse_verify_looks",
    "Looks for changes of the keys that are kept, by how they went.",
    ["outcome"],
)
_UNLIMITED = Counter(
    "countinghouse_unlimited_requests", "Requests that no limit was asked about, as Redis did not answer."
)
_REPORTS = Counter("countinghouse_ingest_reports", "Job reports, by what became of them.", ["outcome"])
_RECORDS = Counter("countinghouse_ingest_records", "Usage records written, with corrections of failed jobs.")
_BATCHES = Histogram(
    "countinghouse_ingest_batch_seconds",
    "Seconds from a batch of reports being here to its answer.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

# Found once: looking one up by its label costs as much as counting.
_of_code = cache(_VERIFY.labels)
for _code in CODES:
    _of_code(_code)
key_kept, key_read = _KEYS.labels("kept"), _KEYS.labels("read")
look_done, look_failed = _LOOKS.labels("done"), _LOOKS.labels("failed")
_accepted, _duplicate, _rejected = map(_REPORTS.labels, ("accepted", "duplicate", "rejected"))
unlimited = _UNLIMITED


def verified(code: str, seconds: float) -> None:
    """Count an answer of verify."""
    _of_code(code).observe(seconds)


def ingested(*, accepted: int, duplicates: int, rejected: int, records: int, seconds: float) -> None:
    """Count a batch of job reports."""
    _accepted.inc(accepted)
    _duplicate.inc(duplicates)
    _rejected.inc(rejected)
    _RECORDS.inc(records)
    _BATCHES.observe(seconds)
