"""How fast messages go from the outbox through the engine to their receivers, signed and with their attempts recorded.

By one `deliver` process, beside a bare aiohttp sender and a requests.Session that sign the same text and record
nothing; and the same while one endpoint never answers, while many do not, and by two processes. Medians of the
rounds. The database's share of the processor is not in the figures per delivery.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bench._system import ROOT, line, median, system

ORGANIZATIONS = 16
STUCK = 200  # messages for each endpoint that never answers
HANGING = 20  # such endpoints, beside which the others are to go on
AT_ONCE = 64
# The limits we mean to keep; every run says whether they are.
BARE_GOAL, REQUESTS_GOAL, STUCK_GOAL = 0.25, 1.0, 0.95

DATA = {
    "job_id": "5f0c6f6a-7a1e-4d0f-9d4c-2b8f1f6f3a11",
    "status": "Completed",
    "metadata": {"text": "x" * 900},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=5_000)
    options = parser.parse_args()
    os.environ["WEBHOOK_ALLOWED_NETWORKS"] = "127.0.0.0/8"
    with system("config.settings"), sink() as url:
        measure(options.rounds, options.messages, url)


def measure(rounds: int, messages: int, url: str) -> None:
    organizations = [subscribe(f"Organization {number}", url) for number in range(ORGANIZATIONS)]
    stuck = [subscribe(f"Stuck {number}", f"{url}stuck") for number in range(HANGING)]
    bare, plain, whole, processor, beside, beside_many, together = [], [], [], [], [], [], []
    for _ in range(rounds):
        bare.append(messages / asyncio.run(send_bare(url, messages)))
        plain.append(messages / send_plain(url, messages))
        took, cpu = deliver(organizations, messages)
        whole.append(messages / took)
        processor.append(cpu / messages)
        took, _ = deliver(organizations, messages, stuck=stuck[:1])
        beside.append(messages / took)
        took, _ = deliver(organizations, messages, stuck=stuck)
        beside_many.append(messages / took)
        took, _ = deliver(organizations, messages, processes=2)
        together.append(messages / took)
    rate = median(whole)
    print(f"{messages:,} messages of 1 kB to {ORGANIZATIONS} endpoints")
    line("bare aiohttp sender, nothing recorded", f"{median(bare):,.0f}/s")
    line("requests.Session, nothing recorded", f"{median(plain):,.0f}/s")
    line("outbox to recorded attempt", f"{rate:,.0f}/s", rate / median(bare), BARE_GOAL, "of the bare sender")
    line("", "", rate / median(plain), REQUESTS_GOAL, "of requests.Session")
    line("processor time of a delivery", f"{median(processor) * 1e6:,.0f} µs")
    line(
        "beside an endpoint that never answers", f"{median(beside):,.0f}/s", median(beside) / rate, STUCK_GOAL
    )
    line(f"beside {HANGING} that never answer", f"{median(beside_many):,.0f}/s", median(beside_many) / rate)
    line("by two processes", f"{median(together):,.0f}/s", median(together) / rate)


@contextlib.contextmanager
def sink() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench._sink"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        process.kill()
        process.wait()


def subscribe(name: str, url: str) -> int:
    """Make an organization with an endpoint, and return its id."""
    from accounts.models import Organization
    from webhooks import endpoints

    organization = Organization.objects.create(name=name)
    endpoints.create(organization=organization, url=url, actor=None)
    return organization.pk


def deliver(
    organizations: list[int], messages: int, *, stuck: Sequence[int] = (), processes: int = 1
) -> tuple[float, float]:
    """Have messages delivered by processes of their own; returns the seconds that took, and those of the processor."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE webhooks_outboxmessage, webhooks_message, webhooks_delivery, webhooks_attempt"
        )
    workers = [subprocess.Popen([sys.executable, "manage.py", "deliver"], cwd=ROOT) for _ in range(processes)]
    try:
        if stuck:
            write(list(stuck), STUCK * len(stuck))
        write(organizations, len(organizations))
        wait_for(len(organizations))  # they have opened their connections
        busy, start = sum(processor_time(worker.pid) for worker in workers), time.perf_counter()
        write(organizations, messages)
        wait_for(len(organizations) + messages)
        took = time.perf_counter() - start
        return took, sum(processor_time(worker.pid) for worker in workers) - busy
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def write(organizations: list[int], count: int) -> None:
    from django.db import transaction

    from webhooks import outbox

    now = datetime.now(UTC)
    with transaction.atomic():
        outbox.send_many(
            [
                outbox.Draft(organizations[number % len(organizations)], "job.completed", DATA, now)
                for number in range(count)
            ]
        )


def wait_for(successes: int) -> None:
    from webhooks.models import Attempt, Status

    while Attempt.objects.filter(status=Status.SUCCESS).count() < successes:
        time.sleep(0.05)


def processor_time(process_id: int) -> float:
    """The seconds of processor time that a process has used."""
    with open(f"/proc/{process_id}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def signed(number: int) -> tuple[bytes, dict[str, str]]:
    from svix.webhooks import Webhook

    now = datetime.now(UTC)
    text = json.dumps({"type": "job.completed", "timestamp": now.isoformat(), "data": DATA})
    uid = f"msg_{number}"
    return text.encode(), {
        "content-type": "application/json",
        "svix-id": uid,
        "svix-timestamp": str(int(now.timestamp())),
        "svix-signature": Webhook("whsec_" + "A" * 32).sign(uid, now, text),
    }


async def send_bare(url: str, messages: int) -> float:
    import aiohttp

    numbers = iter(range(messages))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for number in numbers:
                body, headers = signed(number)
                async with session.post(url, data=body, headers=headers) as response:
                    await response.read()

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        return time.perf_counter() - start


def send_plain(url: str, messages: int) -> float:
    import requests

    with requests.Session() as session:
        start = time.perf_counter()
        for number in range(messages):
            body, headers = signed(number)
            session.post(url, data=body, headers=headers, timeout=15)
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
