import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from config.demo import data_plane
from config.demo.cast import CUSTOMERS
from config.demo.data_plane import Caller, DataPlane
from usage.gateway_client import Client, Refused

CALLERS = [Caller(CUSTOMERS[0], "ch_production_x")]


class Gateway:
    """Stands in for the API: allows everything, and remembers what was reported."""

    def __init__(self, code: str = "VALID") -> None:
        self.code = code
        self.reports: list[dict[str, Any]] = []

    async def verify(self, key: str) -> dict[str, Any]:
        return {"valid": self.code == "VALID", "code": self.code, "api_key_id": "key_1"}

    async def report(self, jobs: list[dict[str, Any]]) -> dict[str, Any]:
        self.reports += jobs
        return {"accepted": len(jobs), "duplicates": 0, "rejected": []}

    @property
    def statuses(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for report in self.reports:
            found.setdefault(report["job_id"], []).append(report["status"])
        return found


class RefusingGateway(Gateway):
    async def verify(self, key: str) -> dict[str, Any]:
        raise Refused(401, "Missing or invalid API key.")


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_plane, "PAUSE", (0.01, 0.02))
    monkeypatch.setattr(data_plane, "REPORT_EVERY", 0.02)


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., list[str]]:
    """Let a data plane work for some seconds; returns what it says."""

    def run(gateway: Gateway, *, seconds: float) -> list[str]:
        said: list[str] = []

        async def work() -> None:
            plane = DataPlane(cast(Client, gateway), file=tmp_path / "dataplane.json", say=said.append)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(plane.run(CALLERS), seconds)

        asyncio.run(work())
        return said

    return run


def test_a_job_goes_from_pending_to_its_end(
    work: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_plane, "LONGEST", 0.05)
    gateway = Gateway()

    work(gateway, seconds=2.5)

    finished = [statuses for statuses in gateway.statuses.values() if len(statuses) == 3]
    assert finished
    assert {tuple(statuses[:2]) for statuses in finished} == {("Pending", "InProgress")}
    assert {statuses[2] for statuses in finished} <= {"Completed", "Failed", "Cancelled"}


def test_what_a_stop_interrupts_is_reported_at_the_next_start(work: Callable[..., list[str]]) -> None:
    gateway = Gateway()
    work(gateway, seconds=0.3)
    begun = set(gateway.statuses)

    work(gateway, seconds=0.3)

    assert begun
    for job_id in begun:
        assert gateway.statuses[job_id][-1] in ("Completed", "Failed", "Cancelled")


@pytest.mark.parametrize("gateway", [Gateway(code="RATE_LIMITED"), RefusingGateway()])
def test_no_work_is_done_without_a_valid_verdict(work: Callable[..., list[str]], gateway: Gateway) -> None:
    work(gateway, seconds=0.2)

    assert gateway.reports == []


def test_a_refusal_is_said_and_does_not_end_it(work: Callable[..., list[str]]) -> None:
    said = work(RefusingGateway(), seconds=0.3)

    assert len(said) > 1
    assert "Missing or invalid API key." in said[0]
