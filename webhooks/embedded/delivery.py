"""Sending what is due over HTTP: signed, many at a time, and never with a transaction open."""

import asyncio
import base64
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

import aiohttp
from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError
from svix.webhooks import Webhook

from webhooks.embedded import egress, queue
from webhooks.embedded.queue import Claimed, Outcome, Reply

logger = logging.getLogger(__name__)

# For what a worker has under way to receivers that answer in good time, and as many for the slow.
PLACES = 256
MOST = 3 * PLACES  # with those that have just turned out to be slow; 1,024 files are open at most, as a rule
LONG = 1.0  # seconds after which a receiver that has not answered counts as slow until it does
# How many of them, by the seconds that the last answer took, one lane may take; a slow one, that took longer, has one.
PLACES_IN_LANE = ((LONG, queue.AT_ONCE_IN_LANE), (5.0, queue.AT_ONCE_IN_LANE // 4))
MOST_KNOWN = 2_000  # lanes of which a worker keeps that in mind
TIMEOUT = 15.0  # seconds, for a whole request
# Seconds that ending takes at most: a timeout, which aiohttp rounds up to a whole second.
FAREWELL = TIMEOUT + 1
LONGEST_RESPONSE = 20_000  # bytes kept, and read


class Sender:
    """Sends in an event loop with a thread of its own, which goes on while the caller is at the database.

    A worker has places for what is under way to receivers that answer in good time or are not known yet, and as many
    for the slow. Who has been waited for for long is one of those, so what hangs never fills the first.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Looking up names blocks a thread each: as many as requests, or a few dead names would delay the others.
        self._resolving = ThreadPoolExecutor(MOST, "resolve")
        self._loop.set_default_executor(self._resolving)
        self._session = self._loop.run_until_complete(_open_session())
        self._thread = threading.Thread(target=self._loop.run_forever, name="send", daemon=True)
        self._thread.start()
        # What, and since when; by its id(), for a delivery may be claimed anew before it has ended.
        self._under_way: dict[int, tuple[Claimed, float]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._ended: SimpleQueue[tuple[Claimed, Outcome | None]] = SimpleQueue()
        self._unrecorded: list[Outcome] = []
        self._places: dict[int, int] = {}  # by lane, the one that answered last at the end

    def step(self, *, claiming: bool = True, wait: float = 0.2) -> bool:
        """Record what is done and claim what is due; when there is neither, wait at most so many seconds for an end.

        Says whether there was anything to do. When the database fails, nothing is lost: what was done is recorded
        by a later step.
        """
        self._collect()
        self._record()
        due = self._claim() if claiming else []
        if due:
            now = time.monotonic()
            self._under_way |= {id(claimed): (claimed, now) for claimed in due}
            self._loop.call_soon_threadsafe(self._start, due)
        elif self._under_way:
            self._collect(wait=wait)
            self._record()
        return bool(due or self._under_way)

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
        except (OperationalError, InterfaceError, InternalError) as error:
            logger.warning("What was done cannot be recorded: %s", error)
        if lost := len(self._unrecorded) + len(self._under_way):
            logger.warning("To be sent again: %d deliveries", lost)
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._resolving.shutdown(wait=False, cancel_futures=True)
        self._loop.close()

    # In the caller's thread.

    def _claim(self) -> list[Claimed]:
        long_ago = time.monotonic() - LONG
        for claimed, since in self._under_way.values():
            if since + claimed.delay < long_ago:
                self._places[claimed.lane] = 1
        lanes = [claimed.lane for claimed, _ in self._under_way.values()]
        slow = sum(self._places.get(lane) == 1 for lane in lanes)
        # What nobody knows may hang too: it leaves room for as much as there are places to those that do not.
        room = MOST - PLACES - len(lanes)
        are_new_slow = room <= 0
        free = max(0, min(PLACES - (len(lanes) - slow), MOST - len(lanes) if are_new_slow else room))
        free_for_slow = max(0, PLACES - slow)
        if not (free or free_for_slow):
            return []
        return queue.claim(free, slow_limit=free_for_slow, places=self._places, are_new_slow=are_new_slow)

    def _collect(self, *, wait: float = 0) -> None:
        """Take what has ended, after waiting for the first of it."""
        try:
            while True:
                claimed, outcome = self._ended.get(timeout=wait) if wait else self._ended.get_nowait()
                wait = 0
                del self._under_way[id(claimed)]
                self._places.pop(claimed.lane, None)
                if outcome:
                    self._unrecorded.append(outcome)
                    self._places[claimed.lane] = _places_in_lane(outcome.duration_ms / 1000)
        except Empty:
            pass
        while len(self._places) > MOST_KNOWN:
            del self._places[next(iter(self._places))]

    def _record(self) -> None:
        if self._unrecorded:
            queue.record(self._unrecorded)
            self._unrecorded = []

    # In the loop's thread.

    def _start(self, due: list[Claimed]) -> None:
        for claimed in due:
            task = self._loop.create_task(self._send(claimed))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, claimed: Claimed) -> None:
        outcome = None
        try:
            outcome = await send(self._session, claimed)
        except Exception:  # ours, not the receiver's; the lease brings it back
            logger.exception("Delivery %s failed", claimed.delivery_id)
        self._ended.put((claimed, outcome))

    async def _close(self) -> None:
        sending = list(self._sending)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        await self._session.close()


def _places_in_lane(seconds: float) -> int:
    return next((places for longest, places in PLACES_IN_LANE if seconds < longest), 1)


async def _open_session() -> aiohttp.ClientSession:
    return egress.open_session(timeout=TIMEOUT)


async def send(session: aiohttp.ClientSession, claimed: Claimed) -> Outcome:
    """Send a delivery once, when its moment has come, and signed for this moment."""
    loop = asyncio.get_running_loop()
    if claimed.delay:
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


@lru_cache(maxsize=4_096)
def _webhook(secret: str) -> Webhook:
    return Webhook(secret)


async def _post(session: aiohttp.ClientSession, claimed: Claimed, timestamp: datetime) -> Reply:
    if problem := egress.url_problem(claimed.url):
        raise ValueError(problem)
    signature = " ".join(
        _webhook(secret).sign(claimed.message_uid, timestamp, claimed.payload) for secret in claimed.secrets
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
    if not text:
        return None
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
