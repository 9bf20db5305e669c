"""The HTTP API as a data plane calls it: over a few kept connections, trying again until it answers.

Calling again is safe: verify changes nothing, and a report has ids of its own, so that the same one adds nothing.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import aiohttp

LONGEST_PAUSE = 5.0  # seconds


class Unreachable(Exception):
    """The API has not answered for as long as we were willing to wait."""


class Refused(Exception):
    """The API answered that the call is wrong, so that trying again is of no use."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Calls with one key. `patience` is how many seconds of silence, errors (5xx) or 429 a call sits out."""

    def __init__(self, *, base_url: str, key: str, connections: int = 4, patience: float = 60) -> None:
        self._session = aiohttp.ClientSession(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            connector=aiohttp.TCPConnector(limit=connections),
            timeout=aiohttp.ClientTimeout(total=60),
        )
        self._patience = patience

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: str, **params: Any) -> Any:
        """Answer the JSON at the path, its numbers with a point as Decimal. Raises Unreachable, Refused."""
        return await self._call("GET", path, params=params)

    async def verify(self, key: str) -> dict[str, Any]:
        """Ask whether this key may call now. Raises Unreachable, Refused."""
        answer: dict[str, Any] = await self._call("POST", "/api/v1/gateway/verify", json={"key": key})
        return answer

    async def report(self, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Report jobs, in halves where they are too large for one call. Raises Unreachable, Refused.

        Answers what the API does: `accepted`, `duplicates` and `rejected`, whose `index` counts in `jobs`.
        """
        try:
            answer: dict[str, Any] = await self._call("POST", "/api/v1/gateway/jobs", json={"jobs": jobs})
        except Refused as refusal:
            if refusal.status != 413 or len(jobs) < 2:
                raise
        else:
            return answer
        middle = len(jobs) // 2
        first, second = await self.report(jobs[:middle]), await self.report(jobs[middle:])
        moved = [rejection | {"index": rejection["index"] + middle} for rejection in second["rejected"]]
        return {
            "accepted": first["accepted"] + second["accepted"],
            "duplicates": first["duplicates"] + second["duplicates"],
            "rejected": first["rejected"] + moved,
        }

    async def _call(self, method: str, path: str, **arguments: Any) -> Any:
        pause, deadline = 0.1, time.monotonic() + self._patience
        while True:
            wait = pause
            try:
                async with self._session.request(method, path, **arguments) as response:
                    body = await response.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                trouble = str(error) or type(error).__name__
            else:
                if response.status < 400:
                    return json.loads(body, parse_float=Decimal)
                trouble = f"{method} {path}: {response.status} {_message(body)}"
                if response.status < 500 and response.status != 429:
                    raise Refused(response.status, trouble)
                wait = max(pause, _retry_after(response))
            if time.monotonic() + wait > deadline:
                raise Unreachable(trouble)
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)


def _retry_after(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0


def _message(body: str) -> str:
    """The message in the API's shape of an error, or the beginning of whatever came instead."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        return body[:200]
