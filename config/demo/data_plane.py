"""The demo's data plane: a few requests a minute, verified, worked on for some seconds and reported step by step."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from config.demo import jobs
from config.demo.cast import CUSTOMERS, Customer
from config.embedded import write_private
from usage.gateway_client import Client, Refused
from usage.models import JobStatus
from usage.reports_in import JobReport

PAUSE = (1.0, 3.0)  # seconds between two requests
LONGEST = 9.0  # seconds; whoever watches should not have to wait for a long job
REPORT_EVERY = 1.0  # seconds
SAY_EVERY = 5  # jobs

Report = dict[str, Any]


@dataclass(frozen=True)
class Caller:
    """A customer whose programs call with this key."""

    customer: Customer
    api_key: str


def callers(demo: dict[str, Any]) -> list[Caller]:
    """The customers in `demo.json`, each with its key."""
    keys = {organization["name"]: organization["api_key"] for organization in demo["organizations"]}
    return [Caller(customer, keys[customer.name]) for customer in CUSTOMERS if customer.name in keys]


class DataPlane:
    """Keeps every report until the API has answered; what that refuses is said and dropped.

    What is unreported at a stop outlives it in `file`.
    """

    def __init__(self, gateway: Client, *, file: Path, say: Callable[[str], object]) -> None:
        self._gateway = gateway
        self._file = file
        self._say = say
        self._rng = random.Random()
        self._reports: list[Report] = json.loads(file.read_text()) if file.exists() else []
        # The last word on each job that is being worked on.
        self._outlook: dict[str, Report] = {}
        self._counts: Counter[str] = Counter()

    async def run(self, callers: list[Caller]) -> None:
        """Work until cancelled."""
        weights = [min(caller.customer.jobs_a_day, 900) for caller in callers]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._report_regularly())
                while True:
                    await asyncio.sleep(self._rng.uniform(*PAUSE))
                    group.create_task(self._request(self._rng.choices(callers, weights)[0]))
        finally:
            write_private(self._file, json.dumps([*self._reports, *self._outlook.values()]))

    async def _request(self, caller: Caller) -> None:
        """Serve one request of a customer, if verify allows it."""
        try:
            verdict = await self._gateway.verify(caller.api_key)
        except Refused as refusal:
            self._say(f"Verify was refused: {refusal}")
            return
        self._counts[verdict["code"]] += 1
        if not verdict["valid"]:
            return
        job = jobs.job(
            self._rng,
            caller.customer.work,
            api_key_id=verdict["api_key_id"],
            created_at=datetime.now(UTC),
        )
        job = msgspec.structs.replace(job, duration=min(job.duration or 0, self._rng.uniform(1, LONGEST)))
        self._outlook[job.job_id] = msgspec.to_builtins(job)
        self._reports.append(_underway(job, JobStatus.PENDING))
        await asyncio.sleep(0.5)
        self._reports.append(_underway(job, JobStatus.IN_PROGRESS))
        await asyncio.sleep(job.duration or 0)
        self._reports.append(self._outlook.pop(job.job_id))

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY)
            batch = self._reports[:500]
            if batch:
                await self._report(batch)
                del self._reports[: len(batch)]

    async def _report(self, batch: list[Report]) -> None:
        try:
            answer = await self._gateway.report(batch)
        except Refused as refusal:
            self._say(f"A batch of {len(batch)} reports was refused: {refusal}")
            return
        for rejection in answer["rejected"]:
            job_id = batch[rejection["index"]]["job_id"]
            self._say(f"Job {job_id} was rejected: {rejection['code']}: {rejection['message']}")
        self._counts.update(report["status"] for report in batch)
        finished = self._counts[JobStatus.COMPLETED] + self._counts[JobStatus.FAILED]
        if finished >= SAY_EVERY:
            self._say(", ".join(f"{count} {what}" for what, count in sorted(self._counts.items())))
            self._counts.clear()


def _underway(job: JobReport, status: JobStatus) -> Report:
    """What is known of a job before it has ended."""
    report: Report = msgspec.to_builtins(
        msgspec.structs.replace(job, status=status.value, duration=None, num_pages=None, error=None, usage=[])
    )
    return report


async def read_demo(path: Path) -> dict[str, Any]:
    """The demo's addresses and keys, as soon as it is ready."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            demo: dict[str, Any] = json.loads(path.read_text())
            return demo
        await asyncio.sleep(0.5)
