"""Job reports a second over HTTP, each with job, usage record, idempotency key, cube, day totals and outbox message.

Beside them in the same run: a bare COPY of the same rows into copies of the three large tables with their indexes, and
a peer written with DRF and the ORM (`bench.peer`). Medians of the rounds, which take turns on one machine.
"""

import argparse
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from bench._system import Connection, line, median, server, system

BATCH = 1_000
ORGANIZATIONS = 20
TABLES = ("usage_job", "usage_usagerecord", "usage_idempotencykey")
# The ratios we mean to keep; every run says whether they are reached.
COPY_GOAL, PEER_GOAL, REPLAY_GOAL, WRITERS_GOAL = 0.35, 12.0, 1.0, 1.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20, help="of 1,000 reports, in each round")
    options = parser.parse_args()
    with system("bench.peer.settings"):
        measure(options.rounds, options.batches)


def measure(rounds: int, batches: int) -> None:
    service_key, api_keys = make_organizations()
    make_copy_tables()
    rates: dict[str, list[float]] = defaultdict(list)
    with (
        server("config.settings", workers=2) as two,
        server("config.settings") as one,
        server("bench.peer.settings") as peer,
    ):
        ours, theirs = Connection(one), Connection(peer)
        # Not measured: every worker's first requests, which import modules and prepare statements.
        warm = bodies("warm", 1, api_keys)
        for connection in (ours, *(Connection(two) for _ in range(8))):
            post(connection, "/api/v1/gateway/jobs", warm, service_key)
        post(theirs, "/jobs", warm, "")
        for number in range(rounds):
            batch = bodies(f"{number}", batches, api_keys)
            rates["http"].append(post(ours, "/api/v1/gateway/jobs", batch, service_key))
            rates["copy"].append(copy(f"{number}"))
            rates["again"].append(post(ours, "/api/v1/gateway/jobs", batch, service_key))
            halves = [bodies(f"{number}{half}", batches, api_keys) for half in "ab"]
            rates["two"].append(post_together(two, halves, service_key))
            rates["peer"].append(post(theirs, "/jobs", batch[: max(2, batches // 5)], ""))
    report(rates)


def make_organizations() -> tuple[str, list[str]]:
    """A service key, and the ids of keys of organizations that have an endpoint, so that jobs make messages."""
    from accounts import keys, organizations
    from accounts.audit import Actor
    from accounts.models import User
    from config.demo import prices
    from webhooks import endpoints

    owner = User.objects.create_user("bench@example.com")
    api_keys = []
    for number in range(ORGANIZATIONS):
        organization = organizations.create(name=f"Organization {number}", owner=owner)
        endpoints.create(organization=organization, url="https://example.com/hook", actor=Actor(owner))
        key, _ = keys.create_organization_key(
            organization=organization, name="production", actor=Actor(owner)
        )
        api_keys.append(key.uid)
    prices.publish()
    return keys.create_service_key(name="bench")[1], api_keys


def bodies(name: str, batches: int, api_keys: Sequence[str]) -> list[bytes]:
    """Batches of reports of finished jobs, over three days, with ids that begin with the name."""
    rng = random.Random(name)
    now = datetime.now(UTC)
    return [
        msgspec.json.encode(
            {"jobs": [job_report(f"{name}-{batch}-", rng, now, api_keys) for _ in range(BATCH)]}
        )
        for batch in range(batches)
    ]


def job_report(prefix: str, rng: random.Random, now: datetime, api_keys: Sequence[str]) -> dict[str, Any]:
    job_id = f"{prefix}{uuid.UUID(int=rng.getrandbits(128))}"
    created_at = (now - timedelta(seconds=rng.uniform(60, 3 * 86_400))).isoformat()
    pages = rng.randint(1, 30)
    return {
        "job_id": job_id,
        "api_key_id": rng.choice(api_keys),
        "type": "Parse",
        "status": "Completed",
        "created_at": created_at,
        "duration": round(rng.uniform(0.5, 20), 3),
        "num_pages": pages,
        "total_pages": pages,
        "region": rng.choice(["us", "eu", "ap"]),
        "source": f"s3://documents/{job_id}.pdf",
        "config": {"options": {"tables": rng.choice(["html", "markdown", "csv"]), "ocr": "auto"}},
        "metadata": {"reference": rng.randint(1, 10**9)},
        "usage": [
            {
                "idempotency_key": job_id,
                "product": "parse",
                "feature": rng.choice(["standard", "complex", "agentic"]),
                "file_type": rng.choice(["pdf", "docx", "png"]),
                "pages": pages,
                "timestamp": created_at,
            }
        ],
    }


def post(connection: Connection, path: str, batches: Sequence[bytes], key: str) -> float:
    """Send the batches one after the other and return reports a second."""
    start = time.perf_counter()
    for body in batches:
        status, answer = connection.request("POST", path, body, key)
        if status != 200 or msgspec.json.decode(answer).get("rejected"):
            raise RuntimeError(f"{path} answered {status}: {answer[:500].decode()}")
    return len(batches) * BATCH / (time.perf_counter() - start)


def post_together(port: int, halves: Sequence[list[bytes]], key: str) -> float:
    """Send each list of batches over a connection of its own, all at once, and return reports a second."""
    threads = [
        threading.Thread(target=post, args=(Connection(port), "/api/v1/gateway/jobs", half, key))
        for half in halves
    ]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(map(len, halves)) * BATCH / (time.perf_counter() - start)


def make_copy_tables() -> None:
    """Tables like the three large ones, with their indexes; the partitioned one as one of its partitions is."""
    from django.db import connection

    from usage import partitions

    partitions.ensure([partitions.month_of(datetime.now(UTC))])
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"CREATE TABLE copy_of_{table} (LIKE {table} INCLUDING ALL)")


def copy(name: str) -> float:
    """Copy what the round has written, 1,000 jobs a transaction, and return jobs a second."""
    from django.db import connection, transaction

    connection.ensure_connection()
    database = connection.connection
    rows: dict[str, list[bytes]] = {}
    for table in TABLES:
        column = "key" if table == "usage_idempotencykey" else "job_id"
        where = f"WHERE {column} LIKE '{name}-%' ORDER BY {column}"
        with database.cursor().copy(f"COPY (SELECT * FROM {table} {where}) TO STDOUT") as source:
            rows[table] = b"".join(source).splitlines(keepends=True)
    jobs = len(rows["usage_job"])
    start = time.perf_counter()
    for first in range(0, jobs, BATCH):
        with transaction.atomic():
            for table in TABLES:
                with database.cursor().copy(f"COPY copy_of_{table} FROM STDIN") as target:
                    target.write(b"".join(rows[table][first : first + BATCH]))
    return jobs / (time.perf_counter() - start)


def report(rates: dict[str, list[float]]) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        (deadlocks,) = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM usage_job")
        (jobs,) = cursor.fetchone()
        cursor.execute("SHOW server_version")
        (version,) = cursor.fetchone()
    found = {name: median(values) for name, values in rates.items()}
    print(f"Job reports a second, {BATCH:,} a batch, PostgreSQL {version}, {jobs:,} jobs in the end")
    line("one writer over HTTP", f"{found['http']:,.0f}")
    line("COPY of the same rows", f"{found['copy']:,.0f}", found["http"] / found["copy"], COPY_GOAL)
    line(
        "DRF, bulk_create, ORM rollup over HTTP",
        f"{found['peer']:,.0f}",
        found["http"] / found["peer"],
        PEER_GOAL,
    )
    line("the same reports again", f"{found['again']:,.0f}", found["again"] / found["http"], REPLAY_GOAL)
    line("two writers over HTTP", f"{found['two']:,.0f}", found["two"] / found["http"], WRITERS_GOAL)
    print(f"deadlocks: {deadlocks}")


if __name__ == "__main__":
    main()
