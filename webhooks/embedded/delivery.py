"""Sending what is due over HTTP: signed, many at a time, and never with a transaction open."""

import asyncio
import base64
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
from django.conf import settings
from django.db import InterfaceError, OperationalError
from svix.webhooks import Webhook

from webhooks.embedded import egress, queue
from webhooks.embedded.queue import Claimed, Outcome, Reply

logger = logging.getLogger(__name__)

AT_ONCE = 64
TIMEOUT = 15.0  # seconds, for a whole request
# Seconds that ending takes at most: a timeout, which aiohttp rounds up to a whole second.
FAREWELL = TIMEOUT + 1
LONGEST_RESPONSE = 20_000  # bytes kept, and read


class Sender:
    """Sends in an event loop of its own that runs only inside `step`, so the database work between is plain.

    What answers late does not hold up the rest: `step` returns as soon as something is done, and the places that
    became free are filled by the next.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Looking up names blocks a thread each: as many as requests, or a few dead names would delay the others.
        self._resolving = ThreadPoolExecutor(AT_ONCE, "resolve")
        self._loop.set_default_executor(self._resolving)
        self._session = self._loop.run_until_complete(_open_session())
        self._under_way: dict[asyncio.Task[Outcome], Claimed] = {}
        self._unrecorded: list[Outcome] = []

    def step(self, *, claiming: bool = True, wait: float = 0.2) -> bool:
        """Record what is done, claim what is due, and send for at most `wait` seconds.

        Says whether there was anything to do. When the database fails, nothing is lost: what was done is recorded
        by a later step.
        """
        self._record()
        free = AT_ONCE - len(self._under_way)
        due = []
        if claiming and free:
            lanes = Counter(claimed.lane for claimed in self._under_way.values())
            due = queue.claim(free, lanes)
        # Receivers may have closed connections while the loop stood still; unseen, they would be used again.
        self._loop.run_until_complete(asyncio.sleep(0))
        for claimed in due:
            self._under_way[self._loop.create_task(send(self._session, claimed))] = claimed
        if not self._under_way:
            return False
        first = asyncio.wait(self._under_way, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        done, _ = self._loop.run_until_complete(first)
        for task in done:
            claimed = self._under_way.pop(task)
            if error := task.exception():  # ours, not the receiver's; the lease brings it back
                logger.error("Delivery %s failed", claimed.delivery_id, exc_info=error)
            else:
                self._unrecorded.append(task.result())
        self._record()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let what is under way come to its end, for at most `FAREWELL` seconds, and record it.

        What has not ended by then is cut off, and without a database nothing is waited for: the end of the lease
        has it sent again.
        """
        deadline = time.monotonic() + FAREWELL
        try:
            while self.step(claiming=False) and time.monotonic() < deadline:
                pass
        except (OperationalError, InterfaceError) as error:
            logger.warning("What was done cannot be recorded: %s", error)
        if lost := len(self._unrecorded) + len(self._under_way):
            logger.warning("To be sent again: %d deliveries", lost)
        self._loop.run_until_complete(self._close())
        self._resolving.shutdown(wait=False, cancel_futures=True)
        self._loop.close()

    async def _close(self) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._session.close()

    def _record(self) -> None:
        if self._unrecorded:
            queue.record(self._unrecorded)
            self._unrecorded = []


async def _open_session() -> aiohttp.ClientSession:
    return egress.open_session(timeout=TIMEOUT)


async def send(session: aiohttp.ClientSession, claimed: Claimed) -> Outcome:
    """Send a delivery once, when its moment has come, and signed for this moment."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(claimed.delay)
    timestamp, started = datetime.now(UTC), loop.time()
    try:
        reply = await _post(session, claimed, timestamp)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # OSError includes time-outs, ValueError whatever is wrong with a URL's host.
        reply = Reply(0, egress.explain(error), timed_out=isinstance(error, TimeoutError))
    return Outcome(
        claimed=claimed,
        timestamp=timestamp,
        duration_ms=round((loop.time() - started) * 1000),
        reply=reply,
    )


async def _post(session: aiohttp.ClientSession, claimed: Claimed, timestamp: datetime) -> Reply:
    if problem := egress.url_problem(claimed.url):
        raise ValueError(problem)
    signature = " ".join(
        Webhook(secret).sign(claimed.message_uid, timestamp, claimed.payload) for secret in claimed.secrets
    )
    headers = {
        **claimed.headers,
        "content-type": "application/json",
        "user-agent": f"Webhooks/1 (+{settings.BASE_URL})",
    }
    for family in ("svix", "webhook"):
        headers |= {
            f"{family}-id": claimed.message_uid,
            f"{family}-timestamp": str(int(timestamp.timestamp())),
            f"{family}-signature": signature,
        }
    async with session.post(
        claimed.url, data=claimed.payload.encode(), headers=headers, allow_redirects=False
    ) as response:
        return Reply(
            status_code=response.status,
            response=as_text(await _start_of(response.content)),
            retry_after=_seconds(response.headers.get("retry-after", ""), now=datetime.now(UTC)),
            wish=response.headers.get("webhook-delivery", "").strip().lower(),
        )


async def _start_of(content: aiohttp.StreamReader) -> bytes:
    try:
        return await content.readexactly(LONGEST_RESPONSE)
    except asyncio.IncompleteReadError as whole:
        return whole.partial


def _seconds(text: str, *, now: datetime) -> float | None:
    """Return what a Retry-After asks for, which is a number of seconds or a date; None for anything else."""
    if text.strip().isdecimal():
        return float(text[:20])
    try:
        moment = parsedate_to_datetime(text)
        return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return None


def as_text(body: bytes) -> str:
    """Return a response as it is stored: as text, or in base64 where it is none or PostgreSQL could not hold it."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()
    return text if "\0" not in text else base64.b64encode(body).decode()
