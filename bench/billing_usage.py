"""The air-gapped billing export: with deletion against without, over the same rows of one queue.

Both write, gzip, store in a folder and read back. Medians of the rounds, which take turns on one machine; what a round
deletes is put back before the next. Peak memory is this process's, after a tenth of the rows and after all.
"""

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack

from bench._system import line, median, system

# How much longer the export may take for deleting what it wrote.
DELETE_GOAL = 0.5  # speed with deletion over speed without, hence twice the time

_FILL = """
INSERT INTO usage_billingexportrow (idempotency_key, organization_id, type, num_pages, attributes, timestamp)
SELECT gen_random_uuid(), 1, (ARRAY['parse', 'extract', 'split'])[1 + n %% 3], n %% 30,
    jsonb_build_object('tier', 'gold', 'document', n), now() - n * interval '1 second'
FROM generate_series(1, %s) AS n
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="of an export; the queue holds twice as many"
    )
    options = parser.parse_args()
    with system("config.settings"):
        measure(options.rounds, options.rows)


def measure(rounds: int, rows: int) -> None:
    from django.conf import settings
    from django.test import override_settings

    with ExitStack() as stack:
        location = stack.enter_context(tempfile.TemporaryDirectory(prefix="countinghouse-bench-"))
        folder = {"BACKEND": "usage.files.Folder", "OPTIONS": {"location": location}}
        storages = settings.STORAGES | {"exports": folder}
        stack.enter_context(override_settings(STORE_USAGE_FOR_BILLING=True, STORAGES=storages))
        fill(2 * rows)
        export(max(rows // 10, 1), delete=False)
        small = peak()
        rates: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            rates["export"].append(export(rows, delete=False))
            rates["delete"].append(export(rows, delete=True))
            fill(rows)
        report(rates, rows, small)


def fill(rows: int) -> None:
    """Queue rows, and leave the tables as autovacuum would after a while."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(_FILL, [rows])
        cursor.execute("VACUUM ANALYZE usage_billingexportrow")


def export(rows: int, *, delete: bool) -> float:
    """Export, and return rows a second."""
    from usage import billing_export

    start = time.perf_counter()
    file = billing_export.export(count=rows, delete=delete)
    assert file is not None
    assert file.num_records == rows
    return rows / (time.perf_counter() - start)


def peak() -> float:
    """The most memory this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(rates: dict[str, list[float]], rows: int, small: float) -> None:
    found = {name: median(values) for name, values in rates.items()}
    print(f"Billing export, rows a second, {rows:,} of a queue of {2 * rows:,}")
    line("export alone", f"{found['export']:,.0f}")
    line("export and delete", f"{found['delete']:,.0f}", found["delete"] / found["export"], DELETE_GOAL)
    print(f"peak memory: {small:.0f} MB after {rows // 10:,} rows, {peak():.0f} MB after {rows:,}")


if __name__ == "__main__":
    main()
