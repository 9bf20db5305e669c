"""Playing a trace through the HTTP API as a data plane would, and checking what the API then says was used.

The ids of jobs and usage items follow from the file's content, the line and the organization, so that playing a
file again adds nothing. The first request is reported before all others: its job remembers by how much the timestamps
were shifted the first time. Every later run shifts by the same, since the same usage at another time is a conflict.
"""

import asyncio
import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from accounts.cursors import Cursor
from usage.gateway_client import Client, Refused
from usage.models import Feature, JobStatus, JobType, Product
from usage.pricing import PriceBook, charge
from usage.traces import Row, Trace, read

BATCH = 500
REPORT_EVERY = 0.2  # seconds
CONNECTIONS = 8
NEWEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Account:
    """Whose requests they are: the organization's key, its id and the organization's."""

    api_key: str
    api_key_id: str
    organization_id: str


@dataclass(frozen=True)
class Totals:
    requests: int
    pages: int
    credits: Decimal


@dataclass
class Outcome:
    """What was sent, and what the API made of it. `rejected` holds line, code and message."""

    requests: int = 0
    pages: int = 0
    credits: Decimal = Decimal(0)
    verdicts: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def totals(self) -> Totals:
        return Totals(self.requests, self.pages, self.credits)

    @property
    def reported(self) -> int:
        return self.accepted + self.duplicates + len(self.rejected)


class Replay:
    """One trace for one organization."""

    def __init__(self, trace: Trace, *, account: Account, book: PriceBook, webhooks: bool) -> None:
        self.trace = trace
        self._account = account
        self._book = book
        self._webhooks = webhooks
        self._prefix = "trace-{}-".format(
            hashlib.sha256(f"{trace.digest} {account.organization_id}".encode()).hexdigest()[:16]
        )
        # A file type of its own, by which the export tells this trace's usage from everybody else's.
        self._file_type = f"trace-{trace.digest[:8]}"
        self.shift = timedelta()
        self.outcome = Outcome()
        self._finished: list[tuple[int, dict[str, Any]]] = []
        self._started = 0
        self._read_all = False

    async def remembered_shift(self, customer: Client) -> timedelta | None:
        """By how much the timestamps were shifted when this trace was first played for the organization."""
        first = self.trace.first
        try:
            job = await customer.get(f"/api/v1/job/{self._job_id(first)}")
        except Refused as refusal:
            if refusal.status != 404:
                raise
            return None
        return datetime.fromisoformat(job["created_at"]) - first.timestamp

    async def play(self, gateway: Client, *, speed: float, on_report: Callable[[int], object]) -> None:
        """Verify and report every request of the trace, `speed` times as fast as it was recorded.

        `on_report` is told how many jobs each call has reported. Raises Unreachable, Refused.
        """
        rows = read(self.trace.path, on_malformed=lambda line, reason: None)
        first = next(rows)
        self._started += 1
        await self._verify(gateway)
        self._finish(first)
        await self._report(gateway, on_report)
        start = time.monotonic()
        await asyncio.gather(
            *(self._work(rows, gateway, speed, start, on_report) for _ in range(CONNECTIONS)),
            self._report_regularly(gateway, on_report),
        )

    async def exported(self, customer: Client) -> Totals:
        """What the API says was used by this trace's requests: the usage export, and the request log for pages."""
        # A day more on either side: the days of the export are those of the organization's time zone.
        start, end = self.trace.start + self.shift, self.trace.end + self.shift
        export = await customer.get(
            "/api/v1/usage/export",
            startDate=str((start - timedelta(days=1)).date()),
            endDate=str((end + timedelta(days=1)).date()),
            groupBy="product",
            fileType=self._file_type,
        )
        return Totals(
            requests=sum(row["requestCount"] for row in export["data"]),
            pages=await self._logged_pages(customer, start, end),
            credits=sum((Decimal(row["credits"]) for row in export["data"]), Decimal(0)),
        )

    async def _logged_pages(self, customer: Client, start: datetime, end: datetime) -> int:
        """The export counts no pages, so they are added up from the log, from the trace's end back to its start."""
        pages, cursor = 0, str(Cursor(end, NEWEST_ID))
        while True:
            log = await customer.get("/api/v1/jobs", limit=500, exclude_configs="true", cursor=cursor)
            pages += sum(
                job["num_pages"] or 0 for job in log["jobs"] if job["job_id"].startswith(self._prefix)
            )
            cursor = log["next_cursor"]
            if not cursor or datetime.fromisoformat(log["jobs"][-1]["created_at"]) < start:
                return pages

    async def _work(
        self,
        rows: Iterator[Row],
        gateway: Client,
        speed: float,
        start: float,
        on_report: Callable[[int], object],
    ) -> None:
        loop = asyncio.get_running_loop()
        for row in rows:
            self._started += 1
            due = start + (row.timestamp - self.trace.first.timestamp).total_seconds() / speed
            await asyncio.sleep(max(0, due - time.monotonic()))
            await self._verify(gateway)
            if speed == math.inf:
                self._finish(row)
            else:
                loop.call_later(row.duration / speed, self._finish, row)
            if len(self._finished) >= BATCH:
                await self._report(gateway, on_report)
        self._read_all = True

    async def _report_regularly(self, gateway: Client, on_report: Callable[[int], object]) -> None:
        while not self._read_all or self.outcome.reported < self._started:
            await asyncio.sleep(REPORT_EVERY)
            await self._report(gateway, on_report)

    async def _verify(self, gateway: Client) -> None:
        answer = await gateway.verify(self._account.api_key)
        self.outcome.verdicts[answer["code"]] += 1

    def _finish(self, row: Row) -> None:
        """The request is done: have it reported with the next batch, whatever verify said of it."""
        moment = row.timestamp + self.shift
        rate = self._book.rate(Product.PARSE, Feature.STANDARD, moment)
        self.outcome.requests += 1
        self.outcome.pages += row.pages
        self.outcome.credits += charge(rate, pages=row.pages, quantity=None, priority="standard")
        self._finished.append((row.line, self._job_report(row, moment)))

    async def _report(self, gateway: Client, on_report: Callable[[int], object]) -> None:
        while self._finished:
            batch, self._finished = self._finished[:BATCH], self._finished[BATCH:]
            answer = await gateway.report([report for _, report in batch])
            self.outcome.accepted += answer["accepted"]
            self.outcome.duplicates += answer["duplicates"]
            self.outcome.rejected += [
                (batch[rejection["index"]][0], rejection["code"], rejection["message"])
                for rejection in answer["rejected"]
            ]
            on_report(len(batch))

    def _job_id(self, row: Row) -> str:
        return f"{self._prefix}{row.line}"

    def _job_report(self, row: Row, moment: datetime) -> dict[str, Any]:
        created_at = moment.isoformat(timespec="microseconds")
        return {
            "job_id": self._job_id(row),
            "api_key_id": self._account.api_key_id,
            "type": JobType.PARSE,
            "status": JobStatus.COMPLETED,
            "created_at": created_at,
            "duration": row.duration,
            "num_pages": row.pages,
            "total_pages": row.pages,
            "source": f"{self._file_type}/line/{row.line}",
            "webhook": {"mode": "svix" if self._webhooks else "disabled"},
            "metadata": {"context_tokens": row.context_tokens, "generated_tokens": row.generated_tokens},
            "usage": [
                {
                    "idempotency_key": self._job_id(row),
                    "product": Product.PARSE,
                    "feature": Feature.STANDARD,
                    "file_type": self._file_type,
                    "pages": row.pages,
                    "timestamp": created_at,
                }
            ],
        }
